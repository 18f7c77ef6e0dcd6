//! The configurations that the book shows are right.
#![allow(clippy::unwrap_used)]

use entente_tests::book;
use gateway::config::{Overrides, load};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

#[test]
fn every_whole_configuration_of_the_book_is_right_and_warns_of_nothing() {
    let mut whole = 0;
    for page in book::pages() {
        let blocks = book::blocks(&book::page(&page));
        for block in blocks.iter().filter(|block| block.language == "toml" && block.file == "gateway.toml") {
            let folder = tempfile::tempdir().unwrap();
            let secret = folder.path().join("component.secret");
            std::fs::write(&secret, "the same secret\n").unwrap();
            std::fs::set_permissions(&secret, Permissions::from_mode(0o640)).unwrap();
            let path = folder.path().join("gateway.toml");
            std::fs::write(&path, &block.text).unwrap();
            let config = load(&path, &Overrides::default()).unwrap_or_else(|errors| panic!("{page}: {errors}"));
            assert!(config.warnings.is_empty(), "{page}: {:?}", config.warnings);
            whole += 1;
        }
        // Where a configuration is shown, its file is named.
        let unnamed = blocks.iter().find(|block| block.language == "toml" && block.file.is_empty());
        assert_eq!(unnamed, None, "{page}");
    }
    assert!(whole >= 4, "the quick start and the recipes have theirs");
}
