//! `entente run` between an XMPP server and a SIP proxy that the test plays on loopback.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod stage;

use entente_tests::ports::free_address;
use nix::sys::signal::Signal;
use stage::{Component, PATIENCE, Stage, message, uninterrupted};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Juliet -> proxy -> entente -> XMPP server; the server bounces; Juliet hears of it; Romeo writes; SIGTERM.
#[test]
fn messages_cross_and_a_signal_ends_it_in_order() {
    let stage = Stage::new();
    let mut gateway = stage.run();
    let mut component = stage.accept();
    stage.wait_until_ready();

    let answer = stage.answer(&mut component, |component, branch| {
        stage.sip.send_to(message(&stage, branch).as_bytes(), stage.listen).unwrap();
        let stanza = component.bounce();
        assert!(stanza.contains("<body>Art thou not Romeo, ho</body>"), "{stanza}");
        stage.response(branch)
    });
    assert!(answer.starts_with("SIP/2.0 404 "), "{answer}");

    component.write(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m1' type='chat'>\
         <body>Neither, fair saint</body></message>",
    );
    let request = stage.request("Neither, fair saint");
    assert!(request.starts_with("MESSAGE sip:juliet@sip.example"), "{request}");
    // Answered, so that nothing is open any more.
    let (head, _) = request.split_once("\r\n\r\n").unwrap();
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let headers: Vec<&str> = head.lines().filter(|line| copied.iter().any(|name| line.starts_with(name))).collect();
    let headers = headers.join("\r\n").replace("To: <sip:juliet@sip.example>", "To: <sip:juliet@sip.example>;tag=2");
    let response = format!("SIP/2.0 200 OK\r\n{headers}\r\nContent-Length: 0\r\n\r\n");
    stage.sip.send_to(response.as_bytes(), stage.listen).unwrap();

    gateway.signal(Signal::SIGTERM);
    component.read_until("</stream:stream", ">");
    component.write("</stream:stream>");
    assert_eq!(gateway.wait().code(), Some(0));
}

/// Reads one SIP message from a connection.
fn receive_over_tcp(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                return text;
            }
        }
        let mut buffer = [0; 4096];
        let length = uninterrupted(|| stream.read(&mut buffer)).unwrap();
        assert!(length > 0, "the connection ended behind {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
}

#[test]
fn messages_cross_over_tcp_both_ways() {
    let stage = Stage::new();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let next_hop = format!("tcp:{}", proxy.local_addr().unwrap());
    let mut gateway = stage.run_with(&stage.config_with(&format!("[\"tcp:{}\"]", stage.listen), &next_hop));
    let mut component = stage.accept();
    stage.wait_until_ready();

    let mut phone = TcpStream::connect(stage.listen).unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    phone.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    phone.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
    let answer = stage.answer(&mut component, |component, branch| {
        let text = message(&stage, branch).replace("SIP/2.0/UDP", "SIP/2.0/TCP");
        let (start, rest) = text.split_at(100);
        phone.write_all(start.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        phone.write_all(rest.as_bytes()).unwrap();
        let stanza = component.bounce();
        assert!(stanza.contains("<body>Art thou not Romeo, ho</body>"), "{stanza}");
        let answer = receive_over_tcp(&mut phone);
        assert!(answer.contains(&format!("z9hG4bK{branch}")), "{answer}");
        answer
    });
    assert!(answer.starts_with("SIP/2.0 404 "), "{answer}");

    let write = |component: &mut Component, n: u32| {
        component.write(&format!(
            "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m{n}' type='chat'>\
             <body>Neither, fair saint {n}</body></message>"
        ));
    };
    write(&mut component, 1);
    let mut hop = proxy.accept().unwrap().0;
    hop.set_read_timeout(Some(PATIENCE)).unwrap();
    for n in 1..=3 {
        let request = receive_over_tcp(&mut hop);
        assert!(request.starts_with("MESSAGE sip:juliet@sip.example"), "{request}");
        assert!(request.contains(&format!("Via: SIP/2.0/TCP {};", stage.listen)), "{request}");
        assert!(request.ends_with(&format!("\r\n\r\nNeither, fair saint {n}")), "{request}");
        hop.write_all(ok(&request).as_bytes()).unwrap();
        if n < 3 {
            write(&mut component, n + 1);
        }
    }

    gateway.signal(Signal::SIGTERM);
    component.read_until("</stream:stream", ">");
    component.write("</stream:stream>");
    // The connections are closed in order too.
    assert_eq!((phone.read(&mut pong).unwrap(), hop.read(&mut pong).unwrap()), (0, 0));
    assert_eq!(gateway.wait().code(), Some(0));
}

/// RFC 3263 4.3 on real sockets: neither a closed UDP port nor a refused connection keeps a message from the third next hop.
#[test]
fn what_cannot_be_reached_is_passed_over() {
    let stage = Stage::new();
    let (dead_udp, dead_tcp) = (free_address(), free_address());
    let third = stage.sip.local_addr().unwrap();
    let one = format!("next_hop = \"udp:{third}\"");
    let list = format!("next_hop = [\"udp:{dead_udp}\", \"tcp:{dead_tcp}\", \"udp:{third}\"]");
    let mut gateway = stage.run_with(&stage.config().replace(&one, &list));
    let mut component = stage.accept();
    stage.wait_until_ready();
    for n in 1..=2 {
        component.write(&format!(
            "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m{n}'><body>text {n}</body></message>"
        ));
        let request = stage.request(&format!("text {n}"));
        stage.sip.send_to(ok(&request).as_bytes(), stage.listen).unwrap();
    }
    let metrics = stage.metrics();
    assert!(metrics.contains("entente_sip_failovers_total{reason=\"unreachable\"} 2"), "{metrics}");
    assert!(metrics.contains("entente_sip_failing_next_hops 2"), "{metrics}");
    let log = stage.log();
    assert_eq!(log.matches("a next hop cannot be reached").count(), 2, "{log}");
    gateway.signal(Signal::SIGTERM);
    component.read_until("</stream:stream", ">");
    component.write("</stream:stream>");
    assert_eq!(gateway.wait().code(), Some(0));
}

/// The response to a request, as a UAS makes it.
fn ok(request: &str) -> String {
    let (head, _) = request.split_once("\r\n\r\n").unwrap();
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let headers: Vec<&str> = head.lines().filter(|line| copied.iter().any(|name| line.starts_with(name))).collect();
    format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", headers.join("\r\n"))
}

/// Both transports over IPv6; who asks is trusted as the next hop.
#[test]
fn messages_cross_over_ipv6_both_ways() {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).expect("this test needs IPv6 on the loopback interface");
    let stage = Stage::on(Ipv6Addr::LOCALHOST.into());
    let next_hop = format!("udp:{}", stage.sip.local_addr().unwrap());
    let mut gateway =
        stage.run_with(&stage.config_with(&format!("[\"udp:{0}\", \"tcp:{0}\"]", stage.listen), &next_hop));
    let mut component = stage.accept();
    stage.wait_until_ready();

    let port = stage.sip.local_addr().unwrap().port();
    let answer = stage.answer(&mut component, |component, branch| {
        let text = message(&stage, branch).replace(";branch", ";rport;branch");
        stage.sip.send_to(text.as_bytes(), stage.listen).unwrap();
        component.bounce();
        let answer = stage.response(branch);
        let via = format!("Via: SIP/2.0/UDP [::1]:{port};rport={port};branch=z9hG4bK{branch};received=::1\r\n");
        assert!(answer.contains(&via), "{answer}");
        answer
    });
    assert!(answer.starts_with("SIP/2.0 404 "), "{answer}");

    let mut phone = TcpStream::connect(stage.listen).unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    let answer = stage.answer(&mut component, |component, branch| {
        let text = message(&stage, branch).replace("SIP/2.0/UDP", "SIP/2.0/TCP");
        phone.write_all(text.as_bytes()).unwrap();
        component.bounce();
        let answer = receive_over_tcp(&mut phone);
        assert!(answer.contains(&format!("z9hG4bK{branch}")), "{answer}");
        answer
    });
    assert!(answer.starts_with("SIP/2.0 404 "), "{answer}");

    component.write(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m1' type='chat'>\
         <body>Neither, fair saint</body></message>",
    );
    let request = stage.request("Neither, fair saint");
    assert!(request.contains(&format!("Via: SIP/2.0/UDP {};", stage.listen)), "{request}");
    stage.sip.send_to(ok(&request).as_bytes(), stage.listen).unwrap();

    gateway.signal(Signal::SIGTERM);
    component.read_until("</stream:stream", ">");
    component.write("</stream:stream>");
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn health_tells_whether_the_component_stands() {
    let stage = Stage::new();
    let mut gateway = stage.run();
    let start = Instant::now();
    while stage.health("/livez") != Some(200) {
        assert!(start.elapsed() < PATIENCE, "the gateway lives");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(stage.health("/readyz"), Some(503));
    let component = stage.accept();
    stage.wait_until_ready();
    drop(component);
    let start = Instant::now();
    while stage.health("/readyz") != Some(503) {
        assert!(start.elapsed() < PATIENCE, "the loss is seen");
        std::thread::sleep(Duration::from_millis(20));
    }
    // It comes back by itself.
    let _component = stage.accept();
    stage.wait_until_ready();
    gateway.signal(Signal::SIGINT);
    gateway.signal(Signal::SIGTERM);
    assert!(gateway.wait().code().is_some(), "two signals end it, at once or in order");
}

#[test]
fn an_address_that_is_taken_ends_the_start() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let stage = Stage { listen: taken.local_addr().unwrap(), ..Stage::new() };
    let status = stage.run().wait();
    assert_eq!(status.code(), Some(69));
    drop(taken);
}

/// An operator reads where the gateway tried to connect and why that failed.
#[test]
fn a_server_that_is_not_there_is_named() {
    let stage = Stage::new();
    // Bound and never listened on, so that nobody else gets it and every connection is refused.
    let nobody = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    nobody.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let nobody = nobody.local_addr().unwrap().as_socket().unwrap().to_string();
    let config = stage.config().replace(&stage.xmpp.local_addr().unwrap().to_string(), &nobody);
    let _gateway = stage.run_with(&config);
    let start = Instant::now();
    while !stage.log().contains("component stream down") {
        assert!(start.elapsed() < PATIENCE, "{}", stage.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = stage.log();
    let failed = log.lines().find(|line| line.contains("a connection could not be made")).unwrap();
    assert!(failed.contains(" WARN ") && failed.contains(&nobody) && failed.contains("refused"), "{failed}");
}
