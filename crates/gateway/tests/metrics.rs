//! The page about operations names every metric that is served, and no other.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod stage;

use entente_tests::book;
use stage::Stage;

/// Name, type, labels with their values, meaning.
type Row = (String, String, Vec<(String, Vec<String>)>, String);

/// What `/metrics` serves, as rows of the table: name, type, labels with their values, meaning.
fn rows(served: &str) -> Vec<String> {
    let mut rows: Vec<Row> = Vec::new();
    for line in served.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            rows.push((name.into(), String::new(), Vec::new(), help.into()));
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            let row = rows.last_mut().unwrap();
            assert_eq!(row.0, name);
            row.1 = kind.into();
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
            let (known, _, all, _) = rows.last_mut().unwrap();
            assert!(name.starts_with(&**known), "{line} stands below {known}");
            for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
                let (label, value) = label.split_once('=').unwrap();
                let place = all.iter().position(|(known, _)| known == label).unwrap_or_else(|| {
                    all.push((label.into(), Vec::new()));
                    all.len() - 1
                });
                let value = value.trim_matches('"').to_owned();
                if !all[place].1.contains(&value) {
                    all[place].1.push(value);
                }
            }
        }
    }
    let row = |(name, kind, labels, help): Row| {
        let labels = labels.into_iter().map(|(label, values)| format!("`{label}`: {}", values.join(", ")));
        format!("| `{name}` | {kind} | {} | {help} |", labels.collect::<Vec<_>>().join("; "))
    };
    rows.into_iter().map(row).collect()
}

#[test]
fn the_page_and_the_program_name_the_same_metrics() {
    let stage = Stage::new();
    // With a journal nothing is missing.
    let _gateway = stage.run_with(&format!("{}[journal]\nfolder = \"journal\"\n", stage.config()));
    stage.told();
    let answer = stage.metrics();
    let (head, served) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    let served = rows(served);
    assert!(served.len() > 40, "{served:?}");

    let page = book::page("operations.md");
    let start = page.find("| name | type | labels | what it says |\n|---|---|---|---|\n").unwrap();
    let start = start + page[start..].find("|---|---|---|---|\n").unwrap() + "|---|---|---|---|\n".len();
    let end = page[start..].find("\n\n").map_or(page.len(), |length| start + length + 1);
    let documented: Vec<&str> = page[start..end].lines().collect();
    if documented != served && std::env::var_os("ENTENTE_WRITE_BOOK").is_some() {
        let text = format!("{}{}\n{}", &page[..start], served.join("\n"), &page[end..]);
        std::fs::write(book::folder().join("operations.md"), text).unwrap();
        return;
    }
    for row in &served {
        assert!(documented.contains(&&**row), "docs/src/operations.md lacks {row}\n{WRITE}");
    }
    for row in &documented {
        assert!(
            served.iter().any(|served| served == row),
            "docs/src/operations.md has what is not served: {row}\n{WRITE}"
        );
    }
}

const WRITE: &str = "write it anew: ENTENTE_WRITE_BOOK=1 cargo test -p entente --test metrics";
