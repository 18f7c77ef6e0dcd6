//! Requests (iq): on their way, and those that the domain answers itself, for itself or on behalf of its users.

use super::presence::user_of;
use super::{Parcel, Place, XmppDomain};
use xml::writer;
use xmpp::ns;
use xmpp::stanza::{Condition, Iq, IqType, StanzaKind, write_iq};

const ROSTER: &str = "jabber:iq:roster";
const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
const VERSION: &str = "jabber:iq:version";
const VCARD: &str = "vcard-temp";
const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";

/// Whom a request that is answered here asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The server.
    Domain,
    /// The asker's own account.
    OwnAccount,
    /// The account of somebody else.
    Account,
}

impl XmppDomain {
    pub(super) fn route_iq(&mut self, parcel: Parcel<'_>, iq: &Iq<'_>) {
        if iq.kind == IqType::Unknown || (iq.is_request() && (iq.payloads != 1 || iq.id.is_none())) {
            return self.bounce(parcel, StanzaKind::Iq, Condition::BadRequest, None);
        }
        if !matches!(self.place(&parcel.to.domain), Place::Own) {
            return self.forward(parcel, StanzaKind::Iq, iq.is_request());
        }
        let user = parcel.to.local.as_deref();
        if let (Some(user), Some(resource)) = (user, &parcel.to.resource) {
            match self.connected(user, resource) {
                Some(stream) => self.hand_over(parcel, stream),
                None if iq.is_request() => {
                    self.bounce(parcel, StanzaKind::Iq, Condition::ServiceUnavailable, None);
                }
                None => {}
            }
            return;
        }
        // An answer to the domain: it has asked nothing but roster pushes.
        if !iq.is_request() {
            return;
        }
        let asked = match user {
            None => Asked::Domain,
            Some(user) if user == user_of(parcel.from) && self.is_own(parcel.from) => Asked::OwnAccount,
            Some(user) if self.accounts.find(user).is_some() => Asked::Account,
            Some(_) => return self.bounce(parcel, StanzaKind::Iq, Condition::ServiceUnavailable, None),
        };
        match self.answer(parcel, iq, asked) {
            Ok(payload) => {
                let from = parcel.to.to_string();
                let Some(origin) = parcel.origin else { return };
                self.send(origin, |out| {
                    let (to, id) = (parcel.from.as_bytes(), parcel.id.as_bytes());
                    write_iq(IqType::Result, from.as_bytes(), to, id, &payload, out);
                });
            }
            Err(condition) => self.bounce(parcel, StanzaKind::Iq, condition, None),
        }
    }

    fn is_own(&self, address: &str) -> bool {
        let bare = address.split('/').next().unwrap_or_default();
        bare.split_once('@').is_some_and(|(_, domain)| domain == self.settings.domain)
    }

    /// The payload of the result, or the error.
    fn answer(&mut self, parcel: Parcel<'_>, iq: &Iq<'_>, asked: Asked) -> Result<Vec<u8>, Condition> {
        let Some(payload) = &iq.payload else { return Err(Condition::BadRequest) };
        let mut out = Vec::new();
        match (iq.kind, &*payload.ns, payload.name, asked) {
            (IqType::Get, ns::PING, "ping", _) => {}
            (IqType::Set, SESSION, "session", Asked::Domain | Asked::OwnAccount) => {}
            (IqType::Set, BIND, "bind", Asked::Domain | Asked::OwnAccount) => return Err(Condition::NotAllowed),
            (_, ns::DISCO_INFO | ns::DISCO_ITEMS, "query", _) if payload.node.is_some() => {
                return Err(Condition::ItemNotFound);
            }
            (IqType::Get, ns::DISCO_INFO, "query", Asked::Domain) => {
                describe(
                    "server",
                    "im",
                    &[ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING, ROSTER, VERSION, "msgoffline"],
                    &mut out,
                );
            }
            (IqType::Get, ns::DISCO_INFO, "query", _) => {
                describe("account", "registered", &[ns::DISCO_INFO, ns::PING, VCARD], &mut out);
            }
            (IqType::Get, ns::DISCO_ITEMS, "query", Asked::Domain) => {
                begin_query(ns::DISCO_ITEMS, &mut out);
                for domain in self.attached.keys() {
                    out.extend_from_slice(b"<item");
                    writer::attribute("jid", domain, &mut out);
                    out.extend_from_slice(b"/>");
                }
                out.extend_from_slice(b"</query>");
            }
            (IqType::Get, ns::DISCO_ITEMS, "query", _) => {
                begin_query(ns::DISCO_ITEMS, &mut out);
                out.extend_from_slice(b"</query>");
            }
            (IqType::Get, VERSION, "query", Asked::Domain) => {
                begin_query(VERSION, &mut out);
                writer::element("name", "Entente sandbox", &mut out);
                writer::element("version", env!("CARGO_PKG_VERSION"), &mut out);
                out.extend_from_slice(b"</query>");
            }
            // Nobody has published one.
            (IqType::Get, VCARD, "vCard", Asked::OwnAccount | Asked::Account) => {
                out.extend_from_slice(b"<vCard xmlns='vcard-temp'/>");
            }
            (IqType::Get, ROSTER, "query", Asked::OwnAccount) => {
                let Some(origin) = parcel.origin else { return Err(Condition::InternalServerError) };
                self.check_roster_get(origin, iq)?;
                return Ok(self.roster_payload(origin, user_of(parcel.from)));
            }
            (IqType::Set, ROSTER, "query", Asked::OwnAccount) => {
                let Some(origin) = parcel.origin else { return Err(Condition::InternalServerError) };
                self.set_roster(origin, parcel, iq)?;
            }
            // RFC 6121 2.3.3: other people's rosters are theirs.
            (_, ROSTER, "query", Asked::Account) => return Err(Condition::Forbidden),
            _ => return Err(Condition::ServiceUnavailable),
        }
        Ok(out)
    }
}

fn begin_query(namespace: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<query");
    writer::attribute("xmlns", namespace, out);
    out.push(b'>');
}

/// XEP-0030 3.1.
fn describe(category: &str, kind: &str, features: &[&str], out: &mut Vec<u8>) {
    begin_query(ns::DISCO_INFO, out);
    out.extend_from_slice(b"<identity");
    writer::attribute("category", category, out);
    writer::attribute("type", kind, out);
    out.extend_from_slice(b"/>");
    for feature in features {
        out.extend_from_slice(b"<feature");
        writer::attribute("var", feature, out);
        out.extend_from_slice(b"/>");
    }
    out.extend_from_slice(b"</query>");
}
