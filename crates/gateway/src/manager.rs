//! The service manager that started the program (systemd): it is told when the gateway is ready, reads its configuration
//! again, ends, and that it is alive.
//!
//! The protocol is that of `sd_notify(3)`: lines of `NAME=value` in one datagram to the socket that `NOTIFY_SOCKET` names.
//! Without that variable nothing is told to anybody.

use nix::time::{ClockId, clock_gettime};
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long the manager may take to take a datagram.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the manager can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The gateway takes traffic; at the end of a [`Reloading`](Self::Reloading) too.
    Ready,
    /// The configuration is being read again.
    Reloading,
    /// The gateway finishes what is open and ends.
    Stopping,
    /// The gateway takes turns.
    Alive,
}

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that the gateway is alive.
    pub watchdog: Option<Duration>,
}

impl Manager {
    /// The manager that the environment of this program names. One that cannot be reached is logged.
    pub(crate) fn from_environment() -> Self {
        let of = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let Some(name) = of("NOTIFY_SOCKET") else { return Self::default() };
        let number = |name| of(name).and_then(|value| value.to_str()?.parse::<u64>().ok());
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| *micros > 0 && for_us).map(Duration::from_micros);
        match connect(name.as_bytes()) {
            Ok(socket) => Self { socket: Some(socket), watchdog },
            Err(error) => {
                tracing::warn!(?name, %error, "the service manager cannot be told anything");
                Self::default()
            }
        }
    }

    /// Tells it.
    pub(crate) fn tell(&self, news: News) {
        let Some(socket) = &self.socket else { return };
        let text = match news {
            News::Ready => "READY=1".to_owned(),
            News::Reloading => match clock_gettime(ClockId::CLOCK_MONOTONIC) {
                // It tells this reload from the one before.
                Ok(now) => format!("RELOADING=1\nMONOTONIC_USEC={}", Duration::from(now).as_micros()),
                Err(_) => "RELOADING=1".to_owned(),
            },
            News::Stopping => "STOPPING=1".to_owned(),
            News::Alive => "WATCHDOG=1".to_owned(),
        };
        if let Err(error) = socket.send(text.as_bytes()) {
            tracing::warn!(?news, %error, "the service manager was not told");
        }
    }
}

/// `/path` or `@abstract`.
fn connect(name: &[u8]) -> io::Result<UnixDatagram> {
    let address = match name {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn each_news_is_one_datagram_as_sd_notify_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("@entente-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        let by_name = UnixDatagram::bind_addr(&abstract_name).unwrap();
        for (name, socket) in [(path.to_str().unwrap(), by_path), (&name, by_name)] {
            let manager = Manager { socket: Some(connect(name.as_bytes()).unwrap()), watchdog: None };
            for (news, text) in [(News::Ready, "READY=1"), (News::Stopping, "STOPPING=1"), (News::Alive, "WATCHDOG=1")]
            {
                manager.tell(news);
                assert_eq!(told(&socket), text);
            }
            manager.tell(News::Reloading);
            let text = told(&socket);
            let micros = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{text}"));
            assert!(micros.parse::<u64>().unwrap() > 0);
        }
        assert!(connect(b"vsock:2:1234").is_err());
        Manager::default().tell(News::Ready);
    }
}
