//! Runs machines as a program: sockets are bound and names resolved before anything starts, signals end it in order or
//! let it read its configuration again, and the admin interface looks on.

use crate::config::{self, Config, ConfigErrors, Listen, Overrides, Reread};
use crate::driver::{self, Control, Driver, Ended, Hosted, Socket, Wiring};
use crate::manager::{Manager, News};
use crate::net::{self, Names};
use crate::next_hops::{self, NextHops, NowhereToSend};
use crate::queue::{self, Door};
use crate::store::{self, OpenError, TurnLog};
use crate::telemetry::Levels;
use crate::{admin, assembly};
use engine::Engine;
use sip::transaction::Transport;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// How long what is open may take to end: a little longer than the 32 s after which every SIP transaction is over.
pub const DRAIN_PATIENCE: Duration = Duration::from_secs(35);

/// Why the gateway could not start although its configuration is right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{key}: cannot listen on {address}: {error}")]
    Bind {
        /// The key that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// Requests to SIP users have nowhere to go.
    #[error(transparent)]
    NextHop(#[from] NowhereToSend),
    /// The journal cannot be had.
    #[error("journal.folder")]
    Store(#[from] OpenError),
    /// What stands beside the journal in its folder cannot be used.
    #[error("journal.folder: {}: {error}", path.display())]
    Folder {
        /// What it is.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The system refused something that every program needs.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// What an engine needs around it.
pub struct Surroundings {
    /// What the next hops are.
    pub next_hops: NextHops,
    /// The sockets of `sip.listen` and the servers of `xmpp.component`, each in the order of the configuration.
    pub wiring: Wiring,
    /// The resolver.
    pub names: Arc<Names>,
    /// The listener of `admin.listen`.
    pub admin: Option<std::net::TcpListener>,
    /// What is in `journal.folder`.
    pub journal: Option<Kept>,
}

/// What an engine has from earlier runs, and what it goes on with.
pub struct Kept {
    /// The tables.
    pub store: store::Opened,
    /// The log of the turns.
    pub turn_log: TurnLog,
    /// What was in it.
    pub turns: Vec<u8>,
    /// Where questions about the messages come in.
    pub door: Door,
}

impl Kept {
    fn open(folder: &Path) -> Result<Self, StartError> {
        let store = store::open(folder)?;
        // The folder is ours from here on.
        let told = |error| StartError::Folder { path: folder.to_owned(), error };
        let (turn_log, turns) = TurnLog::open(folder).map_err(told)?;
        Ok(Self { store, turn_log, turns, door: Door::open(folder).map_err(told)? })
    }

    /// An engine that goes on where the one before it has ended, wired to its store; and where it is asked about its messages.
    pub fn take_up(
        self,
        settings: engine::Settings,
        seed: turn::Seed,
        wiring: &mut Wiring,
    ) -> Result<(Engine, Questions), StartError> {
        let Self { store, turn_log, turns, door } = self;
        let now = driver::now();
        let mut engine = Engine::with_lasting(settings, seed, store.secret(), now);
        let mut unreadable = None;
        engine.restore(now, store.rows().map_while(|row| row.map_err(|error| unreadable = Some(error)).ok()));
        if let Some(error) = unreadable {
            return Err(error.into());
        }
        let answers = engine.restore_turn_log(now, &turns);
        let entries = engine.counters().journal.map_or(0, |counters| counters.entries);
        let sip_connector::Restored { kept, expired, malformed, beyond } = answers;
        tracing::info!(entries, answers = kept, expired, malformed, beyond, "the journal is open");
        let store = store.run()?;
        let questions = Questions { door, shelf: Arc::new(store.reader()) };
        wiring.store = Some(store);
        wiring.turn_log = Some(turn_log);
        Ok((engine, questions))
    }
}

/// Where questions about messages come in, and what they are about.
pub struct Questions {
    door: Door,
    shelf: Arc<store::Reader>,
}

/// Binds every socket, looks up the next hops, and opens the journal.
pub fn prepare(config: &Config) -> Result<Surroundings, StartError> {
    let mut wiring = Wiring::new("engine");
    for &Listen { transport, address } in &config.sip.listen {
        let bound = match transport {
            Transport::Udp => net::bind_datagrams(address).map(Socket::Datagrams),
            Transport::Tcp => net::bind_listener(address).map(Socket::Listener),
        };
        wiring.sockets.push(bound.map_err(|error| StartError::Bind { key: "sip.listen", address, error })?);
    }
    // The engine keeps to its own limit; those that it has closed take a moment to end.
    wiring.limits.accepted = config.sip.limits.connections.saturating_mul(2).max(wiring.limits.accepted);
    wiring.targets = config.xmpp.components.iter().map(|component| component.connect.clone()).collect();
    wiring.letters = assembly::letter_settings(config);
    let admin = match config.admin.listen {
        None => None,
        Some(address) => {
            let bound = net::bind_listener(address);
            Some(bound.map_err(|error| StartError::Bind { key: "admin.listen", address, error })?)
        }
    };
    let names = Arc::new(Names::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let next_hops = runtime.block_on(next_hops::look_up(config, &names))?;
    let journal = config.journal.folder.as_deref().map(Kept::open).transpose()?;
    Ok(Surroundings { next_hops, wiring, names, admin, journal })
}

/// What is needed to read the configuration again.
pub struct Reloader {
    /// The file.
    pub path: PathBuf,
    /// What the command line set.
    pub overrides: Overrides,
    /// What is in force.
    pub config: Config,
    /// What the next hops have been since the start.
    pub next_hops: NextHops,
    /// What the log writes.
    pub levels: Levels,
}

impl Reloader {
    /// Reads the file, and gives the driver what can be changed while it runs. A file that is wrong changes nothing.
    async fn reload(&mut self, controls: &mpsc::Sender<Control>) {
        let (path, overrides) = (self.path.clone(), self.overrides.clone());
        // Away from this thread: a file may lie on a slow disk.
        let read = tokio::task::spawn_blocking(move || config::load(&path, &overrides)).await;
        let reread = match read.map(|read| read.and_then(|fresh| config::reread(&self.config, fresh))) {
            Ok(Ok(reread)) => reread,
            Ok(Err(ConfigErrors(problems))) => {
                for problem in problems {
                    tracing::error!(%problem, "the configuration is wrong");
                }
                tracing::error!(path = %self.path.display(), "nothing of it is taken, what was before goes on");
                return;
            }
            Err(error) => return tracing::error!(%error, "the configuration could not be read"),
        };
        let Reread { config, kept } = reread;
        let settings = Box::new(assembly::engine_settings(&config, &self.next_hops));
        let (done, taken) = oneshot::channel();
        if controls.send(Control::Reconfigure(settings, done)).await.is_err() || taken.await.is_err() {
            return tracing::error!("the gateway takes no new configuration: it ends");
        }
        if let Err(error) = self.levels.set(&config.log.level) {
            tracing::error!(%error, "the level of the log cannot be changed");
        }
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        for key in kept {
            tracing::warn!(key, "the new value needs a restart: the running one stays");
        }
        tracing::info!(path = %self.path.display(), "configuration read again");
        self.config = config;
    }
}

/// Runs `parts` on this thread. SIGTERM and SIGINT drain, a second one ends at once; SIGHUP reads the configuration again;
/// the service manager hears of it all. `admin` is a bound listener.
pub fn run(
    parts: Vec<(Box<dyn Hosted>, Wiring)>,
    names: Arc<Names>,
    admin: Option<std::net::TcpListener>,
    questions: Option<Questions>,
    reloader: Reloader,
) -> io::Result<Ended> {
    let (driver, controls) = Driver::new(parts, names);
    let asked = questions.as_ref().map(|Questions { door, shelf }| io::Result::Ok((door.listener()?, shelf.clone())));
    let asked = asked.transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Handlers stand before the first turn.
    let signals = {
        let _inside = runtime.enter();
        Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        }
    };
    let manager = Arc::new(Manager::from_environment());
    std::thread::Builder::new().name("admin".into()).spawn(move || {
        runtime.block_on(async {
            if let Some(listener) = admin {
                let serving = admin::serve(listener, controls.clone());
                tokio::spawn(async {
                    if let Err(error) = serving.await {
                        tracing::error!(%error, "the admin interface ended");
                    }
                });
            }
            if let Some((listener, shelf)) = asked {
                let answering = queue::serve(listener, shelf, controls.clone());
                tokio::spawn(async {
                    if let Err(error) = answering.await {
                        tracing::error!(%error, "questions about the journal are not answered any more");
                    }
                });
            }
            obey_signals(signals, &controls, manager, reloader).await;
        });
    })?;
    let ended = driver.run();
    // From here on nobody answers.
    drop(questions);
    ended
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

async fn obey_signals(
    signals: Signals,
    controls: &mpsc::Sender<Control>,
    manager: Arc<Manager>,
    mut reloader: Reloader,
) {
    let Signals { mut terminate, mut interrupt, mut hangup } = signals;
    let watched = tokio::spawn(stay_in_touch(manager.clone(), controls.clone()));
    let (telling, asked) = (manager.clone(), controls.clone());
    // Beside the loop below: a slow file must not keep the program from ending.
    let reloading = tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            telling.tell(News::Reloading);
            reloader.reload(&asked).await;
            telling.tell(News::Ready);
        }
    });
    let mut orders = [Control::Drain(DRAIN_PATIENCE), Control::Stop].into_iter();
    loop {
        tokio::select! {
            Some(()) = terminate.recv() => {}
            Some(()) = interrupt.recv() => {}
            else => break,
        }
        let Some(order) = orders.next() else { break };
        // What ends needs no new settings.
        reloading.abort();
        match order {
            Control::Drain(patience) => {
                tracing::info!(?patience, "draining; a second signal ends the program at once");
                manager.tell(News::Stopping);
            }
            _ => tracing::warn!("ending at once"),
        }
        if controls.send(order).await.is_err() {
            break;
        }
    }
    watched.abort();
}

/// Tells the manager when the driver has taken its first turn, and then that it still takes turns, if the manager asks.
async fn stay_in_touch(manager: Arc<Manager>, controls: mpsc::Sender<Control>) {
    while admin::ask(&controls).await.is_none() {
        if controls.is_closed() {
            return;
        }
    }
    manager.tell(News::Ready);
    let Some(interval) = manager.watchdog else { return };
    // As sd_watchdog_enabled(3) advises.
    let mut ticks = tokio::time::interval(interval / 2);
    loop {
        ticks.tick().await;
        if admin::ask(&controls).await.is_some() {
            manager.tell(News::Alive);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use entente_tests::ports::free_address;

    /// A configuration that listens on `sip` and `admin`.
    fn config(next_hop: &str, sip: SocketAddr, admin: SocketAddr) -> Config {
        let text = format!(
            "[sip]\nlisten = [\"udp:{sip}\"]\nnext_hop = \"udp:{next_hop}\"\n[admin]\nlisten = \"{admin}\"\n\
             [[xmpp.component]]\ndomain = \"sip.example\"\nconnect = \"xmpp.example:5347\"\nsecret = \"x\"\n\
             [[sip_domain]]\nname = \"sip.example\"\n[[xmpp_domain]]\nname = \"xmpp.example\"\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        std::fs::write(&path, text).unwrap();
        crate::config::load(&path, &crate::config::Overrides::default()).unwrap()
    }

    #[test]
    fn sockets_and_names_are_there_before_anything_starts() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let sip = free_address();
        let surroundings = prepare(&config("localhost:5070", sip, any)).unwrap();
        let hops = surroundings.next_hops.peers();
        assert!(hops.iter().all(|hop| hop.ip().is_loopback() && hop.port() == 5070), "{hops:?}");
        assert_eq!(surroundings.wiring.targets, ["xmpp.example:5347"]);
        assert!(surroundings.admin.is_some());

        let error = prepare(&config("none.invalid:5070", free_address(), any)).err().unwrap().to_string();
        assert!(error.starts_with("next_hop of [sip]: none.invalid has no address"), "{error}");

        // The address is taken now.
        let error = prepare(&config("127.0.0.1:5070", sip, any)).err().unwrap().to_string();
        assert!(error.starts_with(&format!("sip.listen: cannot listen on {sip}: ")), "{error}");
        let taken = surroundings.admin.as_ref().unwrap().local_addr().unwrap();
        let error = prepare(&config("127.0.0.1:5070", free_address(), taken)).err().unwrap().to_string();
        assert!(error.starts_with(&format!("admin.listen: cannot listen on {taken}: ")), "{error}");
    }
}
