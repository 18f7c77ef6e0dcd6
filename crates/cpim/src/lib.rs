//! The abstract core: Common Profile for Instant Messaging (RFC 3860).
//!
//! What crosses the gateway is an *operation* in CPIM's words, and nothing else: a [`Message`] from one [`InstantInbox`] to
//! another with a [`MaxForwards`], a [`TransId`] and a [`Content`], and exactly one [`Response`] to it. A connector on
//! either side abstracts its protocol to these and concretises these to its protocol; the two never meet.
//!
//! The [`Relay`] is the one place where an operation changes sides. Its contract:
//!
//! 1. A connector hands an [`Incoming`] message to [`Relay::admit`], with the [`Origin`] that says who brought it and what
//!    proves that, and a name of its own for it. The relay makes the checks of RFC 3860 section 3.4.1 in order, lowers `MaxForwards`, looks
//!    for loops, and either refuses with the response or names the side that has to concretise.
//! 2. Whoever learns the fate of the operation calls [`Relay::conclude`] once; the relay gives back that name and the
//!    response for the connector it came from. A second conclusion is ignored: an operation has one response.
//! 3. Operations that nobody concluded within the answer window come out of [`Relay::poll_expired`].
//!
//! The crate knows no SIP, no XMPP, no runtime and no clock.

#![forbid(unsafe_code)]

mod accepts;
pub mod charset;
pub mod coding;
mod content;
mod domain;
pub mod durations;
mod envelope;
mod mark;
mod message;
pub mod mime;
pub mod msgfmt;
mod policy;
mod presentation;
mod relay;
pub mod telephone;
mod uri;

pub use accepts::{AcceptedBy, Accepts, NotAType};
pub use content::{Alternative, Content, Disposition, MediaType, Subject, Subjects, is_for_show, is_language_tag};
pub use domain::canonical_domain;
pub use durations::Durations;
pub use envelope::{Device, Envelope, Keeping, Thread, Urgency, clean_name};
pub use mark::{Mark, Marker, Provenance};
pub use message::{
    Failure, Incoming, InstantInbox, MaxForwards, Message, Origin, PeerId, Proof, Reason, Response, Side, Status,
    TransId,
};
pub use policy::{Denial, DomainPattern, Policy};
pub use presentation::{Presentation, PresentationError, Presentations, Presented, Rule};
pub use relay::{Admitted, Concluded, Counters, OperationKey, Relay, Settings};
pub use uri::{ImUri, UriError, fold_case};
