//! `entente run` between an XMPP server and a SIP proxy that the test plays on loopback.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod stage;

use nix::sys::signal::Signal;
use stage::{Component, PATIENCE, Stage, message, receive};
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

    stage.sip.send_to(message(&stage, "first").as_bytes(), stage.listen).unwrap();
    let stanza = component.read_until("<message", "</message>");
    assert!(stanza.contains("<body>Art thou not Romeo, ho</body>"), "{stanza}");
    let id = stanza.split(" id='").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    component.write(&format!(
        "<message type='error' from='romeo@xmpp.example' to='juliet@sip.example' id='{id}'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    let answer = receive(&stage.sip);
    assert!(answer.starts_with("SIP/2.0 404 ") && answer.contains("z9hG4bKfirst"), "{answer}");

    component.write(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m1' type='chat'>\
         <body>Neither, fair saint</body></message>",
    );
    let request = receive(&stage.sip);
    assert!(request.starts_with("MESSAGE sip:juliet@sip.example"), "{request}");
    assert!(request.ends_with("\r\n\r\nNeither, fair saint"), "{request}");
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
        let length = stream.read(&mut buffer).unwrap();
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
    let text = message(&stage, "first").replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    let (start, rest) = text.split_at(100);
    phone.write_all(start.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    phone.write_all(rest.as_bytes()).unwrap();
    let stanza = component.read_until("<message", "</message>");
    assert!(stanza.contains("<body>Art thou not Romeo, ho</body>"), "{stanza}");
    let id = stanza.split(" id='").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    component.write(&format!(
        "<message type='error' from='romeo@xmpp.example' to='juliet@sip.example' id='{id}'><error type='cancel'>\
         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ));
    let answer = receive_over_tcp(&mut phone);
    assert!(answer.starts_with("SIP/2.0 404 ") && answer.contains("z9hG4bKfirst"), "{answer}");

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
    // Ports that nobody is behind any more.
    let dead_udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dead_tcp = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
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
        let mut buffer = [0; 2048];
        let (length, peer) = stage.sip.recv_from(&mut buffer).unwrap();
        let request = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(request.ends_with(&format!("\r\n\r\ntext {n}")), "{request}");
        stage.sip.send_to(ok(request).as_bytes(), peer).unwrap();
    }
    let metrics = stage.get("/metrics").unwrap();
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

    let bounce = |component: &mut Component| {
        let stanza = component.read_until("<message", "</message>");
        assert!(stanza.contains("<body>Art thou not Romeo, ho</body>"), "{stanza}");
        let message = stanza.split("<message").nth(1).unwrap();
        let id = message.split(" id='").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        component.write(&format!(
            "<message type='error' from='romeo@xmpp.example' to='juliet@sip.example' id='{id}'><error type='cancel'>\
             <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        ));
    };
    stage.sip.send_to(message(&stage, "first").replace(";branch", ";rport;branch").as_bytes(), stage.listen).unwrap();
    bounce(&mut component);
    let answer = receive(&stage.sip);
    let port = stage.sip.local_addr().unwrap().port();
    assert!(answer.starts_with("SIP/2.0 404 "), "{answer}");
    let via = format!("Via: SIP/2.0/UDP [::1]:{port};rport={port};branch=z9hG4bKfirst;received=::1\r\n");
    assert!(answer.contains(&via), "{answer}");

    let mut phone = TcpStream::connect(stage.listen).unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    phone.write_all(message(&stage, "second").replace("SIP/2.0/UDP", "SIP/2.0/TCP").as_bytes()).unwrap();
    bounce(&mut component);
    let answer = receive_over_tcp(&mut phone);
    assert!(answer.starts_with("SIP/2.0 404 ") && answer.contains("z9hG4bKsecond"), "{answer}");

    component.write(
        "<message from='romeo@xmpp.example/orchard' to='juliet@sip.example' id='m1' type='chat'>\
         <body>Neither, fair saint</body></message>",
    );
    let request = receive(&stage.sip);
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
