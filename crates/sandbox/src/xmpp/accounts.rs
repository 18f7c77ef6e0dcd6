//! Who has an account, and what belongs to it.

use super::envelope::Envelope;
use super::roster::Roster;
use std::collections::{BTreeMap, VecDeque};
use turn::StreamId;
use xmpp::jid::normal_local;
use xmpp::sasl::{self, Credentials, ITERATIONS};

/// Why an account cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// The name is no localpart (RFC 7622 3.3).
    #[error("the name cannot be the localpart of an address")]
    Name,
    /// The password is empty or has characters that SASLprep forbids.
    #[error("the password is empty or has forbidden characters")]
    Password,
    /// There is an account of that name.
    #[error("the name is taken")]
    Taken,
}

/// One account.
pub(super) struct Account {
    credentials: Credentials,
    pub(super) roster: Roster,
    /// The subscription requests that wait for an answer, by bare JID (RFC 6121 3.1.3).
    pub(super) asking: BTreeMap<String, Envelope>,
    /// The streams of its bound resources, the oldest first.
    pub(super) sessions: Vec<StreamId>,
    /// Messages for later, the oldest first.
    pub(super) offline: VecDeque<Held>,
}

/// A message for later (XEP-0160).
pub(super) struct Held {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) stamp: String,
    pub(super) envelope: Envelope,
}

/// All accounts, by localpart in normal form.
#[derive(Default)]
pub(super) struct Accounts(BTreeMap<String, Account>);

impl Accounts {
    pub(super) fn add(&mut self, name: &str, password: &str, salt: &[u8]) -> Result<(), UserError> {
        let name = normal_local(name).map_err(|_| UserError::Name)?.into_owned();
        let credentials = Credentials::from_password(password, salt, ITERATIONS).map_err(|_| UserError::Password)?;
        if self.0.contains_key(&name) {
            return Err(UserError::Taken);
        }
        let account = Account {
            credentials,
            roster: Roster::new(),
            asking: BTreeMap::new(),
            sessions: Vec::new(),
            offline: VecDeque::new(),
        };
        self.0.insert(name, account);
        Ok(())
    }

    pub(super) fn find(&self, user: &str) -> Option<&Account> {
        self.0.get(user)
    }

    pub(super) fn find_mut(&mut self, user: &str) -> Option<&mut Account> {
        self.0.get_mut(user)
    }
}

impl sasl::Accounts for Accounts {
    fn credentials(&self, user: &str) -> Option<&Credentials> {
        self.0.get(user).map(|account| &account.credentials)
    }
}
