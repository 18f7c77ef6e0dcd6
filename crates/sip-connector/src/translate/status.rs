//! SIP status codes and the core's reasons (RFC 7247 section 7), each direction one table.
//!
//! The two tables are not inverses of each other. Towards SIP the following differ from RFC 7247 table 2, on purpose:
//!
//! * never 408 to a non-INVITE (RFC 4320 section 4.2): 504, or 404 where the domain does not exist;
//! * never 6xx to MESSAGE (RFC 3428 section 7: 6xx says delivered but refused, and stops other forks): the 4xx code;
//! * 401 and 407 need a challenge that we cannot make for somebody else: 403;
//! * 405 only where one device refuses, and always with Allow; 501 otherwise;
//! * `<gone/>` and `<redirect/>` are 301 and 302 only where the new domain is trusted ([`redirection`]);
//! * `<unexpected-request/>` is 400, and `<service-unavailable/>` to a MESSAGE is 403.

use super::address::Rules;
use cpim::{Failure, Reason, Status};
use sip::transaction::{Answer, Extra};

/// What a status means on the wire of the request's sender. `on_acceptance` (200 or 202) answers what was handed on with
/// no word to come; `host` is written in front of Warning texts by the endpoint.
pub fn from_cpim<'a>(status: &'a Status<'_>, on_acceptance: u16) -> Answer<'a> {
    match status {
        Status::Success => Answer::new(200),
        Status::Indeterminate => Answer::new(on_acceptance),
        Status::Failure(failure) => refusal(failure),
    }
}

/// One row: the status code, what must stand beside it, a Warning text, seconds until a retry makes sense.
struct Row {
    status: u16,
    extra: Extra,
    warning: Option<&'static str>,
    retry_after: Option<u32>,
}

fn row(reason: Reason) -> Row {
    let plain = |status| Row { status, extra: Extra::NONE, warning: None, retry_after: None };
    match reason {
        Reason::BadRequest
        | Reason::Conflict
        | Reason::AddressMalformed
        | Reason::SubscriptionRequired
        | Reason::Undefined
        | Reason::UnexpectedRequest => plain(400),
        Reason::Forbidden
        | Reason::NotAllowed
        | Reason::NotAuthorized
        | Reason::PolicyViolation
        | Reason::RegistrationRequired
        | Reason::ServiceUnavailable => plain(403),
        Reason::NotFound => plain(404),
        Reason::RemoteServerNotFound => Row { warning: Some("no such domain"), ..plain(404) },
        Reason::FeatureNotImplementedThere => Row { extra: Extra::ALLOW, ..plain(405) },
        Reason::NotAcceptable => plain(406),
        Reason::Gone => plain(410),
        Reason::TooLarge => plain(413),
        Reason::UnsupportedMedia => Row { extra: Extra::ACCEPT, ..plain(415) },
        Reason::UnsupportedEncoding => Row { extra: Extra::ACCEPT_ENCODING, ..plain(415) },
        Reason::RecipientUnavailable | Reason::Redirect | Reason::Declined => plain(480),
        // The code that RFC 3428 section 11.4 has for wrong dates.
        Reason::Expired => Row { warning: Some("not delivered: the message had expired"), ..plain(400) },
        Reason::Congested => {
            Row { warning: Some("too much waits for this destination"), retry_after: Some(5), ..plain(480) }
        }
        Reason::Loop => plain(482),
        Reason::TooManyHops => plain(483),
        Reason::AddressIncomplete => plain(484),
        Reason::InternalError => plain(500),
        Reason::ResourceConstraint => Row { retry_after: Some(10), ..plain(500) },
        Reason::FeatureNotImplemented => plain(501),
        Reason::Overloaded => Row { retry_after: Some(5), ..plain(503) },
        Reason::RemoteServerTimeout => Row { warning: Some("the domain does not answer"), ..plain(504) },
        Reason::DeliveryUnknown => Row { warning: Some("delivery unknown"), ..plain(504) },
        Reason::LinkDown => Row { warning: Some("not delivered: no link to the XMPP server"), ..plain(504) },
        // A reason that a later version of the core adds is our fault to have no row for.
        _ => plain(500),
    }
}

fn refusal<'a>(failure: &'a Failure<'_>) -> Answer<'a> {
    let Row { status, extra, warning, retry_after } = row(failure.reason);
    // The far side's words stand beside ours, never in their place: the phrase of the code is what SIP people know.
    let warning = failure.text.as_deref().or(warning);
    Answer { extra, warning, retry_after, ..Answer::new(status) }
}

/// 301 or 302 with the new address as Contact (RFC 7247 section 7.1, note 3), where a recipient is said to be elsewhere in
/// one of the `trusted` domains: whoever follows it sends his messages there. `None` where there is nothing to follow.
/// `lines` is an empty buffer.
pub fn redirection<'a>(
    failure: &Failure<'_>,
    trusted: &[Box<str>],
    rules: &Rules,
    lines: &'a mut Vec<u8>,
) -> Option<Answer<'a>> {
    let status = match failure.reason {
        Reason::Gone => 301,
        Reason::Redirect => 302,
        _ => return None,
    };
    let new = failure.alternate.as_ref().filter(|new| trusted.iter().any(|domain| **domain == *new.domain()))?;
    lines.extend_from_slice(b"Contact: <");
    rules.write_foreign(new, lines).ok()?;
    lines.extend_from_slice(b">\r\n");
    Some(Answer { more: lines, ..Answer::new(status) })
}

/// What a final response to our MESSAGE means (RFC 7247 table 3 through the core's reasons). Codes that have no row are
/// taken as the x00 of their class (RFC 3261 section 8.1.3.2, RFC 7247 section 7.2).
pub fn to_cpim(status: u16) -> Result<Status<'static>, Reason> {
    Err(match status {
        // Handed on over there, with no word to come (RFC 3428 section 7): not known to be delivered.
        202 => return Ok(Status::Indeterminate),
        200..=299 => return Ok(Status::Success),
        380 => Reason::NotAcceptable,
        301 => Reason::Gone,
        300..=399 => Reason::Redirect,
        401 => Reason::NotAuthorized,
        403 => Reason::Forbidden,
        404 | 604 => Reason::NotFound,
        405 | 420 | 439 | 501 => Reason::FeatureNotImplemented,
        406 | 421 | 488 | 505 | 606 => Reason::NotAcceptable,
        407 => Reason::RegistrationRequired,
        408 | 504 => Reason::RemoteServerTimeout,
        410 => Reason::Gone,
        413 | 414 | 513 => Reason::TooLarge,
        415 | 416 => Reason::UnsupportedMedia,
        423 => Reason::ResourceConstraint,
        430 | 480 | 486 | 487 => Reason::RecipientUnavailable,
        440 | 489 => Reason::PolicyViolation,
        481 => Reason::NotFound,
        482 => Reason::Loop,
        483 => Reason::TooManyHops,
        484 | 485 => Reason::AddressIncomplete,
        491 => Reason::UnexpectedRequest,
        400..=499 => Reason::BadRequest,
        502 => Reason::RemoteServerNotFound,
        500..=599 => Reason::InternalError,
        // RFC 3428 section 7: delivered, and refused.
        _ => Reason::Declined,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reason_becomes_a_code_that_must_not_answer_a_message() {
        for reason in Reason::ALL {
            let status = reason.into_status();
            let answer = from_cpim(&status, 202);
            assert!((400..600).contains(&answer.status), "{reason:?}: never 6xx, 3xx or success");
            assert!(![401, 407, 408].contains(&answer.status), "{reason:?}");
            assert_eq!(answer.status == 405, answer.extra == Extra::ALLOW, "{reason:?}: 405 carries Allow");
            assert_eq!(
                answer.status == 415,
                answer.extra == Extra::ACCEPT || answer.extra == Extra::ACCEPT_ENCODING,
                "{reason:?}: 415 says what is accepted"
            );
            assert!(answer.status != 503 || reason == Reason::Overloaded, "503 speaks for the whole gateway");
        }
    }

    #[test]
    fn acceptance_is_told_as_configured() {
        assert_eq!(from_cpim(&Status::Indeterminate, 202).status, 202);
        assert_eq!(from_cpim(&Status::Indeterminate, 200).status, 200);
        assert_eq!(from_cpim(&Status::Success, 202).status, 200);
    }
}
