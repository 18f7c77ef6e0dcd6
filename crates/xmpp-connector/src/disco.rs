//! The iq answers that a component owes (RFC 6120 section 8.2.3: every get and set is answered).

use xmpp::stanza::{Condition, Iq, IqType, OutError, StanzaKind, write_error, write_iq};

const INFO: &str = "http://jabber.org/protocol/disco#info";
const ITEMS: &str = "http://jabber.org/protocol/disco#items";
const PING: &str = "urn:xmpp:ping";
const VERSION: &str = "jabber:iq:version";

/// What the gateway's own domain says of itself (XEP-0030; XEP-0100 section 4.1.1 for the identity; each feature works).
const INFO_RESULT: &[u8] = b"<query xmlns='http://jabber.org/protocol/disco#info'>\
<identity category='gateway' type='simple' name='Entente'/>\
<feature var='http://jabber.org/protocol/disco#info'/>\
<feature var='http://jabber.org/protocol/disco#items'/>\
<feature var='jabber:iq:version'/>\
<feature var='urn:xmpp:ping'/>\
<feature var='jid\\20escaping'/>\
</query>";
/// Users are never listed (XEP-0030 section 6.2).
const NO_ITEMS: &[u8] = b"<query xmlns='http://jabber.org/protocol/disco#items'/>";

/// Appends the answer to a request. `to_user` tells whether it was meant for a user behind the gateway. Results and
/// errors are never answered.
pub(crate) fn answer(iq: &Iq<'_>, to_user: bool, out: &mut Vec<u8>) {
    if matches!(iq.kind, IqType::Result | IqType::Error) {
        return;
    }
    let (from, to) = (iq.to.as_deref().unwrap_or_default(), iq.from.as_deref().unwrap_or_default());
    let id = iq.id.as_deref().unwrap_or_default();
    let refuse = |condition: Condition, out: &mut Vec<u8>| {
        let error = OutError::from(condition);
        write_error(StanzaKind::Iq, from.as_bytes(), to.as_bytes(), id.as_bytes(), &error, out);
    };
    let Some(payload) = iq.payload.as_ref().filter(|_| iq.payloads == 1) else {
        return refuse(Condition::BadRequest, out);
    };
    if iq.kind == IqType::Unknown {
        return refuse(Condition::BadRequest, out);
    }
    if to_user || iq.kind == IqType::Set {
        return refuse(Condition::ServiceUnavailable, out);
    }
    let result: &[u8] = match (&*payload.ns, payload.name) {
        (INFO | ITEMS, "query") if payload.node.is_some() => {
            return refuse(Condition::ItemNotFound, out);
        }
        (INFO, "query") => INFO_RESULT,
        (ITEMS, "query") => NO_ITEMS,
        (PING, "ping") => b"",
        // The exact version and the system are nobody's business (XEP-0092 section 5).
        (VERSION, "query") => b"<query xmlns='jabber:iq:version'><name>Entente</name><version>0</version></query>",
        _ => return refuse(Condition::ServiceUnavailable, out),
    };
    write_iq(IqType::Result, from.as_bytes(), to.as_bytes(), id.as_bytes(), result, out);
}
