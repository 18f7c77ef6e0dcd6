//! TLS as the accepting side, for streams that upgrade.
//!
//! Handshakes and records are done on the thread of the driver, which suits the sandbox and a few clients, not thousands of
//! handshakes a second.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, Read, Write};
use std::sync::Arc;

/// The cryptography that everything here uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The accepting side with one certificate chain, its own certificate first.
pub fn accepting(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// The TLS layer of one stream.
pub(crate) struct Tls {
    connection: ServerConnection,
    secured: bool,
}

/// What received records meant.
pub(crate) struct Ingested {
    /// The handshake was finished by them.
    pub(crate) secured: bool,
    /// The peer will send nothing more.
    pub(crate) ended: bool,
    /// What they carried.
    pub(crate) plain: Vec<u8>,
}

impl Tls {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self { connection: ServerConnection::new(config)?, secured: false })
    }

    /// Takes records from the network. After an error an alert waits to be written.
    pub(crate) fn ingest(&mut self, mut records: &[u8]) -> io::Result<Ingested> {
        let mut ended = false;
        let mut plain = Vec::new();
        while !records.is_empty() && self.connection.read_tls(&mut records)? > 0 {
            let state = self.connection.process_new_packets().map_err(io::Error::other)?;
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            self.connection.reader().read_exact(&mut plain[start..])?;
            if state.peer_has_closed() {
                ended = true;
                break;
            }
        }
        let secured = !self.secured && !self.connection.is_handshaking();
        self.secured |= secured;
        Ok(Ingested { secured, ended, plain })
    }

    /// Takes bytes to encrypt, as many as it has room for.
    pub(crate) fn take(&mut self, plain: &[u8]) -> io::Result<usize> {
        self.connection.writer().write(plain)
    }

    pub(crate) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    pub(crate) fn write_records(&mut self, to: &mut dyn Write) -> io::Result<usize> {
        self.connection.write_tls(to)
    }

    /// Queues the word that we send nothing more.
    pub(crate) fn end(&mut self) {
        self.connection.send_close_notify();
    }
}
