//! The whole engine between two neighbours who do what they like.
//!
//! The octets are steps, each behind 0xFF: the first octet says who does what, the rest is what is sent.

use super::xmpp::assert_strict;
use crate::world::{World, message, proxy, response};
use cpim::DomainPattern;
use sip_connector::Account;
use std::net::SocketAddr;
use std::time::Duration;
use turn::StreamId;

/// Steps of one try, so that it ends soon.
const MOST_STEPS: usize = 24;

struct Course {
    world: World,
    connection: Option<StreamId>,
    taken: Option<StreamId>,
    /// The last request of the gateway.
    request: Option<String>,
}

pub(super) fn engine(data: &[u8]) {
    // It has an account, and goes wherever it is sent.
    let account = Account {
        realm: b"r".to_vec(),
        domains: Vec::new(),
        username: b"gateway".to_vec(),
        password: b"secret".to_vec(),
    };
    let world = World::with(|settings| {
        settings.sip.accounts = vec![account];
        settings.sip.redirects.followed = vec![DomainPattern::Any];
    });
    let mut course = Course { world, connection: None, taken: None, request: None };
    for step in data.split(|&octet| octet == 0xff).take(MOST_STEPS) {
        if let Some((&what, octets)) = step.split_first() {
            course.step(what, octets);
            course.look();
        }
    }
    course.end();
}

impl Course {
    fn step(&mut self, what: u8, octets: &[u8]) {
        let world = &mut self.world;
        let stranger: SocketAddr = ([198, 51, 100, 7], 5060).into();
        match what {
            b's' => world.sends_from(stranger, octets),
            b'x' if world.stream.is_some() => world.server_writes(octets),
            b't' => {
                let open = self.connection.filter(|stream| !world.is_closed_by_gateway(*stream));
                let stream = open.unwrap_or_else(|| world.sip_connects(([192, 0, 2, 9], 40_000).into()));
                self.connection = Some(stream);
                world.sip_writes(stream, octets);
            }
            // The last request is answered: a status line, further lines.
            b'A' if self.request.is_some() => {
                let text = String::from_utf8_lossy(octets);
                let (line, lines) = text.split_once("\r\n").unwrap_or((&text, ""));
                let answer = response(self.request.as_deref().unwrap_or_default(), line, lines);
                world.proxy_sends(answer);
            }
            b'w' => world.advance(Duration::from_millis(octets.first().map_or(1, |&n| u64::from(n) * 40))),
            b'h' => world.reading = false,
            b'r' => world.resume_reading(),
            b'b' if world.stream.is_some() => world.break_stream(),
            b'c' if world.sip_ordered().is_some() => self.taken = Some(world.sip_takes_connection()),
            b'n' if world.sip_ordered().is_some() => world.sip_refuses_connection(),
            _ => world.sends_from(proxy(), octets),
        }
        self.carry_on();
    }

    /// What a driver and a server do without being told.
    fn carry_on(&mut self) {
        let world = &mut self.world;
        while !world.closes.is_empty() {
            world.take_stanzas();
            world.carry_out_close();
        }
        if world.stream.is_none() && !world.connects.is_empty() {
            world.reading = true;
            world.accept_component();
        }
    }

    /// What leaves is whole and well-formed, whatever came in.
    fn look(&mut self) {
        let limits = sip::wire::Limits::default();
        for (_, datagram) in self.world.datagrams.drain(..) {
            let parsed = sip::wire::parse(&datagram, sip::wire::Carriage::Datagram, &limits);
            match parsed {
                Ok(sip::wire::Message::Request(_)) => {
                    self.request = Some(String::from_utf8_lossy(&datagram).into_owned());
                }
                Ok(sip::wire::Message::Response(_)) => {}
                Err(_) => panic!("{}", datagram.escape_ascii()),
            }
        }
        for stanza in self.world.take_stanzas() {
            if stanza != "</stream:stream>" && !stanza.starts_with("<stream:error") {
                assert_strict(stanza.as_bytes());
            }
        }
    }

    /// Afterwards somebody else's message still arrives, and in the end nothing is left.
    fn end(&mut self) {
        self.world.resume_reading();
        for _ in 0..8 {
            self.world.advance(Duration::from_secs(10));
            self.carry_on();
            self.look();
        }
        assert!(self.world.engine.is_ready(), "the component stream comes back");
        let other = "MESSAGE of somebody else";
        self.world.proxy_sends(message(999_999, "romeo@xmpp.example", other));
        let stanzas = self.world.take_stanzas();
        assert!(stanzas.iter().any(|stanza| stanza.contains(other)), "{stanzas:?}");
        self.world.advance(Duration::from_secs(120));
        self.carry_on();
        self.look();
        assert_eq!(self.world.engine.open(), 0, "all tables are empty");
    }
}
