//! `--wire`: what crosses the sockets of the two domains, for people, on standard error.
//!
//! A block is what was sent or received in one piece: a SIP message, or some XMPP. TLS is seen from inside. Lines of a block
//! are indented; characters that could do something to a terminal are escaped.

use super::plan::Plan;
use crate::driver::{self, Direction, Seen, WireTap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Instant;

/// Writes what it sees.
pub(super) struct Wire {
    gateway: SocketAddr,
    components: SocketAddr,
    started: Instant,
}

impl Wire {
    pub(super) fn new(plan: &Plan, started: Instant) -> Self {
        Self { gateway: plan.gateway, components: plan.xmpp_components, started }
    }

    fn print(&self, at: Instant, seen: &Seen<'_>) -> String {
        let peer = if seen.peer == self.gateway || seen.local == self.components {
            "gateway".to_owned()
        } else {
            format!("user {}", seen.peer)
        };
        let (from, to) = match seen.direction {
            Direction::In => (&*peer, "domain"),
            Direction::Out => ("domain", &*peer),
        };
        let seconds = at.saturating_duration_since(self.started).as_secs_f64();
        let mut block = format!("{seconds:10.6} {:<4}  {from} -> {to}\n", seen.machine);
        for line in String::from_utf8_lossy(seen.bytes).trim_end().lines() {
            block.push_str("    ");
            for character in line.chars() {
                if character.is_control() && character != '\t' {
                    let _ = write!(block, "{}", character.escape_default());
                } else {
                    block.push(character);
                }
            }
            block.push('\n');
        }
        block
    }
}

impl WireTap for Wire {
    fn see(&mut self, seen: &Seen<'_>) {
        let block = self.print(driver::now(), seen);
        // Who closed standard error does not want to know.
        let _ = std::io::stderr().lock().write_all(block.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_block_says_when_and_who_and_harms_no_terminal() {
        let plan = Plan::new(25_000);
        let wire = Wire::new(&plan, driver::now());
        let at = wire.started + Duration::from_micros(1_234_567);
        let seen = |machine, direction, local, peer, bytes| {
            wire.print(at, &Seen { machine, direction, datagram: machine == "sip", local, peer, bytes })
        };
        let phone = SocketAddr::from(([127, 0, 0, 1], 5070));
        assert_eq!(
            seen("sip", Direction::In, plan.sip, phone, b"MESSAGE sip:a@b SIP/2.0\r\nTo: \x1b[2J\r\n\r\nhi"),
            "  1.234567 sip   user 127.0.0.1:5070 -> domain\n    MESSAGE sip:a@b SIP/2.0\n    To: \\u{1b}[2J\n    \n    hi\n"
        );
        assert_eq!(
            seen("sip", Direction::Out, plan.sip, plan.gateway, b"SIP/2.0 200 OK\r\n\r\n"),
            "  1.234567 sip   domain -> gateway\n    SIP/2.0 200 OK\n"
        );
        assert_eq!(
            seen("xmpp", Direction::In, plan.xmpp_components, phone, b"<message/>"),
            "  1.234567 xmpp  gateway -> domain\n    <message/>\n"
        );
    }
}
