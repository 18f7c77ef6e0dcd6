//! The page about the configuration says what `gateway.toml` says.

use entente_tests::{book, settings};

/// Behind this line the page is made of `gateway.toml`.
const MADE: &str = "<!-- From here on this page is made of gateway.toml. -->\n";

#[test]
fn every_key_says_what_it_is() {
    for section in settings::sections() {
        for key in section.keys {
            let path = format!("{}.{}", section.name, key.name);
            assert!(
                !key.text.is_empty(),
                "gateway.toml: {path} needs a comment above it: what it is, its unit, its limits"
            );
            assert!(key.text.ends_with('.'), "gateway.toml: the comment of {path} is not a sentence: {}", key.text);
        }
    }
}

#[test]
fn the_page_is_made_of_the_commented_file() {
    let page = book::page("configuration.md");
    let (prose, made) = page.split_once(MADE).expect("the line behind which the page is made");
    let expected = settings::page(&settings::sections());
    if made == expected {
        return;
    }
    if std::env::var_os("ENTENTE_WRITE_BOOK").is_some() {
        let text = format!("{prose}{MADE}{expected}");
        std::fs::write(book::folder().join("configuration.md"), text).expect("the page can be written");
        return;
    }
    let differs = made.lines().zip(expected.lines()).find(|(made, expected)| made != expected);
    panic!(
        "docs/src/configuration.md is not what gateway.toml says: {differs:#?}\nwrite it anew: ENTENTE_WRITE_BOOK=1 cargo \
         test -p entente-tests --test scenarios configuration"
    );
}
