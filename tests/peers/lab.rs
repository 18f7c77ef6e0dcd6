//! The gateway where its operators have it: a component of Prosody for the SIP domain, and Kamailio's next hop for everything
//! that is not its own.
//!
//! ```text
//! romeo, juliet (slixmpp) - Prosody - entente - Kamailio - bob, carol (baresip, SIPp)
//!       xmpp.example       XEP-0114              sip.example
//! ```

use std::time::Duration;

use entente_tests::peers::clock::{PATIENCE, wait_for};
use entente_tests::peers::kamailio::Carrier;
use entente_tests::peers::ports::free_port;
use entente_tests::peers::sipp::{Conversation, Request};
use entente_tests::peers::{Baresip, Entente, Folder, Kamailio, Prosody, Sipp, XmppClient, XmppServer};

/// The XMPP domain.
pub(crate) const XMPP: &str = "xmpp.example";
/// The SIP domain, which is the component.
pub(crate) const SIP: &str = "sip.example";
/// How long an answer may take: the answer window of the gateway and its timers, and a busy machine.
pub(crate) const ANSWER: Duration = Duration::from_secs(15);

const SECRET: &str = "a secret of the component";
const CONFIG: &str = include_str!("servers/entente.toml");
const XMPP_USERS: [&str; 2] = ["juliet", "romeo"];
const SIP_USERS: [&str; 3] = ["alice", "bob", "carol"];

/// Everything between a user here and a user there.
pub(crate) struct Lab<S> {
    pub(crate) entente: Entente,
    pub(crate) server: S,
    pub(crate) kamailio: Kamailio,
    pub(crate) folder: Folder,
    /// Where the gateway listens for SIP.
    pub(crate) sip_port: u16,
}

impl Lab<Prosody> {
    /// Starts it with Prosody and waits until the component stands.
    pub(crate) fn start(name: &str) -> Self {
        Self::start_with(name)
    }
}

impl<S: XmppServer> Lab<S> {
    /// Starts it with any server and waits until the component stands.
    pub(crate) fn start_with(name: &str) -> Self {
        let folder = Folder::new(name);
        let sip_port = free_port();
        let server = S::start(&folder, XMPP, SIP, SECRET, &XMPP_USERS);
        let kamailio = Kamailio::start(&folder, SIP, &SIP_USERS, sip_port, Carrier::Udp);
        let secret = folder.write("component-secret", SECRET);
        let config = CONFIG
            .replace("@XMPP_DOMAIN@", XMPP)
            .replace("@SIP_DOMAIN@", SIP)
            .replace("@COMPONENT_PORT@", &server.component_port().to_string())
            .replace("@SECRET_FILE@", &secret.display().to_string())
            .replace("@SIP_PORT@", &sip_port.to_string())
            .replace("@PROXY_PORT@", &kamailio.port.to_string());
        let entente = Entente::start(&folder, &config);
        let up = wait_for(PATIENCE, || {
            assert!(!entente.process().has_exited(), "the gateway has ended; its log follows");
            server.has_component().then_some(())
        });
        assert!(up.is_some(), "the gateway does not become a component");
        Self { entente, server, kamailio, folder, sip_port }
    }

    /// An XMPP user logs in.
    pub(crate) fn xmpp_user(&self, user: &str) -> XmppClient {
        XmppClient::login(&self.folder, self.server.c2s_port(), user, XMPP, "phone")
    }

    /// A SIP user's phone registers; it knows everybody of this file.
    pub(crate) fn phone(&self, user: &str) -> Baresip {
        let contacts: Vec<String> = XMPP_USERS.iter().map(|name| format!("sip:{name}@{XMPP}")).collect();
        let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
        Baresip::start(&self.folder, &format!("sip:{user}@{SIP}"), self.kamailio.port, &contacts)
    }

    /// Alice sends a text by SIPp, through Kamailio, and gets this status.
    pub(crate) fn alice_sends(&self, to: &str, content_type: &str, body: &str, status: u16) -> Conversation {
        let request = Request {
            method: "MESSAGE",
            to,
            from: &format!("sip:alice@{SIP}"),
            more: &[],
            content_type: Some(content_type),
            body,
        };
        Sipp::send(&self.folder, self.kamailio.port, Carrier::Udp, &request, status)
    }
}
