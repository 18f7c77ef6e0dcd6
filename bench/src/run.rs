//! One run: wait for the gateway, warm up, measure, drain.

use anyhow::{Result, bail};
use nix::errno::Errno;
use nix::poll::ppoll;
use nix::sys::time::TimeSpec;
use std::time::Duration;

use crate::clock::{Clock, MILLISECOND, SECOND};
use crate::course::Schedule;
use crate::gateway::Gateway;
use crate::gauge::{self, Gauge, Memory};
use crate::net::Waits;
use crate::options::{Options, Seconds};
use crate::sip_end::SipEnd;
use crate::traffic::Traffic;
use crate::xmpp_end::XmppEnd;

/// At most so many messages leave in one direction before answers are taken in.
const SENDS_PER_TURN: u32 = 256;
/// Time-outs that need no precision are looked at this often.
const COARSE: u64 = 10 * MILLISECOND;
/// After all is quiet: time for copies that should not come.
const LINGER: u64 = 200 * MILLISECOND;

pub(crate) struct Bench<'o> {
    options: &'o Options,
    clock: Clock,
    pub(crate) traffic: Traffic,
    pub(crate) sip: SipEnd,
    pub(crate) xmpp: XmppEnd,
    /// Faults not yet committed, soonest first.
    faults: Vec<(u64, Fault)>,
    next_coarse: u64,
}

#[derive(Clone, Copy)]
enum Fault {
    Stall { until: u64 },
    Cut { until: u64 },
}

/// What was measured around the traffic.
pub(crate) struct Measures {
    pub(crate) seconds: f64,
    pub(crate) gateway: Option<Cost>,
    pub(crate) generator_cores: f64,
    /// Datagrams dropped at the gateway's and at our own socket, over the whole run.
    pub(crate) dropped_at_gateway: u64,
    pub(crate) dropped_here: u64,
    /// Still connected, or the process still there, at the end.
    pub(crate) gateway_alive: bool,
}

pub(crate) struct Cost {
    pub(crate) cpu_nanoseconds: u64,
    /// Before the first message, at the end of the window, after the drain.
    pub(crate) idle: Memory,
    pub(crate) loaded: Memory,
    pub(crate) drained: Memory,
}

impl<'o> Bench<'o> {
    pub(crate) fn new(options: &'o Options, run: u16) -> Result<Self> {
        let traffic = Traffic::new(options, run);
        Ok(Self {
            options,
            clock: Clock::start(),
            sip: SipEnd::new(options, &traffic)?,
            xmpp: XmppEnd::new(options, &traffic)?,
            traffic,
            faults: Vec::new(),
            next_coarse: 0,
        })
    }

    pub(crate) fn run(&mut self, gateway: &mut Gateway) -> Result<Measures> {
        self.wait_for(gateway)?;
        self.sip.connect(self.options)?;
        let ports = (self.options.gateway_sip.port(), self.options.sip_listen.port());
        let dropped = (gauge::datagrams_dropped(ports.0), gauge::datagrams_dropped(ports.1));
        let gauge = Gauge::new(gateway.pids()?);
        let idle = gauge.memory();

        let begin = self.clock.now();
        let from = begin + self.options.warmup.nanoseconds();
        let until = from + self.options.seconds.nanoseconds();
        self.traffic.courses().for_each(|course| course.begin(Schedule { begin, from, until }));
        self.plan_faults(from);
        self.turn_until(from)?;
        let (cpu, own) = (gauge.cpu(), gauge::own_cpu());
        let began = self.clock.now();
        self.turn_until(until)?;
        let (cpu, own) = (gauge.cpu().saturating_sub(cpu), gauge::own_cpu().saturating_sub(own));
        let seconds = (self.clock.now() - began) as f64 / SECOND as f64;
        let loaded = gauge.memory();
        self.drain()?;

        gateway.check()?;
        Ok(Measures {
            seconds,
            generator_cores: own as f64 / SECOND as f64 / seconds,
            dropped_at_gateway: gauge::datagrams_dropped(ports.0).saturating_sub(dropped.0),
            dropped_here: gauge::datagrams_dropped(ports.1).saturating_sub(dropped.1),
            gateway_alive: gauge.all_alive() && self.xmpp.is_ready(self.clock.now()),
            gateway: (!gauge.is_blind()).then(|| Cost { cpu_nanoseconds: cpu, idle, loaded, drained: gauge.memory() }),
        })
    }

    fn wait_for(&mut self, gateway: &mut Gateway) -> Result<()> {
        let limit = self.options.gateway.connect_timeout;
        let deadline = self.clock.now() + limit.nanoseconds();
        while !self.xmpp.is_ready(self.clock.now()) {
            gateway.check()?;
            if self.clock.now() > deadline {
                let (listen, words) = (self.options.xmpp_listen, gateway.last_words());
                bail!("no component connected to {listen} within {} s\n{words}", limit.as_f64());
            }
            self.turn(self.clock.now() + COARSE)?;
        }
        // The handshake's answer must be on its way before the first message is.
        self.turn_until(self.clock.now() + 50 * MILLISECOND)
    }

    fn plan_faults(&mut self, from: u64) {
        let at = |seconds: Seconds| from + seconds.nanoseconds();
        if let (Some(begin), Some(length)) = (self.options.stall_at, self.options.stall_for) {
            self.faults.push((at(begin), Fault::Stall { until: at(begin) + length.nanoseconds() }));
        }
        if let Some(begin) = self.options.drop_at {
            self.faults.push((at(begin), Fault::Cut { until: at(begin) + self.options.refuse_for.nanoseconds() }));
        }
        self.faults.sort_by_key(|(time, _)| *time);
    }

    fn drain(&mut self) -> Result<()> {
        let deadline = self.clock.now() + self.options.drain.nanoseconds();
        loop {
            let now = self.clock.now();
            if now >= deadline || self.traffic.courses().all(|course| course.is_quiet(now)) {
                break;
            }
            self.turn(now + COARSE)?;
        }
        self.turn_until(self.clock.now() + LINGER)
    }

    fn turn_until(&mut self, end: u64) -> Result<()> {
        while self.clock.now() < end {
            self.turn(end)?;
        }
        Ok(())
    }

    /// Takes in, sends what is due, lets everything leave; waits, not beyond `limit`, when there was nothing to do.
    fn turn(&mut self, limit: u64) -> Result<()> {
        let clock = self.clock;
        // Before anything is read: a server that hangs and is then cut off must not read in between.
        self.commit_faults(clock.now());
        let mut active = self.sip.receive(&mut self.traffic, || clock.now())?;
        let now = clock.now();
        active |= self.xmpp.receive(&mut self.traffic, now)?;
        if now >= self.next_coarse {
            self.next_coarse = now + COARSE;
            self.traffic.courses().for_each(|course| course.expire(now));
            self.sip.retransmit(&mut self.traffic, now);
            if let Some(failure) = self.sip.failure() {
                bail!(failure);
            }
        }
        let (sent, next) = self.send_due(now);
        active |= sent;
        self.sip.flush();
        self.xmpp.flush(now);
        if !active {
            let wake = limit.min(self.next_coarse).min(next);
            self.wait(wake.min(self.xmpp.next_release().unwrap_or(u64::MAX)))?;
        }
        Ok(())
    }

    /// Whether anything was sent, and when the next message is due.
    fn send_due(&mut self, now: u64) -> (bool, u64) {
        let (mut sent, mut wake) = (false, u64::MAX);
        if let Some(lane) = &mut self.traffic.to_xmpp {
            for _ in 0..SENDS_PER_TURN {
                let Some(due) = lane.course.next_due(now) else { break };
                if due > now {
                    wake = wake.min(due);
                    break;
                }
                let (sequence, pair) = lane.course.send(due);
                self.sip.send(sequence, pair, now);
                sent = true;
            }
        }
        if let Some(lane) = &mut self.traffic.to_sip
            && self.xmpp.is_ready(now)
        {
            for _ in 0..SENDS_PER_TURN {
                let Some(due) = lane.course.next_due(now) else { break };
                if due > now {
                    wake = wake.min(due);
                    break;
                }
                let (sequence, pair) = lane.course.send(due);
                self.xmpp.send(sequence, pair);
                sent = true;
            }
        }
        (sent, wake)
    }

    fn commit_faults(&mut self, now: u64) {
        while let Some((_, fault)) = self.faults.first().copied().filter(|(time, _)| *time <= now) {
            self.faults.remove(0);
            match fault {
                Fault::Stall { until } => self.xmpp.stall(until),
                Fault::Cut { until } => self.xmpp.cut(until),
            }
        }
    }

    fn wait(&self, until: u64) -> Result<()> {
        let now = self.clock.now();
        let Some(rest) = until.checked_sub(now).filter(|rest| *rest > 0) else { return Ok(()) };
        let mut waits = Waits::new();
        self.sip.waits(&mut waits);
        self.xmpp.waits(&mut waits, now);
        match ppoll(&mut waits, Some(TimeSpec::from_duration(Duration::from_nanos(rest))), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
