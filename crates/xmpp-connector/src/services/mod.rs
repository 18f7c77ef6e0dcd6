//! The requests that a component answers itself: RFC 6120 section 8.2.3 wants an answer to every get and set.
//!
//! The **domain** of the component speaks for itself: its row in [`SERVICES`] is what a request is answered by and what
//! service discovery lists, so the list is true. For a **user** behind the gateway it answers as a server does for an
//! account, to somebody who may not see the user's presence: nothing that it says depends on whether there is such a user
//! (XEP-0030 section 8). For a **device** that wrote lately it answers what is known of it.
//!
//! Not here: pings of the barrier, which are ours; registration (XEP-0077) and search (XEP-0055), which nobody needs for a
//! message. Like everything else that is not known they are unavailable.

mod devices;
mod disco;
mod prompt;

pub(crate) use devices::Devices;

use cpim::{AcceptedBy, Presentations};
use std::time::{Duration, Instant};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use xmpp::jid::JidParts;
use xmpp::stanza::{Condition, Iq, IqType, OutError, Payload, StanzaKind, write_error, write_iq};
use xmpp::stream::component::{Component, ComponentSettings};
use xmpp::{ns, query};

/// What the answers are made of.
pub(crate) struct Site<'s> {
    /// How users of the other world are shown here.
    pub(crate) presentations: &'s Presentations,
    /// The home domain of telephone numbers.
    pub(crate) numbers: Option<&'s str>,
    /// What users of the other world are known to take.
    pub(crate) foreign: &'s AcceptedBy,
    /// Which devices of them wrote lately.
    pub(crate) devices: &'s Devices,
    /// The domain that is asked.
    pub(crate) domain: &'s str,
    /// The component by which the request came.
    pub(crate) component: &'s Component,
    /// How it was set up.
    pub(crate) settings: &'s ComponentSettings,
    /// The moment.
    pub(crate) now: Instant,
    /// How long the gateway has run.
    pub(crate) uptime: Duration,
    /// What time it is, if anybody knows.
    pub(crate) date: Option<OffsetDateTime>,
}

/// One request, with what its answer may need.
struct Request<'r> {
    iq: &'r Iq<'r>,
    payload: &'r Payload<'r>,
    site: &'r Site<'r>,
}

/// Appends the payload of the result, which may be empty.
type Answer = fn(&Request<'_>, &mut Vec<u8>) -> Result<(), Condition>;

/// Something that the domain offers.
struct Service {
    /// Namespace of the requests, which is the feature too.
    ns: &'static str,
    /// Name of the element.
    name: &'static str,
    get: Answer,
    set: Option<Answer>,
}

/// What the domain answers, which is what it lists.
const SERVICES: [Service; 7] = [
    Service { ns: ns::DISCO_INFO, name: "query", get: disco::info_of_domain, set: None },
    Service { ns: ns::DISCO_ITEMS, name: "query", get: disco::items_of_domain, set: None },
    Service { ns: ns::GATEWAY, name: "query", get: prompt::ask, set: Some(prompt::translate) },
    Service { ns: ns::LAST, name: "query", get: last, set: None },
    Service { ns: ns::VERSION, name: "query", get: version, set: None },
    Service { ns: ns::PING, name: "ping", get: |_, _| Ok(()), set: None },
    Service { ns: ns::TIME, name: "time", get: time, set: None },
];

impl Service {
    /// Whether it can be had.
    fn is_offered(&self, site: &Site<'_>) -> bool {
        self.ns != ns::TIME || site.date.is_some()
    }
}

/// Appends the answer to a request. Results and errors are never answered.
pub(crate) fn answer(iq: &Iq<'_>, site: &Site<'_>, out: &mut Vec<u8>) {
    if matches!(iq.kind, IqType::Result | IqType::Error) {
        return;
    }
    let mut payload = Vec::new();
    let answered = find(iq, site, &mut payload);
    let (from, to) = (iq.to.as_deref().unwrap_or_default(), iq.from.as_deref().unwrap_or_default());
    let (from, to, id) = (from.as_bytes(), to.as_bytes(), iq.id.as_deref().unwrap_or_default().as_bytes());
    match answered {
        Ok(()) => write_iq(IqType::Result, from, to, id, &payload, out),
        Err(condition) => write_error(StanzaKind::Iq, from, to, id, &OutError::from(condition), out),
    };
}

fn find(iq: &Iq<'_>, site: &Site<'_>, out: &mut Vec<u8>) -> Result<(), Condition> {
    let payload = iq.payload.as_ref().filter(|_| iq.payloads == 1).ok_or(Condition::BadRequest)?;
    if !iq.is_request() {
        return Err(Condition::BadRequest);
    }
    let target = JidParts::parse(iq.to.as_deref().unwrap_or_default()).map_err(|_| Condition::JidMalformed)?;
    let request = Request { iq, payload, site };
    // XEP-0054 section 3.2: nobody changes the card of somebody else.
    if iq.asks(IqType::Set, ns::VCARD, "vCard") {
        return Err(Condition::NotAllowed);
    }
    if target.local.is_some() {
        return for_user(&request, &target, out);
    }
    let service = SERVICES
        .iter()
        .find(|service| payload.ns == service.ns && payload.name == service.name && service.is_offered(site))
        .ok_or(Condition::ServiceUnavailable)?;
    let answer = if iq.kind == IqType::Set { service.set } else { Some(service.get) };
    answer.ok_or(Condition::ServiceUnavailable)?(&request, out)
}

fn for_user(request: &Request<'_>, target: &JidParts<'_>, out: &mut Vec<u8>) -> Result<(), Condition> {
    let is_device = request.site.devices.knows(request.site.now, target);
    match (request.iq.kind, &*request.payload.ns, request.payload.name) {
        // XEP-0012 sections 3 and 4: the user's presence is shown to nobody.
        (IqType::Get, ns::LAST, "query") => Err(Condition::Forbidden),
        // XEP-0030 section 8 rule 2.
        (IqType::Get, ns::DISCO_ITEMS, "query") if target.resource.is_none() || is_device => {
            query::write_items(request.payload.node.as_deref(), [], out);
            Ok(())
        }
        (IqType::Get, ns::DISCO_INFO, "query") if is_device => disco::info_of_device(request, target, out),
        (IqType::Get, ns::PING, "ping") if is_device => Ok(()),
        _ => Err(Condition::ServiceUnavailable),
    }
}

/// The exact version and the system are nobody's business (XEP-0092 section 5).
fn version(_: &Request<'_>, out: &mut Vec<u8>) -> Result<(), Condition> {
    query::write_version("Entente", "0", out);
    Ok(())
}

fn last(request: &Request<'_>, out: &mut Vec<u8>) -> Result<(), Condition> {
    query::write_last(request.site.uptime.as_secs(), out);
    Ok(())
}

/// The zone says where a machine stands (XEP-0202 section 6), so it is always that of UTC.
fn time(request: &Request<'_>, out: &mut Vec<u8>) -> Result<(), Condition> {
    let now = request.site.date.ok_or(Condition::ServiceUnavailable)?.to_offset(UtcOffset::UTC);
    let now = now.replace_nanosecond(0).unwrap_or(now);
    query::write_time(&now.format(&Rfc3339).map_err(|_| Condition::InternalServerError)?, out);
    Ok(())
}
