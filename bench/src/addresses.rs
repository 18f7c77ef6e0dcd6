//! Who writes to whom: the two addresses of a pair as each side must see them.
//!
//! A gateway has its own way of writing a foreign address, so every address is a template: `{sip}` is the SIP user of the
//! pair, `{xmpp}` its XMPP user, `{n}` its number.

use crate::options::{AddressOptions, Options};

/// One direction's addresses, by pair.
pub(crate) struct Addresses {
    /// Written by the sending end: From URI or `from`, Request-URI or `to`.
    pub(crate) sends_from: Vec<Vec<u8>>,
    pub(crate) sends_to: Vec<Vec<u8>>,
    /// What must come out; empty when it is not to be checked.
    pub(crate) gets_from: Vec<Vec<u8>>,
    pub(crate) gets_to: Vec<Vec<u8>>,
}

impl Addresses {
    pub(crate) fn sip_to_xmpp(options: &Options) -> Self {
        let AddressOptions { sip_sends_from, sip_sends_to, xmpp_gets_from, xmpp_gets_to, .. } = &options.addresses;
        Self::new(options.pairs, sip_sends_from, sip_sends_to, xmpp_gets_from, xmpp_gets_to)
    }

    pub(crate) fn xmpp_to_sip(options: &Options) -> Self {
        let AddressOptions { xmpp_sends_from, xmpp_sends_to, sip_gets_from, sip_gets_to, .. } = &options.addresses;
        Self::new(options.pairs, xmpp_sends_from, xmpp_sends_to, sip_gets_from, sip_gets_to)
    }

    fn new(pairs: u32, sends_from: &str, sends_to: &str, gets_from: &str, gets_to: &str) -> Self {
        let all = |template: &str| (0..pairs).map(|pair| expand(template, pair).into_bytes()).collect::<Vec<_>>();
        let checked = |template: &str| if template == "-" { Vec::new() } else { all(template) };
        Self {
            sends_from: all(sends_from),
            sends_to: all(sends_to),
            gets_from: checked(gets_from),
            gets_to: checked(gets_to),
        }
    }

    /// Whether both addresses are those of the pair. What follows one of `tails` (a resource, URI parameters) is not compared.
    pub(crate) fn are_right(&self, pair: u32, from: &[u8], to: &[u8], tails: &[u8]) -> bool {
        let right = |expected: &[Vec<u8>], got: &[u8]| match expected.get(pair as usize) {
            None => true,
            Some(expected) => {
                got.strip_prefix(&expected[..]).is_some_and(|tail| tail.first().is_none_or(|next| tails.contains(next)))
            }
        };
        right(&self.gets_from, from) && right(&self.gets_to, to)
    }
}

fn expand(template: &str, pair: u32) -> String {
    template
        .replace("{sip}", &format!("s{pair:06}"))
        .replace("{xmpp}", &format!("x{pair:06}"))
        .replace("{n}", &pair.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_name_the_pair_and_tails_are_left_aside() {
        let addresses = Addresses::new(20, "a", "b", "sip:{xmpp}*x.test@gw.test", "{sip}@sip.test");
        let right = |from: &str, to: &str| addresses.are_right(17, from.as_bytes(), to.as_bytes(), b"/;");
        assert!(right("sip:x000017*x.test@gw.test", "s000017@sip.test"));
        assert!(right("sip:x000017*x.test@gw.test;gr=home", "s000017@sip.test/home"));
        assert!(!right("sip:x000016*x.test@gw.test", "s000017@sip.test"));
        assert!(!right("sip:x000017*x.test@gw.test", "s000017@sip.test.evil"));
        assert!(!right("sip:x000017*x.test@gw.test", ""));
    }

    #[test]
    fn a_dash_switches_the_check_off() {
        assert!(Addresses::new(1, "a", "b", "-", "-").are_right(0, b"any", b"thing", b""));
    }
}
