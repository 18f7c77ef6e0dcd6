//! What openssl signs and encrypts on one side, openssl verifies and decrypts on the other: the whole engine in between.

use entente_tests::world::World;
use std::path::Path;
use std::process::Command;

fn openssl(folder: &Path, arguments: &str) -> String {
    let output = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output().expect("openssl runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "openssl {arguments}: {told}");
    told
}

/// A folder with a key, its certificate, and the message/cpim that is secured: with a text that XML would touch.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    openssl(
        folder.path(),
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 1 -subj /CN=juliet",
    );
    let entity = "Content-Type: message/cpim\r\n\r\nFrom: <im:juliet@sip.example>\r\nTo: <im:romeo@xmpp.example>\r\n\
        DateTime: 2026-11-20T18:59:30Z\r\n\r\nContent-Type: text/plain;charset=utf-8\r\n\r\n \t<Art> thou & not \u{1f600} \
        Romeo?]]>  \r\n\r\n\r\n";
    std::fs::write(folder.path().join("entity"), entity).expect("written");
    folder
}

/// A multipart/signed with its header, all lines of it ended by CRLF, as MIME wants: openssl ends those of the signature by LF.
fn signed(folder: &Path) -> (String, Vec<u8>) {
    openssl(folder, "cms -sign -binary -crlfeol -in entity -signer cert.pem -inkey key.pem -out signed");
    let text = std::fs::read_to_string(folder.join("signed")).expect("text");
    let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
    let (head, body) = text.split_once("\r\n\r\n").expect("a header");
    let kind = head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).expect("a type");
    (kind.to_owned(), body.as_bytes().to_vec())
}

fn sealed(folder: &Path) -> (String, Vec<u8>) {
    openssl(folder, "cms -encrypt -binary -aes-256-cbc -outform DER -in entity -out sealed cert.pem");
    let body = std::fs::read(folder.join("sealed")).expect("octets");
    ("application/pkcs7-mime;smime-type=enveloped-data;name=smime.p7m".to_owned(), body)
}

/// From SIP to XMPP: what stands in `<e2e/>`, as its reader gets it.
fn to_xmpp(world: &mut World, kind: &str, body: &[u8]) -> String {
    let head = format!(
        "MESSAGE sip:romeo@xmpp.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK-smime\r\n\
         Max-Forwards: 70\r\nFrom: <sip:juliet@sip.example>;tag=j\r\nTo: <sip:romeo@xmpp.example>\r\nCall-ID: smime\r\n\
         CSeq: 1 MESSAGE\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    world.proxy_sends([head.as_bytes(), body].concat());
    let stanza = world.take_stanza().unwrap_or_else(|| panic!("a stanza, not {:?}", world.datagrams));
    let namespaces = xml::StreamNamespaces::new("jabber:component:accept");
    let read = xmpp::stanza::parse_stanza(stanza.as_bytes(), &namespaces, &xml::Limits::default()).expect("a stanza");
    let xmpp::stanza::Stanza::Message(message) = read else { panic!("a message") };
    assert!(!message.bodies.is_empty(), "for those who do not know it");
    message.e2e.expect("an entity").into_owned()
}

/// From XMPP to SIP: type and body.
fn to_sip(world: &mut World, entity: &str) -> (String, Vec<u8>) {
    let entity = entity.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    world.server_writes(format!(
        "<message from='romeo@xmpp.example/o' to='juliet@sip.example' id='m'><body>secret</body>\
         <e2e xmlns='urn:ietf:params:xml:ns:xmpp-e2e'>{entity}</e2e></message>"
    ));
    let (_, request) = world.datagrams.pop_front().expect("a request");
    let end = memchr::memmem::find(&request, b"\r\n\r\n").expect("a header");
    let head = std::str::from_utf8(&request[..end]).expect("UTF-8");
    let kind = head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).expect("a type");
    (kind.to_owned(), request[end + 4..].to_vec())
}

fn assert_verifies(folder: &Path, entity: &[u8]) {
    std::fs::write(folder.join("far"), entity).expect("written");
    let told = openssl(folder, "cms -verify -binary -crlfeol -purpose any -CAfile cert.pem -in far -out found");
    assert!(told.contains("Verification successful"), "{told}");
    assert_same(folder);
}

fn assert_same(folder: &Path) {
    let read = |name| std::fs::read(folder.join(name)).expect("octets");
    assert_eq!(read("found"), read("entity"));
}

#[test]
fn what_was_signed_verifies_on_either_side() {
    let folder = folder();
    let (kind, body) = signed(folder.path());
    let mut world = World::new();
    let entity = to_xmpp(&mut world, &kind, &body);
    // The reader makes CRLF of LF, as RFC 3923 has it.
    assert_verifies(folder.path(), entity.replace('\n', "\r\n").as_bytes());
    let (far_kind, far_body) = to_sip(&mut world, &entity);
    assert_eq!((&far_kind, &far_body), (&kind, &body));
    assert_verifies(folder.path(), &[format!("Content-Type: {far_kind}\r\n\r\n").as_bytes(), &far_body].concat());
    // It would tell if a single octet had changed.
    let changed = entity.replace("Romeo", "Romea").replace('\n', "\r\n");
    std::fs::write(folder.path().join("far"), changed).expect("written");
    let verify = "cms -verify -binary -crlfeol -purpose any -CAfile cert.pem -in far -out found";
    let status =
        Command::new("openssl").current_dir(folder.path()).args(verify.split(' ')).output().expect("openssl runs");
    assert!(!status.status.success());
}

#[test]
fn what_was_encrypted_is_decrypted_on_either_side() {
    let folder = folder();
    let (kind, body) = sealed(folder.path());
    let mut world = World::new();
    let entity = to_xmpp(&mut world, &kind, &body);
    assert!(entity.contains("\nContent-Transfer-Encoding: base64\n"), "the header says so");
    std::fs::write(folder.path().join("far"), entity.replace('\n', "\r\n")).expect("written");
    openssl(folder.path(), "cms -decrypt -binary -inform SMIME -in far -inkey key.pem -recip cert.pem -out found");
    assert_same(folder.path());
    let (far_kind, far_body) = to_sip(&mut world, &entity);
    assert_eq!((&far_kind, &far_body), (&kind, &body));
    std::fs::write(folder.path().join("far"), &far_body).expect("written");
    openssl(folder.path(), "cms -decrypt -binary -inform DER -in far -inkey key.pem -recip cert.pem -out found");
    assert_same(folder.path());
}
