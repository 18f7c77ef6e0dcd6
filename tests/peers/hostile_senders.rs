//! What senders do that they should not, and that the others must not notice.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use entente_tests::peers::Sipp;
use entente_tests::peers::sipp::Request;

use crate::lab::{ANSWER, with_each_server};

const ROMEO: &str = "sip:romeo@xmpp.example";

/// The length of the next datagram.
fn receive_from(socket: &UdpSocket, buffer: &mut [u8]) -> usize {
    loop {
        match socket.recv(buffer) {
            // Somebody has stopped this program for a while.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received.expect("an answer comes"),
        }
    }
}

with_each_server! {
    #[test]
    fn a_stranger_who_goes_past_the_proxy_is_403(lab: Lab<_>) {
        let mut romeo = lab.xmpp_user("romeo");
        let request = Request {
            method: "MESSAGE",
            to: ROMEO,
            from: "sip:bob@sip.example",
            more: &[],
            content_type: Some("text/plain"),
            body: "I am Bob, believe me",
        };
        Sipp::send_from_elsewhere(&lab.folder, lab.sip_port, &request, 403);
        romeo.expect_nothing(Duration::from_secs(1));
    }

    /// A bare socket, because SIPp has a mind of its own about requests that were answered.
    #[test]
    fn a_retransmission_gets_the_same_answer_and_arrives_once(lab: Lab<_>) {
        let mut romeo = lab.xmpp_user("romeo");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        socket.connect(("127.0.0.1", lab.sip_port)).expect("loopback can be reached");
        socket.set_read_timeout(Some(ANSWER)).expect("a time limit can be set");
        let own = socket.local_addr().expect("it is bound");
        let request = format!(
            "MESSAGE {ROMEO} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKthesame;rport\r\nMax-Forwards: 70\r\n\
             From: <sip:bob@sip.example>;tag=one\r\nTo: <{ROMEO}>\r\nCall-ID: the-same\r\nCSeq: 1 MESSAGE\r\n\
             Content-Type: text/plain\r\nContent-Length: 9\r\n\r\nonly once"
        );
        let send = || assert_eq!(socket.send(request.as_bytes()).ok(), Some(request.len()));
        let receive = || {
            let mut answer = vec![0; 65_535];
            let length = receive_from(&socket, &mut answer);
            String::from_utf8_lossy(&answer[..length]).into_owned()
        };
        // Twice before the answer, which is then one, and twice after it.
        send();
        send();
        let first = receive();
        assert!(first.starts_with("SIP/2.0 202 "), "{first}");
        for _ in 0..2 {
            send();
            assert_eq!(receive(), first);
        }
        assert_eq!(romeo.expect_message().body.as_deref(), Some("only once"));
        romeo.expect_nothing(Duration::from_secs(1));
    }

    /// XML has no way to carry most control characters, and one of them would end the stream for everybody.
    #[test]
    fn a_control_character_does_not_end_the_stream(lab: Lab<_>) {
        let mut bob = lab.phone("bob");
        let mut romeo = lab.xmpp_user("romeo");
        bob.send(ROMEO, "a bell \u{7} and a nothing \u{1}");
        assert_eq!(bob.expect_answer(ANSWER).status(), Some(202));
        assert_eq!(romeo.expect_message().body.as_deref(), Some("a bell \u{fffd} and a nothing \u{fffd}"));
        bob.send(ROMEO, "no bell");
        assert_eq!(bob.expect_answer(ANSWER).status(), Some(202));
        assert_eq!(romeo.expect_message().body.as_deref(), Some("no bell"));
    }

    #[test]
    fn a_text_too_long_for_a_datagram_comes_back(lab: Lab<_>) {
        let mut bob = lab.phone("bob");
        let mut romeo = lab.xmpp_user("romeo");
        romeo.send("bob@sip.example", "long", &"long ".repeat(14_000));
        let (kind, condition, _) = romeo.expect_error("long", ANSWER).error.expect("an error says what it is");
        assert_eq!((kind.as_str(), condition.as_str()), ("modify", "policy-violation"));
        romeo.send("bob@sip.example", "short", "short");
        assert_eq!(bob.expect_message().body(), "short");
    }

    /// Names that one world writes in another way than the other: what comes back comes from the JID that was written to.
    #[test]
    fn unusual_names_come_back_as_they_were_written(lab: Lab<_>) {
        let mut romeo = lab.xmpp_user("romeo");
        for name in ["d\\27artagnan", "half\\20and\\20half", "a+b", "100%", "ελλάδα", "semi;colon", "back\\5c20slash"]
        {
            let jid = format!("{name}@sip.example");
            romeo.send_raw(&format!("<message type='chat' to=\"{jid}\" id='{}'><body>hello</body></message>", name.len()));
            let got = romeo.expect_error(&name.len().to_string(), ANSWER);
            assert_eq!(got.from, jid);
            let (_, condition, _) = got.error.expect("an error says what it is");
            assert_eq!(condition, "item-not-found", "{jid}: Kamailio took the address and knows nobody of that name");
        }
    }

    /// A character may take five in a stanza, and a stanza that a server finds too long would end the stream for everybody.
    #[test]
    fn a_text_too_long_for_a_stanza_is_413_and_ends_nothing(lab: Lab<_>) {
        let mut romeo = lab.xmpp_user("romeo");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        socket.connect(("127.0.0.1", lab.sip_port)).expect("loopback can be reached");
        socket.set_read_timeout(Some(ANSWER)).expect("a time limit can be set");
        let own = socket.local_addr().expect("it is bound");
        for (ampersands, status) in [(60_000, "413"), (50_000, "202")] {
            let text = "&".repeat(ampersands);
            let request = format!(
                "MESSAGE {ROMEO} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{ampersands};rport\r\nMax-Forwards: 70\r\n\
                 From: <sip:bob@sip.example>;tag=one\r\nTo: <{ROMEO}>\r\nCall-ID: {ampersands}\r\nCSeq: 1 MESSAGE\r\n\
                 Content-Type: text/plain\r\nContent-Length: {ampersands}\r\n\r\n{text}"
            );
            assert_eq!(socket.send(request.as_bytes()).ok(), Some(request.len()));
            let mut answer = vec![0; 65_535];
            let length = receive_from(&socket, &mut answer);
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            assert!(answer.starts_with(&format!("SIP/2.0 {status} ")), "{answer}");
        }
        assert_eq!(romeo.expect_message().body.map(|body| body.len()), Some(50_000));
        assert_eq!(lab.server.components(), 1, "the stream stands");
    }

    /// Both servers take what a user may write, and make of it what nobody may write.
    #[test]
    fn a_namespace_that_nobody_may_declare_does_not_end_the_stream(lab: Lab<_>) {
        let mut bob = lab.phone("bob");
        let mut romeo = lab.xmpp_user("romeo");
        let before = lab.server.components();
        let to = "to='bob@sip.example' type='chat'";
        romeo.send_raw(&format!("<message {to} id='n1'><xml:a/><body>an element of xml</body></message>"));
        assert_eq!(bob.expect_message().body(), "an element of xml");
        romeo.send_raw(&format!("<message {to} id='n2' xml:b='c'><body>an attribute of xml</body></message>"));
        assert_eq!(bob.expect_message().body(), "an attribute of xml");
        let inner = "<a xmlns='urn:a' b:c='d'/><body>an attribute of another</body>";
        romeo.send_raw(&format!("<message {to} id='n3' xmlns:b='urn:b'>{inner}</message>"));
        assert_eq!(bob.expect_message().body(), "an attribute of another");
        assert_eq!(lab.server.components(), before, "it is the same stream");
    }
}
