//! What the gateway and the users behind it are and can (XEP-0030).

use super::{Request, SERVICES};
use crate::translate::address;
use cpim::MediaType;
use xmpp::jid::JidParts;
use xmpp::query::{self, Identity};
use xmpp::stanza::Condition;
use xmpp::{escape, ns};

/// XEP-0100 section 4.1.1, by the registry of categories: a gateway to SIP for Instant Messaging and Presence.
const IDENTITY: Identity<'_> = Identity { category: "gateway", kind: "simple", name: "Entente" };

/// A device of somebody behind the gateway; which kind nobody says.
const DEVICE: Identity<'_> = Identity { category: "client", kind: "phone", name: "" };

/// What every device can by way of the gateway: a SIP 200 is told as a receipt (XEP-0184).
const OF_EVERY_DEVICE: [&str; 6] = [ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING, ns::RECEIPTS, ns::SHIM, ns::STANZA_IDS];

/// The stanza headers that mean something here (XEP-0131), as they are registered.
const HEADERS: [&str; 4] = ["Created", "Max-Forwards", "Store", "Urgency"];

pub(super) fn info_of_domain(request: &Request<'_>, out: &mut Vec<u8>) -> Result<(), Condition> {
    match request.payload.node.as_deref() {
        None => {
            let offered = SERVICES.iter().filter(|service| service.is_offered(request.site)).map(|service| service.ns);
            query::write_info(None, Some(&IDENTITY), offered.chain([escape::FEATURE, ns::SHIM, ns::STANZA_IDS]), out);
        }
        Some(ns::SHIM) => write_headers(out),
        Some(_) => return Err(Condition::ItemNotFound),
    }
    Ok(())
}

/// What the device of somebody is known to take.
pub(super) fn info_of_device(request: &Request<'_>, device: &JidParts<'_>, out: &mut Vec<u8>) -> Result<(), Condition> {
    match request.payload.node.as_deref() {
        None => {
            let owner =
                address::to_cpim(device, request.site.presentations).map_err(|_| Condition::ServiceUnavailable)?;
            let accepts = request.site.foreign.of(owner.domain());
            let takes_html = accepts.takes(&MediaType::HTML);
            let features = OF_EVERY_DEVICE.into_iter().chain(takes_html.then_some(ns::XHTML_IM));
            query::write_info(None, Some(&DEVICE), features, out);
        }
        Some(ns::SHIM) => write_headers(out),
        Some(_) => return Err(Condition::ItemNotFound),
    }
    Ok(())
}

/// XEP-0131 section 3.2: which headers are supported.
fn write_headers(out: &mut Vec<u8>) {
    let features = HEADERS.map(|header| format!("{}#{header}", ns::SHIM));
    query::write_info(Some(ns::SHIM), None, features.iter().map(|feature| &**feature), out);
}

/// Users are never listed (XEP-0030 section 6.2).
pub(super) fn items_of_domain(request: &Request<'_>, out: &mut Vec<u8>) -> Result<(), Condition> {
    match request.payload.node.as_deref() {
        node @ (None | Some(ns::SHIM)) => query::write_items(node, [], out),
        Some(_) => return Err(Condition::ItemNotFound),
    }
    Ok(())
}
