//! The unit for systemd is one, and starts the program as the program wants to be started.
#![allow(clippy::unwrap_used)]

use entente_tests::book;
use std::path::{Path, PathBuf};
use std::process::Command;

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(packaging().join(name)).unwrap()
}

/// The settings of a unit: section, name, value.
fn settings(unit: &str) -> Vec<(&str, &str, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[') {
            Some(name) => section = name.strip_suffix(']').unwrap(),
            None => {
                let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
                found.push((section, name, value));
            }
        }
    }
    found
}

#[test]
fn the_unit_starts_what_there_is() {
    let unit = read("entente.service");
    let settings = settings(&unit);
    let value = |wanted: &str| settings.iter().find(|(_, name, _)| *name == wanted).map(|(.., value)| *value).unwrap();
    let sections = ["Unit", "Service", "Install"];
    assert!(settings.iter().all(|(section, ..)| sections.contains(section)));
    assert_eq!(value("Type"), "notify-reload");
    let mut start = value("ExecStart").split(' ');
    assert_eq!(start.next(), Some("/usr/bin/entente"));
    // The arguments are understood: what is wrong is the file, which is not there.
    let ran = Command::new(env!("CARGO_BIN_EXE_entente")).args(start).output().unwrap();
    let told = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(value("RestartPreventExitStatus").parse().unwrap()));
    assert!(told.starts_with("/etc/entente/gateway.toml: the file cannot be read"), "{told}");
    let stop: u64 = value("TimeoutStopSec").trim_end_matches('s').parse().unwrap();
    assert!(stop > gateway::program::DRAIN_PATIENCE.as_secs(), "it may drain");
    // What the commented configuration shows is where the unit lets it write.
    let state = format!("\"/var/lib/{}/", value("StateDirectory"));
    let sections = entente_tests::settings::sections();
    let journal = sections.iter().find(|section| section.name == "journal").unwrap();
    for name in ["folder", "dead_letter_file"] {
        let key = journal.keys.iter().find(|key| key.name == name).unwrap();
        assert!(key.value.starts_with(&state), "{name} = {}", key.value);
    }
    for file in ["packaging/entente.service", "packaging/before-systemd-253.conf"] {
        assert!(book::page("operations.md").contains(file), "{file}");
    }
}

/// Where systemd's own tool is, it agrees, and finds the service shut in well.
#[test]
fn systemd_understands_the_unit() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        eprintln!("systemd-analyze is not here: the unit is only read by the test beside this one");
        return;
    };
    let version = String::from_utf8(version.stdout).unwrap();
    let version: u32 = version.split([' ', '.', '~']).nth(1).unwrap().parse().unwrap();
    let mut unit = read("entente.service").replace("/usr/bin/entente", env!("CARGO_BIN_EXE_entente"));
    if version < 253 {
        let older = read("before-systemd-253.conf");
        let (_, older) = older.split_once("[Service]\n").unwrap();
        unit = unit.replace("Type=notify-reload\n", older);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("entente.service");
    std::fs::write(&path, unit).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output().unwrap();
    let told = String::from_utf8(verified.stderr).unwrap();
    assert!(verified.status.success() && !told.contains("entente.service"), "{told}");
    let exposed = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--threshold=20", "--no-pager"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(exposed.status.success(), "more than 2.0:\n{}", String::from_utf8_lossy(&exposed.stdout));
}
