//! The domain, driven with octets by scripted clients and components.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::time::Duration;
use turn::{Action, CloseCause};

const CLIENTS: SocketId = SocketId(0);
const COMPONENTS: SocketId = SocketId(1);
const HEADER: &str = "<?xml version='1.0'?><stream:stream to='xmpp.example' version='1.0' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// The domain and everybody connected to it.
struct World {
    domain: XmppDomain,
    now: Instant,
    /// What each peer has been sent and not yet looked at, and what of it is not consumed by the domain.
    peers: BTreeMap<&'static str, (StreamId, String, Vec<u8>)>,
    closed: Vec<StreamId>,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new("xmpp.example");
        settings.clients = vec![CLIENTS];
        settings.components = vec![COMPONENTS];
        settings.secrets = vec![("sip.example".into(), "hidden".into()), ("other.example".into(), "hidden".into())];
        change(&mut settings);
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        // 2026-11-20T19:29:42Z
        let mut domain = XmppDomain::new(settings, Minter::new([5; 16]), (now, 1_795_202_982));
        for (user, password) in [("juliet", "balcony"), ("romeo", "montague"), ("nurse", "angelica")] {
            domain.add_user(user, password).unwrap();
        }
        Self { domain, now, peers: BTreeMap::new(), closed: Vec::new() }
    }

    fn connect(&mut self, name: &'static str, listener: SocketId) {
        let stream = self.domain.output().open();
        let peer = ([127, 0, 0, 1], 40_000).into();
        self.domain.handle_input(self.now, Input::Accepted { stream, listener, peer });
        self.peers.insert(name, (stream, String::new(), Vec::new()));
    }

    fn turn(&mut self) {
        self.domain.handle_timeout(self.now);
        let output = self.domain.output();
        let mut closing = Vec::new();
        while let Some(action) = output.poll_action() {
            match action {
                Action::Write { stream } => {
                    let unsent = output.unsent(stream).to_vec();
                    output.sent(stream, unsent.len());
                    let text = String::from_utf8(unsent).unwrap();
                    for (own, heard, _) in self.peers.values_mut() {
                        if *own == stream {
                            heard.push_str(&text);
                        }
                    }
                }
                Action::Close { stream } => closing.push(stream),
                other => panic!("{other:?}"),
            }
        }
        output.end_turn();
        for stream in closing {
            self.closed.push(stream);
            self.domain.handle_input(self.now, Input::Closed { stream, cause: CloseCause::Ours });
            self.domain.output().forget(stream);
        }
    }

    /// A peer says something; gives what it hears.
    fn say(&mut self, name: &str, text: &str) -> String {
        let (stream, _, waiting) = self.peers.get_mut(name).unwrap();
        let stream = *stream;
        let mut data = std::mem::take(waiting);
        data.extend_from_slice(text.as_bytes());
        let consumed = self.domain.handle_input(self.now, Input::Received { stream, data: &data });
        self.peers.get_mut(name).unwrap().2 = data[consumed..].to_vec();
        self.turn();
        self.hear(name)
    }

    fn hear(&mut self, name: &str) -> String {
        std::mem::take(&mut self.peers.get_mut(name).unwrap().1)
    }

    fn drop_connection(&mut self, name: &str) {
        let (stream, ..) = self.peers.remove(name).unwrap();
        self.domain.handle_input(self.now, Input::Closed { stream, cause: CloseCause::Peer });
        self.domain.output().forget(stream);
        self.turn();
    }

    fn is_closed(&self, name: &str) -> bool {
        self.closed.contains(&self.peers[name].0)
    }

    fn login(&mut self, name: &'static str, user: &str, password: &str, resource: &str) {
        self.connect(name, CLIENTS);
        self.say(name, HEADER);
        let bare = format!("n={user},r=abcdef");
        let first = BASE64.encode(format!("n,,{bare}"));
        let sasl = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'";
        let challenge = self.say(name, &format!("<auth {sasl} mechanism='SCRAM-SHA-256'>{first}</auth>"));
        let challenge = BASE64.decode(challenge.split(['>', '<']).nth(2).unwrap()).unwrap();
        let challenge = String::from_utf8(challenge).unwrap();
        let answer = BASE64.encode(scram_answer(password, &bare, &challenge));
        let success = self.say(name, &format!("<response {sasl}>{answer}</response>"));
        assert!(success.starts_with("<success"), "{success}");
        self.say(name, HEADER);
        let bound = self.say(
            name,
            &format!(
                "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>"
            ),
        );
        assert!(bound.contains("<jid>"), "{bound}");
    }

    /// Logged in, roster fetched, available.
    fn come(&mut self, name: &'static str, user: &str, password: &str) {
        self.login(name, user, password, name);
        self.say(name, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
        self.say(name, "<presence/>");
    }

    fn attach(&mut self, name: &'static str, domain: &str) -> String {
        self.connect(name, COMPONENTS);
        let header = self.say(
            name,
            &format!(
                "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='{domain}'>"
            ),
        );
        let id = header.split(" id='").nth(1).unwrap().split('\'').next().unwrap();
        let digest: String = Sha1::digest(format!("{id}hidden")).iter().map(|octet| format!("{octet:02x}")).collect();
        self.say(name, &format!("<handshake>{digest}</handshake>"))
    }
}

fn scram_answer(password: &str, bare: &str, challenge: &str) -> String {
    let hmac = |key: &[u8], text: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text);
        mac.finalize().into_bytes()
    };
    let parts: Vec<&str> = challenge.split(',').collect();
    let salt = BASE64.decode(&parts[1][2..]).unwrap();
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, parts[2][2..].parse().unwrap(), &mut salted);
    let key = hmac(&salted, b"Client Key");
    let without = format!("c=biws,{}", parts[0]);
    let signature = hmac(&Sha256::digest(key), format!("{bare},{challenge},{without}").as_bytes());
    let proof: Vec<u8> = key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    format!("{without},p={}", BASE64.encode(proof))
}

fn refused(kind: &str, from: &str, to: &str, id: &str, error: &str, condition: &str) -> String {
    format!(
        "<{kind} from='{from}' to='{to}' id='{id}' type='error'><error type='{error}'>\
         <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></{kind}>"
    )
}

#[test]
fn messages_between_two_users() {
    let mut world = World::new();
    world.come("balcony", "juliet", "balcony");
    world.come("garden", "romeo", "montague");
    assert_eq!(
        world.say(
            "balcony",
            "<message to='romeo@xmpp.example' type='chat' id='1' xml:lang='en'><body>Wherefore?</body></message>"
        ),
        ""
    );
    assert_eq!(
        world.hear("garden"),
        "<message from='juliet@xmpp.example/balcony' to='romeo@xmpp.example' type='chat' id='1' xml:lang='en'><body>Wherefore?</body></message>"
    );
    world.say(
        "garden",
        "<message to='juliet@xmpp.example/balcony' from='romeo@xmpp.example' id='2'><body>I</body></message>",
    );
    assert_eq!(
        world.hear("balcony"),
        "<message from='romeo@xmpp.example/garden' to='juliet@xmpp.example/balcony' id='2'><body>I</body></message>"
    );
}

/// RFC 6121 8.5.4, table 1.
#[test]
fn message_delivery_rules() {
    let unavailable =
        |to: &str| refused("message", to, "juliet@xmpp.example/balcony", "m", "cancel", "service-unavailable");
    // Priorities of romeo's resources; to; type -> who gets it, or E for a bounce, O for stored, S for silence.
    for (priorities, to, kind, expected) in [
        (&[][..], "nobody@xmpp.example", "chat", "E"),
        (&[], "nobody@xmpp.example/x", "normal", "E"),
        (&[], "nobody@xmpp.example", "error", "S"),
        (&[], "xmpp.example", "chat", "E"),
        (&[], "romeo@xmpp.example", "normal", "O"),
        (&[], "romeo@xmpp.example", "chat", "O"),
        (&[], "romeo@xmpp.example", "groupchat", "E"),
        (&[], "romeo@xmpp.example", "headline", "S"),
        (&[], "romeo@xmpp.example", "error", "S"),
        (&[], "romeo@xmpp.example/gone", "normal", "E"),
        (&[], "romeo@xmpp.example/gone", "chat", "O"),
        (&[], "romeo@xmpp.example/gone", "error", "S"),
        (&[-1], "romeo@xmpp.example", "chat", "O"),
        (&[-1], "romeo@xmpp.example", "headline", "S"),
        (&[-1], "romeo@xmpp.example/r0", "chat", "0"),
        (&[-1], "romeo@xmpp.example/r0", "error", "0"),
        (&[1], "romeo@xmpp.example", "normal", "0"),
        (&[1], "romeo@xmpp.example", "groupchat", "E"),
        (&[1], "romeo@xmpp.example", "error", "S"),
        (&[1], "romeo@xmpp.example/gone", "chat", "0"),
        (&[1], "romeo@xmpp.example/gone", "headline", "E"),
        (&[1, 5, 5, -1], "romeo@xmpp.example", "chat", "12"),
        (&[1, 5, 5, -1], "romeo@xmpp.example", "normal", "12"),
        (&[1, 5, 5, -1], "romeo@xmpp.example", "headline", "012"),
        (&[1, 5, 5, -1], "romeo@xmpp.example/r0", "chat", "0"),
        (&[1, 5, 5, -1], "romeo@xmpp.example/gone", "chat", "12"),
    ] {
        let mut world = World::new();
        world.come("balcony", "juliet", "balcony");
        let names = ["r0", "r1", "r2", "r3"];
        for (name, priority) in names.into_iter().zip(priorities) {
            world.login(name, "romeo", "montague", name);
            world.say(name, &format!("<presence><priority>{priority}</priority></presence>"));
        }
        for name in names.into_iter().take(priorities.len()) {
            world.hear(name);
        }
        let case = format!("{priorities:?} {to} {kind}");
        let answer = world.say("balcony", &format!("<message to='{to}' type='{kind}' id='m'><body>x</body></message>"));
        let got: String = names
            .into_iter()
            .take(priorities.len())
            .filter(|name| world.hear(name).contains("<body>x</body>"))
            .map(|name| &name[1..])
            .collect();
        let stored = world.domain.accounts.find("romeo").unwrap().offline.len();
        let outcome = match (&*answer, stored) {
            ("", 1) => format!("{got}O"),
            ("", 0) if got.is_empty() => "S".to_owned(),
            ("", 0) => got,
            (answer, 0) => {
                assert_eq!(answer, unavailable(to), "{case}");
                format!("{got}E")
            }
            _ => panic!("{case}: {answer}"),
        };
        assert_eq!(outcome, expected, "{case}");
    }
}

#[test]
fn offline_messages_come_with_their_moment_and_are_bounded() {
    let mut world = World::with(|settings| settings.offline = 2);
    world.come("balcony", "juliet", "balcony");
    world.now += Duration::from_secs(18);
    let message = "<message to='romeo@xmpp.example' type='chat' id='m'><body>x</body></message>";
    assert_eq!(world.say("balcony", message), "");
    assert_eq!(
        world.say("balcony", "<message to='romeo@xmpp.example' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"),
        ""
    );
    assert_eq!(world.say("balcony", message), "");
    assert!(world.say("balcony", message).contains("<service-unavailable"), "the third finds no room");
    world.login("garden", "romeo", "montague", "garden");
    assert_eq!(
        world.say("garden", "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>").matches("<message").count(),
        0
    );
    assert!(!world.say("garden", "<presence><priority>-1</priority></presence>").contains("<message"));
    let heard = world.say("garden", "<presence/>");
    let expected = "<message from='juliet@xmpp.example/balcony' to='romeo@xmpp.example' type='chat' id='m'><body>x</body>\
         <delay xmlns='urn:xmpp:delay' from='xmpp.example' stamp='2026-11-20T19:30:00Z'/></message>";
    assert_eq!(heard.matches(expected).count(), 2, "{heard}");
    assert!(!world.say("garden", "<presence/>").contains("<message"), "once");
}

#[test]
fn a_subscription_between_users_with_presence_in_both_directions() {
    let mut world = World::new();
    world.come("balcony", "juliet", "balcony");
    world.come("garden", "romeo", "montague");
    let heard = world.say("balcony", "<presence to='romeo@xmpp.example/garden' type='subscribe' id='s'/>");
    assert!(heard.contains("<item jid='romeo@xmpp.example' subscription='none' ask='subscribe'/>"), "{heard}");
    let request = "<presence from='juliet@xmpp.example' to='romeo@xmpp.example' type='subscribe' id='s'/>";
    assert_eq!(world.hear("garden"), request);
    // An unanswered request comes again with each initial presence.
    world.login("tomb", "romeo", "montague", "tomb");
    assert!(world.say("tomb", "<presence/>").contains(request));
    world.hear("garden");

    world.say("garden", "<presence><show>away</show></presence>");
    world.hear("tomb");
    let heard = world.say("garden", "<presence to='juliet@xmpp.example' type='subscribed'/>");
    assert!(heard.contains("<item jid='juliet@xmpp.example' subscription='from'/>"), "{heard}");
    let heard = world.hear("balcony");
    let order = [
        "<presence from='romeo@xmpp.example' to='juliet@xmpp.example' type='subscribed'/>",
        "<item jid='romeo@xmpp.example' subscription='to'/>",
        "<presence from='romeo@xmpp.example/garden' to='juliet@xmpp.example'><show>away</show></presence>",
        "<presence from='romeo@xmpp.example/tomb' to='juliet@xmpp.example'/>",
    ];
    let places: Vec<_> =
        order.iter().map(|part| heard.find(part).unwrap_or_else(|| panic!("{part} in {heard}"))).collect();
    assert!(places.is_sorted(), "{heard}");
    assert!(!world.hear("garden").contains("juliet@xmpp.example/balcony"), "romeo does not see juliet");

    world.say("garden", "<presence to='juliet@xmpp.example' type='subscribe'/>");
    world.say("balcony", "<presence to='romeo@xmpp.example' type='subscribed'/>");
    assert!(world.hear("garden").contains("<presence from='juliet@xmpp.example/balcony' to='romeo@xmpp.example'/>"));
    world.hear("tomb");

    // A new session sees who is there; everybody sees it come and go.
    world.login("chamber", "juliet", "balcony", "chamber");
    world.hear("balcony");
    let heard = world.say("chamber", "<presence/>");
    for part in ["romeo@xmpp.example/garden", "romeo@xmpp.example/tomb", "juliet@xmpp.example/balcony"] {
        assert!(heard.contains(&format!("<presence from='{part}'")), "{part}: {heard}");
    }
    assert!(world.hear("garden").contains("<presence from='juliet@xmpp.example/chamber' to='romeo@xmpp.example'/>"));
    world.drop_connection("chamber");
    let gone = "<presence from='juliet@xmpp.example/chamber' to='romeo@xmpp.example' type='unavailable'/>";
    assert!(world.hear("garden").contains(gone));
    assert!(world.hear("balcony").contains(
        "<presence from='juliet@xmpp.example/chamber' to='juliet@xmpp.example/balcony' type='unavailable'/>"
    ));

    // Removing the contact ends both directions.
    world.hear("tomb");
    let heard = world.say(
        "balcony",
        "<iq type='set' id='x'><query xmlns='jabber:iq:roster'><item jid='romeo@xmpp.example' subscription='remove'/></query></iq>",
    );
    assert!(heard.contains("<item jid='romeo@xmpp.example' subscription='remove'/>"), "{heard}");
    assert!(
        heard.contains("<iq from='juliet@xmpp.example' to='juliet@xmpp.example/balcony' id='x' type='result'/>"),
        "{heard}"
    );
    assert!(
        heard.contains("<presence from='romeo@xmpp.example/garden' to='juliet@xmpp.example' type='unavailable'/>"),
        "{heard}"
    );
    let heard = world.hear("garden");
    assert!(heard.contains("<item jid='juliet@xmpp.example' subscription='none'/>"), "{heard}");
    assert!(
        heard.contains("<presence from='juliet@xmpp.example/balcony' to='romeo@xmpp.example' type='unavailable'/>"),
        "{heard}"
    );
    assert!(!world.domain.accounts.find("juliet").unwrap().roster.contains_key("romeo@xmpp.example"));
}

#[test]
fn the_roster() {
    let mut world = World::new();
    world.come("balcony", "juliet", "balcony");
    let set = |item: &str| format!("<iq type='set' id='s'><query xmlns='jabber:iq:roster'>{item}</query></iq>");
    let heard = world.say(
        "balcony",
        &set("<item jid='Romeo@xmpp.example/x' name='R &amp; M' subscription='both'><group>Montague</group></item>"),
    );
    let item = "<item jid='romeo@xmpp.example' name='R &amp; M' subscription='none'><group>Montague</group></item>";
    assert!(heard.contains(item) && heard.contains("type='result'"), "{heard}");
    let heard = world.say("balcony", "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>");
    assert_eq!(
        heard,
        format!(
            "<iq from='juliet@xmpp.example' to='juliet@xmpp.example/balcony' id='g' type='result'>\
             <query xmlns='jabber:iq:roster'>{item}</query></iq>"
        )
    );
    for (item, condition) in [
        ("", "bad-request"),
        ("<item jid='a@b'/><item jid='c@d'/>", "bad-request"),
        ("<item/>", "bad-request"),
        ("<item jid='a b@c'/>", "jid-malformed"),
        ("<item jid='a@b'><group/></item>", "not-acceptable"),
        ("<item jid='a@b'><group>x</group><group>x</group></item>", "bad-request"),
        ("<item jid='a@b' subscription='remove'/>", "item-not-found"),
        ("<item jid='juliet@xmpp.example'/>", "not-allowed"),
    ] {
        let heard = world.say("balcony", &set(item));
        assert!(heard.contains(&format!("<{condition} ")) && heard.contains("type='error'"), "{item}: {heard}");
    }
    world.come("garden", "romeo", "montague");
    let theirs = "<iq type='get' id='g' to='juliet@xmpp.example'><query xmlns='jabber:iq:roster'/></iq>";
    assert!(world.say("garden", theirs).contains("<forbidden"));
}

#[test]
fn a_component_and_a_user() {
    let mut world = World::new();
    world.come("balcony", "juliet", "balcony");
    let message = "<message to='bob@sip.example' type='chat' id='1'><body>x</body></message>";
    let away = world.say("balcony", message);
    assert!(away.starts_with("<message from='bob@sip.example' to='juliet@xmpp.example/balcony' id='1' type='error'><error type='wait'><remote-server-timeout"), "{away}");
    assert_eq!(world.attach("sip", "sip.example"), "<handshake/>");
    assert!(world.domain.is_attached("sip.example"));
    assert_eq!(world.say("balcony", message), "");
    assert_eq!(
        world.hear("sip"),
        "<message from='juliet@xmpp.example/balcony' to='bob@sip.example' type='chat' id='1'><body>x</body></message>"
    );
    world.say("sip", "<message from='bob@sip.example/phone' to='juliet@xmpp.example' id='2'><body>y</body></message>");
    assert_eq!(
        world.hear("balcony"),
        "<message from='bob@sip.example/phone' to='juliet@xmpp.example' id='2'><body>y</body></message>"
    );
    assert_eq!(
        world.say("sip", "<message from='bob@sip.example' to='nobody@xmpp.example' id='3'><body>y</body></message>"),
        refused("message", "nobody@xmpp.example", "bob@sip.example", "3", "cancel", "service-unavailable")
    );
    assert_eq!(
        world.say("sip", "<message from='bob@sip.example' to='x@elsewhere.example' id='4'><body>y</body></message>"),
        refused("message", "x@elsewhere.example", "bob@sip.example", "4", "cancel", "remote-server-not-found")
    );
    assert_eq!(
        world.say(
            "sip",
            "<iq from='sip.example' to='juliet@xmpp.example/gone' type='get' id='5'><ping xmlns='urn:xmpp:ping'/></iq>"
        ),
        refused("iq", "juliet@xmpp.example/gone", "sip.example", "5", "cancel", "service-unavailable")
    );
    assert_eq!(
        world.say("sip", "<message from='bob@sip.example' to='nobody@xmpp.example' type='error' id='6'/>"),
        "",
        "an error is never answered"
    );
    // What a component sends to itself comes back, in order with the rest.
    let heard = world.say(
        "sip",
        "<message from='bob@sip.example' to='nobody@xmpp.example' id='7'/>\
         <iq from='sip.example' to='sip.example' type='get' id='8'><ping xmlns='urn:xmpp:ping'/></iq>",
    );
    assert_eq!(
        heard,
        refused("message", "nobody@xmpp.example", "bob@sip.example", "7", "cancel", "service-unavailable")
            + "<iq from='sip.example' to='sip.example' type='get' id='8'><ping xmlns='urn:xmpp:ping'/></iq>"
    );
    world.drop_connection("sip");
    assert!(!world.domain.is_attached("sip.example"));
    assert!(world.say("balcony", message).contains("<remote-server-timeout"));
}

#[test]
fn a_component_speaks_for_its_domain_only_and_is_one() {
    let mut world = World::new();
    world.attach("sip", "sip.example");
    let second = world.attach("second", "sip.example");
    assert!(second.contains("<conflict ") && world.is_closed("second"), "{second}");
    assert!(world.domain.is_attached("sip.example"), "the first one stays");
    assert_eq!(world.attach("third", "other.example"), "<handshake/>");
    world.say("third", "<message from='a@other.example' to='b@sip.example' id='1'/>");
    assert_eq!(world.hear("sip"), "<message from='a@other.example' to='b@sip.example' id='1'/>");
    let heard = world.say("sip", "<message from='juliet@xmpp.example' to='romeo@xmpp.example'/>");
    assert!(heard.contains("<invalid-from ") && world.is_closed("sip"), "{heard}");
    assert!(!world.domain.is_attached("sip.example"));
    let heard = world.say("third", "<message from='a@other.example'/>");
    assert!(heard.contains("<improper-addressing ") && world.is_closed("third"), "{heard}");
}

#[test]
fn presence_with_a_component() {
    let mut world = World::new();
    world.attach("sip", "sip.example");
    world.come("balcony", "juliet", "balcony");
    assert_eq!(world.hear("sip"), "", "nobody there is a contact");
    world.say("balcony", "<presence to='bob@sip.example' type='subscribe'/>");
    assert_eq!(world.hear("sip"), "<presence from='juliet@xmpp.example' to='bob@sip.example' type='subscribe'/>");
    world.say(
        "sip",
        "<presence from='bob@sip.example' to='juliet@xmpp.example' type='subscribed'/>\
         <presence from='bob@sip.example/phone' to='juliet@xmpp.example'><show>dnd</show></presence>\
         <presence from='bob@sip.example' to='juliet@xmpp.example' type='subscribe'/>",
    );
    let heard = world.hear("balcony");
    assert!(heard.contains("<item jid='bob@sip.example' subscription='to'/>"), "{heard}");
    assert!(
        heard.contains("<presence from='bob@sip.example/phone' to='juliet@xmpp.example'><show>dnd</show></presence>")
    );
    world.say("balcony", "<presence to='bob@sip.example' type='subscribed'/>");
    assert_eq!(
        world.hear("sip"),
        "<presence from='juliet@xmpp.example' to='bob@sip.example' type='subscribed'/>\
         <presence from='juliet@xmpp.example/balcony' to='bob@sip.example'/>"
    );
    // A probe is answered with what each resource said last, a stranger's with the truth about the subscription.
    let heard = world.say("sip", "<presence from='bob@sip.example' to='juliet@xmpp.example' type='probe'/>");
    assert_eq!(heard, "<presence from='juliet@xmpp.example/balcony' to='bob@sip.example'/>");
    let heard = world.say("sip", "<presence from='eve@sip.example' to='juliet@xmpp.example' type='probe'/>");
    assert_eq!(heard, "<presence from='juliet@xmpp.example' to='eve@sip.example' type='unsubscribed'/>");
    world.say("balcony", "<presence type='unavailable'><status>gone</status></presence>");
    assert_eq!(
        world.hear("sip"),
        "<presence from='juliet@xmpp.example/balcony' to='bob@sip.example' type='unavailable'><status>gone</status></presence>"
    );
    let heard = world.say("sip", "<presence from='bob@sip.example' to='juliet@xmpp.example' type='probe'/>");
    assert_eq!(heard, "<presence from='juliet@xmpp.example' to='bob@sip.example' type='unavailable'/>");
    // Coming back probes whom she sees.
    world.say("balcony", "<presence/>");
    assert_eq!(
        world.hear("sip"),
        "<presence from='juliet@xmpp.example/balcony' to='bob@sip.example'/>\
         <presence from='juliet@xmpp.example' to='bob@sip.example' type='probe'/>"
    );
    // The other side ends it.
    world.say("sip", "<presence from='bob@sip.example' to='juliet@xmpp.example' type='unsubscribe'/>");
    let heard = world.hear("balcony");
    assert!(
        heard.contains("type='unsubscribe'") && heard.contains("<item jid='bob@sip.example' subscription='to'/>"),
        "{heard}"
    );
}

#[test]
fn directed_presence_is_taken_back() {
    let mut world = World::new();
    world.attach("sip", "sip.example");
    world.come("balcony", "juliet", "balcony");
    world.say("balcony", "<presence to='room@sip.example/juliet'/>");
    assert_eq!(world.hear("sip"), "<presence from='juliet@xmpp.example/balcony' to='room@sip.example/juliet'/>");
    world.drop_connection("balcony");
    assert_eq!(
        world.hear("sip"),
        "<presence from='juliet@xmpp.example/balcony' to='room@sip.example/juliet' type='unavailable'/>"
    );
}

#[test]
fn requests_that_the_domain_answers() {
    let mut world = World::new();
    world.come("balcony", "juliet", "balcony");
    world.come("garden", "romeo", "montague");
    world.hear("balcony");
    let own = "juliet@xmpp.example/balcony";
    for (request, expected) in [
        ("<iq type='get' id='1' to='xmpp.example'><ping xmlns='urn:xmpp:ping'/></iq>", "type='result'/>"),
        ("<iq type='set' id='1'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>", "type='result'/>"),
        (
            "<iq type='get' id='1' to='xmpp.example'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
            "<identity category='server' type='im'/>",
        ),
        (
            "<iq type='get' id='1' to='xmpp.example'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>",
            "<item jid='sip.example'/>",
        ),
        (
            "<iq type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
            "<identity category='account' type='registered'/>",
        ),
        (
            "<iq type='get' id='1' to='xmpp.example'><query xmlns='jabber:iq:version'/></iq>",
            "<name>Entente sandbox</name>",
        ),
        ("<iq type='get' id='1'><vCard xmlns='vcard-temp'/></iq>", "<vCard xmlns='vcard-temp'/>"),
        ("<iq type='get' id='1'><query xmlns='jabber:iq:private'><x xmlns='y'/></query></iq>", "<service-unavailable"),
        ("<iq type='get' id='1' to='xmpp.example'><unknown xmlns='y'/></iq>", "<service-unavailable"),
        ("<iq type='get' id='1' to='nobody@xmpp.example'><vCard xmlns='vcard-temp'/></iq>", "<service-unavailable"),
        ("<iq type='get' id='1' to='xmpp.example'/>", "<bad-request"),
        ("<iq type='wrong' id='1' to='xmpp.example'><ping xmlns='urn:xmpp:ping'/></iq>", "<bad-request"),
        ("<iq type='get' id='1' to='@@'><ping xmlns='urn:xmpp:ping'/></iq>", "<jid-malformed"),
        ("<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", "<not-allowed"),
    ] {
        let heard = world.say("balcony", request);
        assert!(heard.contains(expected) && heard.contains(&format!(" to='{own}' id='1' ")), "{request}\n{heard}");
    }
    assert_eq!(world.say("balcony", "<iq type='result' id='1' to='xmpp.example'/>"), "");
    world
        .say("balcony", "<iq type='get' id='2' to='romeo@xmpp.example/garden'><query xmlns='jabber:iq:version'/></iq>");
    assert_eq!(
        world.hear("garden"),
        "<iq from='juliet@xmpp.example/balcony' to='romeo@xmpp.example/garden' type='get' id='2'><query xmlns='jabber:iq:version'/></iq>"
    );
}

#[test]
fn a_resource_that_is_taken_is_replaced_by_another() {
    let mut world = World::new();
    world.login("one", "juliet", "balcony", "same");
    world.login("two", "juliet", "balcony", "same");
    let address =
        |world: &World, name: &str| world.domain.session(world.peers[name].0).unwrap().acceptor.address().to_owned();
    assert_eq!(address(&world, "one"), "juliet@xmpp.example/same");
    assert_ne!(address(&world, "two"), "juliet@xmpp.example/same");
    assert!(address(&world, "two").starts_with("juliet@xmpp.example/"));
}

#[test]
fn a_peer_that_does_not_read_is_cut_off_and_forgotten() {
    let mut world = World::with(|settings| settings.unsent = 100_000);
    world.come("balcony", "juliet", "balcony");
    world.come("garden", "romeo", "montague");
    world.attach("sip", "sip.example");
    let body = "x".repeat(10_000);
    for (to, name) in [("romeo@xmpp.example", "garden"), ("a@sip.example", "sip")] {
        let message = format!("<message to='{to}' type='chat'><body>{body}</body></message>");
        let stream = world.peers["balcony"].0;
        for _ in 0..20 {
            // No turn in between: nothing is read by anybody.
            let consumed = world.domain.handle_input(world.now, Input::Received { stream, data: message.as_bytes() });
            assert_eq!(consumed, message.len());
            assert!(world.domain.output().unsent_total() < 300_000);
        }
        world.turn();
        assert!(world.is_closed(name), "{name}");
        assert!(world.hear(name).ends_with("</stream:error></stream:stream>"));
        world.hear("balcony");
    }
    assert!(!world.domain.is_available("romeo") && !world.domain.is_attached("sip.example"));
    assert!(!world.is_closed("balcony"));
}

#[test]
fn whoever_does_not_log_in_is_sent_away() {
    let mut world = World::new();
    world.connect("client", CLIENTS);
    world.connect("component", COMPONENTS);
    let (due, _) = world.domain.poll_timeout().unwrap();
    assert!(due > world.now);
    world.now += Duration::from_secs(40);
    world.turn();
    assert!(world.hear("client").contains("<connection-timeout "));
    assert!(world.is_closed("client") && world.is_closed("component"));
    assert!(world.domain.is_quiet());
}

#[test]
fn draining_says_why() {
    let mut world = World::new();
    world.come("balcony", "juliet", "balcony");
    world.attach("sip", "sip.example");
    let now = world.now;
    world.domain.drain(now);
    world.turn();
    for name in ["balcony", "sip"] {
        assert!(world.hear(name).contains("<system-shutdown "), "{name}");
    }
    assert!(world.domain.is_quiet());
}

#[test]
fn accounts() {
    let mut world = World::new();
    assert_eq!(world.domain.add_user("JULIET", "x"), Err(UserError::Taken));
    assert_eq!(world.domain.add_user("a b", "x"), Err(UserError::Name));
    assert_eq!(world.domain.add_user("new", ""), Err(UserError::Password));
}
