//! One temporary folder per test: configurations, data and logs of all its peers.

use std::path::{Path, PathBuf};

/// A temporary folder, removed at the end unless the test failed.
#[derive(Debug)]
pub struct Folder {
    inner: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Folder {
    /// A new, empty folder; `what` becomes part of its name.
    ///
    /// In memory where there is a place for that, because a disk that is busy with compilers makes servers that sync their
    /// tables slow beyond all patience.
    pub fn new(what: &str) -> Self {
        let mut builder = tempfile::Builder::new();
        let prefix = format!("entente-peers-{what}-");
        builder.prefix(&prefix);
        let inner =
            builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).expect("a temporary folder can be made");
        let path = inner.path().to_owned();
        Self { inner: Some(inner), path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a folder inside it.
    pub fn make(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
        path
    }

    /// Writes a file inside it, with its parent folders.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).unwrap_or_else(|error| panic!("cannot make {}: {error}", parent.display()));
        }
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if std::thread::panicking() {
            eprintln!("configurations and logs of this test are kept in {}", inner.keep().display());
        }
    }
}
