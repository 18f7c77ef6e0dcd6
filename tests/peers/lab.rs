//! The gateway where its operators have it: a component of Prosody or ejabberd for the SIP domain, and Kamailio's next hop for everything
//! that is not its own.
//!
//! ```text
//! romeo, juliet (slixmpp) - the server - entente - Kamailio - bob, carol (baresip, SIPp)
//!        xmpp.example        XEP-0114              sip.example
//! ```

use std::time::Duration;

use entente_tests::peers::clock::{PATIENCE, wait_for};
use entente_tests::peers::kamailio::{Carrier, Challenge};
use entente_tests::peers::sipp::{Conversation, Request};
use entente_tests::peers::{Baresip, Entente, Folder, Kamailio, Sipp, XmppClient, XmppServer};
use entente_tests::ports::free_port;

/// The XMPP domain.
pub(crate) const XMPP: &str = "xmpp.example";
/// The SIP domain, which is the component.
pub(crate) const SIP: &str = "sip.example";
/// How long an answer may take: the answer window of the gateway and its timers, and a busy machine.
pub(crate) const ANSWER: Duration = PATIENCE;

const SECRET: &str = "a secret of the component";
const CONFIG: &str = include_str!("servers/entente.toml");
const COMPONENT: &str = include_str!("servers/component.toml");
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
    /// Its configuration, to start it again.
    config: String,
    /// Its SIP domains.
    domains: Vec<String>,
}

/// What a lab has beyond one component and its defaults.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras<'e> {
    /// SIP domains that are components too.
    pub(crate) domains: &'e [&'e str],
    /// Lines of the gateway's [sip].
    pub(crate) sip: &'e str,
    /// More of the gateway's configuration.
    pub(crate) config: &'e str,
    /// What Kamailio wants to know from the gateway.
    pub(crate) challenge: Option<Challenge<'e>>,
}

impl<S: XmppServer> Lab<S> {
    /// Starts it and waits until the component stands.
    pub(crate) fn start(name: &str) -> Self {
        Self::start_with(name, Extras::default())
    }

    /// The same with more than usual.
    pub(crate) fn start_with(name: &str, extras: Extras<'_>) -> Self {
        // Sockets have short names.
        let folder = Folder::new(&format!("{}-{}", S::NAME, name.get(..24).unwrap_or(name)));
        let sip_port = free_port();
        let domains = [&[SIP], extras.domains].concat();
        let server = S::start(&folder, XMPP, &domains, SECRET, &XMPP_USERS);
        let kamailio =
            Kamailio::start_challenging(&folder, &domains, &SIP_USERS, sip_port, Carrier::Udp, extras.challenge);
        let secret = folder.write("component-secret", SECRET);
        let fill = |text: &str, domain: &str| {
            text.replace("@XMPP_DOMAIN@", XMPP)
                .replace("@SIP_DOMAIN@", domain)
                .replace("@COMPONENT_PORT@", &server.component_port().to_string())
                .replace("@SECRET_FILE@", &secret.display().to_string())
                .replace("@SIP_PORT@", &sip_port.to_string())
                .replace("@PROXY_PORT@", &kamailio.port.to_string())
        };
        let more: String = extras.domains.iter().map(|domain| fill(COMPONENT, domain)).collect();
        let own = fill(CONFIG, SIP).replace("[sip]\n", &format!("[sip]\n{}", extras.sip));
        let config = format!("{own}{}{more}{}", fill(COMPONENT, SIP), extras.config);
        let entente = Entente::start(&folder, &config);
        let names = domains.iter().map(|&domain| domain.to_owned()).collect();
        let lab = Self { entente, server, kamailio, folder, sip_port, config, domains: names };
        lab.wait_for_components(domains.len());
        lab
    }

    /// Waits until so many components have shown since the server's last start that they know the secret, and the gateway
    /// knows it.
    pub(crate) fn wait_for_components(&self, wanted: usize) {
        let up = wait_for(PATIENCE, || {
            assert!(!self.entente.process().has_exited(), "the gateway has ended; its log follows");
            let stands = |domain: &String| self.entente.is_component(domain);
            (self.server.components() >= wanted && self.domains.iter().all(stands)).then_some(())
        });
        assert!(up.is_some(), "the gateway does not become a component of {}", S::NAME);
    }

    /// Starts the gateway again, once it has ended, and waits until its component stands.
    pub(crate) fn restart_entente(&mut self) {
        let before = self.server.components();
        self.entente = Entente::start(&self.folder, &self.config);
        self.wait_for_components(before + 1);
    }

    /// An XMPP user logs in.
    pub(crate) fn xmpp_user(&self, user: &str) -> XmppClient {
        XmppClient::login(&self.folder, self.server.c2s_port(), user, XMPP, "phone")
    }

    /// A SIP user's phone registers; it knows everybody of this file, and their devices.
    pub(crate) fn phone(&self, user: &str) -> Baresip {
        let devices = XMPP_USERS.iter().flat_map(|name| ["", ";gr=phone"].map(|gr| format!("sip:{name}@{XMPP}{gr}")));
        let contacts: Vec<String> = devices.collect();
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

/// Tests that hold with each XMPP server: `name` is run as `prosody::name` and as `ejabberd::name`.
macro_rules! with_each_server {
    ($($(#[doc = $doc:literal])* #[test] fn $name:ident($lab:ident: Lab<_>) $body:block)*) => {
        $(
            $(#[doc = $doc])*
            #[allow(unused_mut, reason = "some tests stop what others only look at")]
            fn $name<S: entente_tests::peers::XmppServer>(mut $lab: crate::lab::Lab<S>) $body
        )*

        mod prosody {
            $(#[test] fn $name() { super::$name(crate::lab::Lab::<entente_tests::peers::Prosody>::start(stringify!($name))); })*
        }

        mod ejabberd {
            $(#[test] fn $name() { super::$name(crate::lab::Lab::<entente_tests::peers::Ejabberd>::start(stringify!($name))); })*
        }
    };
}

pub(crate) use with_each_server;
