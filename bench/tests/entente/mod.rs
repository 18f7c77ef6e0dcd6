//! The gateway that is tested.

use std::path::{Path, PathBuf};

/// `ENTENTE_BIN`, or the program beside the generator.
pub(crate) fn program() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_entente-bench")).with_file_name("entente");
    let program = std::env::var_os("ENTENTE_BIN").map_or(beside, PathBuf::from);
    assert!(
        program.exists(),
        "{} is not built: `cargo build -p entente`, or test the whole workspace",
        program.display()
    );
    program
}
