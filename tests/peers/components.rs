//! The gateway as its XMPP users see it: several components, and what they answer.

use std::time::Duration;

use entente_tests::peers::{Baresip, Ejabberd, Prosody, XmppServer};

use crate::lab::{ANSWER, Extras, Lab, SIP, with_each_server};

const PBX: &str = "pbx.example";

#[test]
fn two_components_of_prosody_stand_side_by_side() {
    two_components(&Lab::<Prosody>::start_with("two", Extras { domains: &[PBX], ..Extras::default() }));
}

#[test]
fn two_components_of_ejabberd_stand_side_by_side() {
    two_components(&Lab::<Ejabberd>::start_with("two", Extras { domains: &[PBX], ..Extras::default() }));
}

fn two_components(lab: &Lab<impl XmppServer>) {
    let mut romeo = lab.xmpp_user("romeo");
    let mut bob = lab.phone("bob");
    let mut nurse =
        Baresip::start(&lab.folder, &format!("sip:nurse@{PBX}"), lab.kamailio.port, &["sip:romeo@xmpp.example"]);
    for round in 0..3 {
        for (phone, domain) in [(&mut bob, SIP), (&mut nurse, PBX)] {
            let text = format!("{round} from {domain}");
            phone.send("sip:romeo@xmpp.example", &text);
            let got = romeo.expect_message();
            assert_eq!(got.body.as_deref(), Some(&*text));
            assert_eq!(phone.aor.strip_prefix("sip:"), Some(&*got.from));
            assert_eq!(phone.expect_answer(ANSWER).status(), Some(202));
            romeo.send(&got.from, &text, &text);
            assert_eq!(phone.expect_message().body(), text);
        }
    }
    for (to, id) in [("somebody@sip.example", "one"), ("somebody@pbx.example", "two")] {
        romeo.send(to, id, "who are you");
        let error = romeo.expect_error(id, ANSWER);
        assert_eq!((error.from.as_str(), error.error.expect("it says what").1.as_str()), (to, "item-not-found"));
    }
    romeo.expect_nothing(Duration::from_millis(500));
}

with_each_server! {
    /// What clients are known to ask a gateway and its users, each with an answer.
    #[test]
    fn every_request_is_answered(lab: Lab<_>) {
        let mut romeo = lab.xmpp_user("romeo");
        let payloads = [
            "<query xmlns='http://jabber.org/protocol/disco#info'/>",
            "<query xmlns='http://jabber.org/protocol/disco#items'/>",
            "<ping xmlns='urn:xmpp:ping'/>",
            "<query xmlns='jabber:iq:version'/>",
            "<query xmlns='jabber:iq:last'/>",
            "<vCard xmlns='vcard-temp'/>",
            "<query xmlns='jabber:iq:gateway'/>",
            "<query xmlns='jabber:iq:register'/>",
            "<query queryid='q' xmlns='urn:xmpp:mam:2'/>",
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:avatar:metadata'/></pubsub>",
            "<query xmlns='jabber:iq:search'/>",
            "<time xmlns='urn:xmpp:time'/>",
        ];
        let answers = |romeo: &mut entente_tests::peers::XmppClient, to: &str| {
            let ask = |(at, payload): (usize, &&str)| romeo.ask(to, &format!("{to}-{at}"), "get", payload);
            payloads.iter().enumerate().map(ask).collect::<Vec<_>>()
        };
        let told: Vec<bool> = answers(&mut romeo, SIP).iter().map(Result::is_ok).collect();
        assert_eq!(told, [true, true, true, true, true, false, true, false, false, false, false, true]);
        let unavailable = Err("service-unavailable".to_owned());
        for user in ["bob@sip.example", "nobody@sip.example"] {
            let of_user = answers(&mut romeo, user);
            assert!(of_user[1].is_ok(), "{:?}", of_user[1]);
            assert_eq!(of_user[4], Err("forbidden".to_owned()));
            for (at, answer) in of_user.iter().enumerate().filter(|(at, _)| ![1, 4].contains(at)) {
                assert_eq!(*answer, unavailable, "{}", payloads[at]);
            }
        }

        let prompt = "<query xmlns='jabber:iq:gateway'><prompt>sip:bob@sip.example</prompt></query>";
        let jid = romeo.ask(SIP, "prompt", "set", prompt).expect("an address");
        assert!(jid.contains(">bob@sip.example<"), "{jid}");
        romeo.expect_nothing(Duration::from_millis(200));
    }
}
