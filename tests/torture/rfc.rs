//! The torture messages of RFC 4475 and RFC 5118, each as one datagram from the proxy.

use crate::{others, table};
use entente_tests::world::World;
use std::path::Path;

#[test]
fn every_torture_message_gets_its_answer_and_hurts_nobody() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("torture");
    let mut world = World::new();
    let mut wrong = String::new();
    let mut files = 0;
    for (n, [name, expected, _why]) in table::rows::<3>(include_str!("rfc.tsv")).into_iter().enumerate() {
        let bytes = std::fs::read(folder.join(name).with_extension("dat")).expect(name);
        world.proxy_sends(bytes);
        let said = others::settle(&mut world);
        let found = match &said.datagrams[..] {
            [] => "silence".to_owned(),
            [one] => others::summary(one),
            many => format!("{} datagrams", many.len()),
        };
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
