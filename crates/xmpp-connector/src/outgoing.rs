//! What is written for operations: a message as a stanza, and the response to one that came from here.

use crate::Connector;
use crate::copies::Copy;
use crate::received;
use crate::translate::content::{self, Presented};
use crate::translate::{address, error};
use cpim::{Admitted, Failure, ImUri, Reason, Response, Status};
use std::net::IpAddr;
use std::time::Instant;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use turn::{Output, write_base32};
use xmpp::stanza::{self, OutError, OutMessage, StanzaKind};

/// A message may be so late without a word about it: clocks differ, and messages wait a little everywhere.
const UNREMARKABLE_DELAY: time::Duration = time::Duration::minutes(1);

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
        let stamp = presented.sent.and_then(|sent| self.delay_stamp(now, sent));
        let written = self.write_copy(admitted, &presented, stamp.as_deref(), &mut from, &mut to, out);
        self.scratch = from;
        match written {
            Ok((link, end)) => {
                let copy = Copy { mark: admitted.mark, to, end, proven: false };
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
    /// enough ago for a reader to want to know.
    fn delay_stamp(&self, now: Instant, sent: OffsetDateTime) -> Option<String> {
        let now = OffsetDateTime::from(self.calendar.date(now)?);
        if now - sent <= UNREMARKABLE_DELAY {
            return None;
        }
        sent.to_offset(UtcOffset::UTC).format(&Rfc3339).ok()
    }

    fn write_copy(
        &mut self,
        admitted: &Admitted<'_>,
        presented: &Presented<'_>,
        stamp: Option<&str>,
        from: &mut Vec<u8>,
        to: &mut Vec<u8>,
        out: &mut Output,
    ) -> Result<(usize, u64), Failure<'static>> {
        let message = &admitted.message;
        let source = address::write_presented(&message.source.0, &self.settings.presentations, from);
        let domain_start = source.map_err(|_| Failure::from(Reason::Forbidden))?;
        address::write_native(&message.destination.0, to).map_err(|_| Failure::from(Reason::NotFound))?;
        let domain = &from[domain_start..];
        let index = self.links.iter().position(|link| link.domain.as_bytes() == domain).ok_or(Reason::InternalError)?;
        let link = &self.links[index];
        let stream = link.component.stream().filter(|_| link.component.is_up()).ok_or(Reason::LinkDown)?;
        if out.unsent_len(stream) >= self.settings.unsent_limit {
            return Err(Reason::Congested.into());
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
                    lang: presented.language.as_deref().map(str::as_bytes),
                    subjects: &presented.subjects,
                    body: Some(presented.body.as_bytes()),
                    translations: &presented.translations,
                    html: &presented.html,
                    e2e: presented.entity.as_deref(),
                    delay: stamp.map(|stamp| (stamp.as_bytes(), &b""[..])),
                    max_forwards: Some(message.max_forwards.0.into()),
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
        self.counters.replaced_characters += (replaced + presented.replaced) as u64;
        Ok((index, out.total_sent(stream) + out.unsent_len(stream) as u64))
    }

    /// Tells the sender of the stanza that `near` names what became of it.
    pub fn respond(&mut self, _now: Instant, near: u64, response: &Response<'_>, out: &mut Output) {
        let Some(stanza) = self.received.take(near) else { return };
        match &response.status {
            Status::Failure(failure) => self.write_refusal(&stanza, failure, out),
            // RFC 3428 section 4: only a 200 says delivered; a 202 becomes nothing.
            Status::Success if stanza.wants_receipt() => {
                let mut id = smallvec::SmallVec::<[u8; 26]>::new();
                write_base32(self.minter.mint(), 26, &mut id);
                let limit = self.longest(stanza.link);
                if let Some(buffer) = self.buffer(stanza.link, out) {
                    let receipt = OutMessage {
                        from: stanza.to(),
                        to: stanza.from(),
                        id: &id,
                        receipt: Some(stanza.id()),
                        ..OutMessage::default()
                    };
                    let written = append(limit, buffer, |buffer| {
                        stanza::write_message(&receipt, buffer);
                    });
                    self.counters.unanswerable += u64::from(!written);
                }
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
        let limit = self.longest(stanza.link);
        let Some(buffer) = self.buffer(stanza.link, out) else { return };
        let error = OutError {
            condition,
            kind: Some(kind),
            text: failure.text.as_deref().map(str::as_bytes),
            alternate: (!alternate.is_empty()).then_some(&alternate[..]),
        };
        let written = append(limit, buffer, |buffer| {
            stanza::write_error(StanzaKind::Message, stanza.to(), stanza.from(), stanza.id(), &error, buffer);
        });
        self.counters.unanswerable += u64::from(!written);
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
