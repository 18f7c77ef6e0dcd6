//! What the program writes where everything is to be written: nobody's name, nothing that anybody wrote, no secret.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod stage;

use nix::sys::signal::Signal;
use stage::{Component, SECRET, Stage, message};
use std::io::Write;
use std::net::{TcpStream, UdpSocket};

const TOLD: [&str; 7] = ["juliet", "romeo", "Art thou not", "Neither, fair saint", "nurse", "hunter2", SECRET];

/// Messages that arrive, bounce, are forged, are broken; a server that closes with words; another secret.
fn a_day(stage: &Stage, component: &mut Component) {
    let answer = stage.answer(component, |component, branch| {
        stage.sip.send_to(message(stage, branch).as_bytes(), stage.listen).unwrap();
        component.bounce();
        stage.response(branch)
    });
    assert!(answer.starts_with("SIP/2.0 404 "), "{answer}");

    component.write(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m1' type='chat'>\
         <body>Neither, fair saint</body></message>",
    );
    let request = stage.request("Neither, fair saint");
    assert!(request.starts_with("MESSAGE sip:juliet@sip.example"), "{request}");

    for (n, (here, there)) in [
        ("sip:juliet@sip.example", "sip:juliet:hunter2@sip.example"),
        ("sip:juliet@", "sip:juliet@@"),
        ("CSeq: 1 MESSAGE\r\n", ""),
        ("text/plain", "text/nurse"),
        ("MESSAGE sip:romeo", "NURSE sip:romeo"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = message(stage, &format!("odd{n}")).replace(here, there);
        stage.sip.send_to(request.as_bytes(), stage.listen).unwrap();
    }
    // A stranger over UDP, and one who goes away in the middle of a message over TCP.
    let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
    stranger.send_to(message(stage, "stranger").as_bytes(), stage.listen).unwrap();
    let mut phone = TcpStream::connect(stage.listen).unwrap();
    phone.write_all(&message(stage, "half").as_bytes()[..150]).unwrap();
    drop(phone);

    component.write(
        "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text \
         xmlns='urn:ietf:params:xml:ns:xmpp-streams'>nurse@xmpp.example is here</text></stream:error></stream:stream>",
    );
}

#[test]
fn at_the_level_trace_nobody_is_named_where_addresses_are_redacted() {
    let stage = Stage::new();
    let config = stage.config().replace(
        &format!("[\"udp:{}\"]", stage.listen),
        &format!("[\"udp:{}\", \"tcp:{}\"]", stage.listen, stage.listen),
    ) + "[log]\nlevel = \"trace\"\nredact_addresses = true\n";
    let mut gateway = stage.run_with(&config);
    assert_eq!(stage.told(), "READY=1");
    let mut component = stage.accept();
    stage.wait_until_ready();
    a_day(&stage, &mut component);
    drop(component);
    let _component = stage.accept();
    stage.wait_until_ready();

    // A secret that is wrong is not shown either, and neither is a line of a file that is none.
    for wrong in [
        config.replace("{ file = \"secret\" }", "{ file = \"secret\", nurse = \"hunter2\" }"),
        config.replace("{ file = \"secret\" }", "\"hunter2"),
        config.replace("{ file = \"secret\" }", "{ env = \"ENTENTE_NOT_THERE\" }"),
    ] {
        stage.write(&wrong, SECRET);
        gateway.signal(Signal::SIGHUP);
        assert!(stage.told().starts_with("RELOADING=1"));
        assert_eq!(stage.told(), "READY=1");
    }
    // All is written when it has ended.
    gateway.signal(Signal::SIGTERM);
    assert_eq!(stage.told(), "STOPPING=1");
    gateway.signal(Signal::SIGINT);
    gateway.wait();
    let log = stage.log();
    for written in ["TRACE", "im:redacted", "concluded", "component stream down", "the configuration is wrong"] {
        assert!(log.contains(written), "{written}");
    }
    for told in TOLD {
        let line = log.lines().find(|line| line.contains(told));
        assert_eq!(line, None, "{told} is told");
    }
}
