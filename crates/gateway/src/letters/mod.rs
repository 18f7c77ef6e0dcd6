//! Letters ([`turn::Letter`]): messages that were accepted and could not be delivered, put into the hands of whoever looks
//! after the gateway. Sent as e-mail, appended to a file, or the one and, where the mail server refuses for good, the other.
//!
//! One thread does it, one letter after the other: disks and mail servers may take their time. A letter of which nothing is
//! sure has failed, and the machine hands it over again; an e-mail that comes twice by that has the same Message-ID.

mod compose;
mod line;
mod mail;
mod mbox;

pub use mail::{Security, Settings as MailSettings};

use compose::{Heads, compose};
use lettre::Address;
use mail::Mailer;
use mbox::Mbox;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError};
use std::task::Waker;
use std::time::SystemTime;
use turn::{Letter, Ticket};

/// Where letters go. Nowhere, if there is neither.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The host name of the gateway.
    pub host: String,
    /// The dead-letter file.
    pub file: Option<FileSettings>,
    /// By e-mail.
    pub mail: Option<MailSettings>,
}

/// The dead-letter file.
#[derive(Clone, Debug)]
pub struct FileSettings {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes that it may grow to.
    pub limit: u64,
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the file, and the file on the disk.
    Written,
    /// The mail server has it.
    Mailed,
    /// Nobody has it for sure.
    Failed,
}

/// Does with one letter after the other what the settings say.
pub struct Clerk {
    heads: Heads,
    mbox: Option<Mbox>,
    mailer: Option<Mailer>,
    /// What was logged last, so that it is not said of each letter anew.
    told: Option<String>,
}

impl Clerk {
    /// Makes what is needed. Neither the file nor the mail server is touched. `Err` where TLS cannot be set up.
    pub fn new(settings: Settings) -> io::Result<Self> {
        let Settings { host, file, mail } = settings;
        let (from, to) = match &mail {
            Some(mail) => (mail.from.clone(), Some(mail.to.clone())),
            None => (ours(&host)?, None),
        };
        let mailer = mail.map(|mail| Mailer::new(mail, &host)).transpose()?;
        let mbox = file.map(|file| Mbox::new(&file.path, file.limit));
        Ok(Self { heads: Heads { from, to, host }, mbox, mailer, told: None })
    }

    /// Hands one letter over. Blocks until it is known what became of it.
    pub fn deliver(&mut self, letter: &Letter, now: SystemTime) -> Outcome {
        let email = match compose(letter, &self.heads, now) {
            Ok(email) => email,
            Err(error) => {
                debug_assert!(false, "{error}");
                return self.failed(true, &format!("an e-mail cannot be written: {error}"));
            }
        };
        if let Some(mailer) = &self.mailer {
            match mailer.send(&email) {
                Ok(()) => return self.done(Outcome::Mailed),
                Err(error) if error.is_permanent() && self.mbox.is_some() => self.tell(true, &error.to_string()),
                Err(error) => return self.failed(error.is_permanent(), &error.to_string()),
            }
        }
        match self.mbox.as_mut().map(|mbox| mbox.append(&email, now)) {
            // What the mail server refuses is still to be looked at.
            Some(Ok(())) if self.mailer.is_some() => Outcome::Written,
            Some(Ok(())) => self.done(Outcome::Written),
            Some(Err(error)) => self.failed(true, &format!("the dead-letter file cannot be written: {error}")),
            None => self.failed(true, "letters go nowhere"),
        }
    }

    fn done(&mut self, outcome: Outcome) -> Outcome {
        if self.told.take().is_some() {
            tracing::info!("undelivered messages can be handed over again");
        }
        outcome
    }

    fn failed(&mut self, is_error: bool, why: &str) -> Outcome {
        self.tell(is_error, why);
        Outcome::Failed
    }

    /// Says it once, until it is something else.
    fn tell(&mut self, is_error: bool, why: &str) {
        let known = self.told.as_deref() == Some(why);
        match (known, is_error) {
            (true, _) => tracing::debug!(why, "an undelivered message cannot be handed over"),
            (false, true) => tracing::error!(why, "an undelivered message cannot be handed over"),
            (false, false) => tracing::warn!(why, "an undelivered message cannot be handed over, and is kept"),
        }
        self.told = Some(why.to_owned());
    }
}

/// Our own address, where none is configured. Hosts that are addresses have no mailboxes.
fn ours(host: &str) -> io::Result<Address> {
    let address = Address::new("entente", host).or_else(|_| Address::new("entente", "localhost"));
    address.map_err(io::Error::other)
}

/// Letters that may be with the thread. More are given back at once.
const UNDER_WAY: usize = 16;

/// The machine's side of the thread.
pub(crate) struct Office {
    letters: SyncSender<(Ticket, Letter)>,
    outcomes: Receiver<(Ticket, Outcome)>,
    under_way: VecDeque<Ticket>,
}

impl Office {
    /// Starts the thread. `waker` is woken when a letter's fate is known.
    pub(crate) fn open(settings: Settings, waker: Waker) -> io::Result<Self> {
        let mut clerk = Clerk::new(settings)?;
        Self::with(move |letter| clerk.deliver(letter, now()), waker)
    }

    fn with(deliver: impl FnMut(&Letter) -> Outcome + Send + 'static, waker: Waker) -> io::Result<Self> {
        let (letters, incoming) = mpsc::sync_channel(UNDER_WAY);
        let (answers, outcomes) = mpsc::channel();
        let thread = Thread { incoming: Some(incoming), answers: Some(answers), waker };
        std::thread::Builder::new().name("letters".into()).spawn(move || thread.run(deliver))?;
        Ok(Self { letters, outcomes, under_way: VecDeque::new() })
    }

    /// Takes a letter, unless too many are under way or nobody is there any more.
    pub(crate) fn take(&mut self, ticket: Ticket, letter: Letter) -> bool {
        if self.under_way.len() >= UNDER_WAY || self.letters.try_send((ticket, letter)).is_err() {
            return false;
        }
        self.under_way.push_back(ticket);
        true
    }

    /// The next letter whose fate is known.
    pub(crate) fn poll(&mut self) -> Option<(Ticket, Outcome)> {
        let (ticket, outcome) = match self.outcomes.try_recv() {
            Ok(known) => known,
            Err(TryRecvError::Empty) => return None,
            // The thread is gone, and with it what it had.
            Err(TryRecvError::Disconnected) => (*self.under_way.front()?, Outcome::Failed),
        };
        self.under_way.retain(|known| *known != ticket);
        Some((ticket, outcome))
    }

    /// Letters whose fate is not known.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }
}

/// The thread's side.
struct Thread {
    incoming: Option<Receiver<(Ticket, Letter)>>,
    answers: Option<Sender<(Ticket, Outcome)>>,
    waker: Waker,
}

impl Thread {
    fn run(self, mut deliver: impl FnMut(&Letter) -> Outcome) {
        while let Some(Ok((ticket, letter))) = self.incoming.as_ref().map(Receiver::recv) {
            let outcome = deliver(&letter);
            let Some(Ok(())) = self.answers.as_ref().map(|answers| answers.send((ticket, outcome))) else { return };
            self.waker.wake_by_ref();
        }
    }
}

impl Drop for Thread {
    /// Whatever ended it, the machine is told.
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the thread for undelivered messages is gone: they are kept until the next start");
        }
        // In this order: what was taken before nothing is taken any more is found to have failed when the machine is woken.
        self.incoming = None;
        self.answers = None;
        self.waker.wake_by_ref();
    }
}

#[expect(clippy::disallowed_methods, reason = "an e-mail has a date")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::Sender;
    use std::task::Wake;
    use std::time::Duration;

    /// Woken by the thread.
    struct Bell(Sender<()>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            // Rung also at the end, when nobody listens any more.
            let _ = self.0.send(());
        }
    }

    fn letter(id: u64) -> Letter {
        Letter {
            id: id.to_string(),
            source: "juliet@sip.example".into(),
            destination: "romeo@xmpp.example".into(),
            arrived: None,
            reason: "too late",
            content_type: b"text/plain".to_vec(),
            content: b"Wherefore art thou?".to_vec(),
        }
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn more_letters_than_fit_are_given_back() {
        let (ring, rung) = mpsc::channel();
        let (go, gate) = mpsc::channel();
        let deliver = move |letter: &Letter| {
            gate.recv().unwrap();
            if letter.id == "3" { Outcome::Failed } else { Outcome::Written }
        };
        let mut office = Office::with(deliver, Waker::from(Arc::new(Bell(ring)))).unwrap();
        let most = UNDER_WAY as u64;
        for id in 0..most {
            assert!(office.take(Ticket(id), letter(id)));
        }
        assert!(!office.take(Ticket(most), letter(most)));
        assert_eq!((office.poll(), office.under_way()), (None, UNDER_WAY));
        for id in 0..most {
            go.send(()).unwrap();
            rung.recv_timeout(PATIENCE).unwrap();
            let outcome = if id == 3 { Outcome::Failed } else { Outcome::Written };
            assert_eq!(office.poll(), Some((Ticket(id), outcome)));
        }
        assert_eq!((office.poll(), office.under_way()), (None, 0));
        assert!(office.take(Ticket(most), letter(most)));
    }

    #[test]
    fn letters_of_a_thread_that_is_gone_have_failed() {
        let (ring, rung) = mpsc::channel();
        let (go, gate) = mpsc::channel();
        let deliver = move |_: &Letter| {
            gate.recv().unwrap();
            panic!("as if lettre had a fault")
        };
        let mut office = Office::with(deliver, Waker::from(Arc::new(Bell(ring)))).unwrap();
        for id in 0..2 {
            assert!(office.take(Ticket(id), letter(id)));
        }
        go.send(()).unwrap();
        rung.recv_timeout(PATIENCE).unwrap();
        for id in 0..2 {
            assert_eq!(office.poll(), Some((Ticket(id), Outcome::Failed)));
        }
        assert_eq!(office.poll(), None);
        assert!(!office.take(Ticket(2), letter(2)));
    }
}
