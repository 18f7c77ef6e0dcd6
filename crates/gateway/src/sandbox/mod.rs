//! `entente sandbox`: an XMPP domain, a SIP domain and the gateway between them, on loopback.
//!
//! The gateway is the one that `entente run` runs, on the text of a gateway.toml: the same engine, a component stream, a SIP
//! socket. The two domains are machines beside it in the same driver; what the three say to each other goes over real
//! sockets. Everything is lost at the end.

mod announce;
mod hosted;
mod plan;
mod wire;
mod worlds;

pub use plan::{NewUser, PORTS, Plan, WrongUser};

use crate::admin;
use crate::config::ConfigErrors;
use crate::driver::{self, Control, Driver, Ended, Report};
use crate::net::Names;
use crate::program::StartError;
use announce::Announcement;
use hosted::Watched;
use sandbox::users::{Crossing, Happened, Meeting, MeetingSettings, SipUserSettings};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use turn::{Minter, Seed, SocketId, Target};

/// How long the component stream may take to stand.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// How often to ask whether it does.
const READY_INTERVAL: Duration = Duration::from_millis(5);
/// How long what is open may take to end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// How long `--once` may take from then on: a minute in all, for machines that are busy with other things.
const ONCE_PATIENCE: Duration = Duration::from_secs(30);

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// All ports lie above it: see [`Plan`].
    pub port_base: u16,
    /// Further users of the XMPP domain.
    pub xmpp_users: Vec<NewUser>,
    /// Further users of the SIP domain.
    pub sip_users: Vec<NewUser>,
    /// Writes what crosses the sockets of both domains to standard error.
    pub wire: bool,
    /// Writes one JSON object per line in place of text.
    pub json: bool,
    /// Written when everything is ready, removed at the end.
    pub ready_file: Option<PathBuf>,
    /// One message each way, then the end.
    pub once: bool,
}

/// Why the sandbox could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A port is taken, most likely.
    #[error("cannot listen on {address} for {purpose}: {error}; --port-base chooses other ports")]
    Bind {
        /// What it is for.
        purpose: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A user cannot be made.
    #[error(transparent)]
    User(#[from] WrongUser),
    /// The gateway could not start.
    #[error("the gateway cannot start: {0}; --port-base chooses other ports")]
    Start(#[from] StartError),
    /// Our own configuration is wrong.
    #[error("the gateway's configuration is wrong: {0}")]
    Config(#[from] ConfigErrors),
    /// No certificate.
    #[error("no certificate can be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Not one that TLS takes.
    #[error("the certificate cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// The component stream does not stand.
    #[error("the gateway is not ready after {} s", READY_PATIENCE.as_secs())]
    NotReady,
    /// The ready file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    ReadyFile {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// `--once` did not work.
    #[error("{0}")]
    Once(String),
    /// The driver ended by itself.
    #[error("the driver has ended")]
    DriverEnded,
    /// The system refused something that every program needs.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Runs the sandbox until a signal ends it, or with `once` until the messages are across.
pub fn run(options: &Options, seed: Seed) -> Result<(), SandboxError> {
    let plan = Plan::new(options.port_base);
    let accounts = plan.accounts(&options.xmpp_users, &options.sip_users);
    if let Some(path) = &options.ready_file {
        // One of an earlier run would tell a lie.
        announce::remove(path)?;
    }
    let minter = Minter::new(seed);
    let worlds = worlds::build(&plan, &accounts, options.wire, &minter)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (driver, controls) = Driver::new(worlds.parts, worlds.names.clone());
    let running = Running { thread: spawn("driver", driver)?, controls };
    let done = runtime.block_on(async {
        let signals = Signals::new()?;
        if let Some(listener) = worlds.admin {
            let serving = admin::serve(listener, running.controls.clone());
            tokio::spawn(async {
                if let Err(error) = serving.await {
                    tracing::error!(%error, "the admin interface ended");
                }
            });
        }
        let announcement = Announcement { plan: &plan, accounts: &accounts, certificate: &worlds.certificate };
        let done = attend(options, &announcement, &running.controls, signals, &minter, worlds.names).await;
        if let Some(path) = &options.ready_file {
            announce::remove(path)?;
        }
        done
    });
    let ended = running.end();
    done.and(ended)
}

/// A driver on a thread of its own.
struct Running {
    thread: JoinHandle<io::Result<Ended>>,
    controls: mpsc::Sender<Control>,
}

impl Running {
    /// Stops it and waits for its end.
    fn end(self) -> Result<(), SandboxError> {
        // It may have ended by itself.
        let _ = self.controls.try_send(Control::Stop);
        match self.thread.join() {
            Ok(ended) => ended.map(drop).map_err(SandboxError::from),
            Err(_) => Err(SandboxError::DriverEnded),
        }
    }
}

fn spawn(name: &str, driver: Driver) -> io::Result<JoinHandle<io::Result<Ended>>> {
    std::thread::Builder::new().name(name.into()).spawn(move || driver.run())
}

/// What ends the sandbox from outside.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Waits until everything is ready, says so, and does what is asked for.
async fn attend(
    options: &Options,
    announcement: &Announcement<'_>,
    controls: &mpsc::Sender<Control>,
    mut signals: Signals,
    minter: &Minter,
    names: Arc<Names>,
) -> Result<(), SandboxError> {
    tokio::select! {
        ready = until_ready(controls) => ready?,
        () = signals.next() => return Ok(()),
    }
    if let Some(path) = &options.ready_file {
        announcement.write_ready_file(path)?;
    }
    if options.once {
        return tokio::select! {
            met = meet(options, announcement.plan, minter, names) => met,
            () = signals.next() => Err(SandboxError::Once("interrupted".into())),
        };
    }
    announcement.print(options.json)?;
    tokio::select! {
        () = signals.next() => {}
        () = controls.closed() => return Err(SandboxError::DriverEnded),
    }
    // The streams are closed in order, unless a second signal or the time ends it.
    if controls.send(Control::Drain(DRAIN_PATIENCE)).await.is_ok() {
        tokio::select! {
            () = signals.next() => {}
            () = controls.closed() => {}
        }
    }
    Ok(())
}

async fn until_ready(controls: &mpsc::Sender<Control>) -> Result<(), SandboxError> {
    let asking = async {
        loop {
            let (sender, report) = oneshot::channel();
            controls.send(Control::Report(sender)).await.map_err(|_| SandboxError::DriverEnded)?;
            match report.await {
                Ok(Report { ready: true, .. }) => return Ok(()),
                Ok(_) => tokio::time::sleep(READY_INTERVAL).await,
                Err(_) => return Err(SandboxError::DriverEnded),
            }
        }
    };
    tokio::time::timeout(READY_PATIENCE, asking).await.map_err(|_| SandboxError::NotReady)?
}

/// Lets the first user of each side log in and write to the other, on a driver of their own: as any client would.
async fn meet(options: &Options, plan: &Plan, minter: &Minter, names: Arc<Names>) -> Result<(), SandboxError> {
    let (romeo, juliet) = (plan.first_xmpp_user(), plan.first_sip_user());
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound = crate::net::bind_datagrams(address);
    let socket = bound.map_err(|error| SandboxError::Bind { purpose: "a SIP user", address, error })?;
    let contact = socket.local_addr()?.to_string();
    let settings = MeetingSettings {
        sip_user_on_xmpp: format!("{}@{}", juliet.name, plan::SIP_DOMAIN),
        xmpp_user_on_sip: format!("sip:{}@{}", romeo.name, plan::XMPP_DOMAIN),
        xmpp: xmpp::stream::initiator::InitiatorSettings::new(&romeo.name, plan::XMPP_DOMAIN, &romeo.password),
        xmpp_server: Target::Address(plan.xmpp_clients),
        sip: SipUserSettings {
            user: juliet.name,
            domain: plan::SIP_DOMAIN.into(),
            password: juliet.password,
            proxy: plan.sip,
            socket: SocketId(0),
            contact,
            expires: 3600,
        },
        patience: ONCE_PATIENCE,
    };
    let mut wiring = driver::Wiring::new("users");
    wiring.sockets.push(driver::Socket::Datagrams(socket));
    let (sender, mut happened) = mpsc::unbounded_channel();
    let meeting = Watched::new(Meeting::new(settings, &minter.derive("meeting"), driver::now()), sender);
    let (driver, controls) = Driver::new(vec![(Box::new(meeting), wiring)], names);
    let running = Running { thread: spawn("users", driver)?, controls };
    let mut crossed = 0;
    let met = loop {
        match happened.recv().await {
            Some(Happened::Crossed(crossing)) => {
                print_crossing(&crossing, options.json);
                crossed += 1;
                if crossed == 2 {
                    break Ok(());
                }
            }
            Some(Happened::Failed(why)) => break Err(SandboxError::Once(why)),
            None => break Err(SandboxError::DriverEnded),
        }
    };
    running.end().and(met)
}

fn print_crossing(crossing: &Crossing, json: bool) {
    if json {
        println!("{}", announce::crossing(crossing));
    } else {
        println!("{crossing}");
    }
}
