//! Real peers as child processes: Prosody, ejabberd, Kamailio, SIPp, slixmpp, profanity, baresip, linphone, finch, each unmodified from Debian 12, and the gateway between them.
//!
//! Every peer listens on loopback ports that were free a moment before, keeps everything in a temporary folder, and ends with
//! the value that started it. A test that fails prints the end of every log and keeps the folder. A program that is not
//! installed is a failure that names its package, never a skipped test.
//!
//! This is the one part of the tests that waits for real time to pass; [`clock`] is the only file that does.
//! Everything here panics on failure: it is called by tests, and a panic is how a test fails.

pub mod baresip;
pub mod clock;
pub mod ejabberd;
pub mod entente;
pub mod finch;
pub mod folder;
pub mod kamailio;
pub mod linphone;
pub mod process;
pub mod profanity;
pub mod prosody;
pub mod sandbox;
pub mod sipp;
pub mod sipwire;
pub mod terminal;
pub mod xmpp_client;
pub mod xmpp_server;

pub use baresip::Baresip;
pub use ejabberd::Ejabberd;
pub use entente::Entente;
pub use finch::Finch;
pub use folder::Folder;
pub use kamailio::Kamailio;
pub use linphone::Linphone;
pub use profanity::Profanity;
pub use prosody::Prosody;
pub use sandbox::Sandbox;
pub use sipp::Sipp;
pub use xmpp_client::XmppClient;
pub use xmpp_server::XmppServer;
