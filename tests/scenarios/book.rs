//! The book in `docs/` holds together: every page is reached, every link leads somewhere, every test it names exists.

use crate::evidence::assert_exists;
use entente_tests::book;

#[test]
fn every_page_is_in_the_summary_once() {
    let mut listed = book::links(&book::page("SUMMARY.md"));
    listed.push("SUMMARY.md".into());
    listed.sort();
    assert_eq!(listed, book::pages());
}

#[test]
fn every_decision_is_in_their_index_once() {
    let mut listed = book::links(&book::page("decisions/index.md"));
    listed.push("index.md".into());
    listed.sort();
    let pages = book::pages();
    let decisions: Vec<_> = pages.iter().filter_map(|page| page.strip_prefix("decisions/")).collect();
    assert_eq!(listed, decisions);
}

/// A path in code type that begins at the root of the source tree is one.
#[test]
fn every_path_that_is_named_exists() {
    let mut seen = 0;
    for page in book::pages() {
        for word in book::page(&page).split('`').skip(1).step_by(2) {
            let path = word.split("::").next().unwrap_or(word);
            let ours = ["crates/", "tests/", "bench/", "packaging/"].iter().any(|folder| path.starts_with(folder));
            if ours && !path.contains([' ', '{']) {
                assert!(book::root().join(path).exists(), "{page}: {path}");
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "the pages name files: {seen}");
}

#[test]
fn every_link_leads_somewhere() {
    let mut pages = book::pages();
    pages.extend(["../../README.md".into(), "../../CHANGELOG.md".into()]);
    for page in pages {
        for link in book::links(&book::page(&page)) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let here = book::folder().join(&page);
            let file = if target.is_empty() { here.clone() } else { here.with_file_name("").join(target) };
            assert!(file.exists(), "{page}: {link} leads nowhere");
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&file).expect("a page");
                assert!(book::anchors(&text).iter().any(|known| known == anchor), "{page}: {link} has no such heading");
            }
        }
    }
}

/// What the program really serves is compared with the page in the tests of the program; this one tells it sooner.
#[test]
fn every_metric_of_the_sources_is_on_the_page() {
    let page = book::page("operations.md");
    let sources =
        ["crates/gateway/src/measures.rs", "crates/gateway/src/driver/wiring.rs", "crates/gateway/src/driver/cell.rs"];
    for source in sources {
        let text = std::fs::read_to_string(book::root().join(source)).expect("a source");
        let (text, _) = text.split_once("#[cfg(test)]").unwrap_or((&text, ""));
        for name in text.split('"').skip(1).step_by(2).filter(|word| word.starts_with("entente_")) {
            assert!(
                page.contains(&format!("| `{name}` |")),
                "{name} of {source} is not in docs/src/operations.md\nwrite it anew: ENTENTE_WRITE_BOOK=1 cargo test -p \
                 entente --test metrics"
            );
        }
    }
}

/// Each peculiarity of a peer that is coped with has a test that shows it.
#[test]
fn every_quirk_names_its_test() {
    let tables = book::tables(&book::page("quirks.md"));
    assert!(!tables.is_empty());
    for table in tables {
        assert_eq!(table.columns, ["peer", "version", "what it does", "what we do", "test"], "{}", table.heading);
        for row in table.rows {
            let [peer, version, does, ours, test] = &row[..] else { panic!("five columns: {row:?}") };
            assert!([peer, version, does, ours].iter().all(|cell| !cell.is_empty()), "{row:?}");
            let tests = book::code(test);
            assert!(!tests.is_empty(), "no test is named: {row:?}");
            tests.iter().for_each(|test| assert_exists(peer, test));
        }
    }
}

/// What operators are promised is shown to be so.
#[test]
fn every_promise_names_its_tests() {
    let table = book::tables(&book::page("operations.md")).into_iter().find(|table| table.columns[0] == "promise");
    let table = table.expect("the promises");
    for row in table.rows {
        let [promise, _, test] = &row[..] else { panic!("three columns: {row:?}") };
        let tests = book::code(test);
        assert!(!tests.is_empty(), "no test is named: {promise}");
        tests.iter().for_each(|test| assert_exists(promise, test));
    }
}
