//! One behaviour per file, named by what the user sees, on the simulated network with virtual time.

mod addresses;
mod barrier;
mod book;
mod configuration;
mod content;
mod evidence;
mod forged_senders;
mod gateway_prompt;
mod house;
mod late_failures;
mod link;
mod next_hop;
mod private_places;
mod queues;
mod reconfigure;
mod redirections;
mod repeats;
mod requests_to_sip;
mod routes;
mod several_components;
mod sip_over_tcp;
mod sip_requests;
mod tables;
mod texts;
mod xmpp_stanzas;
mod xmpp_streams;
