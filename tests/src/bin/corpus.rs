//! Between a corpus in text and the folder of files that the fuzzer works on; see `docs/src/fuzzing.md`.
//!
//! `corpus unpack FILE FOLDER` writes each input to a file of its own; `corpus pack FOLDER FILE` is the way back.

use entente_tests::fuzz::corpus::{inputs, line};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["unpack", file, folder] => unpack(file.as_ref(), folder.as_ref()),
        ["pack", folder, file] => pack(folder.as_ref(), file.as_ref()),
        _ => {
            eprintln!("corpus unpack FILE FOLDER, or corpus pack FOLDER FILE");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corpus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn unpack(file: &Path, folder: &Path) -> std::io::Result<()> {
    let text = std::fs::read_to_string(file)?;
    std::fs::create_dir_all(folder)?;
    for (number, input) in inputs(&text).enumerate() {
        std::fs::write(folder.join(format!("{number:05}")), input)?;
    }
    Ok(())
}

fn pack(folder: &Path, file: &Path) -> std::io::Result<()> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        lines.push(line(&std::fs::read(entry?.path())?));
    }
    // In an order of its own, so that a corpus that grew shows what is new.
    lines.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    lines.dedup();
    let mut text = lines.join("\n");
    text.push('\n');
    std::fs::write(file, text)
}
