//! What the tests want of any XMPP server.

use super::ejabberd::Ejabberd;
use super::folder::Folder;
use super::prosody::Prosody;

/// A server with one domain and one place for a component.
pub trait XmppServer {
    /// Starts it for `domain` with these accounts, and a component `component` that must know `secret`.
    fn start(folder: &Folder, domain: &str, component: &str, secret: &str, users: &[&str]) -> Self;
    /// Where clients connect.
    fn c2s_port(&self) -> u16;
    /// Where the component connects.
    fn component_port(&self) -> u16;
    /// Whether the component has shown that it knows the secret.
    fn has_component(&self) -> bool;
}

impl XmppServer for Prosody {
    fn start(folder: &Folder, domain: &str, component: &str, secret: &str, users: &[&str]) -> Self {
        Prosody::start(folder, domain, component, secret, users)
    }

    fn c2s_port(&self) -> u16 {
        self.c2s_port
    }

    fn component_port(&self) -> u16 {
        self.component_port
    }

    fn has_component(&self) -> bool {
        self.log().contains(super::prosody::COMPONENT_IS_UP)
    }
}

impl XmppServer for Ejabberd {
    fn start(folder: &Folder, domain: &str, component: &str, secret: &str, users: &[&str]) -> Self {
        Ejabberd::start(folder, domain, component, secret, users)
    }

    fn c2s_port(&self) -> u16 {
        self.c2s_port
    }

    fn component_port(&self) -> u16 {
        self.component_port
    }

    fn has_component(&self) -> bool {
        self.log().contains(super::ejabberd::COMPONENT_IS_UP)
    }
}
