//! When the far side says "not like this": whether a message is sent again, and how (RFC 3261 sections 8.1.3.4, 8.1.3.5 and
//! 22).
//!
//! ```text
//!                 401, 407: credentials that were not rejected yet --> the same next hop, with them
//!   sent -------> 415, 488: a plainer form; 413: a shorter one ------> the same next hop, in it
//!    ^            300 to 302: a Contact that policy allows ----------> there
//!    |            a failure, where Contacts are left ----------------> to the next of them
//!    `--- Call-ID, From with its tag, and To stay; CSeq goes up by one, the branch is new
//! ```
//!
//! Everything else is final. 416 is about a scheme, and every Request-URI of ours is a
//! `sip` one; 420 is about extensions, and no request of ours requires any.

use crate::Settings;
use crate::routes::{Journey, RouteId, Routes};
use crate::translate::content::Form;
use crate::translate::redirect::{self, Target};
use cpim::DomainPattern;
use sip::auth::{Covered, Keyring, Place, Shown, Unanswered};
use sip::endpoint::Outcome;
use sip::wire::uri::Uri;
use sip::wire::{HeaderName, Method, Response};
use std::time::{Duration, Instant};
use turn::Minter;

/// A message is sent so often, whatever is answered.
const MOST_SENDINGS: u32 = 10;
/// The largest number of a CSeq is 2^31 - 1 (RFC 3261 section 8.1.1.5).
const MOST_ATTEMPTS: u32 = (1 << 31) / MOST_SENDINGS - 1;
/// URIs that a message is sent to, its own included.
const MOST_TARGETS: usize = 8;
/// A message is not sent again when so much has passed since it was sent first: what Timer F is for one transaction. The
/// last one may take as long again.
const PATIENCE: Duration = Duration::from_secs(32);

/// Where a message that is sent again goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// To the next hop that has answered.
    There,
    /// Along this route, to another URI.
    Along(RouteId),
}

/// The number for the CSeq of the first request of an attempt: higher than all of the attempt before it, so that whoever still
/// keeps the transaction of that one takes it for a new request and not for a merged one (RFC 3261 sections 8.1.3.5, 8.2.2.2).
pub(crate) fn first_cseq(attempt: u32) -> u32 {
    attempt.min(MOST_ATTEMPTS) * MOST_SENDINGS + 1
}

/// How far a message has come that may be sent again.
pub(crate) struct Course {
    /// Times that it was sent again in another way.
    repeats: u32,
    /// Place of the form that it was sent in last.
    form: usize,
    shown: Shown,
    begun: Instant,
    /// Where it was or may be sent besides its own URI; each stands here once.
    targets: Vec<Target>,
    /// How many of them have been tried.
    tried: usize,
}

impl Course {
    /// How often it was sent again in another way: what is added to the number of the first CSeq.
    pub(crate) fn repeats(&self) -> u32 {
        self.repeats
    }

    /// Place of the form to be sent.
    pub(crate) fn form(&self) -> usize {
        self.form
    }

    /// The form to be sent is larger than the way takes, and nothing was sent: gives whether there is a plainer one.
    pub(crate) fn take_plainer(&mut self, forms: &[Form<'_>]) -> bool {
        let is_there = self.form + 1 < forms.len();
        self.form += usize::from(is_there);
        is_there
    }

    /// Where it is sent to, if not to its own URI.
    pub(crate) fn target(&self) -> Option<&Target> {
        self.tried.checked_sub(1).and_then(|last| self.targets.get(last))
    }

    fn add(&mut self, own: &[u8], found: Vec<Target>) {
        for target in found {
            if self.targets.len() + 1 >= MOST_TARGETS {
                return;
            }
            let known = self.targets.iter().map(|target| &target.uri[..]).chain(std::iter::once(own));
            if !known.into_iter().any(|known| is_same(known, &target.uri)) {
                self.targets.push(target);
            }
        }
        // What is left to be tried, by preference.
        if let Some(untried) = self.targets.get_mut(self.tried..) {
            untried.sort_by_key(|target| std::cmp::Reverse(target.q));
        }
    }
}

fn is_same(a: &[u8], b: &[u8]) -> bool {
    match (Uri::parse(a), Uri::parse(b)) {
        (Ok(a), Ok(b)) => a.equivalent(&b),
        _ => a == b,
    }
}

/// What has been counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Challenges that were answered with credentials.
    pub answered: u64,
    /// Challenges that rejected the credentials that they had been answered with.
    pub rejected: u64,
    /// Challenges that nobody here has an account for.
    pub without_account: u64,
    /// Requests that were sent to a Contact of a redirection.
    pub redirected: u64,
    /// Requests that were sent in a plainer form, because a richer one was refused.
    pub plainer: u64,
}

/// What decides on repeats.
pub(crate) struct Repeats {
    keyring: Keyring,
    followed: Vec<DomainPattern>,
    counters: Counters,
}

impl Repeats {
    pub(crate) fn new(settings: &Settings, minter: &Minter) -> Self {
        Self {
            keyring: Keyring::new(settings.accounts.clone(), minter.derive("keyring")),
            followed: settings.redirects.followed.clone(),
            counters: Counters::default(),
        }
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Other settings for the decisions to come. Realms are forgotten with the accounts that they had.
    pub(crate) fn reconfigure(&mut self, settings: &Settings) {
        self.keyring.replace_keys(&settings.accounts);
        self.followed.clone_from(&settings.redirects.followed);
    }

    /// The course of a message, if there is anything that it could be repeated for. Nothing is kept for others.
    pub(crate) fn course(&self, now: Instant, forms: &[Form<'_>]) -> Option<Box<Course>> {
        let possible = forms.len() > 1 || !self.keyring.is_empty() || !self.followed.is_empty();
        possible.then(|| {
            Box::new(Course { repeats: 0, form: 0, shown: Shown::default(), begun: now, targets: Vec::new(), tried: 0 })
        })
    }

    /// Appends the lines of a request: those of its form, those that a Contact asked for, and the credentials that are known
    /// to be asked for. Gives its Request-URI.
    pub(crate) fn write<'a>(
        &mut self,
        way: u16,
        own: &'a [u8],
        form: &Form<'_>,
        course: &'a mut Course,
        lines: &mut Vec<u8>,
    ) -> &'a [u8] {
        lines.extend_from_slice(form.lines);
        let Course { targets, tried, shown, .. } = course;
        let target = tried.checked_sub(1).and_then(|last| targets.get(last));
        lines.extend_from_slice(target.map_or(b"", |target| &target.lines));
        let uri = target.map_or(own, |target| &target.uri);
        if !self.keyring.is_empty()
            && let Ok(parsed) = Uri::parse(uri)
        {
            let covered = Covered { method: Method::Message, uri, body: form.body };
            self.keyring.write(&Place { way, domain: parsed.host }, &covered, shown, lines);
        }
        uri
    }

    /// A message that was sent to its `own` URI or a target of its course has its answer, or has none: gives whether it is
    /// sent again. `course` then says how.
    #[expect(clippy::too_many_arguments, reason = "what a decision on one message depends on")]
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        routes: &Routes,
        journey: Journey,
        own: &[u8],
        forms: &[Form<'_>],
        course: &mut Course,
        outcome: &Outcome<'_>,
    ) -> Option<Again> {
        let is_over = course.repeats + 1 >= MOST_SENDINGS || now.saturating_duration_since(course.begun) >= PATIENCE;
        let again = match outcome {
            Outcome::Final(response) => self.judge_answer(routes, journey, own, forms, course, response),
            _ => None,
        };
        // A 2xx is the end, and a 6xx says that nobody else needs to be asked (RFC 3261 section 21.6).
        let is_failure = !matches!(outcome, Outcome::Final(response) if matches!(response.status, 200..300 | 600..));
        if is_over {
            return None;
        }
        let again = match again {
            Some(again) => again,
            None if is_failure => {
                let next = course.targets.get(course.tried)?;
                course.tried += 1;
                self.counters.redirected += 1;
                Again::Along(routes.find(&next.domain)?)
            }
            None => return None,
        };
        course.repeats += 1;
        Some(again)
    }

    fn judge_answer(
        &mut self,
        routes: &Routes,
        journey: Journey,
        own: &[u8],
        forms: &[Form<'_>],
        course: &mut Course,
        response: &Response<'_>,
    ) -> Option<Again> {
        if matches!(response.status, 401 | 407) {
            let uri = course.target().map_or(own, |target| &target.uri);
            let domain = Uri::parse(uri).map(|uri| uri.host.to_vec()).ok()?;
            let place = Place { way: routes.way(journey), domain: &domain };
            let verdict = self.keyring.challenged(&place, &response.head, &mut course.shown);
            *match verdict {
                Ok(()) => &mut self.counters.answered,
                Err(Unanswered::Rejected) => &mut self.counters.rejected,
                Err(_) => &mut self.counters.without_account,
            } += 1;
            return verdict.ok().map(|()| Again::There);
        }
        if !self.keyring.is_empty() {
            self.keyring.concluded(&response.head, &course.shown);
        }
        match response.status {
            415 | 488 => {
                let plainer = plainer(forms, course.form, response)?;
                course.form = plainer;
                self.counters.plainer += 1;
                Some(Again::There)
            }
            413 => {
                let mut plainer = forms.iter().enumerate().skip(course.form);
                let (_, refused) = plainer.next()?;
                let (shorter, _) = plainer.find(|(_, form)| form.body.len() < refused.body.len())?;
                course.form = shorter;
                self.counters.plainer += 1;
                Some(Again::There)
            }
            status if redirect::is_redirection(status) => {
                let mut found = redirect::targets(&response.head, &self.followed);
                found.retain(|target| routes.find(&target.domain).is_some());
                course.add(own, found);
                None
            }
            _ => None,
        }
    }
}

/// The next form behind `last` that a 415 or 488 leaves: one of those that Accept names, where it names any (RFC 3261 section
/// 8.1.3.5).
///
/// COMPAT: linphone 5.1.65 answers 488 to a message/cpim that its parser does not take (test:
/// `a_form_that_is_refused_is_followed_by_a_plainer_one`).
fn plainer(forms: &[Form<'_>], last: usize, response: &Response<'_>) -> Option<usize> {
    let essence = |value: &[u8]| {
        let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
        value.get(..end).unwrap_or_default().trim_ascii().to_ascii_lowercase()
    };
    let accepted: Vec<_> = response.head.list(HeaderName::Accept).map(essence).collect();
    let is_accepted = |form: &Form<'_>| {
        let own = essence(form.content_type);
        let any = |range: &Vec<u8>| match range.strip_suffix(b"*") {
            Some(b"*/") => true,
            Some(main) => own.starts_with(main),
            None => *range == own,
        };
        accepted.is_empty() || accepted.iter().any(any)
    };
    forms.iter().enumerate().skip(last + 1).find(|(_, form)| is_accepted(form)).map(|(place, _)| place)
}

#[cfg(test)]
mod tests;
