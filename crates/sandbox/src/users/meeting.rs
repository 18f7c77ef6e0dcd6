//! An XMPP user and a SIP user who write to each other once.
//!
//! ```text
//!   both log in ──► each sends a text to the other's address as it is on its own side
//!                       │
//!                       ├─ it arrives there, from the right sender, unchanged, and is answered ──► Crossed
//!                       └─ it is refused, arrives changed, or not in time ─────────────────────► Failed
//! ```

use super::{Party, SipUser, SipUserEvent, SipUserSettings, XmppUser, XmppUserEvent};
use sip::wire::Uri;
use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};
use turn::{Input, Machine, Minter, Output, Target};
use xmpp::jid::same_bare_jid;
use xmpp::stream::initiator::InitiatorSettings;

const FROM_SIP: &str = "Art thou not Romeo, and a Montague?";
const FROM_XMPP: &str = "Neither, fair saint, if either thee dislike.";

/// Who meets whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The user on XMPP.
    pub xmpp: InitiatorSettings,
    /// Where the XMPP server is.
    pub xmpp_server: Target,
    /// The user on SIP.
    pub sip: SipUserSettings,
    /// The SIP user's address as it is on XMPP, as a bare JID.
    pub sip_user_on_xmpp: String,
    /// The XMPP user's address as it is on SIP, as a URI.
    pub xmpp_user_on_sip: String,
    /// How long it may take from the start.
    pub patience: Duration,
}

/// One text that has arrived and been answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The sender's address on the sender's side.
    pub from: String,
    /// The receiver's address on the receiver's side.
    pub to: String,
    /// From sending to arrival.
    pub delivered: Duration,
    /// From sending to the SIP answer.
    pub answered: Duration,
    /// The SIP answer: to the sender, or where that is on XMPP, from the receiver.
    pub status: u16,
    /// Its reason phrase.
    pub reason: String,
    /// Whether the sender is told of the answer. XMPP has a word for failures only.
    pub told: bool,
}

impl fmt::Display for Crossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, delivered, answered, status, reason, told } = self;
        let ms = |duration: &Duration| duration.as_secs_f64() * 1000.0;
        write!(f, "{from} -> {to}  delivered in {:.1} ms, answered {status}", ms(delivered))?;
        if !reason.is_empty() {
            write!(f, " {reason}")?;
        }
        if *told { write!(f, " after {:.1} ms", ms(answered)) } else { f.write_str(" (nothing to tell in XMPP)") }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// One text is across. Comes twice, in any order.
    Crossed(Crossing),
    /// It did not work; nothing more comes.
    Failed(String),
}

/// One text on its way.
#[derive(Debug, Default)]
struct Text {
    sent: Option<Instant>,
    delivered: Option<Instant>,
    answered: Option<(Instant, u16, String)>,
    told: bool,
}

/// Two users and what they do, as a machine.
#[derive(Debug)]
pub struct Meeting {
    settings: Settings,
    xmpp: XmppUser,
    sip: SipUser,
    xmpp_ready: bool,
    sip_ready: bool,
    from_sip: Text,
    from_xmpp: Text,
    deadline: Option<Instant>,
    over: bool,
    happened: VecDeque<Happened>,
    output: Output,
}

impl Meeting {
    /// Two users who log in at once.
    pub fn new(settings: Settings, minter: &Minter, now: Instant) -> Self {
        let xmpp = XmppUser::new(settings.xmpp.clone(), settings.xmpp_server, minter.derive("xmpp user"), now);
        let sip = SipUser::new(settings.sip.clone(), minter.derive("sip user"), now);
        Self {
            deadline: Some(now + settings.patience),
            settings,
            xmpp,
            sip,
            xmpp_ready: false,
            sip_ready: false,
            from_sip: Text::default(),
            from_xmpp: Text::default(),
            over: false,
            happened: VecDeque::new(),
            output: Output::new(),
        }
    }

    /// What came of it.
    pub fn poll_happened(&mut self) -> Option<Happened> {
        self.happened.pop_front()
    }

    fn xmpp_address(&self) -> String {
        format!("{}@{}", self.settings.xmpp.user, self.settings.xmpp.domain)
    }

    fn sip_address(&self) -> String {
        format!("sip:{}@{}", self.settings.sip.user, self.settings.sip.domain)
    }

    fn fail(&mut self, why: String) {
        if !self.over {
            self.over = true;
            self.deadline = None;
            self.happened.push_back(Happened::Failed(why));
        }
    }

    /// Takes note of what happened to the users, and does what comes next.
    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.xmpp.poll_event() {
            self.on_xmpp(now, event);
        }
        while let Some(event) = self.sip.poll_event() {
            self.on_sip(now, event);
        }
        if self.over {
            return;
        }
        if self.xmpp_ready && self.sip_ready && self.from_sip.sent.is_none() {
            let Settings { sip_user_on_xmpp, xmpp_user_on_sip, .. } = &self.settings;
            self.from_sip.sent = Some(now);
            self.sip.send(now, xmpp_user_on_sip, FROM_SIP, &mut self.output);
            self.from_xmpp.sent = Some(now);
            if self.xmpp.send(sip_user_on_xmpp, FROM_XMPP, &mut self.output).is_none() {
                self.fail(format!("{} lost the stream", self.xmpp_address()));
            }
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.on_late();
        }
        if self.from_sip.told && self.from_xmpp.told {
            self.over = true;
            self.deadline = None;
            self.xmpp.leave(&mut self.output);
            self.sip.leave(now, &mut self.output);
        }
    }

    fn on_xmpp(&mut self, now: Instant, event: XmppUserEvent) {
        match event {
            XmppUserEvent::Available { .. } => self.xmpp_ready = true,
            XmppUserEvent::Message { from, body } => {
                if !same_bare_jid(&from, &self.settings.sip_user_on_xmpp) {
                    return self.fail(format!("{} got a message from {from}", self.xmpp_address()));
                }
                if body != FROM_SIP {
                    return self.fail(format!("{} got another text than was sent: {body:?}", self.xmpp_address()));
                }
                self.from_sip.delivered.get_or_insert(now);
                self.tell_from_sip();
            }
            XmppUserEvent::Bounced { from, condition, text, .. } => {
                let text = text.map(|text| format!(" ({text})")).unwrap_or_default();
                let address = self.xmpp_address();
                self.fail(format!("the message of {address} came back from {from}: {}{text}", condition.as_str()));
            }
            XmppUserEvent::Gone(over) => self.fail(format!("{} is not logged in: {over}", self.xmpp_address())),
        }
    }

    fn on_sip(&mut self, now: Instant, event: SipUserEvent) {
        match event {
            SipUserEvent::Registered => self.sip_ready = true,
            SipUserEvent::Unregistered { reason } => {
                self.fail(format!("{} is not registered: {reason}", self.sip_address()));
            }
            SipUserEvent::Message { from, body } => {
                if !same_user(&from, &self.settings.xmpp_user_on_sip) {
                    return self.fail(format!("{} got a message from {from}", self.sip_address()));
                }
                if body != FROM_XMPP {
                    return self.fail(format!("{} got another text than was sent: {body:?}", self.sip_address()));
                }
                self.from_xmpp.delivered.get_or_insert(now);
                // The user has answered with it.
                self.from_xmpp.answered.get_or_insert((now, 200, "OK".to_owned()));
                let (from, to) = (self.xmpp_address(), self.sip_address());
                tell(&mut self.from_xmpp, from, to, false, &mut self.happened);
            }
            SipUserEvent::Answered { status, reason, .. } if (200..300).contains(&status) => {
                self.from_sip.answered.get_or_insert((now, status, reason));
                self.tell_from_sip();
            }
            SipUserEvent::Answered { status, reason, .. } => {
                self.fail(format!("the message of {} was refused: {status} {reason}", self.sip_address()));
            }
            SipUserEvent::Unanswered { why, .. } => {
                self.fail(format!("the message of {} was not answered: {why}", self.sip_address()));
            }
        }
    }

    fn tell_from_sip(&mut self) {
        let (from, to) = (self.sip_address(), self.xmpp_address());
        tell(&mut self.from_sip, from, to, true, &mut self.happened);
    }

    fn on_late(&mut self) {
        let (sip, xmpp) = (self.sip_address(), self.xmpp_address());
        let missing = if !self.xmpp_ready {
            format!("{xmpp} is not logged in")
        } else if !self.sip_ready {
            format!("{sip} is not registered")
        } else if self.from_sip.delivered.is_none() {
            format!("the message of {sip} has not arrived at {xmpp}")
        } else if self.from_sip.answered.is_none() {
            format!("the message of {sip} has arrived but not been answered")
        } else {
            format!("the message of {xmpp} has not arrived at {sip}")
        };
        self.fail(format!("{missing} after {} s", self.settings.patience.as_secs()));
    }
}

/// Whether both URIs are of one user: `gr` names a device of his (RFC 5627 section 5.1).
fn same_user(uri: &str, address: &str) -> bool {
    match (Uri::parse(uri.as_bytes()), Uri::parse(address.as_bytes())) {
        (Ok(uri), Ok(address)) => uri.equivalent(&address),
        _ => false,
    }
}

fn tell(text: &mut Text, from: String, to: String, told: bool, happened: &mut VecDeque<Happened>) {
    let (Some(sent), Some(delivered), Some((answered, status, reason))) = (text.sent, text.delivered, &text.answered)
    else {
        return;
    };
    if std::mem::replace(&mut text.told, true) {
        return;
    }
    happened.push_back(Happened::Crossed(Crossing {
        from,
        to,
        delivered: delivered.saturating_duration_since(sent),
        answered: answered.saturating_duration_since(sent),
        status: *status,
        reason: reason.clone(),
        told,
    }));
}

impl Machine for Meeting {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) -> usize {
        self.sip.handle_input(now, &input, &mut self.output);
        let consumed = self.xmpp.handle_input(now, &input, &mut self.output);
        self.settle(now);
        consumed
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.sip.handle_timeout(now, &mut self.output);
        self.xmpp.handle_timeout(now, &mut self.output);
        self.settle(now);
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let deadline = self.deadline.map(|deadline| (deadline, "the end of the patience"));
        [self.xmpp.poll_timeout(), self.sip.poll_timeout(), deadline].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    fn output(&mut self) -> &mut Output {
        &mut self.output
    }
}
