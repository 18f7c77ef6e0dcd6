//! `entente sandbox` with the clients of other people: that is what it is for.

use std::time::Duration;

use entente_tests::peers::xmpp_client::Security;
use entente_tests::peers::{Baresip, Folder, Linphone, Sandbox, XmppClient};

use crate::lab::ANSWER;

#[test]
fn slixmpp_and_baresip_meet_in_the_sandbox() {
    let folder = Folder::new("sandbox-baresip");
    let sandbox = Sandbox::start(&folder);
    let mut romeo = slixmpp(&folder, &sandbox);
    let juliet = sandbox.account("sip");
    let romeo_uri = format!("sip:{}", romeo.bare());
    let mut juliet = Baresip::start_as(&folder, &juliet.address, &juliet.password, sandbox.sip_port(), &[&romeo_uri]);

    juliet.send(&romeo_uri, "two lines, <b>&amp;</b>\nand 😀");
    assert_eq!(romeo.expect_message().body.as_deref(), Some("two lines, <b>&amp;</b>\nand 😀"));
    assert_eq!(juliet.expect_answer(ANSWER).status(), Some(202));
    romeo.send(juliet.aor.trim_start_matches("sip:"), "back", "likewise <b>&amp;</b>\nand 😀");
    assert_eq!(juliet.expect_message().body(), "likewise <b>&amp;</b>\nand 😀");
    romeo.expect_nothing(Duration::from_millis(500));
}

#[test]
fn slixmpp_and_linphone_meet_in_the_sandbox() {
    let folder = Folder::new("sandbox-linphone");
    let sandbox = Sandbox::start(&folder);
    let mut romeo = slixmpp(&folder, &sandbox);
    let juliet = sandbox.account("sip");
    let mut juliet = Linphone::start_as(&folder, &juliet.address, &juliet.password, sandbox.sip_port());

    juliet.send(&format!("sip:{}", romeo.bare()), "hello <b>&amp;</b> 😀");
    assert_eq!(romeo.expect_message().body.as_deref(), Some("hello <b>&amp;</b> 😀"));
    assert_eq!(juliet.expect_fate(ANSWER), "Delivered");
    romeo.send(juliet.aor.trim_start_matches("sip:"), "back", "likewise\nand 😀");
    assert_eq!(juliet.expect_message(), (format!("sip:{}", romeo.bare()), "likewise\nand 😀".to_owned()));
    romeo.expect_nothing(Duration::from_millis(500));
}

fn slixmpp(folder: &Folder, sandbox: &Sandbox) -> XmppClient {
    let account = sandbox.account("xmpp");
    let jid = format!("{}/orchard", account.address);
    XmppClient::login_as(folder, sandbox.xmpp_port(), &jid, &account.password, Security::StartTls)
}
