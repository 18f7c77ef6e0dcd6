//! Stanza errors (RFC 6120 section 8.3).

use crate::ns;
use std::borrow::Cow;
use xml::Reader;

/// `<error/>` in a stanza of type `error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error<'a> {
    /// What to do about it; where it is missing or unknown, what goes with the condition.
    pub kind: ErrorType,
    /// What happened.
    pub condition: Condition,
    /// A text for people.
    pub text: Option<Cow<'a, str>>,
    /// The new address in `<gone/>` and `<redirect/>`.
    pub alternate: Option<Cow<'a, str>>,
    /// Who found it, if that is not the sender.
    pub by: Option<Cow<'a, str>>,
}

/// What the sender may do (RFC 6120 section 8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// Retry after authenticating.
    Auth,
    /// Do not retry.
    Cancel,
    /// Proceed.
    Continue,
    /// Retry after changing what was sent.
    Modify,
    /// Retry after waiting.
    Wait,
}

impl ErrorType {
    /// The value of the attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cancel => "cancel",
            Self::Continue => "continue",
            Self::Modify => "modify",
            Self::Wait => "wait",
        }
    }

    fn parse(value: &str) -> Option<Self> {
        [Self::Auth, Self::Cancel, Self::Continue, Self::Modify, Self::Wait]
            .into_iter()
            .find(|kind| kind.as_str() == value)
    }
}

macro_rules! conditions {
    ($($(#[$doc:meta])* $variant:ident $name:literal $kind:ident;)*) => {
        /// The defined conditions (RFC 6120 section 8.3.3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Condition {
            $($(#[$doc])* $variant,)*
        }

        impl Condition {
            /// All of them, in the order of the RFC.
            pub const ALL: &[Condition] = &[$(Self::$variant,)*];

            /// The name of the element.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The type that the RFC names with it; where it leaves a choice, the first that fits without knowing more.
            pub fn default_type(self) -> ErrorType {
                match self { $(Self::$variant => ErrorType::$kind,)* }
            }

            /// The condition of that name.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

conditions! {
    /// Malformed beyond the schema.
    BadRequest "bad-request" Modify;
    /// A resource of that name exists.
    Conflict "conflict" Cancel;
    /// Not implemented, so not processed.
    FeatureNotImplemented "feature-not-implemented" Cancel;
    /// No permission.
    Forbidden "forbidden" Auth;
    /// The address is no longer served; may name a new one.
    Gone "gone" Cancel;
    /// Misconfiguration or another error inside.
    InternalServerError "internal-server-error" Cancel;
    /// The address or item is not there.
    ItemNotFound "item-not-found" Cancel;
    /// An address violates RFC 7622.
    JidMalformed "jid-malformed" Modify;
    /// Understood, and against criteria of the recipient.
    NotAcceptable "not-acceptable" Modify;
    /// Allowed to nobody.
    NotAllowed "not-allowed" Cancel;
    /// Credentials are needed.
    NotAuthorized "not-authorized" Auth;
    /// A local policy is violated.
    PolicyViolation "policy-violation" Modify;
    /// Temporarily unavailable.
    RecipientUnavailable "recipient-unavailable" Wait;
    /// Ask elsewhere, as a rule temporarily; names where.
    Redirect "redirect" Modify;
    /// A registration is needed.
    RegistrationRequired "registration-required" Auth;
    /// A remote server does not exist.
    RemoteServerNotFound "remote-server-not-found" Cancel;
    /// A remote server was not reached in time.
    RemoteServerTimeout "remote-server-timeout" Wait;
    /// Not enough resources.
    ResourceConstraint "resource-constraint" Wait;
    /// The service is not provided.
    ServiceUnavailable "service-unavailable" Cancel;
    /// A subscription is needed.
    SubscriptionRequired "subscription-required" Auth;
    /// None of the others, or none that is known.
    UndefinedCondition "undefined-condition" Cancel;
    /// Understood, and out of order.
    UnexpectedRequest "unexpected-request" Wait;
}

/// `<error/>`, which has begun.
pub(super) fn parse<'a>(reader: &mut Reader<'a, '_>) -> Result<Error<'a>, xml::Error> {
    let kind = reader.attribute("type")?.and_then(|value| ErrorType::parse(&value));
    let by = reader.attribute("by")?;
    let mut condition = None;
    let mut text = None;
    let mut alternate = None;
    while reader.next_child()? {
        if reader.namespace() != ns::STANZA_ERRORS {
            reader.skip_element()?;
        } else if reader.name() == "text" {
            let content = reader.text_content()?;
            text.get_or_insert(content);
        } else {
            let found = Condition::parse(reader.name());
            let content = reader.text_content()?;
            if condition.is_none() {
                condition = found;
                if matches!(found, Some(Condition::Gone | Condition::Redirect)) && !content.is_empty() {
                    alternate = Some(content);
                }
            }
        }
    }
    let condition = condition.unwrap_or(Condition::UndefinedCondition);
    Ok(Error { kind: kind.unwrap_or(condition.default_type()), condition, text, alternate, by })
}
