//! What holds for every address: the way there and back is the identity, and no two users share one.

use cpim::{DomainPattern, ImUri, Presentation, Presentations, Rule, fold_case};
use proptest::prelude::*;
use sip::wire::uri::Uri;
use sip_connector::translate::address::{Party, Rules};
use sip_connector::{NumberForm, Numbers};
use xmpp::jid::JidParts;
use xmpp_connector::translate::address as xmpp_address;

const RULES: [Rule; 3] = [Rule::Same, Rule::Map, Rule::Encode];
const FORMS: [NumberForm; 3] = [NumberForm::Plain, NumberForm::Phone, NumberForm::Tel];

/// `home` and all domains of the other table shown by a rule under `gw`.
fn table(home: &str, rule: Rule, gw: &str) -> Presentations {
    let home = DomainPattern::Exactly(cpim::canonical_domain(home).expect("a domain").into());
    let shown_as = if rule == Rule::Same { "" } else { gw };
    Presentations::new(vec![Presentation { home, shown_as: shown_as.into(), rule }])
}

/// The SIP URI of a JID as people on SIP see it.
fn jid_to_sip(jid: &str, rules: &Rules, xmpp: &Presentations) -> Option<String> {
    let address = xmpp_address::to_cpim(&JidParts::parse_stamped(jid).ok()?, xmpp).ok()?;
    let mut uri = Vec::new();
    rules.write_foreign(&address, &mut uri).ok()?;
    Some(String::from_utf8(uri).expect("a URI is ASCII"))
}

/// The JID behind a SIP URI that people on SIP write to.
fn sip_to_jid(uri: &str, rules: &Rules) -> Option<String> {
    let address = rules.to_cpim(&Uri::parse(uri.as_bytes()).expect("a URI"), Party::Foreign).ok()?;
    let mut jid = Vec::new();
    xmpp_address::write_native(&address, &mut jid).ok()?;
    Some(String::from_utf8(jid).expect("UTF-8"))
}

/// The JID of a SIP user as people on XMPP see it.
fn user_to_jid(user: &str, domain: &str, xmpp: &Presentations) -> Option<String> {
    let address = ImUri::from_parts(user.into(), domain.into()).ok()?;
    let mut jid = Vec::new();
    xmpp_address::write_presented(&address, xmpp, &mut jid).ok()?;
    Some(String::from_utf8(jid).expect("UTF-8"))
}

/// The SIP user behind a JID that people on XMPP write to.
fn jid_to_user(jid: &str, xmpp: &Presentations) -> ImUri<'static> {
    let parsed = JidParts::parse(jid).unwrap_or_else(|error| panic!("{jid}: {error}"));
    xmpp_address::to_cpim(&parsed, xmpp).unwrap_or_else(|error| panic!("{jid}: {error}")).into_owned()
}

/// Localparts of all kinds: legal by RFC 7622, by RFC 6122 only, escaped, half escaped, numbers.
fn localparts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9._+-]{1,16}",
        "([a-z]|\\\\|\\\\5c|\\\\20|\\\\2[0-9a-f]|\\\\3[a-f]|\\\\40|\\\\){1,12}",
        "[\u{df}\u{e0}-\u{17f}\u{3b1}-\u{3c9}\u{430}-\u{44f}\u{5d0}-\u{5ea}\u{627}-\u{64a}\u{e01}-\u{e2e}\u{3041}-\u{3096}\
         \u{4e00}-\u{4fff}\u{ac00}-\u{d7a3}]{1,12}",
        "[\u{2600}-\u{26ff}\u{1f600}-\u{1f64f}a-z]{1,8}",
        "[+]?[0-9*#]{1,8}(;phone-context=[+]?[a-z0-9.]{1,6})?",
        "[^@/\\p{Cc}]{1,16}",
        Just("\u{3c0}".repeat(511) + "x"),
    ]
}

/// User parts of all kinds, as octets of a URI could spell them.
fn user_parts() -> impl Strategy<Value = String> {
    prop_oneof![
        localparts(),
        "[ -~]{1,16}",
        "([a-zA-Z]|\\\\|\\\\5[cC]|\\\\2[0-9a-fA-F]|[ @\"&'/:<>]){1,12}",
        "[\u{c0}-\u{17f}\u{300}-\u{304}\u{391}-\u{3c9}\u{410}-\u{44f}\u{ff21}-\u{ff5a}\u{200b}-\u{200e}\u{2160}-\u{217f}a-z]{1,8}",
        "\\PC{1,16}",
    ]
}

proptest! {
    #[test]
    fn from_xmpp_to_sip_and_back_every_jid_is_the_same(
        local in localparts(), domain in "xmpp\\.example|b\u{fc}cher\\.example|\\[2001:db8::1\\]|\u{2665}\\.example"
    ) {
        let text = format!("{local}@{domain}");
        if let Ok(jid) = JidParts::parse_stamped(&text) {
            let jid = jid.to_string();
            for (rule, form) in RULES.iter().flat_map(|rule| FORMS.map(|form| (*rule, form))) {
                let numbers = Numbers { domain: cpim::canonical_domain(&domain).expect("a domain").into(), form };
                let presentations = table(&domain, rule, "gw.sip.example");
                let rules = Rules { presentations, foreign_numbers: Some(numbers), ..Rules::default() };
                let uri = jid_to_sip(&jid, &rules, &Presentations::default()).expect("every JID has a URI");
                prop_assert!(uri.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"".contains(&b)), "{}", uri);
                prop_assert_eq!(sip_to_jid(&uri, &rules), Some(jid.clone()), "{}", uri);
            }
        }
    }

    #[test]
    fn from_sip_to_xmpp_and_back_only_case_is_lost(
        user in user_parts(), domain in "sip\\.example|b\u{fc}cher\\.example|\\[2001:db8::1\\]"
    ) {
        for rule in RULES {
            let xmpp = table(&domain, rule, "gw.xmpp.example");
            let Some(jid) = user_to_jid(&user, &domain, &xmpp) else { continue };
            prop_assert!(!jid.contains("xn--") || user.contains("xn--"), "{}", jid);
            let back = jid_to_user(&jid, &xmpp);
            prop_assert_eq!(back.local(), fold_case(&user));
            prop_assert_eq!(back.domain(), &*cpim::canonical_domain(&domain).expect("a domain"));
        }
    }

    #[test]
    fn two_users_of_sip_never_share_a_jid(one in user_parts(), two in user_parts(), mix in 0usize..8) {
        // What looks alike, or would be folded alike by some other rule.
        let two = match mix {
            0 => one.chars().map(|c| if c.is_ascii_lowercase() { char::from_u32(c as u32 + 0xfee0).unwrap_or(c) } else { c }).collect(),
            1 => one.replace('e', "e\u{301}"),
            2 => one.replace('a', "\u{430}"),
            3 => format!("{one}\u{200d}"),
            4 => one.replace('\\', "\\5c"),
            5 => one.replace("ss", "\u{df}"),
            6 => format!("{one} "),
            _ => two,
        };
        for rule in RULES {
            let xmpp = table("sip.example", rule, "gw.xmpp.example");
            if let (Some(first), Some(second)) = (user_to_jid(&one, "sip.example", &xmpp), user_to_jid(&two, "sip.example", &xmpp)) {
                prop_assert_eq!(first == second, fold_case(&one) == fold_case(&two), "{:?} {:?}", one, two);
            }
        }
    }

    #[test]
    fn two_jids_never_share_a_uri(one in localparts(), two in localparts(), same_end in any::<bool>()) {
        let two = if same_end { format!("\\5c{one}") } else { two };
        let jids = [&one, &two].map(|local| JidParts::parse_stamped(&format!("{local}@xmpp.example")).map(|jid| jid.to_string()).ok());
        if let [Some(one), Some(two)] = jids {
            for rule in RULES {
                let rules = Rules { presentations: table("xmpp.example", rule, "gw.sip.example"), ..Rules::default() };
                let uris = [&one, &two].map(|jid| jid_to_sip(jid, &rules, &Presentations::default()));
                prop_assert_eq!(uris[0] == uris[1], one == two, "{:?}", uris);
            }
        }
    }
}
