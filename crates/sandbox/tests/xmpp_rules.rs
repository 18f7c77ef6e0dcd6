//! The rules of RFC 6120 and RFC 6121 for servers, seen by clients and components of the sandbox's XMPP domain.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sandbox::xmpp::{Settings, XmppDomain};
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use turn::{Action, CloseCause, Input, Machine, Minter, SocketId, StreamId};

const CLIENTS: SocketId = SocketId(0);
const COMPONENTS: SocketId = SocketId(1);
const HEADER: &str = "<?xml version='1.0'?><stream:stream to='xmpp.example' version='1.0' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

struct Peer {
    stream: StreamId,
    heard: String,
    waiting: Vec<u8>,
}

/// The domain, with everybody who is connected to it.
struct World {
    domain: XmppDomain,
    now: Instant,
    peers: BTreeMap<&'static str, Peer>,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    #[allow(clippy::disallowed_methods, reason = "somewhere time has to begin")]
    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new("xmpp.example");
        settings.clients = vec![CLIENTS];
        settings.components = vec![COMPONENTS];
        settings.secrets = vec![("sip.example".into(), "hidden".into())];
        change(&mut settings);
        let now = Instant::now();
        let mut domain = XmppDomain::new(settings, Minter::new([6; 16]), (now, 1_795_202_982));
        for user in ["juliet", "romeo", "nurse"] {
            domain.add_user(user, "pw").expect("an account");
        }
        Self { domain, now, peers: BTreeMap::new() }
    }

    fn connect(&mut self, name: &'static str, listener: SocketId) {
        let stream = self.domain.output().open();
        let peer = ([127, 0, 0, 1], 40_000).into();
        self.domain.handle_input(self.now, Input::Accepted { stream, listener, peer });
        self.peers.insert(name, Peer { stream, heard: String::new(), waiting: Vec::new() });
    }

    fn turn(&mut self) {
        self.domain.handle_timeout(self.now);
        let (mut closing, mut securing) = (Vec::new(), Vec::new());
        while let Some(action) = self.domain.output().poll_action() {
            match action {
                Action::Write { stream } => {
                    let unsent = self.domain.output().unsent(stream).to_vec();
                    self.domain.output().sent(stream, unsent.len());
                    let text = String::from_utf8(unsent).expect("UTF-8");
                    for peer in self.peers.values_mut().filter(|peer| peer.stream == stream) {
                        peer.heard.push_str(&text);
                    }
                }
                Action::Close { stream } => closing.push(stream),
                Action::StartTls { stream } => securing.push(stream),
                other => panic!("{other:?}"),
            }
        }
        self.domain.output().end_turn();
        for stream in securing {
            self.domain.handle_input(self.now, Input::Secured { stream });
        }
        for stream in closing {
            self.domain.handle_input(self.now, Input::Closed { stream, cause: CloseCause::Ours });
            self.domain.output().forget(stream);
        }
    }

    /// A peer says something; gives what it hears.
    fn say(&mut self, name: &str, text: &str) -> String {
        let peer = self.peers.get_mut(name).expect("a peer");
        let stream = peer.stream;
        let mut data = std::mem::take(&mut peer.waiting);
        data.extend_from_slice(text.as_bytes());
        let consumed = self.domain.handle_input(self.now, Input::Received { stream, data: &data });
        self.peers.get_mut(name).expect("a peer").waiting = data[consumed..].to_vec();
        self.turn();
        self.hear(name)
    }

    /// Lets time pass.
    fn wait(&mut self, span: Duration) {
        self.now += span;
        self.turn();
    }

    fn hear(&mut self, name: &str) -> String {
        std::mem::take(&mut self.peers.get_mut(name).expect("a peer").heard)
    }

    /// Logs in by PLAIN behind TLS, and gives the answer to the bind request.
    fn login(&mut self, name: &'static str, user: &str, resource: Option<&str>) -> String {
        self.connect(name, CLIENTS);
        self.say(name, HEADER);
        let proceed = self.say(name, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        assert!(proceed.starts_with("<proceed"), "{proceed}");
        self.say(name, HEADER);
        let plain = BASE64.encode(format!("\0{user}\0pw"));
        let auth = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>");
        let success = self.say(name, &auth);
        assert!(success.starts_with("<success"), "{success}");
        self.say(name, HEADER);
        let resource = resource.map_or(String::new(), |resource| format!("<resource>{resource}</resource>"));
        self.say(
            name,
            &format!("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{resource}</bind></iq>"),
        )
    }

    /// Logged in as a resource of its name, interested in the roster, available.
    fn come(&mut self, name: &'static str, user: &str) {
        self.login(name, user, Some(name));
        self.say(name, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
        self.say(name, "<presence/>");
    }

    fn attach(&mut self) {
        self.connect("sip", COMPONENTS);
        let header = self.say(
            "sip",
            "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='sip.example'>",
        );
        let id = header.split(" id='").nth(1).and_then(|rest| rest.split('\'').next()).expect("an id");
        let digest: String = Sha1::digest(format!("{id}hidden")).iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(self.say("sip", &format!("<handshake>{digest}</handshake>")), "<handshake/>");
    }

    /// Empties what everybody has heard.
    fn forget(&mut self) {
        for peer in self.peers.values_mut() {
            peer.heard.clear();
        }
    }

    /// Two users who see each other's presence.
    fn befriend(&mut self, one: (&str, &str), other: (&str, &str)) {
        for ((asking, _), (allowing, allowed)) in [(one, other), (other, one)] {
            let asker = if asking == one.0 { one.1 } else { other.1 };
            self.say(asking, &format!("<presence to='{allowed}@xmpp.example' type='subscribe'/>"));
            self.say(allowing, &format!("<presence to='{asker}@xmpp.example' type='subscribed'/>"));
        }
        self.forget();
    }
}

fn jid(bound: &str) -> String {
    let jid = bound.split("<jid>").nth(1).and_then(|rest| rest.split('<').next());
    jid.unwrap_or_else(|| panic!("an address in {bound}")).to_owned()
}

fn set(item: &str) -> String {
    format!("<iq type='set' id='s'><query xmlns='jabber:iq:roster'>{item}</query></iq>")
}

#[test]
fn who_asks_for_no_resource_gets_one_of_his_own() {
    let mut world = World::new();
    let first = jid(&world.login("one", "Juliet", None));
    let second = jid(&world.login("two", "juliet", None));
    for address in [&first, &second] {
        let resource = address.strip_prefix("juliet@xmpp.example/").unwrap_or_else(|| panic!("{address}"));
        assert!(resource.len() >= 12, "nobody guesses {resource}");
    }
    assert_ne!(first, second);
    // RFC 6120 4.3.6: the address is canonical, whatever was asked for.
    assert_eq!(jid(&world.login("three", "JULIET", Some("Cafe\u{301}"))), "juliet@xmpp.example/Caf\u{e9}");
}

/// RFC 6120 10.3.
#[test]
fn what_is_for_nobody_is_for_the_own_account() {
    let mut world = World::new();
    world.come("balcony", "juliet");
    assert_eq!(
        world.say("balcony", "<message id='m'><body>note</body></message>"),
        "<message from='juliet@xmpp.example/balcony' to='juliet@xmpp.example' id='m'><body>note</body></message>"
    );
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    assert_eq!(
        world.say("balcony", &format!("<iq type='get' id='p'>{ping}</iq>")),
        "<iq from='juliet@xmpp.example' to='juliet@xmpp.example/balcony' id='p' type='result'/>"
    );
    assert_eq!(
        world.say("balcony", &format!("<iq type='get' id='p' to='xmpp.example'>{ping}</iq>")),
        "<iq from='xmpp.example' to='juliet@xmpp.example/balcony' id='p' type='result'/>"
    );
    assert_eq!(world.say("balcony", "<iq type='result' id='x'/><iq type='error' id='y'/>"), "");
}

/// RFC 6121 8.5.4: every row and column of table 1. Who gets it, by resource, or E for an error, O for stored, S for
/// silence; where the table leaves a choice, all that it allows.
#[test]
fn the_whole_table_of_message_delivery() {
    const TYPES: [&str; 4] = ["normal", "chat", "groupchat", "headline"];
    type Row = (&'static [i8], &'static str, [&'static [&'static str]; 4]);
    const E: &[&str] = &["E"];
    const S: &[&str] = &["S"];
    const SE: &[&str] = &["S", "E"];
    const OE: &[&str] = &["O", "E"];
    const FIRST: &[&str] = &["0"];
    let rows: [Row; 14] = [
        (&[], "nobody@xmpp.example", [SE, SE, E, S]),
        (&[], "nobody@xmpp.example/x", [SE, SE, SE, SE]),
        (&[], "romeo@xmpp.example", [OE, OE, E, S]),
        (&[], "romeo@xmpp.example/gone", [SE, OE, SE, SE]),
        (&[-1], "romeo@xmpp.example", [OE, OE, E, S]),
        (&[-1], "romeo@xmpp.example/r0", [FIRST, FIRST, FIRST, FIRST]),
        (&[-1], "romeo@xmpp.example/gone", [SE, OE, SE, SE]),
        (&[1], "romeo@xmpp.example", [FIRST, FIRST, E, FIRST]),
        (&[1], "romeo@xmpp.example/r0", [FIRST, FIRST, FIRST, FIRST]),
        (&[1], "romeo@xmpp.example/gone", [SE, FIRST, SE, SE]),
        // Chat goes to the most available one, never to all.
        (&[1, 5], "romeo@xmpp.example", [&["1", "01"], &["1"], E, &["01"]]),
        (&[1, 5], "romeo@xmpp.example/r0", [FIRST, FIRST, FIRST, FIRST]),
        (&[1, 5], "romeo@xmpp.example/gone", [SE, &["1"], SE, SE]),
        (&[1, 5, -1], "romeo@xmpp.example", [&["1", "01"], &["1"], E, &["01"]]),
    ];
    for (priorities, to, columns) in rows {
        for (kind, allowed) in TYPES.into_iter().zip(columns) {
            let mut world = World::new();
            world.come("balcony", "juliet");
            let names = ["r0", "r1", "r2"];
            for (name, priority) in names.into_iter().zip(priorities) {
                world.login(name, "romeo", Some(name));
                world.say(name, &format!("<presence><priority>{priority}</priority></presence>"));
            }
            world.forget();
            let message = format!("<message to='{to}' type='{kind}' id='m'><body>x</body></message>");
            let answer = world.say("balcony", &message);
            let there = names.into_iter().take(priorities.len());
            let got: String =
                there.filter(|name| world.hear(name).contains("<body>x</body>")).map(|n| &n[1..]).collect();
            // What was stored comes with the next resource that takes messages.
            world.login("later", "romeo", Some("later"));
            let stored = world.say("later", "<presence/>").contains("<body>x</body>");
            let outcome = match (answer.contains("<service-unavailable "), stored, &*got) {
                (true, false, "") => "E",
                (false, true, "") => "O",
                (false, false, "") => "S",
                (false, false, got) => got,
                _ => panic!("{priorities:?} {to} {kind}: {answer} {stored} {got}"),
            };
            assert!(allowed.contains(&outcome), "{priorities:?} {to} {kind}: {outcome}");
        }
    }
}

/// RFC 6121 8.5.1: presence to somebody who is not there says nothing about that.
#[test]
fn presence_for_an_unknown_user_is_silence() {
    let mut world = World::new();
    world.attach();
    for kind in ["", "unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe"] {
        let kind = if kind.is_empty() { String::new() } else { format!(" type='{kind}'") };
        let heard = world.say("sip", &format!("<presence from='bob@sip.example' to='nobody@xmpp.example'{kind}/>"));
        assert_eq!(heard, "", "{kind}");
    }
}

#[test]
fn a_full_address_gets_what_is_for_it_and_a_bare_one_all_available() {
    let mut world = World::new();
    world.attach();
    world.come("balcony", "juliet");
    world.come("chamber", "juliet");
    world.login("silent", "juliet", Some("silent"));
    world.forget();
    for (to, everybody) in [("juliet@xmpp.example", true), ("juliet@xmpp.example/balcony", false)] {
        for stanza in [
            format!("<presence from='bob@sip.example/p' to='{to}'><show>away</show></presence>"),
            format!("<presence from='bob@sip.example/p' to='{to}' type='unavailable'/>"),
        ] {
            world.say("sip", &stanza);
            assert_eq!(world.hear("balcony"), stanza);
            assert_eq!(world.hear("chamber"), if everybody { &*stanza } else { "" });
            assert_eq!(world.hear("silent"), "", "it is not available");
        }
    }
    for answer in [
        "type='result'/>",
        "type='error'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
    ] {
        let iq = format!("<iq from='bob@sip.example' to='juliet@xmpp.example/balcony' id='1' {answer}");
        assert_eq!(world.say("sip", &iq), "");
        assert_eq!(world.hear("balcony"), iq);
    }
    // A request to the bare address is the server's own, a presence for a resource that is gone nobody's.
    let iq =
        "<iq from='bob@sip.example' to='juliet@xmpp.example' id='2' type='get'><query xmlns='jabber:iq:version'/></iq>";
    assert!(world.say("sip", iq).contains("id='2' type='error'><error type='cancel'><service-unavailable "));
    assert_eq!(world.say("sip", "<presence from='bob@sip.example/p' to='juliet@xmpp.example/gone'/>"), "");
    assert_eq!(world.hear("balcony") + &world.hear("chamber"), "");
}

#[test]
fn a_roster_is_the_account_s_own_and_pushed_to_who_asked_for_it() {
    let mut world = World::new();
    world.login("balcony", "juliet", Some("balcony"));
    assert_eq!(
        world.say("balcony", "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>"),
        "<iq from='juliet@xmpp.example' to='juliet@xmpp.example/balcony' id='r' type='result'>\
         <query xmlns='jabber:iq:roster'></query></iq>"
    );
    world.come("chamber", "juliet");
    world.login("silent", "juliet", Some("silent"));
    world.forget();
    let long = "x".repeat(2000);
    for (item, condition) in [
        (format!("<item jid='romeo@xmpp.example' name='{long}'/>"), "not-acceptable"),
        (format!("<item jid='romeo@xmpp.example'><group>{long}</group></item>"), "not-acceptable"),
        ("<item jid='romeo@xmpp.example'><group/></item>".into(), "not-acceptable"),
    ] {
        assert!(world.say("balcony", &set(&item)).contains(&format!("<{condition} ")), "{condition}");
    }
    let theirs = set("<item jid='x@y'/>").replace("<iq ", "<iq to='romeo@xmpp.example' ");
    assert!(world.say("balcony", &theirs).contains("<error type='auth'><forbidden "));
    assert_eq!(world.hear("chamber"), "", "nothing changed");

    world.say("balcony", &set("<item jid='romeo@xmpp.example' name='R'><group>a</group><group>b</group></item>"));
    let push = world.hear("chamber");
    let expected = "type='set'><query xmlns='jabber:iq:roster'><item jid='romeo@xmpp.example' name='R' \
                    subscription='none'><group>a</group><group>b</group></item></query></iq>";
    assert!(push.ends_with(expected) && push.matches("<item").count() == 1, "{push}");
    assert_eq!(world.hear("silent"), "", "it has not asked for the roster");
    // Whatever the answer to a push, nothing follows.
    let id = push.split(" id='").nth(1).and_then(|rest| rest.split('\'').next()).expect("an id").to_owned();
    for answer in [
        "type='result'/>",
        "type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
    ] {
        assert_eq!(world.say("chamber", &format!("<iq id='{id}' {answer}")), "");
    }
    // What is left out of an update is gone.
    world.say("balcony", &set("<item jid='romeo@xmpp.example'><group>b</group></item>"));
    let item = "<item jid='romeo@xmpp.example' subscription='none'><group>b</group></item>";
    assert!(world.hear("chamber").contains(item));
    let heard = world.say("silent", "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
    assert!(heard.contains(&format!("<query xmlns='jabber:iq:roster'>{item}</query>")), "{heard}");
}

#[test]
fn subscriptions_end_as_they_began() {
    let mut world = World::new();
    world.come("balcony", "juliet");
    world.come("garden", "romeo");
    world.come("tomb", "romeo");
    world.befriend(("balcony", "juliet"), ("garden", "romeo"));
    // Presence reaches every available resource of a contact.
    world.say("balcony", "<presence><show>dnd</show></presence>");
    for name in ["garden", "tomb"] {
        let presence =
            "<presence from='juliet@xmpp.example/balcony' to='romeo@xmpp.example'><show>dnd</show></presence>";
        assert!(world.hear(name).contains(presence), "{name}");
    }
    let heard = world.say("balcony", "<presence to='romeo@xmpp.example/garden' type='unsubscribe'/>");
    assert!(heard.contains("<item jid='romeo@xmpp.example' subscription='from'/>"), "{heard}");
    let heard = world.hear("garden");
    assert!(
        heard.contains("<presence from='juliet@xmpp.example' to='romeo@xmpp.example' type='unsubscribe'/>"),
        "{heard}"
    );
    assert!(heard.contains("<item jid='juliet@xmpp.example' subscription='to'/>"), "{heard}");

    // Removal from the roster ends what is left, in both directions.
    let mut world = World::new();
    world.come("balcony", "juliet");
    world.come("garden", "romeo");
    world.befriend(("balcony", "juliet"), ("garden", "romeo"));
    let heard = world.say("balcony", &set("<item jid='romeo@xmpp.example' subscription='remove'/>"));
    assert!(heard.contains("<item jid='romeo@xmpp.example' subscription='remove'/>"), "{heard}");
    let heard = world.hear("garden");
    for kind in ["unsubscribe", "unsubscribed"] {
        let stanza = format!("<presence from='juliet@xmpp.example' to='romeo@xmpp.example' type='{kind}'/>");
        assert!(heard.contains(&stanza), "{heard}");
    }
}

#[test]
fn a_request_to_subscribe_that_goes_nowhere_comes_back() {
    let mut world = World::new();
    world.come("balcony", "juliet");
    for (to, condition) in
        [("x@nowhere.example", "remote-server-not-found"), ("x@sip.example", "remote-server-timeout")]
    {
        let heard = world.say("balcony", &format!("<presence to='{to}' type='subscribe' id='s'/>"));
        assert!(
            heard.contains(&format!("<presence from='{to}' to='juliet@xmpp.example' id='s' type='error'>")),
            "{heard}"
        );
        assert!(heard.contains(&format!("<{condition} ")), "{heard}");
    }
}

/// RFC 6121 A.3.1 note 2 and A.3.2 note 1.
#[test]
fn what_is_settled_is_answered_for_the_user() {
    let mut world = World::new();
    world.attach();
    world.come("balcony", "juliet");
    world.say("sip", "<presence from='bob@sip.example' to='juliet@xmpp.example' type='subscribe'/>");
    world.say("balcony", "<presence to='bob@sip.example' type='subscribed'/>");
    world.forget();
    let again = world.say("sip", "<presence from='bob@sip.example' to='juliet@xmpp.example' type='subscribe'/>");
    assert_eq!(again, "<presence from='juliet@xmpp.example' to='bob@sip.example' type='subscribed'/>");
    assert_eq!(world.hear("balcony"), "", "the user is not asked twice");
    let end = world.say("sip", "<presence from='bob@sip.example' to='juliet@xmpp.example' type='unsubscribe'/>");
    assert_eq!(
        end,
        "<presence from='juliet@xmpp.example/balcony' to='bob@sip.example' type='unavailable'/>\
         <presence from='juliet@xmpp.example' to='bob@sip.example' type='unsubscribed'/>",
        "she leaves before he is told that he will not see her (RFC 6121 3.2.2)"
    );
    let once_more = world.say("sip", "<presence from='bob@sip.example' to='juliet@xmpp.example' type='unsubscribe'/>");
    assert_eq!(once_more, "", "nothing is left to end");
    // An allowance that nobody asked for changes nothing.
    world.forget();
    world.say("sip", "<presence from='eve@sip.example' to='juliet@xmpp.example' type='subscribed'/>");
    assert_eq!(world.hear("balcony"), "");
}

/// RFC 6121 3.2.2: whoever may no longer see the user sees him leave first.
#[test]
fn who_takes_an_allowance_back_leaves_first() {
    let mut world = World::new();
    world.attach();
    world.come("balcony", "juliet");
    world.come("chamber", "juliet");
    world.say("sip", "<presence from='bob@sip.example' to='juliet@xmpp.example' type='subscribe'/>");
    world.say("balcony", "<presence to='bob@sip.example' type='subscribed'/>");
    world.forget();
    world.say("balcony", "<presence to='bob@sip.example' type='unsubscribed'/>");
    assert_eq!(
        world.hear("sip"),
        "<presence from='juliet@xmpp.example/balcony' to='bob@sip.example' type='unavailable'/>\
         <presence from='juliet@xmpp.example/chamber' to='bob@sip.example' type='unavailable'/>\
         <presence from='juliet@xmpp.example' to='bob@sip.example' type='unsubscribed'/>"
    );
}

/// RFC 6121 8.5.3.2.2: what somebody allows or ends at a resource that is gone, he says to nobody.
#[test]
fn only_a_request_counts_at_a_resource_that_is_gone() {
    let mut world = World::new();
    world.attach();
    world.come("balcony", "juliet");
    world.say("balcony", "<presence to='bob@sip.example' type='subscribe'/>");
    world.forget();
    let say = |world: &mut World, to: &str, kind: &str| {
        world.say("sip", &format!("<presence from='bob@sip.example' to='{to}' type='{kind}'/>"));
        world.hear("balcony")
    };
    for kind in ["subscribed", "unsubscribed", "unsubscribe"] {
        assert_eq!(say(&mut world, "juliet@xmpp.example/gone", kind), "", "{kind}");
    }
    let asked = say(&mut world, "juliet@xmpp.example/gone", "subscribe");
    assert!(asked.contains("<presence from='bob@sip.example' to='juliet@xmpp.example' type='subscribe'/>"), "{asked}");
    let allowed = say(&mut world, "juliet@xmpp.example/balcony", "subscribed");
    assert!(allowed.contains("<item jid='bob@sip.example' subscription='to'/>"), "{allowed}");
}

/// RFC 6121 3.1.2: a request that may have been lost is sent again with the next resource.
#[test]
fn a_request_without_an_answer_is_sent_again() {
    let mut world = World::new();
    world.attach();
    world.come("balcony", "juliet");
    world.say("balcony", "<presence to='bob@sip.example' type='subscribe' id='s'/>");
    let request = "<presence from='juliet@xmpp.example' to='bob@sip.example' type='subscribe'";
    assert!(world.hear("sip").contains(request));
    world.come("chamber", "juliet");
    let heard = world.hear("sip");
    assert_eq!(heard.matches(request).count(), 1, "{heard}");
    world.say("sip", "<presence from='bob@sip.example' to='juliet@xmpp.example' type='subscribed'/>");
    world.come("garden", "juliet");
    let heard = world.hear("sip");
    assert_eq!(heard.matches("type='subscribe'").count(), 0, "{heard}");
}

/// RFC 6121 2.1.3.
#[test]
fn who_asks_for_the_roster_names_no_item() {
    let mut world = World::new();
    world.login("balcony", "juliet", Some("balcony"));
    for query in [
        "<query xmlns='jabber:iq:roster'><item jid='romeo@xmpp.example'/></query>",
        "<r:query xmlns:r='jabber:iq:roster'><x xmlns='urn:x'/><r:item jid='romeo@xmpp.example'/></r:query>",
    ] {
        let heard = world.say("balcony", &format!("<iq type='get' id='r'>{query}</iq>"));
        assert!(heard.contains("id='r' type='error'><error type='modify'><bad-request "), "{heard}");
    }
    let heard = world
        .say("balcony", "<iq type='get' id='r'><query xmlns='jabber:iq:roster'><item xmlns='urn:x'/></query></iq>");
    assert!(heard.contains("id='r' type='result'"), "{heard}");
}

/// RFC 6120 7.6.2.1 and 7.7.3: a resource too many is refused, and may be asked for again, five times.
#[test]
fn a_resource_too_many_is_refused_and_may_be_asked_for_again() {
    const BIND: &str = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
    let mut world = World::with(|settings| settings.resources = 1);
    assert!(world.login("balcony", "juliet", Some("balcony")).contains("<jid>juliet@xmpp.example/balcony</jid>"));
    let refused = |heard: &str| heard.contains("id='b' type='error'><error type='wait'><resource-constraint ");
    assert!(refused(&world.login("chamber", "juliet", Some("chamber"))));
    for _ in 0..4 {
        let heard = world.say("chamber", BIND);
        assert!(refused(&heard) && !heard.contains("<stream:error>"), "{heard}");
    }
    world.say("balcony", "</stream:stream>");
    let heard = world.say("chamber", BIND);
    assert!(heard.contains("<jid>juliet@xmpp.example/"), "there is room now: {heard}");

    assert!(refused(&world.login("garden", "juliet", Some("garden"))));
    for _ in 0..4 {
        assert!(refused(&world.say("garden", BIND)));
    }
    let heard = world.say("garden", BIND);
    assert!(refused(&heard), "{heard}");
    assert!(heard.contains("<policy-violation ") && heard.ends_with("</stream:stream>"), "{heard}");
}

/// XEP-0199 4.1: a client that is silent for long is asked whether it is there; whatever it says counts.
#[test]
fn a_client_that_says_nothing_is_asked_and_then_cut_off() {
    let mut world = World::new();
    world.come("balcony", "juliet");
    world.come("tomb", "romeo");
    world.forget();
    for _ in 0..3 {
        world.wait(Duration::from_secs(121));
        let ping = world.hear("balcony");
        assert!(ping.starts_with("<iq from='xmpp.example' to='juliet@xmpp.example/balcony' id='ping-"), "{ping}");
        assert!(ping.ends_with(" type='get'><ping xmlns='urn:xmpp:ping'/></iq>"), "{ping}");
        let id = ping.split(" id='").nth(1).and_then(|rest| rest.split('\'').next()).expect("an id").to_owned();
        let answer = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
        world.say("balcony", &format!("<iq type='error' to='xmpp.example' id='{id}'>{answer}</iq>"));
        // White space is a word too.
        world.say("tomb", " ");
        world.forget();
        world.wait(Duration::from_secs(31));
        assert_eq!(world.hear("balcony") + &world.hear("tomb"), "");
    }
    world.wait(Duration::from_secs(121));
    assert!(world.hear("tomb").contains("<ping "));
    world.say("balcony", " ");
    world.wait(Duration::from_secs(31));
    let end = world.hear("tomb");
    assert!(end.contains("<connection-timeout ") && end.ends_with("</stream:stream>"), "{end}");
    assert!(!world.domain.is_available("romeo") && world.domain.is_available("juliet"));
}
