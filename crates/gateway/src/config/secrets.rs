//! Secrets: where they come from, and what none looks like. Nothing here repeats one.

use figment::value::Value;
use secrecy::SecretString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// No secret is longer, in bytes.
const LONGEST: usize = 4096;
/// Anybody on this machine may read or write the file.
const OTHERS: u32 = 0o006;

/// `{ file = "..." }`, `{ env = "..." }` or the secret itself. `key` is what warnings name.
pub(super) fn secret(
    value: &Value,
    folder: &Path,
    key: &str,
    warnings: &mut Vec<String>,
) -> Result<SecretString, String> {
    let found = match value {
        Value::String(_, plain) => {
            warnings.push(format!("{key} stands in the configuration itself: {{ file = \"...\" }} keeps it apart"));
            plain.clone()
        }
        Value::Dict(_, source) if source.len() == 1 => {
            if let Some(path) = source.get("file").and_then(Value::as_str) {
                from_file(&folder.join(path), key, warnings)?
            } else if let Some(name) = source.get("env").and_then(Value::as_str) {
                match std::env::var(name) {
                    Ok(secret) => secret,
                    Err(std::env::VarError::NotPresent) => {
                        return Err(format!("is not in the environment: set {name}"));
                    }
                    Err(std::env::VarError::NotUnicode(_)) => return Err(format!("is not UTF-8 in {name}")),
                }
            } else {
                return Err(SPELLING.into());
            }
        }
        _ => return Err(SPELLING.into()),
    };
    check(&found)?;
    if found.trim() != found {
        warnings.push(format!("{key} begins or ends with white space, which is taken as a part of it"));
    }
    Ok(found.into())
}

const SPELLING: &str = "must be { file = \"...\" } or { env = \"...\" }";

fn check(secret: &str) -> Result<(), String> {
    if secret.is_empty() {
        return Err("is empty".into());
    }
    if secret.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} bytes"));
    }
    if secret.contains(['\r', '\n']) {
        return Err("has more than one line: write the secret in one line and nothing else".into());
    }
    if secret.chars().any(char::is_control) {
        return Err("holds a control character: write it anew, in printable characters".into());
    }
    Ok(())
}

/// The one line of a regular file. Devices and pipes may have no end, and could not be read again.
fn from_file(path: &Path, key: &str, warnings: &mut Vec<String>) -> Result<String, String> {
    let unreadable = |error| format!("cannot be read from {}: {error}", path.display());
    // Before it is opened: to open a pipe is to wait for its writer.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(format!("cannot be read from {}: it is not a regular file", path.display()));
    }
    if metadata.permissions().mode() & OTHERS != 0 {
        let path = path.display();
        warnings.push(format!("{key} can be read by everybody on this machine: chmod 640 {path}"));
    }
    let mut bytes = Vec::new();
    // One more than may be, and a line end.
    let bound = LONGEST as u64 + 3;
    File::open(path).and_then(|file| file.take(bound).read_to_end(&mut bytes)).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| format!("is not UTF-8 in {}", path.display()))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
