//! What the gateway and the users behind it are and can (XEP-0030).

use super::{Request, SERVICES};
use xmpp::query::{self, Identity};
use xmpp::stanza::Condition;
use xmpp::{escape, ns};

/// XEP-0100 section 4.1.1, by the registry of categories: a gateway to SIP for Instant Messaging and Presence.
const IDENTITY: Identity<'_> = Identity { category: "gateway", kind: "simple", name: "Entente" };

/// The stanza headers that mean something here (XEP-0131), as they are registered.
const HEADERS: [&str; 1] = ["Max-Forwards"];

pub(super) fn info_of_domain(request: &Request<'_>, out: &mut Vec<u8>) -> Result<(), Condition> {
    match request.payload.node.as_deref() {
        None => {
            let offered = SERVICES.iter().filter(|service| service.is_offered(request.site)).map(|service| service.ns);
            query::write_info(None, Some(&IDENTITY), offered.chain([escape::FEATURE, ns::SHIM]), out);
        }
        // XEP-0131 section 3.2: which headers are supported.
        Some(ns::SHIM) => {
            let features = HEADERS.map(|header| format!("{}#{header}", ns::SHIM));
            query::write_info(Some(ns::SHIM), None, features.iter().map(|feature| &**feature), out);
        }
        Some(_) => return Err(Condition::ItemNotFound),
    }
    Ok(())
}

/// Users are never listed (XEP-0030 section 6.2).
pub(super) fn items_of_domain(request: &Request<'_>, out: &mut Vec<u8>) -> Result<(), Condition> {
    match request.payload.node.as_deref() {
        node @ (None | Some(ns::SHIM)) => query::write_items(node, [], out),
        Some(_) => return Err(Condition::ItemNotFound),
    }
    Ok(())
}
