//! The torture messages of RFC 4475 and RFC 5118, each as one datagram from the proxy: as they are, and what is valid of them
//! once more with the method MESSAGE.

use crate::{others, table};
use cpim::{DomainPattern, Side};
use entente_tests::world::{World, attribute, proxy, status};
use std::path::Path;

/// The domains of the two RFCs are domains of XMPP like any other here.
fn world() -> World {
    World::with(|settings| settings.relay.policy.add_home(DomainPattern::Any, Side::Xmpp))
}

#[test]
fn every_torture_message_gets_its_answer_and_hurts_nobody() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("torture");
    let mut world = world();
    let mut wrong = String::new();
    let mut files = 0;
    for (n, [name, expected, _why]) in table::rows::<3>(include_str!("rfc.tsv")).into_iter().enumerate() {
        let bytes = std::fs::read(folder.join(name).with_extension("dat")).expect(name);
        world.proxy_sends(&bytes);
        let said = others::settle(&mut world);
        let found = match &said.datagrams[..] {
            [] => "silence".to_owned(),
            [one] => {
                others::assert_made_of(&bytes, one, name);
                others::summary(one)
            }
            many => format!("{} datagrams", many.len()),
        };
        others::acknowledge(&mut world, &bytes, &said);
        if found != expected || !said.stanzas.is_empty() {
            wrong += &format!("{name}\t{found}\t{:?}\n", said.stanzas);
        }
        others::go_on(&mut world, n as u32, name);
        others::quiet(&mut world, name);
        files += 1;
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    let there = ["rfc4475", "rfc5118"].map(|rfc| std::fs::read_dir(folder.join(rfc)).expect(rfc).count());
    assert_eq!(files, there[0] + there[1], "each file has a row");
}

/// The same, each over a connection of its own: what differs is in `rfc_tcp.tsv`.
#[test]
fn every_torture_message_gets_its_answer_over_tcp_and_hurts_nobody() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("torture");
    let mut world = world();
    let others_stream = world.sip_connects((proxy().ip(), 1).into());
    let differing = table::rows::<4>(include_str!("rfc_tcp.tsv"));
    let mut met = 0;
    let mut wrong = String::new();
    for (n, [name, over_udp, _why]) in (0..).zip(table::rows::<3>(include_str!("rfc.tsv"))) {
        let bytes = std::fs::read(folder.join(name).with_extension("dat")).expect(name);
        let stream = world.sip_connects((proxy().ip(), 10_000 + n).into());
        world.sip_writes(stream, &bytes);
        let said = others::settle(&mut world);
        assert!(said.datagrams.is_empty() && said.stanzas.is_empty(), "{name}: {:?}", said.stanzas);
        let answers: Vec<_> =
            std::iter::from_fn(|| world.sip_reads_bytes(stream)).map(|answer| others::summary(&answer)).collect();
        let found = if answers.is_empty() { "silence".to_owned() } else { answers.join(", ") };
        world.advance(sip::transport::PATIENCE);
        let end = if world.is_closed_by_gateway(stream) { "closed" } else { "open" };
        let expected = match differing.iter().find(|row| row[0] == name) {
            Some([_, expected, end, _why]) => {
                met += 1;
                (*expected, *end)
            }
            None => (over_udp, "open"),
        };
        if (&*found, end) != expected {
            wrong += &format!("{name}\t{found}\t{end}\n");
        }
        if end == "open" {
            others::go_on_over(&mut world, stream, 10_000 + u32::from(n), name);
            world.sip_closes(stream);
        }
        others::go_on_over(&mut world, others_stream, n.into(), name);
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert_eq!(met, differing.len(), "each row of rfc_tcp.tsv is about one of rfc.tsv");
    others::quiet(&mut world, "all of them");
}

/// A torture message as a MESSAGE from somebody in sip.example who says hello: its method, the host of its From and its body
/// are other ones, all else stands as it stood.
fn as_message(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let head = text.split("\r\n\r\n").next().expect("a header");
    let method = head.split(' ').next().expect("a method");
    let mut message = String::new();
    let mut left_out = false;
    for (place, line) in head.split("\r\n").enumerate() {
        let folded = line.starts_with([' ', '\t']);
        let name = line.split(':').next().unwrap_or_default().trim().to_lowercase();
        if !folded {
            left_out = ["content-type", "content-length", "c", "l"].contains(&&*name);
        }
        if left_out {
            continue;
        }
        match line.split_once('@') {
            // The method stands in the start line, and behind the number of the CSeq or in its fold.
            _ if place == 0 || name == "cseq" || (folded && line.trim() == method) => {
                message += &line.replacen(method, "MESSAGE", 1);
            }
            Some((user, host)) if name == "from" || name == "f" => {
                let end = host.find(|c: char| !c.is_ascii_alphanumeric() && !".-".contains(c)).unwrap_or(host.len());
                message += &format!("{user}@sip.example{}", &host[end..]);
            }
            _ => message += line,
        }
        message += "\r\n";
    }
    (message + "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello").into_bytes()
}

#[test]
fn valid_torture_messages_cross_when_they_are_messages() {
    let long = "amazinglylongcallername".repeat(5);
    // Where it comes from and goes to is by RFC 7247 and XEP-0106.
    let cases = [
        ("rfc4475/wsinv", "jdrosen", "vivekg@chair-dnrc.example.com"),
        ("rfc4475/intmeth", "mundane", "1_unusual.uri~(to-be!sure)\\26isn\\27t+it$\\2fcrazy?,\\2f;;*@example.com"),
        ("rfc4475/esc01", "i\\20have\\20spaces", "sips\\3auser\\40example.com@example.net"),
        ("rfc4475/lwsdisp", "caller", "user@example.com"),
        ("rfc4475/longreq", &long, "user@example.com"),
        ("rfc4475/semiuri", "caller", "user;par=u\\40example.net@example.com"),
        ("rfc4475/transports", "caller", "user@example.com"),
        ("rfc4475/mpart01", "fluffy", "kumiko@example.org"),
        ("rfc4475/baddate", "caller", "user@example.com"),
        ("rfc4475/sdp01", "caller", "user@example.com"),
        ("rfc4475/inv2543", "+13035551111", "userb@example.com"),
        ("rfc5118/ipv4-mapped-ipv6", "user", "user@example.com"),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("torture");
    for (n, (name, from, to)) in cases.into_iter().enumerate() {
        let mut world = world();
        let mut bytes = as_message(&std::fs::read(folder.join(name).with_extension("dat")).expect(name));
        if name == "rfc4475/wsinv" {
            // It names a dialog, which does not stand.
            bytes = String::from_utf8_lossy(&bytes).replace(" ;   tag    = 1918181833n", "").into_bytes();
        }
        world.proxy_sends(&bytes);
        let said = others::settle(&mut world);
        let shown = || format!("{name}: {}", String::from_utf8_lossy(&bytes));
        assert_eq!(said.datagrams.len(), 1, "{}", shown());
        others::assert_made_of(&bytes, &said.datagrams[0], name);
        assert_eq!(status(&String::from_utf8_lossy(&said.datagrams[0])), Some(202), "{}", shown());
        let [stanza] = &said.stanzas[..] else { panic!("{:?} {}", said.stanzas, shown()) };
        assert_eq!(attribute(stanza, "from"), Some(&*format!("{from}@sip.example")), "{}", shown());
        assert_eq!(attribute(stanza, "to"), Some(to), "{}", shown());
        assert!(stanza.contains("<body>hello</body>"), "{}", shown());
        others::go_on(&mut world, n as u32, name);
        others::quiet(&mut world, name);
    }
}
