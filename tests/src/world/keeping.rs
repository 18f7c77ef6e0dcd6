//! A world whose gateway keeps messages, and is started again.

use super::{LASTING, World, settings};
use crate::store::SimulatedStore;
use cpim::DomainPattern;
use engine::Engine;
use engine::journal::{DEAD, Keep, QUEUE, When};
use std::time::{Duration, Instant};
use turn::{Action, Input, Letter, Machine, Ticket};

const DAY: Duration = Duration::from_secs(86_400);

/// What outlives the gateway, and who takes its letters.
pub struct Keeping {
    /// The store.
    pub store: SimulatedStore,
    /// How long it takes for each order.
    pub delay: Duration,
    /// Letters that were handed over and that nobody has answered.
    pub letters: Vec<(Ticket, Letter)>,
    settings: engine::Settings,
    began: Instant,
    lives: u8,
}

/// For everybody: kept when he is away, for a day.
pub fn keep(when: When) -> Keep {
    Keep { domain: DomainPattern::Any, when, lifetime: DAY, per_conversation: 8, largest: 65_536 }
}

impl World {
    /// A world whose component stream stands, and whose gateway keeps messages for everybody.
    pub fn keeping(when: When) -> Self {
        Self::keeping_with(when, |_| {})
    }

    /// The same with other settings.
    pub fn keeping_with(when: When, change: impl FnOnce(&mut engine::Settings)) -> Self {
        let mut own = settings();
        own.journal.keep = vec![keep(when)];
        own.journal.max_entries = 32;
        own.journal.max_octets = 1 << 20;
        change(&mut own);
        let mut world = Self::seeded([7; 16], |settings| *settings = own.clone());
        world.keeping = Some(Keeping {
            store: SimulatedStore::new(),
            delay: Duration::ZERO,
            letters: Vec::new(),
            settings: own,
            began: world.now,
            lives: 0,
        });
        world.begin_life();
        world.accept_component();
        world
    }

    /// What is kept of the gateway.
    pub fn kept(&mut self) -> &mut Keeping {
        self.keeping.as_mut().expect("a gateway that keeps something")
    }

    /// Entries in the store.
    pub fn entries(&mut self) -> usize {
        self.kept().store.rows(QUEUE).len()
    }

    /// The gateway is killed and started again. `octets` of what the store was told and has not done reach the disk. Its
    /// connections are gone; the server has not accepted a new one.
    pub fn restart(&mut self, octets: usize) {
        self.kept().store.crash(octets);
        self.begin_life();
    }

    fn begin_life(&mut self) {
        let now = self.now;
        let log = self.turn_log.clone();
        let keeping = self.kept();
        // The date goes on while the gateway is not there.
        let date = keeping.settings.made_at.map(|made_at| made_at + (now - keeping.began));
        let settings = engine::Settings { made_at: date, ..keeping.settings.clone() };
        keeping.lives += 1;
        keeping.letters.clear();
        let mut engine = Engine::with_lasting(settings, [keeping.lives; 16], *LASTING, now);
        engine.restore_turn_log(now, &log);
        engine.restore(
            now,
            [QUEUE, DEAD]
                .into_iter()
                .flat_map(|table| keeping.store.rows(table).into_iter().map(move |row| (table, row))),
        );
        self.engine = engine;
        self.forget_streams();
        self.turn();
    }

    /// Somebody took a letter, or could not.
    pub fn hand_over(&mut self, done: bool) -> Letter {
        let (ticket, letter) = self.kept().letters.remove(0);
        self.input(if done { Input::HandedOver { ticket } } else { Input::HandOverFailed { ticket } });
        letter
    }

    pub(super) fn on_order(&mut self, action: &Action) {
        let Some(keeping) = &mut self.keeping else { panic!("this gateway keeps nothing") };
        let output = self.engine.output();
        if let Action::HandOver { ticket } = *action {
            keeping.letters.push((ticket, output.take_letter(ticket).expect("a letter")));
        } else {
            assert!(keeping.store.order(self.now + keeping.delay, output, action), "an order for the store");
        }
    }

    /// What the store has to say until now.
    pub(super) fn hear_store(&mut self) {
        while let Some(answer) = self.keeping.as_mut().and_then(|keeping| keeping.store.poll_answer(self.now)) {
            self.engine.handle_input(self.now, answer.input());
            self.turn();
        }
    }

    fn forget_streams(&mut self) {
        self.stream = None;
        self.connects.clear();
        self.closes.clear();
        self.received.clear();
        self.unconsumed.clear();
        self.framer = xml::Framer::new(xml::Limits::default());
    }
}

/// The next message and nothing else leaves for XMPP; the server hands back the two pings behind it.
pub fn delivered(world: &mut World) -> Option<String> {
    let message = world.take_stanza()?;
    for _ in 0..2 {
        let ping = world.take_stanza().expect("a ping");
        assert!(ping.starts_with("<iq"), "one at a time: {ping}");
        assert_eq!(world.take_stanza(), None, "one at a time");
        world.server_writes(&ping);
    }
    Some(message)
}

/// The request that is open, however often it was sent.
pub fn request_of(world: &mut World) -> Option<String> {
    let first = world.take_datagram()?;
    while let Some(repeated) = world.take_datagram() {
        assert_eq!(repeated, first, "one at a time");
    }
    Some(first)
}
