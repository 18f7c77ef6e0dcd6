//! What a seed draws: settings of the gateway, who writes when, when what goes wrong.

use super::disk::{Disk, Memory};
use super::phones::{GATEWAY_USER, PASSWORD, Phones, SECOND, SIP_USERS};
use super::server::{Server, XMPP_USERS};
use super::{Connections, Event, Held, Simulation, Wrong};
use crate::ledger::Ledger;
use crate::mutant::Mutant;
use crate::weather::{FAULTS, Fault, Weather};
use cpim::DomainPattern;
use engine::Engine;
use engine::journal::{Keep, When};
use entente_tests::dice::Dice;
use entente_tests::world;
use sip::auth::{Algorithm, Authenticator, Settings};
use sip::transaction::Transport;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Messages in each direction.
const MESSAGES: u32 = 40;
/// Moments of a run at which each of the larger faults may begin.
const OCCASIONS: u64 = 6;
/// Faults that begin at a moment of their own, whatever is said.
const LARGE: [Fault; 15] = [
    Fault::HopHung,
    Fault::HopGone,
    Fault::SipReset,
    Fault::SlowReader,
    Fault::Hung,
    Fault::Deaf,
    Fault::HalfClosed,
    Fault::Closed,
    Fault::Reset,
    Fault::ResetInStanza,
    Fault::Restart,
    Fault::PowerLoss,
    Fault::StoreSlow,
    Fault::StoreFull,
    Fault::StoreBroken,
];

impl Simulation {
    /// Draws the world of a seed.
    #[allow(clippy::disallowed_methods, reason = "somewhere time has to begin")]
    pub(super) fn draw(seed: u64, wrong: Option<Wrong>) -> Self {
        let mut dice = Dice::new(seed);
        let drawn = Weather::draw(&mut dice);
        let memory = dice.one_of(&[
            Memory::Nothing,
            Memory::Answers,
            Memory::Messages(When::Away),
            Memory::Messages(When::Every),
        ]);
        let (weather, memory, mutant) = match wrong {
            None => (drawn, memory, None),
            Some(Wrong { weather, keeps: true, mutant }) => (weather, Memory::Messages(When::Away), Some(mutant)),
            Some(Wrong { weather, keeps: false, mutant }) => (weather, Memory::Nothing, Some(mutant)),
        };
        let mut settings = world::settings();
        settings.xmpp.unsent_limit = dice.one_of(&[1 << 20, 4000]);
        settings.relay.max_in_flight = dice.one_of(&[1000, 10]);
        let judge = (weather.chance(Fault::Unwilling) > 0 && dice.percent(60)).then(|| {
            let key = sip_connector::Account {
                realm: b"sip.example".to_vec(),
                domains: Vec::new(),
                username: GATEWAY_USER.to_vec(),
                // Sometimes the operator is wrong.
                password: if dice.percent(80) { PASSWORD.to_vec() } else { b"wrong".to_vec() },
            };
            settings.sip.accounts = vec![key];
            let lifetime = dice.one_of(&[1, 300]);
            let algorithms = vec![Algorithm::Sha256];
            Authenticator::new(Settings { realm: "sip.example".into(), algorithms, lifetime, nonces: 100 }, [9; 32])
        });
        // What goes wrong with datagrams needs datagrams, and what goes wrong with connections needs connections.
        let over_streams = [Fault::SipPieces, Fault::SipReset].map(|fault| weather.chance(fault)).iter().sum::<u64>();
        let transport =
            if over_streams > 0 && dice.percent(40 + over_streams) { Transport::Tcp } else { Transport::Udp };
        settings.sip.routes = vec![world::route(&[transport])];
        // Sometimes there is a second next hop.
        if dice.percent(50) {
            let hops = &mut settings.sip.routes[0].next_hops;
            hops.push(sip::transaction::Flow { peer: SECOND.into(), ..hops[0] });
        }
        settings.sip.redirects.followed = vec![DomainPattern::Exactly("sip.example".into())];
        settings.sip.connections = 16;
        if mutant == Some(Mutant::TwoAtATime) {
            settings.sip.parallel = 2;
        }
        settings.journal.max_octets = 1 << 20;
        settings.journal.max_entries = dice.one_of(&[1000, 1000, 10]);
        settings.journal.dead_letters = dice.percent(50);
        let lifetime = Duration::from_secs(dice.one_of(&[20, 120, 600]));
        if let Memory::Messages(when) = memory {
            let per_conversation = dice.one_of(&[100, 100, 3]);
            let keep = Keep { domain: DomainPattern::Any, when, lifetime, per_conversation, largest: 65_536 };
            settings.journal.keep = vec![keep];
        }
        let kernel = dice.one_of(&[1500, 3000, 100_000]);
        let piles = [Fault::SlowReader, Fault::Hung].iter().any(|&fault| weather.chance(fault) > 0);
        let server = Server::new(if piles { kernel } else { 100_000 });
        let now = Instant::now();
        let mut simulation = Self {
            seed,
            engine: Engine::new(settings.clone(), [seed as u8; 16], now),
            settings,
            disk: Disk::new(memory),
            death: None,
            life: 0,
            down: false,
            start: now,
            now,
            dice,
            weather,
            queue: BTreeMap::new(),
            events: 0,
            crowded: false,
            ledger: Ledger::default(),
            phones: Phones::new(transport, judge),
            connections: Connections::default(),
            server,
            mutant,
            held: Held::default(),
            applied: matches!(mutant, Some(Mutant::TwoAtATime | Mutant::CountNoDuplicates)),
            trace: false,
            log: Vec::new(),
        };
        simulation.engine = simulation.make_engine();
        simulation.ledger.lasts = memory != Memory::Nothing;
        simulation.ledger.keeps = matches!(memory, Memory::Messages(_));
        simulation.ledger.roomy = simulation.settings.xmpp.unsent_limit > 1 << 16;
        simulation.ledger.udp = transport == Transport::Udp;
        simulation.plan();
        simulation
    }

    fn plan(&mut self) {
        let spread = self.dice.one_of(&[50, 500, 5_000, 60_000]);
        // Whoever writes first has the lower number.
        let mut moments: Vec<_> = (0..MESSAGES).map(|_| 1000 + self.dice.below(spread)).collect();
        moments.sort_unstable();
        for (n, moment) in (0..MESSAGES).zip(moments) {
            let pair = (self.dice.below(3) as usize, self.dice.below(3) as usize);
            let text = world::message(n, &format!("{}@xmpp.example", XMPP_USERS[pair.1]), &format!("sip {n}."))
                .replace("juliet", SIP_USERS[pair.0]);
            self.phones.plan(n, pair, &text);
            let at = self.now + Duration::from_millis(moment);
            // The last repetition may take 3 s, and Timer J forgets the request 32 s after its answer.
            let until = at + Duration::from_secs(28);
            self.at(at, Event::Calls { n, interval: Duration::from_millis(500), until });
            let at = self.now + Duration::from_millis(1000 + self.dice.below(spread));
            self.at(at, Event::Writes { n, tries: 0 });
        }
        for fault in LARGE {
            for _ in 0..OCCASIONS {
                let chance = self.weather.chance(fault);
                let at = self.now + Duration::from_millis(self.dice.below(spread + 3000));
                let span = Duration::from_millis(self.dice.one_of(&[300, 1500, 6000, 40_000]));
                if self.dice.percent(chance) {
                    self.at(at, Event::Strikes(fault, span));
                }
            }
        }
    }

    /// Something goes wrong for a time, or at once.
    pub(super) fn trouble(&mut self, fault: Fault, span: Duration) {
        let until = self.now + span;
        self.note(|| format!("* {} ({} s)", FAULTS[fault as usize].name, span.as_secs_f64()));
        match fault {
            Fault::HopHung | Fault::HopGone => self.hop_fails(fault, until),
            Fault::SipReset => self.some_connection_is_reset(),
            Fault::Restart | Fault::PowerLoss => self.is_killed(fault, span),
            Fault::StoreSlow | Fault::StoreFull | Fault::StoreBroken => self.store_fails(fault, until),
            _ => self.server_fails(fault, until),
        }
    }
}
