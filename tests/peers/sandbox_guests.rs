//! `entente sandbox` with the clients of other people: that is what it is for.

use std::time::Duration;

use entente_tests::peers::sandbox::Account;
use entente_tests::peers::sipwire::user_of;
use entente_tests::peers::xmpp_client::{self, Security};
use entente_tests::peers::{Baresip, Folder, Linphone, Profanity, Sandbox, XmppClient};

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
    let (from, text) = juliet.expect_message();
    assert_eq!((user_of(&from), &*text), (&*format!("sip:{}", romeo.bare()), "likewise\nand 😀"));
    romeo.expect_nothing(Duration::from_millis(500));
}

#[test]
fn profanity_and_baresip_meet_as_the_sandbox_says() {
    let folder = Folder::new("sandbox-profanity");
    let sandbox = Sandbox::start(&folder);
    let (romeo, juliet) = (sandbox.account("xmpp"), sandbox.account("sip"));
    let typed = sandbox.printed_for("profanity");
    let [connect, hello] = typed.as_slice() else { panic!("a line to connect and a line to write: {typed:?}") };
    let romeo_uri = format!("sip:{}", romeo.address);
    let mut juliet = Baresip::start_as(&folder, &juliet.address, &juliet.password, sandbox.sip_port(), &[&romeo_uri]);

    let profanity = Profanity::start(&folder);
    profanity.connect(connect, &romeo.password);
    profanity.enter(hello);
    assert_eq!(juliet.expect_message().body(), "hello");
    juliet.send(&romeo_uri, "back to <b>&amp;</b> 😀");
    profanity.expect_text(juliet.aor.trim_start_matches("sip:"), "back to <b>&amp;</b> 😀");
    assert_eq!(juliet.expect_answer(ANSWER).status(), Some(202));
}

#[test]
fn profanity_and_linphone_meet_with_accounts_made_at_the_start() {
    let folder = Folder::new("sandbox-made");
    let sandbox = with_more_users(&folder);
    let (nurse, peter) = (sandbox.account_of("xmpp", "nurse"), sandbox.account_of("sip", "peter"));
    let mut peter = Linphone::start_as(&folder, &peter.address, &peter.password, sandbox.sip_port());
    let peter_jid = peter.aor.trim_start_matches("sip:").to_owned();

    let profanity = Profanity::start(&folder);
    profanity.connect(&connect_line(&sandbox, &nurse), &nurse.password);
    profanity.send(&peter_jid, "my fan, <b>&amp;</b> 😀");
    let (from, text) = peter.expect_message();
    assert_eq!((user_of(&from), &*text), (&*format!("sip:{}", nurse.address), "my fan, <b>&amp;</b> 😀"));
    peter.send(&format!("sip:{}", nurse.address), "anon <b>&amp;</b> 😀");
    profanity.expect_text(&peter_jid, "anon <b>&amp;</b> 😀");
    assert_eq!(peter.expect_fate(ANSWER), "Delivered");
}

#[test]
fn slixmpp_writes_with_what_the_sandbox_prints() {
    let folder = Folder::new("sandbox-printed");
    let sandbox = Sandbox::start(&folder);
    let juliet = sandbox.account("sip");
    let romeo_uri = format!("sip:{}", sandbox.account("xmpp").address);
    let mut juliet = Baresip::start_as(&folder, &juliet.address, &juliet.password, sandbox.sip_port(), &[&romeo_uri]);

    let mut program = xmpp_client::run_program(&folder, &sandbox.printed_for("slixmpp").join("\n"));
    assert_eq!(juliet.expect_message().body(), "hello");
    juliet.send(&romeo_uri, "heard");
    program.wait_for_log("<body>heard</body>");
}

#[test]
fn no_client_logs_in_with_a_wrong_password() {
    let folder = Folder::new("sandbox-wrong");
    let sandbox = with_more_users(&folder);
    let (nurse, peter) = (sandbox.account_of("xmpp", "nurse"), sandbox.account_of("sip", "peter"));
    let (xmpp_port, sip_port) = (sandbox.xmpp_port(), sandbox.sip_port());

    // Each client with the right one too: it is the password that is refused.
    let jid = format!("{}/orchard", nurse.address);
    let why = XmppClient::expect_refusal(&folder, xmpp_port, &jid, "larks", Security::StartTls);
    assert_eq!(why, "authentication failed");
    XmppClient::login_as(&folder, xmpp_port, &jid, &nurse.password, Security::StartTls).logout();

    let profanity = Profanity::start(&folder);
    let connect = connect_line(&sandbox, &nurse);
    profanity.expect_refusal(&connect, "larks");
    profanity.connect(&connect, &nurse.password);

    assert_eq!(Baresip::answer_to_credentials(&folder, &peter.address, "fans", sip_port).status(), Some(401));
    Linphone::expect_refusal(&folder, &peter.address, "fans", sip_port);
    // Nobody has registered, so nobody is there.
    profanity.send(peter.address.trim_start_matches("sip:"), "my fan");
    profanity.expect_screen("an error", |screen| screen.contains(" Temporarily Unavailable"));
    Baresip::start_as(&folder, &peter.address, &peter.password, sip_port, &[]).stop();
    Linphone::start_as(&folder, &peter.address, &peter.password, sip_port);
}

fn with_more_users(folder: &Folder) -> Sandbox {
    Sandbox::start_with(folder, &["--xmpp-user", "nurse:lark", "--sip-user", "peter:fan"])
}

fn connect_line(sandbox: &Sandbox, account: &Account) -> String {
    format!("/connect {} server 127.0.0.1 port {} tls trust", account.address, sandbox.xmpp_port())
}

fn slixmpp(folder: &Folder, sandbox: &Sandbox) -> XmppClient {
    let account = sandbox.account("xmpp");
    let jid = format!("{}/orchard", account.address);
    XmppClient::login_as(folder, sandbox.xmpp_port(), &jid, &account.password, Security::StartTls)
}
