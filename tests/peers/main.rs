//! The gateway between real servers and clients. Run by `./test`, which also installs them; see `tests/src/peers`.

mod challenges;
mod components;
mod hostile_senders;
mod lab;
mod peers_alone;
mod recipes;
mod redirections;
mod sandbox_guests;
mod sip_sender_is_told;
mod smime;
mod start_and_end;
mod texts_cross;
mod xmpp_sender_is_told;
