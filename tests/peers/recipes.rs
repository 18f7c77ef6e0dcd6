//! The recipes of `docs/src/deployment` and of the quick start work as they are written: the real servers are started with
//! exactly their lines, but for ports and addresses, and a text goes each way.

use std::time::Duration;

use entente_tests::book;
use entente_tests::peers::clock::{PATIENCE, wait_for};
use entente_tests::peers::{Baresip, Ejabberd, Entente, Folder, Kamailio, Prosody, XmppClient, XmppServer};
use entente_tests::ports::free_port;

use crate::lab::{SIP, XMPP};

/// The secret of all recipes.
const SECRET: &str = "the same secret";
const ANSWER: Duration = PATIENCE;

/// The blocks of a page that belong to a file, in order.
fn blocks(page: &str, file: &str) -> Vec<String> {
    let blocks = book::blocks(&book::page(page));
    let found: Vec<String> = blocks.into_iter().filter(|block| block.file == file).map(|block| block.text).collect();
    assert!(!found.is_empty(), "{page} has nothing for {file}");
    found
}

/// Where things are in this test and not in the book.
struct Places {
    sip: u16,
    proxy: u16,
    component: u16,
    admin: u16,
}

impl Places {
    fn put_into(&self, text: &str) -> String {
        text.replace("192.0.2.10:5060", &format!("127.0.0.1:{}", self.sip))
            .replace("192.0.2.20:5060", &format!("127.0.0.1:{}", self.proxy))
            .replace("192.0.2.20", "127.0.0.1")
            .replace("xmpp.example:5347", "127.0.0.1:5347")
            .replace("5347", &self.component.to_string())
            .replace("9090", &self.admin.to_string())
    }
}

fn prosody(folder: &Folder, page: &str) -> Prosody {
    let lines = blocks(page, "prosody.cfg.lua");
    Prosody::start_as(folder, XMPP, &["romeo"], |config, port| {
        let of_the_book = |text: &str| text.replace("5347", &port.to_string());
        // What the book says takes the place of what other tests have there.
        let usual = config.lines().filter(|line| line.starts_with("component_"));
        let usual: Vec<String> = usual.map(str::to_owned).collect();
        assert_eq!(usual.len(), 2);
        let config = usual.iter().fold(config.clone(), |config, line| config.replace(&format!("{line}\n"), ""));
        let (global, components): (Vec<_>, Vec<_>) = lines.iter().partition(|block| !block.contains("Component "));
        assert_eq!((global.len(), components.len()), (1, 1), "{page}");
        let global: String = global.into_iter().map(|block| of_the_book(block)).collect();
        let components: String = components.into_iter().map(|block| of_the_book(block)).collect();
        let host = format!("VirtualHost \"{XMPP}\"\n");
        assert!(config.contains(&host));
        format!("{}\n{components}", config.replace(&host, &format!("{global}\n{host}")))
    })
}

fn ejabberd(folder: &Folder, page: &str) -> Ejabberd {
    let lines = blocks(page, "ejabberd.yml").concat();
    Ejabberd::start_as(folder, XMPP, &["romeo"], |config, port| {
        let item = lines.strip_prefix("listen:\n").expect("a listener").replace("5347", &port.to_string());
        let usual = config.find(&format!("  -\n    port: {port}\n")).expect("the usual listener");
        let end = config.find("@COMPONENTS@").expect("its end") + "@COMPONENTS@".len();
        format!("{}{item}{}", &config[..usual], &config[end..])
    })
}

fn kamailio(folder: &Folder, page: &str, sip: u16) -> Kamailio {
    let lines = blocks(page, "kamailio.cfg").concat().replace("192.0.2.10:5060", &format!("127.0.0.1:{sip}"));
    Kamailio::start_as(folder, &[SIP], &["bob"], |config| {
        let usual = config.find("\tif (!(uri == myself)) {\n").expect("the usual way to the gateway");
        let end = config.find("#!ifdef CHALLENGE").expect("its end");
        let config = format!("{}{lines}{}", &config[..usual], &config[end..]);
        let config = config.replace("@CHALLENGE@", "").replace("@PASSWORD@", "").replace("@NONCE_SECONDS@", "1");
        config.replace("@GATEWAY_PORT@", "0")
    })
}

/// Runs the gateway as `page` says, between `server` and Kamailio as `proxy` says.
fn a_text_goes_each_way<S: XmppServer>(page: &str, proxy: &str, folder: &Folder, server: &S) {
    let places = Places { sip: free_port(), proxy: 0, component: server.component_port(), admin: free_port() };
    let kamailio = kamailio(folder, proxy, places.sip);
    let places = Places { proxy: kamailio.port, ..places };
    folder.write("component.secret", format!("{SECRET}\n"));
    let entente = Entente::start(folder, &places.put_into(&blocks(page, "gateway.toml").concat()));
    let up = wait_for(PATIENCE, || {
        assert!(!entente.process().has_exited(), "the gateway has ended; its log follows");
        (server.components() >= 1 && entente.is_component(SIP)).then_some(())
    });
    assert!(up.is_some(), "the gateway does not become a component of {}", S::NAME);

    let mut romeo = XmppClient::login(folder, server.c2s_port(), "romeo", XMPP, "phone");
    let contact = format!("sip:romeo@{XMPP}");
    let mut bob = Baresip::start(folder, &format!("sip:bob@{SIP}"), kamailio.port, &[&contact]);
    bob.send(&contact, "from SIP to XMPP");
    let got = romeo.expect_message();
    assert_eq!((got.body.as_deref(), &*got.from), (Some("from SIP to XMPP"), "bob@sip.example"));
    assert_eq!(bob.expect_answer(ANSWER).status(), Some(202));
    romeo.send("bob@sip.example", "m1", "from XMPP to SIP");
    assert_eq!(bob.expect_message().body(), "from XMPP to SIP");
    romeo.expect_nothing(Duration::from_millis(300));
}

#[test]
fn the_recipe_for_prosody() {
    let folder = Folder::new("recipe-prosody");
    let server = prosody(&folder, "deployment/prosody.md");
    a_text_goes_each_way("deployment/prosody.md", "deployment/kamailio.md", &folder, &server);
}

#[test]
fn the_recipe_for_ejabberd() {
    let folder = Folder::new("recipe-ejabberd");
    let server = ejabberd(&folder, "deployment/ejabberd.md");
    a_text_goes_each_way("deployment/ejabberd.md", "deployment/kamailio.md", &folder, &server);
}

#[test]
fn the_recipe_for_kamailio() {
    let folder = Folder::new("recipe-kamailio");
    let server = prosody(&folder, "deployment/prosody.md");
    a_text_goes_each_way("deployment/kamailio.md", "deployment/kamailio.md", &folder, &server);
}

#[test]
fn the_quick_start() {
    let folder = Folder::new("quick-start");
    let server = prosody(&folder, "quick-start.md");
    a_text_goes_each_way("quick-start.md", "quick-start.md", &folder, &server);
}
