//! `entente-bench crash`: the gateway is killed under load, again and again, and must lose nothing that it has answered for.
//!
//! Each life of the gateway has the same ports and the same folder, and ends with SIGKILL after a number of events that dice
//! draw. Before that the XMPP server goes down or hangs, the SIP users are away or silent, and answers to SIP users are lost on
//! the way. When nothing is open any more, some lives are killed at rest: the next one has to find exactly what was left.
//! After the last life all is well until everything has arrived. What has to be true stands in [`ledger`].

mod ledger;
mod life;
mod phones;
mod server;

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};
use nix::errno::Errno;
use nix::poll::ppoll;
use nix::sys::time::TimeSpec;
use serde_json::{Value, json};

use crate::clock::{Clock, MILLISECOND, SECOND};
use crate::mark::{Direction, Marks};
use crate::net::Waits;
use crate::options::Journal;
use ledger::{Account, Keeps, Ledger};
use life::{Home, Life};
use phones::Phones;
use server::Server;

/// Pairs of users: each writes to the other.
const PAIRS: u32 = 16;
/// For what has to happen, however busy the machine is.
const PATIENCE: u64 = 120 * SECOND;
/// A life in bad weather sees few events; it is killed after this time all the same.
const LONGEST: u64 = 600 * MILLISECOND;
const TICK: u64 = 10 * MILLISECOND;
/// After all is over: for copies that should not come.
const LINGER: u64 = 300 * MILLISECOND;

fn sip_user(pair: u32) -> String {
    format!("s{pair:06}@sip.test")
}

fn xmpp_user(pair: u32) -> String {
    format!("x{pair:06}@xmpp.test")
}

/// Kill the gateway under load, again and again, and see that nothing is lost that it has answered for.
#[derive(Parser, Debug)]
#[command(name = "entente-bench crash", version)]
struct Options {
    /// The gateway.
    #[arg(long, value_name = "PROGRAM")]
    gateway: PathBuf,
    /// Which messages it keeps.
    #[arg(long, value_enum)]
    journal: Journal,
    /// How often it is killed.
    #[arg(long, default_value_t = 300, value_name = "N")]
    cycles: u32,
    /// What the dice begin with; the process number, unless it is given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Ends with the first thing that is wrong.
    #[arg(long)]
    first: bool,
    /// Something is done wrong, to see that it is noticed.
    #[arg(long, value_enum, value_name = "HOW")]
    wrong: Option<Wrong>,
    /// Four addresses: of the gateway for SIP and for its metrics, of the SIP users, of the XMPP server.
    #[arg(long, num_args = 4, value_names = ["SIP", "ADMIN", "PHONES", "SERVER"],
        default_values = ["127.0.0.1:15060", "127.0.0.1:19090", "127.0.0.1:15070", "127.0.0.1:15347"])]
    addresses: Vec<SocketAddr>,
}

/// What a gateway might do wrong, brought about from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Wrong {
    /// SIP senders are told 202 before anything is on disk.
    AnswersEarly,
    /// The journal is empty at each start.
    ForgetsEntries,
    /// The journal is at each start what it was at an earlier one.
    RevivesEntries,
    /// The log of the turns is empty at each start.
    ForgetsAnswers,
    /// Some messages come twice.
    Repeats,
    /// Some messages come behind the next one.
    Swaps,
}

pub(crate) struct Addresses {
    gateway: SocketAddr,
    admin: SocketAddr,
    phones: SocketAddr,
    server: SocketAddr,
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn percent(&mut self, chance: u64) -> bool {
        chance > 0 && self.below(100) < chance
    }
}

/// What happens in one life.
#[derive(Debug)]
struct Plan {
    /// It is killed while it starts.
    at_once: bool,
    /// The server is down until the weather changes.
    late_server: bool,
    events_before: u64,
    server: server::Mood,
    phones: phones::Mood,
    events_after: u64,
    /// It is killed only when nothing is open.
    settled: bool,
}

impl Plan {
    fn draw(dice: &mut Dice) -> Self {
        let late_server = dice.percent(15);
        let server = match dice.below(10) {
            0..4 => server::Mood::Up,
            4..7 if !late_server => server::Mood::Down,
            7.. if !late_server => server::Mood::Hung,
            _ => server::Mood::Up,
        };
        let phones = match dice.below(10) {
            0..4 => phones::Mood::Here,
            4..8 => phones::Mood::Away,
            _ => phones::Mood::Silent,
        };
        Self {
            at_once: dice.percent(10),
            late_server,
            events_before: dice.below(200),
            server,
            phones,
            events_after: dice.below(200),
            settled: dice.percent(30) && server != server::Mood::Hung && phones != phones::Mood::Silent,
        }
    }
}

/// True when all was well.
pub(crate) fn run(words: impl Iterator<Item = OsString>) -> Result<bool> {
    let options = Options::parse_from(words);
    let &[gateway, admin, phones, server] = &options.addresses[..] else { bail!("four addresses are needed") };
    let addresses = Addresses { gateway, admin, phones, server };
    let keeps = match options.journal {
        Journal::Away => Keeps::Away,
        Journal::Every => Keeps::Every,
    };
    let seed = options.seed.unwrap_or_else(|| u64::from(std::process::id()));
    let home = Home::new(&options.gateway, &addresses, keeps)?;
    let marks = Marks::new(std::process::id() as u16);
    let mut crash = Crash {
        clock: Clock::start(),
        phones: Phones::new(addresses.phones, addresses.gateway, &marks)?,
        server: Server::new(addresses.server, &marks),
        ledger: Ledger::new(keeps),
        marks,
        dice: Dice(seed),
        sending: true,
        kills: Kills::default(),
        home,
        wrong: options.wrong,
        early_copy: None,
    };
    let outcome = crash.all_lives(&options);
    let report = crash.report(&options, seed);
    println!("{report}");
    if let Err(error) = outcome {
        return Err(error.context(crash.home.last_words()));
    }
    Ok(crash.ledger.breaches.is_empty())
}

#[derive(Default)]
struct Kills {
    all: u64,
    at_start: u64,
    settled: u64,
    with_entries: u64,
    server_down: u64,
    server_hung: u64,
    phones_away: u64,
    phones_silent: u64,
}

struct Crash {
    clock: Clock,
    phones: Phones,
    server: Server,
    ledger: Ledger,
    marks: Marks,
    dice: Dice,
    sending: bool,
    kills: Kills,
    home: Home,
    wrong: Option<Wrong>,
    /// For [`Wrong::RevivesEntries`].
    early_copy: Option<tempfile::TempDir>,
}

impl Crash {
    fn all_lives(&mut self, options: &Options) -> Result<()> {
        for _ in 0..options.cycles {
            self.life()?;
            if options.first && !self.ledger.breaches.is_empty() {
                return Ok(());
            }
            self.do_wrong()?;
        }
        self.last_life()
    }

    fn life(&mut self) -> Result<()> {
        let plan = Plan::draw(&mut self.dice);
        self.calm();
        let mood = if plan.late_server { server::Mood::Down } else { server::Mood::Up };
        self.server.become_so(mood, &mut self.ledger)?;
        let mut life = self.home.start()?;
        if plan.at_once {
            let time = self.dice.below(400) * MILLISECOND;
            self.turn_until(time, |_| false)?;
            self.kills.at_start += 1;
            return self.end(&mut life, None, false);
        }
        self.wait_for(&mut life, !plan.late_server)?;

        let before = self.events();
        self.turn_until(LONGEST, |crash| crash.events() >= before + plan.events_before)?;
        self.server.become_so(plan.server, &mut self.ledger)?;
        self.phones.mood = plan.phones;
        self.phones.answers_lost = 25;
        if self.wrong == Some(Wrong::AnswersEarly) {
            self.phones.answers_early = 20;
        }
        let before = self.events();
        self.turn_until(LONGEST, |crash| crash.events() >= before + plan.events_after)?;
        life.check()?;

        let rest = if plan.settled { self.settle(&mut life)? } else { None };
        let settled = rest.is_some();
        let account = match rest {
            Some(account) => account,
            None => self.account(&mut life)?,
        };
        self.ledger.on_account(&account);
        self.kills.settled += u64::from(settled);
        self.kills.with_entries += u64::from(account.entries > 0);
        self.kills.server_down += u64::from(plan.server == server::Mood::Down);
        self.kills.server_hung += u64::from(plan.server == server::Mood::Hung);
        self.kills.phones_away += u64::from(plan.phones == phones::Mood::Away);
        self.kills.phones_silent += u64::from(plan.phones == phones::Mood::Silent);
        self.end(&mut life, Some(&account), settled)
    }

    /// Everybody is there and sends.
    fn calm(&mut self) {
        self.phones.mood = phones::Mood::Here;
        self.phones.answers_lost = 0;
        self.phones.answers_early = 0;
        self.server.wrong = match self.wrong {
            Some(Wrong::Repeats) => Some(server::Wrong::Repeats),
            Some(Wrong::Swaps) => Some(server::Wrong::Swaps),
            _ => None,
        };
        self.sending = true;
    }

    fn end(&mut self, life: &mut Life, account: Option<&Account>, settled: bool) -> Result<()> {
        let before = self.events();
        life.kill()?;
        self.kills.all += 1;
        // What it had written is on its way, also to a server that hung.
        self.server.become_so(server::Mood::Up, &mut self.ledger)?;
        self.take_in()?;
        self.server.on_killed(&mut self.ledger);
        self.phones.on_killed();
        let quiet = before == self.events();
        self.ledger.on_killed(account, settled, quiet);
        Ok(())
    }

    /// What it says of itself, everything that it had sent until now having been taken in.
    fn account(&mut self, life: &mut Life) -> Result<Account> {
        self.take_in()?;
        life.account()
    }

    /// Nobody sends until nothing is open. `None` when it takes too long: then it is killed as it is.
    fn settle(&mut self, life: &mut Life) -> Result<Option<Account>> {
        self.sending = false;
        let with_stream = self.server.is_ready();
        if with_stream {
            self.server.ping();
            self.turn_until(5 * SECOND, |crash| crash.server.ping_is_back())?;
            if !self.server.ping_is_back() {
                return Ok(None);
            }
        }
        let deadline = self.clock.now() + 5 * SECOND;
        let mut before = None;
        while self.clock.now() < deadline {
            let account = self.account(life)?;
            // What has just ended may have left an order: so it has to say the same for a while.
            if account.is_settled() && before == Some((account, self.events())) {
                return Ok(Some(account).filter(|_| !with_stream || self.server.is_ready()));
            }
            before = Some((account, self.events()));
            self.turn_until(5 * TICK, |_| false)?;
        }
        Ok(None)
    }

    /// Until everything has arrived; then one more start, which finds nothing.
    fn last_life(&mut self) -> Result<()> {
        self.calm();
        self.server.become_so(server::Mood::Up, &mut self.ledger)?;
        let mut life = self.home.start()?;
        self.wait_for(&mut life, true)?;
        self.sending = false;
        let deadline = self.clock.now() + PATIENCE;
        while self.clock.now() < deadline {
            self.turn_until(10 * TICK, |_| false)?;
            let account = self.account(&mut life)?;
            if account.is_settled() && account.entries == 0 && self.phones.are_idle() {
                break;
            }
        }
        self.turn_until(LINGER, |_| false)?;
        let account = self.account(&mut life)?;
        self.ledger.on_account(&account);
        self.ledger.close(&account);
        self.end(&mut life, Some(&account), true)?;

        let mut life = self.home.start()?;
        self.wait_for(&mut life, true)?;
        self.turn_until(LINGER, |_| false)?;
        let account = self.account(&mut life)?;
        self.ledger.on_account(&account);
        life.kill()
    }

    fn do_wrong(&mut self) -> Result<()> {
        let journal = self.home.journal();
        match self.wrong {
            Some(Wrong::ForgetsEntries) if journal.exists() => fs::remove_dir_all(&journal)?,
            Some(Wrong::ForgetsAnswers) => {
                for file in ["turns.0", "turns.1"].map(|name| journal.join(name)).iter().filter(|file| file.exists()) {
                    fs::remove_file(file)?;
                }
            }
            Some(Wrong::RevivesEntries) if journal.exists() => match &self.early_copy {
                Some(copy) => {
                    fs::remove_dir_all(&journal)?;
                    life::copy(copy.path(), &journal)?;
                }
                None if self.kills.with_entries > 0 => {
                    let copy = tempfile::tempdir().context("cannot make a folder for a copy")?;
                    life::copy(&journal, copy.path())?;
                    self.early_copy = Some(copy);
                }
                None => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn events(&self) -> u64 {
        self.phones.events + self.server.events
    }

    /// Until it can be asked, and its stream stands.
    fn wait_for(&mut self, life: &mut Life, with_stream: bool) -> Result<()> {
        let deadline = self.clock.now() + PATIENCE;
        while !life.is_there() || (with_stream && !self.server.is_ready()) {
            life.check()?;
            if self.clock.now() > deadline {
                bail!("the gateway does not come up");
            }
            self.turn_until(TICK, |_| false)?;
        }
        Ok(())
    }

    /// For so long, or until something is true.
    fn turn_until(&mut self, time: u64, mut done: impl FnMut(&Self) -> bool) -> Result<()> {
        let end = self.clock.now() + time;
        while self.clock.now() < end && !done(self) {
            self.turn(end)?;
        }
        Ok(())
    }

    /// All that has arrived.
    fn take_in(&mut self) -> Result<()> {
        while self.receive()? {}
        Ok(())
    }

    fn receive(&mut self) -> Result<bool> {
        let active = self.phones.receive(&mut self.ledger, &self.marks, &mut self.dice)?;
        Ok(self.server.receive(&mut self.ledger, &self.marks)? || active)
    }

    fn turn(&mut self, end: u64) -> Result<()> {
        let active = self.receive()?;
        let now = self.clock.now();
        self.phones.retransmit(&mut self.ledger, now);
        if self.sending {
            self.phones.send(&mut self.ledger, &mut self.dice, now);
            self.server.send(&mut self.ledger);
        }
        self.server.flush();
        if !active {
            let until = end.min(self.phones.next_due()).min(now + TICK);
            self.wait(until.saturating_sub(now))?;
        }
        Ok(())
    }

    fn wait(&self, time: u64) -> Result<()> {
        let mut waits = Waits::new();
        self.phones.waits(&mut waits);
        self.server.waits(&mut waits);
        match ppoll(&mut waits, Some(TimeSpec::from_duration(Duration::from_nanos(time))), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn report(&mut self, options: &Options, seed: u64) -> Value {
        let sent = [Direction::SipToXmpp, Direction::XmppToSip]
            .map(|direction| (direction.name().to_owned(), json!(self.ledger.sent(direction))));
        let (counts, kills) = (&self.ledger.counts, &self.kills);
        let breaches = self.ledger.breaches.iter().map(|(breach, count)| (format!("{breach:?}"), json!(count)));
        json!({
            "journal": format!("{:?}", options.journal).to_lowercase(),
            "seed": seed,
            "seconds": self.clock.now() as f64 / SECOND as f64,
            "kills": {
                "all": kills.all, "at_start": kills.at_start, "settled": kills.settled, "with_entries": kills.with_entries,
                "server_down": kills.server_down, "server_hung": kills.server_hung,
                "phones_away": kills.phones_away, "phones_silent": kills.phones_silent,
            },
            "sent": serde_json::Map::from_iter(sent),
            "delivered": counts.delivered, "accepted": counts.accepted, "refused": counts.refused, "told": counts.told,
            "stored": counts.stored, "restored": counts.restored, "known": counts.known,
            "duplicates": counts.duplicates, "repeated_by_sender": counts.repeated_by_sender,
            "possible_duplicates": counts.possible_duplicates,
            "lost_in_memory": counts.lost_in_memory, "timed_out": counts.timed_out,
            "breaches": serde_json::Map::from_iter(breaches),
            "words": self.ledger.words,
        })
    }
}
