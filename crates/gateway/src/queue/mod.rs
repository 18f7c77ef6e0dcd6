//! What is in the journal, for whoever looks after the gateway: `entente queue` lists it, shows an entry, drops entries.
//!
//! While the gateway runs the journal is its alone, and it answers over a socket in the folder ([`serve`]): one line of JSON
//! asks, one answers, and that is all of a connection. Otherwise the command opens the folder itself. Messages are nobody's
//! business but their users': the socket is for the user that the gateway runs as, never for the network.

mod ask;
mod command;
mod print;
mod serve;
#[cfg(test)]
mod tests;

pub use command::{Command, Exit, Failed, Form, RunError, run};
pub use serve::{Door, serve};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::journal::{DAMAGED, DEAD, QUEUE, describe};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use turn::{Query, StoredRow, TableId};

/// The socket in the folder of the journal.
pub const SOCKET: &str = "control";
/// No key has more octets.
const LONGEST_KEY: usize = 64;
/// Entries that one question looks at: whoever wants more asks again.
const PAGE: usize = 256;
/// Entries that one question may drop.
const MOST_DROPPED: usize = 256;
/// The tables that entries stand in.
const TABLES: [TableId; 2] = [QUEUE, DAMAGED];

/// Reads what is stored.
pub trait Shelf {
    /// Rows in the order of their keys, as a machine would load them; or why not.
    fn find(&self, query: Query) -> Result<Vec<StoredRow>, String>;
}

/// The name of an entry: its key, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EntryId(Vec<u8>);

impl EntryId {
    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// A text that names no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no name of an entry: copy one from the list")]
pub struct NoName;

impl FromStr for EntryId {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Self, NoName> {
        let (pairs, []) = text.as_bytes().as_chunks() else { return Err(NoName) };
        if pairs.is_empty() || pairs.len() > LONGEST_KEY {
            return Err(NoName);
        }
        let digit = |octet: u8| char::from(octet).to_digit(16).ok_or(NoName);
        // Two digits are less than 256.
        let key = pairs.iter().map(|[high, low]| Ok((digit(*high)? << 4 | digit(*low)?) as u8));
        key.collect::<Result<_, NoName>>().map(Self)
    }
}

impl TryFrom<String> for EntryId {
    type Error = NoName;

    fn try_from(text: String) -> Result<Self, NoName> {
        text.parse()
    }
}

impl From<EntryId> for String {
    fn from(id: EntryId) -> Self {
        id.to_string()
    }
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is to be delivered.
    Waiting,
    /// Its sender was told that it was not delivered; it waits for being handed over as a dead letter.
    GivenUp,
    /// It could not be read and was put aside.
    Damaged,
}

/// An entry as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub id: EntryId,
    /// Where it stands.
    pub state: State,
    /// Octets that are stored of it.
    pub stored: usize,
    /// What it says of itself, or why it cannot be read.
    #[serde(flatten)]
    pub summary: Summary,
}

/// What an entry says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Summary {
    /// It can be read.
    Whole {
        /// When its message arrived (RFC 3339).
        since: Option<String>,
        /// Until when it is kept.
        until: Option<String>,
        /// Who wrote it.
        from: String,
        /// Whom it is for.
        to: String,
        /// Why it was kept.
        why: String,
        /// What its stanza id or Call-ID begins with.
        mark: String,
        /// What its content is.
        content_type: String,
        /// Octets of its content.
        octets: usize,
    },
    /// It is not what was written.
    Damaged {
        /// How that shows.
        damaged: String,
    },
}

/// Which entries are listed: those that match all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// An address, or a domain, of who wrote.
    pub from: Option<String>,
    /// An address, or a domain, of whom it is for.
    pub to: Option<String>,
}

impl Filter {
    /// What cannot be read matches where nothing is asked.
    fn takes(&self, summary: &Summary) -> bool {
        let matches = |wanted: &Option<String>, address: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| address.is_some_and(|address| is_meant(wanted, address)))
        };
        let (from, to) = match summary {
            Summary::Whole { from, to, .. } => (Some(from.as_str()), Some(to.as_str())),
            Summary::Damaged { .. } => (None, None),
        };
        matches(&self.from, from) && matches(&self.to, to)
    }
}

/// Whether `wanted` is the address, or its domain.
fn is_meant(wanted: &str, address: &str) -> bool {
    let domain = address.rsplit_once('@').map_or(address, |(_, domain)| domain);
    wanted == address || wanted.eq_ignore_ascii_case(domain)
}

/// How far a list has come: the place of the table, and the last entry that was looked at in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place(usize, Option<EntryId>);

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// The entries behind a place.
    List { after: Option<Place>, filter: Filter },
    /// All of one entry.
    Show { id: EntryId },
    /// Forget these.
    Drop { ids: Vec<EntryId> },
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Response {
    /// Some entries, and where to go on.
    Page { entries: Vec<Entry>, next: Option<Place> },
    /// An entry with its content in base64: none where it cannot be read.
    Shown { entry: Entry, content: Option<String> },
    /// Those of the entries that there were; they are gone.
    Dropped { ids: Vec<EntryId> },
    /// There is no such entry.
    Absent,
    /// It cannot be said.
    Failed { what: String },
}

/// Answers a question that changes nothing.
fn look_up(shelf: &dyn Shelf, request: Request) -> Response {
    let found = match request {
        Request::List { after, filter } => page(shelf, after, &filter),
        Request::Show { id } => show(shelf, id),
        Request::Drop { .. } => Err("this changes something".into()),
    };
    found.unwrap_or_else(|what| Response::Failed { what })
}

fn page(shelf: &dyn Shelf, after: Option<Place>, filter: &Filter) -> Result<Response, String> {
    let Place(place, reached) = after.unwrap_or(Place(0, None));
    let Some(&table) = TABLES.get(place) else { return Ok(Response::Page { entries: Vec::new(), next: None }) };
    let after = reached.map(|id| id.0);
    let rows = shelf.find(Query { table, prefix: Vec::new(), after: after.clone(), limit: PAGE })?;
    let given_up = match table {
        // Each of these has an entry: as many of them cover as many entries, or more.
        QUEUE => shelf.find(Query { table: DEAD, prefix: Vec::new(), after, limit: PAGE })?,
        _ => Vec::new(),
    };
    let given_up: BTreeSet<Vec<u8>> = given_up.into_iter().map(|row| row.key).collect();
    let next = match rows.last() {
        Some(last) if rows.len() >= PAGE => Some(Place(place, Some(EntryId(last.key.clone())))),
        _ => TABLES.get(place + 1).map(|_| Place(place + 1, None)),
    };
    let mut entries = Vec::new();
    for row in rows {
        let given_up = given_up.contains(&row.key);
        let (entry, _) = entry(table, row, given_up);
        if filter.takes(&entry.summary) {
            entries.push(entry);
        }
    }
    Ok(Response::Page { entries, next })
}

fn show(shelf: &dyn Shelf, id: EntryId) -> Result<Response, String> {
    for table in TABLES {
        if let Some(found) = row(shelf, table, &id)? {
            let given_up = row(shelf, DEAD, &id)?.is_some();
            let (entry, content) = entry(table, found, given_up);
            return Ok(Response::Shown { entry, content });
        }
    }
    Ok(Response::Absent)
}

fn row(shelf: &dyn Shelf, table: TableId, id: &EntryId) -> Result<Option<StoredRow>, String> {
    let mut rows = shelf.find(Query { table, prefix: id.0.clone(), after: None, limit: 1 })?;
    Ok(rows.pop().filter(|row| row.key == id.0))
}

/// An entry and its content.
fn entry(table: TableId, row: StoredRow, given_up: bool) -> (Entry, Option<String>) {
    let mut state = match given_up {
        _ if table == DAMAGED => State::Damaged,
        true => State::GivenUp,
        false => State::Waiting,
    };
    let stored = row.value.len();
    let (summary, content) = match describe(&row.key, &row.value) {
        Ok(found) => (
            Summary::Whole {
                since: found.arrived.and_then(spelled),
                until: found.expires.and_then(spelled),
                from: found.source,
                to: found.destination,
                why: found.why.as_str().to_owned(),
                mark: found.mark.to_owned(),
                content_type: String::from_utf8_lossy(found.content_type).into_owned(),
                octets: found.content.len(),
            },
            Some(STANDARD.encode(found.content)),
        ),
        Err(damaged) => {
            state = State::Damaged;
            (Summary::Damaged { damaged: damaged.to_string() }, None)
        }
    };
    (Entry { id: EntryId(row.key), state, stored, summary }, content)
}

/// A moment as RFC 3339 has it, to the second.
fn spelled(moment: SystemTime) -> Option<String> {
    OffsetDateTime::from(moment).replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}
