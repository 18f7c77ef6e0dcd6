//! What the tests want of any XMPP server.

use super::ejabberd::Ejabberd;
use super::folder::Folder;
use super::process::Process;
use super::prosody::Prosody;

/// A server with one domain and places for components.
pub trait XmppServer {
    /// Its name, for people and for what only one of them does.
    const NAME: &'static str;

    /// What it logs when a component has closed its stream in order.
    const COMPONENT_SAYS_GOODBYE: &'static str;

    /// Starts it for `domain` with these accounts, and components that must know `secret`.
    fn start(folder: &Folder, domain: &str, components: &[&str], secret: &str, users: &[&str]) -> Self;
    /// Where clients connect.
    fn c2s_port(&self) -> u16;
    /// Where components connect.
    fn component_port(&self) -> u16;
    /// How many times components have shown that they know the secret since its last start.
    fn components(&self) -> usize;
    /// All it has logged since its last start.
    fn log(&self) -> String;
    /// The process, for signals.
    fn process(&self) -> &Process;
    /// Ends it as an operator would.
    fn stop(&mut self);
    /// Starts it again after [`XmppServer::stop`], with the same ports, accounts and stored messages.
    fn restart(&mut self);
}

impl XmppServer for Prosody {
    const NAME: &'static str = "prosody";
    const COMPONENT_SAYS_GOODBYE: &'static str = "component disconnected: sip.example";

    fn start(folder: &Folder, domain: &str, components: &[&str], secret: &str, users: &[&str]) -> Self {
        Prosody::start(folder, domain, components, secret, users)
    }

    fn c2s_port(&self) -> u16 {
        self.c2s_port
    }

    fn component_port(&self) -> u16 {
        self.component_port
    }

    fn components(&self) -> usize {
        self.log().matches(super::prosody::COMPONENT_IS_UP).count()
    }

    fn log(&self) -> String {
        Prosody::log(self)
    }

    fn process(&self) -> &Process {
        Prosody::process(self)
    }

    fn stop(&mut self) {
        Prosody::stop(self);
    }

    fn restart(&mut self) {
        Prosody::restart(self);
    }
}

impl XmppServer for Ejabberd {
    const NAME: &'static str = "ejabberd";
    const COMPONENT_SAYS_GOODBYE: &'static str = "Route unregistered: sip.example";

    fn start(folder: &Folder, domain: &str, components: &[&str], secret: &str, users: &[&str]) -> Self {
        Ejabberd::start(folder, domain, components, secret, users)
    }

    fn c2s_port(&self) -> u16 {
        self.c2s_port
    }

    fn component_port(&self) -> u16 {
        self.component_port
    }

    fn components(&self) -> usize {
        self.log().matches(super::ejabberd::COMPONENT_IS_UP).count()
    }

    fn log(&self) -> String {
        Ejabberd::log(self)
    }

    fn process(&self) -> &Process {
        Ejabberd::process(self)
    }

    fn stop(&mut self) {
        Ejabberd::stop(self);
    }

    fn restart(&mut self) {
        Ejabberd::restart(self);
    }
}
