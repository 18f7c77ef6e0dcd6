//! The floors of the house: arrows point down, and nothing below the gateway knows a runtime, a socket or a clock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// What each crate may use of ours.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("turn", &[][..]),
        ("xml", &[]),
        ("cpim", &["turn", "xml"]),
        ("sip", &["turn"]),
        ("xmpp", &["turn", "xml"]),
        ("sip-connector", &["turn", "cpim", "sip"]),
        ("xmpp-connector", &["turn", "xml", "cpim", "xmpp"]),
        ("engine", &["turn", "cpim", "sip-connector", "xmpp-connector"]),
        ("sandbox", &["turn", "xml", "sip", "xmpp"]),
        ("gateway", &["turn", "xml", "cpim", "sip", "xmpp", "sip-connector", "xmpp-connector", "engine", "sandbox"]),
    ])
}

/// The names below `[dependencies]`.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim() == "[dependencies]";
        } else if inside && !line.trim_start().starts_with('#') {
            let name: String = line.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
            names.push(name);
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn crates() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(root().join("crates"))
        .expect("crates")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_arrow_points_down() {
    let allowed = allowed();
    for name in crates() {
        let may = allowed.get(&*name).unwrap_or_else(|| panic!("{name} has no place in the house yet"));
        let manifest =
            std::fs::read_to_string(root().join("crates").join(&name).join("Cargo.toml")).expect("a manifest");
        for dependency in dependencies(&manifest) {
            let ours = allowed.contains_key(&*dependency);
            assert!(!ours || may.contains(&&*dependency), "{name} must not know {dependency}");
        }
    }
}

#[test]
fn only_the_gateway_knows_the_outside() {
    let outside = ["tokio", "mio", "socket2", "hickory-resolver", "rustls", "rand", "getrandom", "axum", "fjall"];
    for name in crates().into_iter().filter(|name| name != "gateway") {
        let folder = root().join("crates").join(&name);
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        for dependency in dependencies(&manifest) {
            assert!(!outside.contains(&&*dependency), "{name} must not know {dependency}");
        }
        for file in sources(&folder.join("src")) {
            let text = std::fs::read_to_string(&file).expect("a source");
            for forbidden in ["std::net::Tcp", "std::net::Udp", "std::fs::", "std::thread::spawn", "std::env::"] {
                assert!(!text.contains(forbidden), "{} must not use {forbidden}", file.display());
            }
        }
        let lib = std::fs::read_to_string(folder.join("src/lib.rs")).expect("a crate root");
        assert!(lib.contains("#![forbid(unsafe_code)]"), "{name}");
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
