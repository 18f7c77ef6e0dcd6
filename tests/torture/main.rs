//! Hostile and broken input on both sides of the real engine, and what everybody else notices of it: nothing.
//!
//! Each input gets the answer that its table names, or silence. After each, other users write to each other in both
//! directions, and at the end nothing is left in any table.

mod floods;
mod others;
mod rfc;
mod sip_side;
mod stories;
mod table;
mod xmpp_side;
