//! Where requests to the users of a domain go: the routes, and what is known of their next hops (RFC 3263 section 4.3).
//!
//! ```text
//!        .------------ any answer but the one below --------------.
//!        v                                                         |
//!      good --- no answer, transport error ---> failed --- asked again once in FAILURE_KEPT, or when nobody else is left
//!        |
//!        `--- 503 with Retry-After about two destinations ---> held off, not asked, until that time is over ---> good
//! ```
//!
//! Some proxies hand on, against RFC 3261 16.7, what one phone said of itself. So a 503 with Retry-After about one destination
//! keeps what goes there away, and only one about another destination, without any other answer about others in between, is
//! the next hop's own.
//!
//! A message goes along its route from next hop to next hop, those that have failed lately last. A next hop that stands in
//! several routes is one.

use cpim::DomainPattern;
use sip::endpoint::Outcome;
use sip::route_set::RouteSet;
use sip::transaction::{Flow, Transport};
use sip::wire::HeaderName;
use sip::wire::headers::retry_after;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Next hops of one route. More are not looked at.
pub const MOST_NEXT_HOPS: usize = 32;
/// A next hop that has failed is asked last for so long; then one message finds out whether it is back.
pub const FAILURE_KEPT: Duration = Duration::from_secs(300);
/// A next hop can hold us off for so long with one answer. Some proxies hand on, against RFC 3261 16.7, what one phone
/// said.
pub const LONGEST_HOLD_OFF: Duration = Duration::from_secs(600);
/// A message goes to no further next hop when so much has passed since it was sent to the first: silence takes 32 s each time,
/// and somebody waits for what becomes of it.
pub const LONGEST_JOURNEY: Duration = Duration::from_secs(100);
/// A next hop that has refused a connection for a large request is not asked for one again for so long.
const REFUSAL_KEPT: Duration = Duration::from_secs(60);
/// The MTU of a path of which none is known: with `MTU_RESERVE` taken off, the 1300 bytes of RFC 3261 18.1.1 and RFC 3428
/// section 8.
pub const USUAL_MTU: u16 = 1500;
/// By so much a request stays below the MTU, for what is added to it on the way (the same sections).
const MTU_RESERVE: u16 = 200;

/// Where requests to the users of a domain go.
#[derive(Clone, Debug)]
pub struct Route {
    /// The domain; [`DomainPattern::Any`] is all that have no route of their own.
    pub domain: DomainPattern,
    /// The next hops, the preferred ones first; at most [`MOST_NEXT_HOPS`]. A TCP flow without a stream is connected to when
    /// needed.
    pub next_hops: Vec<Flow>,
    /// Proxies that requests have to visit.
    pub route_set: RouteSet,
    /// No link on the way to any user suffers from large messages (RFC 3428 section 8). Where this is not known, requests that
    /// are larger than the path takes are refused.
    pub congestion_safe: bool,
    /// The lowest MTU on the way; [`USUAL_MTU`] where it is not known.
    pub path_mtu: u16,
}

impl Route {
    /// A route to one next hop for every domain, of which nothing else is known.
    pub fn to(next_hop: Flow) -> Self {
        Self {
            domain: DomainPattern::Any,
            next_hops: vec![next_hop],
            route_set: RouteSet::default(),
            congestion_safe: false,
            path_mtu: USUAL_MTU,
        }
    }

    /// Bytes of the largest request that goes in one datagram everywhere.
    fn largest(&self) -> usize {
        usize::from(self.path_mtu.saturating_sub(MTU_RESERVE))
    }
}

/// What has been counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that went on to another next hop because this one answered 503.
    pub moved_unavailable: u64,
    /// The same because it could not be reached.
    pub moved_unreachable: u64,
    /// The same because it did not answer.
    pub moved_silent: u64,
    /// Messages refused because every next hop holds us off.
    pub held_off: u64,
    /// Messages refused because they were larger than their way takes.
    pub too_large: u64,
}

/// What has become of a next hop, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHopNews {
    /// What carries requests there.
    pub transport: Transport,
    /// Its address.
    pub peer: SocketAddr,
    /// What it did.
    pub what: NextHopChange,
}

/// How a next hop has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHopChange {
    /// It could not be reached: others are asked before it for [`FAILURE_KEPT`].
    Unreachable,
    /// It said nothing: the same.
    Silent,
    /// It holds us off for so long.
    HeldOff(Duration),
    /// It answers again.
    Back,
}

/// Place of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteId(u16);

/// Place of a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HopId(u16);

/// How far a message has come on its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Journey {
    route: RouteId,
    at: HopId,
    begun: Instant,
    /// The next hops of the route that it has been sent to, as bits.
    tried: u32,
    /// Hash of the URI that it goes to.
    destination: u64,
}

const _: () = assert!(MOST_NEXT_HOPS <= u32::BITS as usize);

/// What a request needs to know of where it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leg<'a> {
    pub(crate) flow: Flow,
    pub(crate) route_set: &'a RouteSet,
    /// Bytes of the largest request that goes in a datagram.
    pub(crate) largest: usize,
    /// Larger ones go too.
    pub(crate) congestion_safe: bool,
    /// The next hop has refused a connection, not long ago.
    pub(crate) refused: bool,
}

/// What the end of a transaction means for its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is over.
    Over,
    /// The next hop takes no connections: it may be sent there as a datagram after all (RFC 3261 18.1.1).
    ByDatagram,
    /// The next hop did not do its part: another one may (RFC 3263 4.3).
    Elsewhere(Cause),
}

/// Why a request moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Unavailable,
    Unreachable,
    Silent,
}

#[derive(Debug)]
struct Row {
    route: Route,
    hops: Vec<HopId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Good,
    /// Asked last until then.
    Failed {
        until: Instant,
        /// It said nothing, and whoever asks it waits for Timer F. Of the others one learns at once.
        silent: bool,
    },
    /// Not asked until then.
    HeldOff(Instant),
}

/// A next hop has answered 503 with Retry-After about one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Doubt {
    destination: u64,
    /// It is not asked about that destination until then.
    until: Instant,
    /// It has said something else about another one.
    others_pass: bool,
}

#[derive(Debug)]
struct Hop {
    flow: Flow,
    standing: Standing,
    doubt: Option<Doubt>,
    /// It takes no connections, as far as is known.
    refused_until: Option<Instant>,
}

/// All routes.
#[derive(Debug)]
pub(crate) struct Routes {
    rows: Vec<Row>,
    hops: Vec<Hop>,
    by_domain: Vec<(Box<str>, RouteId)>,
    elsewhere: Option<RouteId>,
    news: VecDeque<NextHopNews>,
    counters: Counters,
    /// The gateway is about to end.
    ending: bool,
}

impl Routes {
    pub(crate) fn new(routes: &[Route]) -> Self {
        let mut all = Self {
            rows: Vec::new(),
            hops: Vec::new(),
            by_domain: Vec::new(),
            elsewhere: None,
            news: VecDeque::new(),
            counters: Counters::default(),
            ending: false,
        };
        for (route, place) in routes.iter().zip(0u16..) {
            let hops = route.next_hops.iter().take(MOST_NEXT_HOPS).map(|flow| all.hop(*flow)).collect();
            all.rows.push(Row { route: route.clone(), hops });
            match &route.domain {
                DomainPattern::Any => all.elsewhere = Some(RouteId(place)),
                DomainPattern::Exactly(name) => {
                    let at = all.by_domain.partition_point(|(known, _)| known < name);
                    all.by_domain.insert(at, (name.clone(), RouteId(place)));
                }
            }
        }
        all
    }

    fn hop(&mut self, flow: Flow) -> HopId {
        let known = self.hops.iter().position(|hop| hop.flow == flow);
        let place = known.unwrap_or_else(|| {
            self.hops.push(Hop { flow, standing: Standing::Good, doubt: None, refused_until: None });
            self.hops.len() - 1
        });
        HopId(u16::try_from(place).unwrap_or(u16::MAX))
    }

    /// The gateway is about to end: nothing is begun any more that may take as long as Timer F.
    pub(crate) fn end(&mut self) {
        self.ending = true;
    }

    /// The next change of a next hop.
    pub(crate) fn poll_news(&mut self) -> Option<NextHopNews> {
        self.news.pop_front()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Next hops that did not do their part when they were last asked.
    pub(crate) fn failing(&self) -> usize {
        self.hops.iter().filter(|hop| hop.standing != Standing::Good).count()
    }

    /// The route to a domain (in lower case).
    pub(crate) fn find(&self, domain: &str) -> Option<RouteId> {
        match self.by_domain.binary_search_by(|(known, _)| (**known).cmp(domain)) {
            Ok(place) => self.by_domain.get(place).map(|(_, id)| *id),
            Err(_) => self.elsewhere,
        }
    }

    /// The first next hop for a message to the destination with this hash. `None` while all of them hold us off.
    pub(crate) fn begin(&mut self, now: Instant, route: RouteId, destination: u64) -> Option<Journey> {
        let begun = self.choose(now, route, now, 0, destination);
        if begun.is_none() {
            self.counters.held_off += 1;
        }
        begun
    }

    /// The next hop after those that a message has been sent to.
    pub(crate) fn go_on(&mut self, now: Instant, journey: Journey, cause: Cause) -> Option<Journey> {
        if journey.begun + LONGEST_JOURNEY <= now || (self.ending && cause == Cause::Silent) {
            return None;
        }
        let next = self.choose(now, journey.route, journey.begun, journey.tried, journey.destination)?;
        *match cause {
            Cause::Unavailable => &mut self.counters.moved_unavailable,
            Cause::Unreachable => &mut self.counters.moved_unreachable,
            Cause::Silent => &mut self.counters.moved_silent,
        } += 1;
        Some(next)
    }

    /// A number for the way that a message goes: its route.
    pub(crate) fn way(&self, journey: Journey) -> u16 {
        journey.route.0
    }

    /// Where a message goes that is to be sent once more to the next hop that has answered: there, or on, if that one holds us off
    /// meanwhile. `None` where nobody is left.
    pub(crate) fn stay(&mut self, now: Instant, journey: Journey) -> Option<Journey> {
        let Journey { route, at, begun, tried, destination } = journey;
        let hop = self.hops.get(usize::from(at.0))?;
        if !hop.holds_off(now, destination) {
            return Some(journey);
        }
        self.choose(now, route, begun, tried, destination)
    }

    /// Whether a message has next hops before it.
    pub(crate) fn has_more(&self, journey: Journey) -> bool {
        self.row(journey.route).is_some_and(|row| (journey.tried.count_ones() as usize) < row.hops.len())
    }

    fn row(&self, route: RouteId) -> Option<&Row> {
        self.rows.get(usize::from(route.0))
    }

    /// Good ones in their order, then those that have failed, the silent ones last, never those that hold us off.
    fn choose(
        &mut self,
        now: Instant,
        route: RouteId,
        begun: Instant,
        tried: u32,
        destination: u64,
    ) -> Option<Journey> {
        let row = self.rows.get(usize::from(route.0))?;
        let (mut unreachable, mut silent) = (None, None);
        for (bit, &id) in row.hops.iter().enumerate() {
            let Some(hop) = self.hops.get_mut(usize::from(id.0)) else { continue };
            if tried & 1 << bit != 0 || hop.holds_off(now, destination) {
                continue;
            }
            let journey = Journey { route, at: id, begun, tried: tried | 1 << bit, destination };
            match hop.standing {
                Standing::Failed { until, silent: true } if now < until => silent = silent.or(Some(journey)),
                Standing::Failed { until, .. } if now < until => unreachable = unreachable.or(Some(journey)),
                Standing::Good => return Some(journey),
                Standing::HeldOff(_) => {
                    hop.standing = Standing::Good;
                    return Some(journey);
                }
                Standing::Failed { silent, .. } => {
                    // This message finds out. The others do not wait for what it finds.
                    hop.standing = Standing::Failed { until: now + FAILURE_KEPT, silent };
                    return Some(journey);
                }
            }
        }
        unreachable.or(silent)
    }

    /// Where the message is.
    pub(crate) fn leg(&self, now: Instant, journey: Journey) -> Option<Leg<'_>> {
        let Row { route, .. } = self.row(journey.route)?;
        let hop = self.hops.get(usize::from(journey.at.0))?;
        Some(Leg {
            flow: hop.flow,
            route_set: &route.route_set,
            largest: route.largest(),
            congestion_safe: route.congestion_safe,
            refused: is_refused(hop, now),
        })
    }

    /// A message was larger than its way takes.
    pub(crate) fn on_too_large(&mut self) {
        self.counters.too_large += 1;
    }

    /// A connection to `peer` has ended. If it never stood, the peer takes none.
    pub(crate) fn on_lost(&mut self, now: Instant, peer: SocketAddr, stood: bool) {
        for hop in self.hops.iter_mut().filter(|hop| hop.flow.peer == peer) {
            hop.refused_until = (!stood).then(|| now + REFUSAL_KEPT);
        }
    }

    /// Whether the next hop of a message has refused the last connection, not long ago.
    pub(crate) fn is_refused(&self, now: Instant, journey: Journey) -> bool {
        self.hops.get(usize::from(journey.at.0)).is_some_and(|hop| is_refused(hop, now))
    }

    /// A transaction has ended: notes what it says of the next hop, and tells what is to be done with its message.
    /// `connected` tells that the request went over a connection.
    pub(crate) fn judge(&mut self, now: Instant, journey: Journey, connected: bool, outcome: &Outcome<'_>) -> Verdict {
        let Some(hop) = self.hops.get_mut(usize::from(journey.at.0)) else { return Verdict::Over };
        match outcome {
            Outcome::Final(response) if response.status == 503 => {
                // Without Retry-After it is a 500 that says nothing of other requests (RFC 3261 21.5.4).
                if let Some(seconds) = response.head.first(HeaderName::RetryAfter).and_then(retry_after) {
                    let span = Duration::from_secs(seconds.into()).min(LONGEST_HOLD_OFF);
                    if !span.is_zero() {
                        hop.hold_off(now, span, journey.destination, &mut self.news);
                    }
                }
                Verdict::Elsewhere(Cause::Unavailable)
            }
            Outcome::Final(_) => {
                if let Some(doubt) = &mut hop.doubt {
                    doubt.others_pass |= doubt.destination != journey.destination;
                }
                if matches!(hop.standing, Standing::Failed { .. }) {
                    hop.change(Standing::Good, NextHopChange::Back, &mut self.news);
                }
                Verdict::Over
            }
            // Whoever is silent, it is not the next hop.
            Outcome::TimedOut { heard: true } => {
                if matches!(hop.standing, Standing::Failed { .. }) {
                    hop.change(Standing::Good, NextHopChange::Back, &mut self.news);
                }
                Verdict::Over
            }
            Outcome::TimedOut { heard: false } => {
                hop.fail(now, NextHopChange::Silent, &mut self.news);
                Verdict::Elsewhere(Cause::Silent)
            }
            Outcome::TransportFailed => {
                // A connection that stood was lost: that says nothing of the next one.
                if !connected || is_refused(hop, now) {
                    hop.fail(now, NextHopChange::Unreachable, &mut self.news);
                }
                Verdict::Elsewhere(Cause::Unreachable)
            }
        }
    }
}

fn is_refused(hop: &Hop, now: Instant) -> bool {
    hop.refused_until.is_some_and(|until| now < until)
}

impl Hop {
    /// Whether nothing may be sent to this destination by this next hop.
    fn holds_off(&self, now: Instant, destination: u64) -> bool {
        matches!(self.standing, Standing::HeldOff(until) if now < until)
            || self.doubt.is_some_and(|doubt| doubt.destination == destination && now < doubt.until)
    }

    /// It has answered 503 with Retry-After about a destination.
    fn hold_off(&mut self, now: Instant, span: Duration, destination: u64, news: &mut VecDeque<NextHopNews>) {
        let confirms = |doubt: Doubt| doubt.destination != destination && now < doubt.until && !doubt.others_pass;
        if self.doubt.is_some_and(confirms) {
            self.doubt = None;
            self.change(Standing::HeldOff(now + span), NextHopChange::HeldOff(span), news);
        } else {
            self.doubt = Some(Doubt { destination, until: now + span, others_pass: false });
        }
    }

    fn change(&mut self, standing: Standing, what: NextHopChange, news: &mut VecDeque<NextHopNews>) {
        self.standing = standing;
        let Flow { transport, peer, .. } = self.flow;
        news.push_back(NextHopNews { transport, peer, what });
    }

    fn fail(&mut self, now: Instant, what: NextHopChange, news: &mut VecDeque<NextHopNews>) {
        let failed = Standing::Failed { until: now + FAILURE_KEPT, silent: what == NextHopChange::Silent };
        match self.standing {
            Standing::HeldOff(until) if now < until => {}
            // It is known to fail.
            Standing::Failed { .. } => self.standing = failed,
            Standing::Good | Standing::HeldOff(_) => self.change(failed, what, news),
        }
    }
}
