//! The operations and their attributes (RFC 3860 section 3).

use crate::{Content, Envelope, ImUri};
use smallvec::SmallVec;
use std::borrow::Cow;

/// Which connector something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// SIP and SIMPLE.
    Sip,
    /// XMPP.
    Xmpp,
}

impl Side {
    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Sip => "sip",
            Side::Xmpp => "xmpp",
        }
    }

    /// The other one.
    pub fn other(self) -> Side {
        match self {
            Side::Sip => Side::Xmpp,
            Side::Xmpp => Side::Sip,
        }
    }
}

/// A neighbour from the configuration: a component link, a SIP proxy. Zero is nobody we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u16);

/// What shows that the peer is who it seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Proof {
    /// Nothing.
    Nothing,
    /// A component stream on which the shared secret was shown (XEP-0114).
    ComponentSecret,
    /// The request came from a network that the configuration trusts.
    SourceNetwork,
}

/// Who brought an operation, and what proves it. Filled in by the connectors and nowhere else; policy decides on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Where it came in.
    pub side: Side,
    /// The neighbour that handed it over.
    pub peer: PeerId,
    /// What proves that.
    pub proof: Proof,
}

/// The address of somebody who can be sent messages (RFC 2778, RFC 3860 section 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstantInbox<'a>(pub ImUri<'a>);

/// How often a message may still be relayed (RFC 3860 section 3.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MaxForwards(pub u8);

/// Correlates an operation with its response (RFC 3860 section 3.1): octets of any length that the originating connector
/// made unique. Up to 40 octets, which RFC 3860 wants every gateway to carry, take no allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransId(pub SmallVec<[u8; 40]>);

impl TransId {
    /// A TransID of these octets.
    pub fn new(octets: &[u8]) -> Self {
        Self(SmallVec::from_slice(octets))
    }

    /// A TransID that spells 128 bits.
    pub fn from_bits(bits: u128) -> Self {
        Self::new(&turn::base32::<26>(bits))
    }
}

impl std::fmt::Display for TransId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

/// The message operation (RFC 3860 section 3.1).
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// Who writes: the identity that was proven.
    pub source: InstantInbox<'a>,
    /// Who is written to.
    pub destination: InstantInbox<'a>,
    /// How often it may still be relayed, as received.
    pub max_forwards: MaxForwards,
    /// What its response carries.
    pub trans_id: TransId,
    /// The identifier that the message bore on the wire (a stanza id, a Call-ID), in which the relay looks for its own
    /// [`Mark`](crate::Mark).
    pub wire_id: Cow<'a, [u8]>,
    /// What is said about it.
    pub envelope: Envelope<'a>,
    /// What is said.
    pub content: Content<'a>,
}

/// A message operation as a connector hands it in.
#[derive(Clone, Debug)]
pub struct Incoming<'a> {
    /// Who brought it, and what proves that.
    pub origin: Origin,
    /// The connector's own name for it, which comes back with the response.
    pub near: u64,
    /// The operation.
    pub message: Message<'a>,
}

/// The response operation (RFC 3860 section 3.1).
#[derive(Clone, Debug)]
pub struct Response<'a> {
    /// That of the message.
    pub trans_id: TransId,
    /// Its fate.
    pub status: Status<'a>,
}

/// The fate of an operation (RFC 3860 section 3.4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status<'a> {
    /// Delivery is known.
    Success,
    /// It was not and will not be delivered, as far as can be known.
    Failure(Failure<'a>),
    /// Responsibility was handed on and no word will come.
    Indeterminate,
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The class, which decides what goes on the wire.
    pub reason: Reason,
    /// Words for a person, of the far side or of the gateway; they explain and never classify.
    pub text: Option<Cow<'a, str>>,
    /// Where the recipient is now, for [`Reason::Gone`] and [`Reason::Redirect`].
    pub alternate: Option<ImUri<'a>>,
}

impl Failure<'_> {
    /// The same failure, owning its texts.
    pub fn into_owned(self) -> Failure<'static> {
        Failure {
            reason: self.reason,
            text: self.text.map(|text| Cow::Owned(text.into_owned())),
            alternate: self.alternate.map(ImUri::into_owned),
        }
    }
}

impl From<Reason> for Failure<'_> {
    fn from(reason: Reason) -> Self {
        Failure { reason, text: None, alternate: None }
    }
}

/// The classes of failure: as fine as the tables between SIP status codes and XMPP stanza errors need (RFC 7247 section
/// 7), so that a 404 is still a `<item-not-found/>` after it has crossed the core, and no finer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The far side did not understand the request.
    BadRequest,
    /// It clashes with something that exists.
    Conflict,
    /// The far side does not offer this to anybody.
    FeatureNotImplemented,
    /// The far side does not offer this at that device.
    FeatureNotImplementedThere,
    /// Access is denied.
    Forbidden,
    /// The recipient is not at this address any more.
    Gone,
    /// Something broke over there, or here.
    InternalError,
    /// No such recipient.
    NotFound,
    /// The address cannot be an address.
    AddressMalformed,
    /// The address is not complete or could be several (SIP 484, 485).
    AddressIncomplete,
    /// The recipient does not want it in this form.
    NotAcceptable,
    /// Nobody may do this.
    NotAllowed,
    /// The sender has to authenticate first.
    NotAuthorized,
    /// A rule of the far side forbids it.
    PolicyViolation,
    /// The recipient is temporarily not there.
    RecipientUnavailable,
    /// The recipient is elsewhere for the moment.
    Redirect,
    /// The sender has to register first.
    RegistrationRequired,
    /// The destination domain does not exist or cannot be resolved.
    RemoteServerNotFound,
    /// The destination domain does not answer.
    RemoteServerTimeout,
    /// The far side is short of something.
    ResourceConstraint,
    /// The recipient does not offer this.
    ServiceUnavailable,
    /// The sender needs a subscription first.
    SubscriptionRequired,
    /// The far side gave no reason that has a name.
    Undefined,
    /// The request came at the wrong moment.
    UnexpectedRequest,
    /// The content type cannot be presented over there.
    UnsupportedMedia,
    /// The content is encoded in a way that is not understood (SIP Content-Encoding).
    UnsupportedEncoding,
    /// The content is too large.
    TooLarge,
    /// `MaxForwards` is used up.
    TooManyHops,
    /// The message has been here before.
    Loop,
    /// Nobody wants it any more: it came after its own expiry.
    Expired,
    /// It was written to the far side, and no word came about it.
    DeliveryUnknown,
    /// The link to the far side is down; nothing was written.
    LinkDown,
    /// The queue to this destination is full; nothing was written.
    Congested,
    /// The gateway as a whole takes nothing more for now.
    Overloaded,
    /// The recipient had it before him and does not want it: there is nothing to be tried again.
    Declined,
}

impl Reason {
    /// Whether the recipient, or the way to him, may be there again later.
    pub fn is_temporary(self) -> bool {
        matches!(
            self,
            Reason::LinkDown
                | Reason::DeliveryUnknown
                | Reason::RemoteServerTimeout
                | Reason::RecipientUnavailable
                | Reason::ResourceConstraint
                | Reason::Congested
                | Reason::Overloaded
        )
    }

    /// A failure for this reason and no further words.
    pub fn into_status(self) -> Status<'static> {
        Status::Failure(self.into())
    }

    /// Every reason, for tables and metrics.
    pub const ALL: [Reason; 35] = [
        Reason::BadRequest,
        Reason::Conflict,
        Reason::FeatureNotImplemented,
        Reason::FeatureNotImplementedThere,
        Reason::Forbidden,
        Reason::Gone,
        Reason::InternalError,
        Reason::NotFound,
        Reason::AddressMalformed,
        Reason::AddressIncomplete,
        Reason::NotAcceptable,
        Reason::NotAllowed,
        Reason::NotAuthorized,
        Reason::PolicyViolation,
        Reason::RecipientUnavailable,
        Reason::Redirect,
        Reason::RegistrationRequired,
        Reason::RemoteServerNotFound,
        Reason::RemoteServerTimeout,
        Reason::ResourceConstraint,
        Reason::ServiceUnavailable,
        Reason::SubscriptionRequired,
        Reason::Undefined,
        Reason::UnexpectedRequest,
        Reason::UnsupportedMedia,
        Reason::UnsupportedEncoding,
        Reason::TooLarge,
        Reason::TooManyHops,
        Reason::Loop,
        Reason::Expired,
        Reason::DeliveryUnknown,
        Reason::LinkDown,
        Reason::Congested,
        Reason::Overloaded,
        Reason::Declined,
    ];

    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::BadRequest => "bad_request",
            Reason::Conflict => "conflict",
            Reason::FeatureNotImplemented => "feature_not_implemented",
            Reason::FeatureNotImplementedThere => "feature_not_implemented_there",
            Reason::Forbidden => "forbidden",
            Reason::Gone => "gone",
            Reason::InternalError => "internal_error",
            Reason::NotFound => "not_found",
            Reason::AddressMalformed => "address_malformed",
            Reason::AddressIncomplete => "address_incomplete",
            Reason::NotAcceptable => "not_acceptable",
            Reason::NotAllowed => "not_allowed",
            Reason::NotAuthorized => "not_authorized",
            Reason::PolicyViolation => "policy_violation",
            Reason::RecipientUnavailable => "recipient_unavailable",
            Reason::Redirect => "redirect",
            Reason::RegistrationRequired => "registration_required",
            Reason::RemoteServerNotFound => "remote_server_not_found",
            Reason::RemoteServerTimeout => "remote_server_timeout",
            Reason::ResourceConstraint => "resource_constraint",
            Reason::ServiceUnavailable => "service_unavailable",
            Reason::SubscriptionRequired => "subscription_required",
            Reason::Undefined => "undefined",
            Reason::UnexpectedRequest => "unexpected_request",
            Reason::UnsupportedMedia => "unsupported_media",
            Reason::UnsupportedEncoding => "unsupported_encoding",
            Reason::TooLarge => "too_large",
            Reason::TooManyHops => "too_many_hops",
            Reason::Loop => "loop",
            Reason::Expired => "expired",
            Reason::DeliveryUnknown => "delivery_unknown",
            Reason::LinkDown => "link_down",
            Reason::Congested => "congested",
            Reason::Overloaded => "overloaded",
            Reason::Declined => "declined",
        }
    }
}
