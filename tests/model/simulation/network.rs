//! Datagrams between the gateway and its next hops: lost, doubled, overtaken, late.

use super::phones::{branch_of, message_number, request_number, summary, wrong_branch};
use super::{Event, Simulation};
use crate::mutant::Mutant;
use crate::weather::Fault;
use entente_tests::world::{response, status};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use turn::{Input, SocketId};

/// Requests that a wrong engine holds back.
#[derive(Default)]
pub(super) struct Held {
    /// One, until another of the same two people comes.
    swap: Option<((usize, usize), SocketAddr, Vec<u8>)>,
    /// All, by their number.
    sorted: BTreeMap<u32, (SocketAddr, Vec<u8>)>,
    /// Those of a turn.
    pub(super) reversed: Option<Vec<(SocketAddr, Vec<u8>)>>,
}

impl Held {
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// What a datagram may suffer on one of the two ways.
struct Way {
    lost: Fault,
    doubled: Fault,
    overtaken: Fault,
    late: Fault,
}

const IN: Way =
    Way { lost: Fault::LostIn, doubled: Fault::DoubledIn, overtaken: Fault::OvertakenIn, late: Fault::LateIn };
const OUT: Way =
    Way { lost: Fault::LostOut, doubled: Fault::DoubledOut, overtaken: Fault::OvertakenOut, late: Fault::LateOut };

impl Simulation {
    /// A datagram on its way to the gateway.
    pub(super) fn travels_in(&mut self, peer: SocketAddr, bytes: &[u8]) {
        self.travels(&IN, || Event::ToGateway { peer, bytes: bytes.to_vec() });
    }

    fn travels(&mut self, way: &Way, arrival: impl Fn() -> Event) {
        if self.strikes(way.lost) {
            return;
        }
        let copies = 1 + u64::from(self.strikes(way.doubled));
        for copy in 0..copies {
            let behind = copy * self.dice.below(200);
            let delay = if self.strikes(way.late) {
                self.dice.below(3000)
            } else if self.strikes(way.overtaken) {
                10 + self.dice.below(50)
            } else {
                5
            };
            self.after(behind + delay, arrival());
        }
    }

    pub(super) fn reaches_gateway(&mut self, peer: SocketAddr, bytes: &[u8]) {
        if self.down {
            return;
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.note(|| format!("> {} {}", text.lines().next().unwrap_or_default(), branch_of(&text)));
        if let Some(status) = status(&text) {
            return self.response_arrives(peer, &text, status);
        }
        let n = request_number(&text);
        let pair = self.phones.pair(n);
        let first = self.ledger.request_in(n, pair, true, self.now);
        if first && self.is_wrong_once(Mutant::AnswerEarly) {
            self.datagram_leaves(peer, response(&text, "202 Accepted", "").into_bytes());
        }
        if first && self.is_wrong_once(Mutant::TryEarly) {
            self.datagram_leaves(peer, response(&text, "100 Trying", "").into_bytes());
        }
        if !first {
            if self.is_wrong(Mutant::IgnoreRepetition) {
                return self.ledger.turn_ends();
            }
            if self.is_wrong(Mutant::ForgetKey) {
                let text = wrong_branch(&text, self.events);
                return self.datagram(peer, text.as_bytes());
            }
        }
        if let Some(reversed) = &mut self.held.reversed {
            return reversed.push((peer, bytes.to_vec()));
        }
        if first && self.mutant == Some(Mutant::SortRequests) {
            self.held.sorted.insert(n, (peer, bytes.to_vec()));
            return self.after(100, Event::Sorted);
        }
        if self.mutant == Some(Mutant::SwapRequests) && self.is_swapped(first, pair, peer, bytes) {
            return;
        }
        self.datagram(peer, bytes);
    }

    fn response_arrives(&mut self, peer: SocketAddr, text: &str, status: u16) {
        let branch = branch_of(text);
        let stray = status >= 200 && !self.ledger.is_open(branch);
        let retry_after = text.contains("Retry-After: 3\r\n").then_some(Duration::from_secs(3));
        self.ledger.response_in(branch, status, retry_after, self.now);
        if stray
            && self.mutant == Some(Mutant::TakeStrayAnswer)
            && let Some(other) = self.ledger.open_other_than(branch, self.now)
        {
            self.applied = true;
            return self.datagram(peer, text.replace(branch, &other).as_bytes());
        }
        if matches!(status, 302 | 407) && self.is_wrong(Mutant::GiveUpWhenAsked) {
            return self.datagram(peer, text.replacen(&status.to_string(), "200", 1).as_bytes());
        }
        self.datagram(peer, text.as_bytes());
    }

    /// Whether a request is held back, or has been handed on behind another.
    fn is_swapped(&mut self, first: bool, pair: (usize, usize), peer: SocketAddr, bytes: &[u8]) -> bool {
        if self.held.swap.as_ref().is_some_and(|(_, _, held)| held == bytes) {
            return true;
        }
        if !first {
            return false;
        }
        match self.held.swap.take() {
            None if !self.applied && self.server.stands() => {
                self.held.swap = Some((pair, peer, bytes.to_vec()));
                return true;
            }
            Some((same, its_peer, held)) if same == pair => {
                self.applied = true;
                self.datagram(peer, bytes);
                self.datagram(its_peer, &held);
                return true;
            }
            Some((_, its_peer, held)) => self.datagram(its_peer, &held),
            None => {}
        }
        false
    }

    pub(super) fn takes_sorted(&mut self) {
        if let Some((_, (peer, bytes))) = self.held.sorted.pop_first() {
            self.applied = true;
            self.datagram(peer, &bytes);
        }
    }

    pub(super) fn take_reversed(&mut self) {
        let reversed = self.held.reversed.take().unwrap_or_default();
        self.applied |= reversed.len() > 1;
        for (peer, bytes) in reversed.into_iter().rev() {
            self.datagram(peer, &bytes);
        }
    }

    fn datagram(&mut self, peer: SocketAddr, bytes: &[u8]) {
        if !self.down {
            self.feed(Input::Datagram { socket: SocketId(0), peer, bytes });
        }
    }

    pub(super) fn learns_unreachable(&mut self, peer: SocketAddr) {
        if self.down {
            return;
        }
        self.begin_turn();
        self.note(|| format!("> {peer} cannot be reached"));
        self.ledger.unreachable_in(peer);
        if !self.is_wrong(Mutant::IgnoreUnreachable) {
            self.feed(Input::Unreachable { socket: SocketId(0), peer });
        }
    }

    /// A datagram leaves the gateway.
    pub(super) fn datagram_leaves(&mut self, peer: SocketAddr, bytes: Vec<u8>) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.note(|| format!("< {}", summary(&text)));
        if let Some(code) = status(&text) {
            if let Some(bytes) = self.answer_leaves(&text, code) {
                self.travels(&OUT, || Event::ToHop { hop: peer, bytes: bytes.clone() });
            }
            return;
        }
        let branch = branch_of(&text);
        let repeated = self.ledger.is_open(branch);
        if repeated && self.is_wrong(Mutant::NeverRepeat) {
            return;
        }
        let peer =
            if repeated && self.is_wrong_once(Mutant::MoveRepetition) { ([192, 0, 2, 99], 5060).into() } else { peer };
        self.request_leaves(&text, peer, None);
        self.travels(&OUT, || Event::ToHop { hop: peer, bytes: bytes.clone() });
    }

    /// The engine has answered a request: what leaves, if it does.
    pub(super) fn answer_leaves(&mut self, text: &str, code: u16) -> Option<Vec<u8>> {
        let n = request_number(text);
        if code >= 200 && n == 0 && self.is_wrong(Mutant::SwallowAnswer) {
            return None;
        }
        let mut text = text.to_owned();
        if self.phones.is_answered(n) && self.is_wrong_once(Mutant::ChangeAnswer) {
            text.replace_range(8..11, "500");
        }
        if code == 404 && self.is_wrong(Mutant::MistellBounce) {
            text.replace_range(8..11, "403");
        }
        if self.phones.is_answered_in_another_life(n, self.life) && self.is_wrong(Mutant::AnswerOtherwise) {
            text.replace_range(8..11, "488");
        }
        if text.contains("delivery unknown") && self.is_wrong(Mutant::DenyUnknown) {
            text = text.replace("delivery unknown", "not delivered");
        }
        if code >= 200 {
            self.phones.gateway_has_answered(n, self.life);
        }
        self.ledger.answer_out(n, text.as_bytes(), self.now);
        if code == 504 && text.contains("not delivered") && self.is_wrong_once(Mutant::DeliverAfterFailure) {
            self.ledger.stanza_out(n, "late", true, self.now);
            self.ledger.stanza_read("late");
        }
        Some(text.into_bytes())
    }

    /// The engine has sent a request.
    pub(super) fn request_leaves(&mut self, text: &str, peer: SocketAddr, connection: Option<u64>) {
        let branch = branch_of(text);
        let uri = text.split(' ').nth(1).unwrap_or_default();
        self.ledger.request_out(branch, peer, connection, uri, message_number(text), self.now);
        if self.is_wrong_once(Mutant::SkipQueue) {
            self.ledger.request_out(&format!("{branch}x"), peer, connection, uri, None, self.now);
        }
    }
}
