//! Stanza errors and the core's reasons (RFC 7247 section 7), each direction one table.

use cpim::{Failure, Reason};
use xmpp::stanza::{Condition, ErrorType};

/// What a reason is called in a stanza error, and the type that goes with it (RFC 6120 section 8.3.3).
pub fn from_cpim(failure: &Failure<'_>) -> (ErrorType, Condition) {
    use {Condition as C, ErrorType as T};
    match failure.reason {
        Reason::BadRequest => (T::Modify, C::BadRequest),
        Reason::Conflict => (T::Cancel, C::Conflict),
        Reason::FeatureNotImplemented | Reason::FeatureNotImplementedThere => (T::Cancel, C::FeatureNotImplemented),
        Reason::Forbidden => (T::Auth, C::Forbidden),
        // RFC 7247 section 7.2 note 1: 301 is <gone/> with the new address, 410 is <gone/> without one.
        Reason::Gone => (T::Cancel, C::Gone),
        Reason::InternalError => (T::Cancel, C::InternalServerError),
        // RFC 6120 section 8.3.3.6 suggests cancel; here a retry may help, and the sender is told so.
        Reason::Overloaded => (T::Wait, C::InternalServerError),
        Reason::NotFound | Reason::AddressIncomplete => (T::Cancel, C::ItemNotFound),
        Reason::AddressMalformed => (T::Modify, C::JidMalformed),
        Reason::NotAcceptable
        | Reason::UnsupportedMedia
        | Reason::UnsupportedEncoding
        | Reason::TooManyHops
        | Reason::Expired
        | Reason::Loop => (T::Modify, C::NotAcceptable),
        Reason::NotAllowed => (T::Cancel, C::NotAllowed),
        Reason::NotAuthorized => (T::Auth, C::NotAuthorized),
        Reason::PolicyViolation | Reason::TooLarge => (T::Modify, C::PolicyViolation),
        Reason::RecipientUnavailable | Reason::Declined => (T::Wait, C::RecipientUnavailable),
        // Without the new address a redirect says nothing that anybody could follow.
        Reason::Redirect if failure.alternate.is_none() => (T::Wait, C::RecipientUnavailable),
        Reason::Redirect => (T::Modify, C::Redirect),
        Reason::RegistrationRequired => (T::Auth, C::RegistrationRequired),
        Reason::RemoteServerNotFound => (T::Cancel, C::RemoteServerNotFound),
        Reason::RemoteServerTimeout | Reason::DeliveryUnknown | Reason::LinkDown => (T::Wait, C::RemoteServerTimeout),
        Reason::ResourceConstraint | Reason::Congested => (T::Wait, C::ResourceConstraint),
        Reason::ServiceUnavailable => (T::Cancel, C::ServiceUnavailable),
        Reason::SubscriptionRequired => (T::Auth, C::SubscriptionRequired),
        Reason::UnexpectedRequest => (T::Wait, C::UnexpectedRequest),
        Reason::Undefined => (T::Cancel, C::UndefinedCondition),
        // A reason that a later version of the core adds is our fault to have no row for.
        _ => (T::Cancel, C::InternalServerError),
    }
}

/// What a stanza error says, in the core's words. `full` tells whether one device answered (RFC 7247 section 7.1 note 1).
pub fn to_cpim(condition: Condition, full: bool) -> Reason {
    use Condition as C;
    match condition {
        C::BadRequest => Reason::BadRequest,
        C::Conflict => Reason::Conflict,
        C::FeatureNotImplemented if full => Reason::FeatureNotImplementedThere,
        C::FeatureNotImplemented => Reason::FeatureNotImplemented,
        C::Forbidden => Reason::Forbidden,
        C::Gone => Reason::Gone,
        C::InternalServerError => Reason::InternalError,
        C::ItemNotFound => Reason::NotFound,
        C::JidMalformed => Reason::AddressMalformed,
        C::NotAcceptable => Reason::NotAcceptable,
        C::NotAllowed => Reason::NotAllowed,
        C::NotAuthorized => Reason::NotAuthorized,
        C::PolicyViolation => Reason::PolicyViolation,
        C::RecipientUnavailable => Reason::RecipientUnavailable,
        C::Redirect => Reason::Redirect,
        C::RegistrationRequired => Reason::RegistrationRequired,
        C::RemoteServerNotFound => Reason::RemoteServerNotFound,
        C::RemoteServerTimeout => Reason::RemoteServerTimeout,
        C::ResourceConstraint => Reason::ResourceConstraint,
        C::ServiceUnavailable => Reason::ServiceUnavailable,
        C::SubscriptionRequired => Reason::SubscriptionRequired,
        C::UndefinedCondition => Reason::Undefined,
        C::UnexpectedRequest => Reason::UnexpectedRequest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6120 section 8.3.3: the type that goes with each condition. Overload alone invites to retry.
    #[test]
    fn each_reason_is_told_with_the_type_of_its_condition() {
        for reason in Reason::ALL {
            let (kind, condition) = from_cpim(&reason.into());
            match reason {
                Reason::Overloaded => assert_eq!((kind, condition), (ErrorType::Wait, Condition::InternalServerError)),
                _ => assert_eq!(kind, condition.default_type(), "{reason:?}"),
            }
        }
    }
}
