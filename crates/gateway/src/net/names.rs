//! Host names to addresses, on a thread of its own, and connections to named peers.

use hickory_resolver::TokioResolver;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

/// How long one address may take to answer a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How many addresses of a name are tried for one connection.
const ADDRESSES_TRIED: usize = 4;
/// Questions that wait for the resolver.
const QUESTIONS_WAITING: usize = 256;

/// Why a name gave no address.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Not `host:port`.
    #[error("{0:?} is not host:port")]
    NotHostPort(String),
    /// The name does not exist or has no address.
    #[error("{host} has no address: {reason}")]
    NoAddress {
        /// The name that was asked for.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// Too many questions wait, or the resolver cannot be started.
    #[error("the resolver is not available: {0}")]
    Unavailable(String),
}

struct Question {
    host: String,
    answer: oneshot::Sender<Result<Vec<IpAddr>, ResolveError>>,
}

/// The resolver. Its thread starts with the first name that is not an address.
#[derive(Debug, Default)]
pub struct Names {
    questions: OnceLock<mpsc::Sender<Question>>,
}

impl Names {
    /// A resolver that has not started.
    pub fn new() -> Self {
        Self::default()
    }

    /// The addresses of `host:port`, at least one, each name asked anew (answers are cached as long as DNS allows).
    pub fn resolve(
        &self,
        host_port: &str,
    ) -> impl Future<Output = Result<Vec<SocketAddr>, ResolveError>> + Send + 'static {
        let asked = self.ask(host_port);
        async move {
            match asked? {
                Asked::Known(address) => Ok(vec![address]),
                Asked::Waiting { port, answer } => {
                    let gone = |_| ResolveError::Unavailable("its thread is gone".into());
                    let addresses = answer.await.map_err(gone)??;
                    Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
                }
            }
        }
    }

    fn ask(&self, host_port: &str) -> Result<Asked, ResolveError> {
        if let Ok(address) = host_port.parse() {
            return Ok(Asked::Known(address));
        }
        let (host, port) = split_host_port(host_port).ok_or_else(|| ResolveError::NotHostPort(host_port.into()))?;
        let (sender, answer) = oneshot::channel();
        let questions = self.questions.get_or_init(start);
        questions
            .try_send(Question { host: host.into(), answer: sender })
            .map_err(|error| ResolveError::Unavailable(error.to_string()))?;
        Ok(Asked::Waiting { port, answer })
    }
}

enum Asked {
    Known(SocketAddr),
    Waiting { port: u16, answer: oneshot::Receiver<Result<Vec<IpAddr>, ResolveError>> },
}

/// `host:port` with a name, not an address, as host.
pub(crate) fn split_host_port(host_port: &str) -> Option<(&str, u16)> {
    let (host, port) = host_port.rsplit_once(':')?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.is_empty() || host.len() > 255 || !host.chars().all(legal) {
        return None;
    }
    Some((host, port.parse().ok().filter(|port| *port != 0)?))
}

fn start() -> mpsc::Sender<Question> {
    let (sender, receiver) = mpsc::channel(QUESTIONS_WAITING);
    let started = std::thread::Builder::new().name("names".into()).spawn(move || answer_all(receiver));
    if let Err(error) = started {
        // The receiver is gone with the closure, so that every question fails.
        tracing::error!(%error, "the resolver's thread cannot be started");
    }
    sender
}

fn answer_all(mut questions: mpsc::Receiver<Question>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "the resolver cannot be started"),
    };
    runtime.block_on(async {
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        if let Err(error) = &resolver {
            tracing::error!(%error, "the system's resolver configuration cannot be used");
        }
        let resolver = resolver.map_err(|error| error.to_string());
        while let Some(Question { host, answer }) = questions.recv().await {
            let resolver = resolver.clone();
            tokio::spawn(async move {
                let found = match resolver {
                    Ok(resolver) => look_up(&resolver, &host).await,
                    Err(reason) => Err(ResolveError::Unavailable(reason)),
                };
                // Who no longer waits for the answer needs none.
                let _ = answer.send(found);
            });
        }
    });
}

async fn look_up(resolver: &TokioResolver, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let no_address = |reason: String| ResolveError::NoAddress { host: host.into(), reason };
    let found = resolver.lookup_ip(host).await.map_err(|error| {
        // Its own words for this show a query as the program holds it.
        let unknown = error.is_no_records_found();
        no_address(if unknown { "the DNS knows none".into() } else { error.to_string() })
    })?;
    let addresses: Vec<IpAddr> = found.iter().collect();
    if addresses.is_empty() { Err(no_address("no records".into())) } else { Ok(addresses) }
}

/// A connection that is being made.
pub(crate) type Connecting = std::pin::Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// Connects to the first address that answers. That none does is news for an operator, who has configured the name.
pub(crate) fn connect_to_name(names: &Names, host_port: &str) -> Connecting {
    let resolving = names.resolve(host_port);
    let peer = host_port.to_owned();
    Box::pin(async move {
        let connected = match resolving.await {
            Ok(addresses) => connect_to_first(addresses).await,
            Err(error) => Err(io::Error::other(error)),
        };
        connected.inspect_err(|error| tracing::warn!(%peer, %error, "a connection could not be made"))
    })
}

async fn connect_to_first(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses.into_iter().take(ADDRESSES_TRIED) {
        match connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects to an address.
pub(crate) fn connect_to_address(address: SocketAddr) -> Connecting {
    Box::pin(connect(address))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    tokio::time::timeout(CONNECT_PATIENCE, TcpStream::connect(address)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port() {
        assert_eq!(split_host_port("proxy.sip.example:5060"), Some(("proxy.sip.example", 5060)));
        for wrong in ["", "proxy", "proxy:", ":5060", "proxy:0", "proxy:65536", "pro xy:1", "[::1]:5060", "a:b:1"] {
            assert_eq!(split_host_port(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn addresses_need_no_resolver_and_localhost_no_network() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let names = Names::new();
        let known = runtime.block_on(names.resolve("[::1]:5347")).unwrap();
        assert_eq!(known, ["[::1]:5347".parse::<SocketAddr>().unwrap()]);
        assert!(names.questions.get().is_none());
        let local = runtime.block_on(names.resolve("localhost:5347")).unwrap();
        assert!(local.iter().all(|address| address.ip().is_loopback() && address.port() == 5347), "{local:?}");
        assert!(matches!(runtime.block_on(names.resolve("no port")), Err(ResolveError::NotHostPort(_))));
    }
}
