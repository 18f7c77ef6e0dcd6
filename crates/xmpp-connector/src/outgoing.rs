//! What is written for operations: a message as a stanza, and the response to one that came from here.

use crate::Connector;
use crate::copies::Copy;
use crate::people::{Meant, Pair};
use crate::received;
use crate::translate::content::{self, Presented};
use crate::translate::{address, error, message};
use cpim::{Admitted, Envelope, Failure, ImUri, Message, Origin, Reason, Response, Status, Thread};
use std::net::IpAddr;
use std::time::Instant;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use turn::Output;
use xmpp::jid::{JidParts, normal_resource};
use xmpp::stanza::{self, MessageType, OutError, OutMessage, StanzaKind};

/// A message may be so late without a word about it: clocks differ, and messages wait a little everywhere.
const UNREMARKABLE_DELAY: time::Duration = time::Duration::minutes(1);

/// How a message is written: its type, the device it is for, its thread.
struct Way<'s> {
    kind: MessageType,
    resource: Option<&'s str>,
    thread: Option<&'s str>,
}

/// A bare JID that was written in its normal form, and where its domain begins.
fn parts(jid: &[u8], domain_start: usize) -> Option<JidParts<'_>> {
    let (local, domain) = std::str::from_utf8(jid).ok()?.split_at_checked(domain_start)?;
    let local = local.strip_suffix('@')?;
    Some(JidParts { local: Some(local.into()), domain: domain.into(), resource: None })
}

impl Connector {
    /// Writes an admitted message as a stanza. `Err` means that nothing was and will be written.
    pub fn concretise(
        &mut self,
        now: Instant,
        admitted: &Admitted<'_>,
        out: &mut Output,
    ) -> Result<(), Failure<'static>> {
        let message = &admitted.message;
        let presented = {
            let accepts = self.settings.accepted.of(message.destination.0.domain());
            content::present(message, accepts, self.settings.content_limit)?
        };
        let mut from = std::mem::take(&mut self.scratch);
        from.clear();
        let mut to = self.copies.vector();
        let written = self.write_copy(now, admitted, &presented, &mut from, &mut to, out);
        self.scratch = from;
        match written {
            Ok((link, end)) => {
                if admitted.stored {
                    self.copies.reopen(&admitted.mark);
                }
                let awaits_receipt = self.settings.ask_receipts && !admitted.stored;
                let copy = Copy { mark: admitted.mark, to, end, proven: false, awaits_receipt };
                self.copies.insert(admitted.operation, copy);
                self.links[link].barrier.written(admitted.operation);
                Ok(())
            }
            Err(failure) => {
                self.copies.give_back(to);
                Err(failure)
            }
        }
    }

    /// The moment to stamp a message with (XEP-0203, in the form of XEP-0082) that was sent at `sent`, if that is long
    /// enough ago for a reader to want to know, or if it was kept here.
    fn delay_stamp(&self, now: Instant, sent: OffsetDateTime, stored: bool) -> Option<String> {
        let now = OffsetDateTime::from(self.calendar.date(now)?);
        if !stored && now - sent <= UNREMARKABLE_DELAY {
            return None;
        }
        sent.checked_to_offset(UtcOffset::UTC)?.format(&Rfc3339).ok()
    }

    fn write_copy(
        &mut self,
        now: Instant,
        admitted: &Admitted<'_>,
        presented: &Presented<'_>,
        from: &mut Vec<u8>,
        to: &mut Vec<u8>,
        out: &mut Output,
    ) -> Result<(usize, u64), Failure<'static>> {
        let message = &admitted.message;
        let envelope = &message.envelope;
        let source = address::write_presented(&message.source.0, &self.settings.presentations, from);
        let domain_start = source.map_err(|_| Failure::from(Reason::Forbidden))?;
        let native = address::write_native(&message.destination.0, to);
        let to_domain_start = native.map_err(|_| Failure::from(Reason::NotFound))?;
        let domain = &from[domain_start..];
        let index = self.links.iter().position(|link| link.domain.as_bytes() == domain).ok_or(Reason::InternalError)?;
        let link = &self.links[index];
        let stream = link.component.stream().filter(|_| link.component.is_up()).ok_or(Reason::LinkDown)?;
        if out.unsent_len(stream) >= self.settings.unsent_limit {
            return Err(Reason::Congested.into());
        }
        // What the content says of itself stands nearer to its writer than what was said about it on the way.
        let sent = presented.sent.or(envelope.sent);
        let stamp = sent.and_then(|sent| self.delay_stamp(now, sent, admitted.stored));
        // XEP-0203 section 2: who held it back, where it was us.
        let holder = if admitted.stored { link.domain.as_bytes() } else { b"" };
        let sender = parts(from, domain_start).ok_or(Reason::InternalError)?;
        let recipient = parts(to, to_domain_start).ok_or(Reason::InternalError)?;
        let name = presented.name.as_deref().or(envelope.source_name.as_deref());
        let pair = self.people.pair(&recipient, &sender);
        let nick = name.filter(|_| self.people.is_first_contact(now, pair));
        let unnamed = match envelope.thread {
            Some(Thread::Unnamed(hash)) => Some(turn::base32::<26>(hash)),
            _ => None,
        };
        let unnamed = unnamed.as_ref().and_then(|thread| std::str::from_utf8(thread).ok());
        let way = self.way(now, envelope, unnamed, pair, &recipient)?;
        if let Some(resource) = way.resource {
            to.push(b'/');
            to.extend_from_slice(resource.as_bytes());
        }
        let device = envelope.source_device.as_ref().and_then(|device| normal_resource(&device.name).ok());
        let has_device = device.is_some();
        if let Some(device) = device {
            from.push(b'/');
            from.extend_from_slice(device.as_bytes());
        }
        let limit = self.longest(index);
        let buffer = out.stream(stream).ok_or(Reason::LinkDown)?;
        let mut replaced = 0;
        let written = append(limit, buffer, |buffer| {
            replaced = stanza::write_message(
                &OutMessage {
                    from,
                    to,
                    id: admitted.mark.as_bytes(),
                    kind: way.kind,
                    lang: presented.language.as_deref().map(str::as_bytes),
                    subjects: &presented.subjects,
                    body: Some(presented.body.as_bytes()),
                    translations: &presented.translations,
                    html: &presented.html,
                    e2e: presented.entity.as_deref(),
                    thread: way.thread.map(str::as_bytes),
                    nick: nick.map(str::as_bytes),
                    delay: stamp.as_deref().map(|stamp| (stamp.as_bytes(), holder)),
                    max_forwards: Some(message.max_forwards.0.into()),
                    urgency: envelope.urgency.map(message::urgency_word),
                    origin_id: true,
                    request_receipt: self.settings.ask_receipts,
                    ..OutMessage::default()
                },
                buffer,
            );
        });
        if !written {
            return Err(Reason::TooLarge.into());
        }
        if has_device {
            self.devices.wrote(now, from);
        }
        self.counters.replaced_characters += (replaced + presented.replaced) as u64;
        Ok((index, out.total_sent(stream) + out.unsent_len(stream) as u64))
    }

    /// Where a message goes, and as what (RFC 7572 section 5, RFC 6121 section 5.1): as part of the chat that goes on, to the
    /// device that wrote last; else on its own, to whatever device there is. One that is meant for one device goes to no
    /// other: servers drop what is `normal` and for a device that is gone without a word.
    fn way<'s>(
        &'s self,
        now: Instant,
        envelope: &'s Envelope<'_>,
        unnamed: Option<&'s str>,
        pair: Pair,
        recipient: &JidParts<'_>,
    ) -> Result<Way<'s>, Failure<'static>> {
        let chat = self.people.chat(now, pair);
        let named = match &envelope.thread {
            Some(Thread::Named(thread)) => Some(&**thread),
            _ => None,
        };
        let mut way = match chat {
            // A thread that the sender took up is his to keep; one without a name is not what this chat is about.
            Some(chat) => Way { kind: MessageType::Chat, resource: chat.resource, thread: named.or(chat.thread) },
            None => Way { kind: MessageType::Normal, resource: None, thread: named.or(unnamed) },
        };
        if let Some(device) = envelope.destination_device.as_deref() {
            match self.people.device(now, recipient, device) {
                // What is `normal` and for a device that has just left, servers may drop without a word; what is `chat` they
                // hand to another one (RFC 6121 section 8.5.3.2.1).
                Meant::There(resource) => (way.resource, way.kind) = (Some(resource), MessageType::Chat),
                Meant::Gone => {
                    return Err(Failure {
                        reason: Reason::RecipientUnavailable,
                        text: Some("this device is not there any more".into()),
                        alternate: None,
                    });
                }
                // His other devices are as good as silence about this one.
                Meant::Unknown => way.resource = None,
            }
        }
        Ok(way)
    }

    /// Tells the sender of the stanza that `near` names what became of it.
    pub fn respond(&mut self, _now: Instant, near: u64, response: &Response<'_>, out: &mut Output) {
        let Some(stanza) = self.received.take(near) else { return };
        match &response.status {
            Status::Failure(failure) => {
                // It was not taken: whoever sends it again means it.
                if let Some(replay) = stanza.replay {
                    self.replays.forget(replay);
                }
                self.write_refusal(&stanza, failure, out);
            }
            // RFC 3428 section 4: only a 200 says delivered; a 202 becomes nothing.
            Status::Success if stanza.wants_receipt() => {
                let id = turn::base32::<26>(self.minter.mint());
                let receipt = OutMessage {
                    from: stanza.to(),
                    to: stanza.from(),
                    id: &id,
                    receipt: Some(stanza.id()),
                    ..OutMessage::default()
                };
                self.tell(stanza.link, false, out, |buffer| {
                    stanza::write_message(&receipt, buffer);
                });
            }
            Status::Success | Status::Indeterminate => {}
        }
        self.received.give(stanza);
    }

    pub(crate) fn write_refusal(&mut self, stanza: &received::Stanza, failure: &Failure<'_>, out: &mut Output) {
        let mut alternate = Vec::new();
        // An address at an IP address is where a device is, which is not for others to know (RFC 6120 section 13.10.1).
        let new_address = failure.alternate.as_ref().filter(|address| !is_location(address.domain()));
        if let Some(address) = new_address
            && address::write_iri(address, &self.settings.presentations, &mut alternate).is_err()
        {
            alternate.clear();
        }
        let told = new_address.filter(|_| !alternate.is_empty()).map(ImUri::borrowed);
        let reason = match failure.reason {
            // He is somewhere, and where cannot be told.
            Reason::Gone | Reason::Redirect if failure.alternate.is_some() && told.is_none() => {
                Reason::RecipientUnavailable
            }
            reason => reason,
        };
        let (kind, condition) = error::from_cpim(&Failure { reason, text: None, alternate: told });
        let error = OutError {
            condition,
            kind: Some(kind),
            text: failure.text.as_deref().map(str::as_bytes),
            alternate: (!alternate.is_empty()).then_some(&alternate[..]),
        };
        self.tell(stanza.link, true, out, |buffer| {
            stanza::write_error(StanzaKind::Message, stanza.to(), stanza.from(), stanza.id(), &error, buffer);
        });
    }

    /// Tells the sender of a message, which came from here some time ago, that it was not delivered. `false` when nothing can
    /// be written to him now.
    pub fn tell_failure(&mut self, message: &Message<'_>, failure: &Failure<'_>, out: &mut Output) -> bool {
        let envelope = &message.envelope;
        let (mut from, mut to) = (Vec::new(), Vec::new());
        let presented = address::write_presented(&message.destination.0, &self.settings.presentations, &mut to);
        let Ok(domain_start) = presented else { return true };
        if address::write_native(&message.source.0, &mut from).is_err() {
            return true;
        }
        let domain = to.get(domain_start..).unwrap_or_default();
        let Some(index) = self.links.iter().position(|link| link.domain.as_bytes() == domain) else { return true };
        if self.buffer(index, out).is_none() {
            return false;
        }
        let devices = [
            (&mut from, envelope.source_device.as_ref().map(|device| &*device.name)),
            (&mut to, envelope.destination_device.as_deref()),
        ];
        for (jid, device) in devices {
            if let Some(device) = device {
                jid.push(b'/');
                jid.extend_from_slice(device.as_bytes());
            }
        }
        let stanza = self.received.note_parts(index, &from, &to, &message.wire_id);
        self.write_refusal(&stanza, failure, out);
        self.received.give(stanza);
        true
    }

    /// Who speaks for those to whom a user of the other world writes.
    pub fn origin_towards(&self, user: &ImUri<'_>) -> Option<Origin> {
        let mut presented = Vec::new();
        let start = address::write_presented(user, &self.settings.presentations, &mut presented).ok()?;
        let domain = presented.get(start..)?;
        self.links.iter().position(|link| link.domain.as_bytes() == domain).map(|index| self.origin(index))
    }

    /// Writes what became of a message. Who sent it believes that it arrived until he is told otherwise: what cannot be
    /// written now, because the stream is down or its server does not read, is written once it can be.
    fn tell(&mut self, index: usize, is_failure: bool, out: &mut Output, write: impl FnOnce(&mut Vec<u8>)) {
        let limit = self.longest(index);
        let room = self.settings.unsent_limit;
        let buffer = self.buffer(index, out);
        let Some(link) = self.links.get_mut(index) else { return };
        let room = room.saturating_sub(link.overdue.len());
        let written = match buffer {
            Some(buffer) => {
                let start = buffer.len();
                let written = append(limit, buffer, write);
                if is_failure && written {
                    link.told.keep(buffer.get(start..).unwrap_or_default(), link.barrier.next_ping(), room);
                }
                written
            }
            None => link.overdue.add(limit.min(room), is_failure, write),
        };
        self.counters.unanswerable += u64::from(!written);
    }

    /// Writes what could not be written before.
    pub(crate) fn tell_overdue(&mut self, index: usize, out: &mut Output) {
        if self.links.get(index).is_none_or(|link| link.overdue.is_empty()) {
            return;
        }
        let Some(buffer) = self.buffer(index, out) else { return };
        if let Some(link) = self.links.get_mut(index) {
            link.overdue.write(buffer, &mut link.told, link.barrier.next_ping(), self.settings.unsent_limit);
        }
    }

    /// The stream of a link is gone: the failures that its server may not have read are written again on the next one.
    pub(crate) fn tell_again(&mut self, now: Instant, index: usize) {
        let Some(link) = self.links.get_mut(index) else { return };
        link.told.settle(now, link.barrier.returned());
        let again = link.told.leave_to(&mut link.overdue, self.settings.unsent_limit);
        self.counters.told_again += again as u64;
    }
}

/// Whether a domain is an IP address.
fn is_location(domain: &str) -> bool {
    let bare = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(domain);
    bare.parse::<IpAddr>().is_ok()
}

/// Appends a stanza, or nothing where it comes out longer than `limit`. Escaping lengthens a text up to six times.
pub(crate) fn append(limit: usize, buffer: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> bool {
    let start = buffer.len();
    write(buffer);
    let fits = buffer.len().saturating_sub(start) <= limit;
    if !fits {
        buffer.truncate(start);
    }
    fits
}
