//! SIGHUP and the service manager: the configuration is read again without anybody noticing but by what changes.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod stage;

use nix::sys::signal::Signal;
use stage::{Component, Gateway, PATIENCE, SECRET, Stage, message, uninterrupted};
use std::time::Duration;

/// Lets the gateway read its configuration again, and waits until it has.
fn reload(stage: &Stage, gateway: &Gateway, config: &str, secret: &str) {
    stage.write(config, secret);
    gateway.signal(Signal::SIGHUP);
    let reloading = stage.told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(stage.told(), "READY=1");
}

/// The status of a message that the server takes without a word.
fn taken(stage: &Stage, component: &mut Component) -> String {
    let answer = stage.answer(component, |component, branch| {
        stage.sip.send_to(message(stage, branch).as_bytes(), stage.listen).unwrap();
        component.read_until("<message", "</message>");
        for _ in 0..2 {
            let ping = component.read_until("<iq", "</iq>");
            component.write(&ping);
        }
        stage.response(branch)
    });
    answer[8..11].to_owned()
}

#[test]
fn what_can_change_changes_and_no_connection_is_closed() {
    let stage = Stage::new();
    let gateway = stage.run();
    assert_eq!(stage.told(), "READY=1");
    let mut component = stage.accept();
    stage.wait_until_ready();
    assert_eq!(taken(&stage, &mut component), "202");

    let new = stage.config().replace(&stage.admin.to_string(), "127.0.0.1:1")
        + "[answers]\non_acceptance = 200\n[log]\nlevel = \"debug\"\n";
    reload(&stage, &gateway, &new, SECRET);
    assert_eq!(taken(&stage, &mut component), "200", "on the same stream");
    let log = stage.log();
    assert!(log.contains("key=\"admin.listen\"") && log.contains("needs a restart"), "{log}");
    assert!(log.contains("configuration read again") && log.contains("DEBUG"), "{log}");
    // Where it was.
    stage.wait_until_ready();

    // A file that is wrong changes nothing, and neither does one of which not enough can be taken.
    let wrong = new.replace("= 200", "= 202") + "[gateway]\nnmae = \"gw.example\"\n";
    reload(&stage, &gateway, &wrong, SECRET);
    assert_eq!(taken(&stage, &mut component), "200");
    assert!(stage.log().contains("gateway.nmae is not a key here"), "{}", stage.log());
    let apart = new.replace("= 200", "= 202").replace("sip.example", "other.example");
    reload(&stage, &gateway, &apart, SECRET);
    assert_eq!(taken(&stage, &mut component), "200");
    let log = stage.log();
    assert!(
        log.contains("needs a restart (xmpp.component, admin.listen): sip_domain[1] is shown on XMPP as other"),
        "{log}"
    );

    // And it can be mended.
    reload(&stage, &gateway, &stage.config(), SECRET);
    assert_eq!(taken(&stage, &mut component), "202");
    gateway.signal(Signal::SIGTERM);
    assert_eq!(stage.told(), "STOPPING=1");
}

#[test]
fn a_new_secret_is_for_the_next_connection() {
    let stage = Stage::new();
    let gateway = stage.run();
    assert_eq!(stage.told(), "READY=1", "before any server is there");
    let mut component = stage.accept();
    reload(&stage, &gateway, &stage.config(), "another-secret");
    assert_eq!(taken(&stage, &mut component), "202");
    drop(component);
    let mut component = stage.accept_with("another-secret");
    stage.wait_until_ready();
    assert_eq!(taken(&stage, &mut component), "202");
    let log = stage.log();
    assert!(!log.contains("another-secret") && !log.contains(SECRET), "{log}");
}

#[test]
fn the_watchdog_hears_for_as_long_as_turns_are_taken() {
    let stage = Stage::new();
    let gateway = stage.run_as(&stage.config(), |command| {
        command.env("WATCHDOG_USEC", "300000");
    });
    assert_eq!(stage.told(), "READY=1");
    for _ in 0..3 {
        assert_eq!(stage.told(), "WATCHDOG=1");
    }
    gateway.signal(Signal::SIGSTOP);
    stage.manager.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let mut buffer = [0; 64];
    // Some may be on their way: as many as this test has not read while it was held up itself.
    let quiet = (0..100).any(|_| uninterrupted(|| stage.manager.recv(&mut buffer)).is_err());
    assert!(quiet, "nothing is said while nothing is done");
    stage.manager.set_read_timeout(Some(PATIENCE)).unwrap();
    gateway.signal(Signal::SIGCONT);
    assert_eq!(stage.told(), "WATCHDOG=1");
}
