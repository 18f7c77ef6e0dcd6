//! Whether the sorted files of the tables are what was written.
//!
//! fjall has a checksum of every one of them, and reads them without looking at it: where a length in one is wrong, it asks for
//! more memory than there is, and the program is gone. So everything is looked at before fjall sees it.
//!
//! The format is that of lsm-tree 3.1 (its modules `version` and `file`): in the folder of each table `current` holds the
//! number of a version (u64), the XXH3 of the file `v` with this number (u128) and the kind of checksum (0, XXH3). In that file
//! the section `tables` of an archive names the files in `tables`: levels (u8), for each its runs (u8), for each its files
//! (u32), for each number (u64), kind of checksum, checksum of the file (u128), and a sequence number (u64). The file of
//! locked dependencies says which versions there are, and a test reads what they have written.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use xxhash_rust::xxh3::Xxh3Default;

/// What is wrong with the files in the folder of a database, in words. `None` where it can be read.
pub(super) fn damage(folder: &Path) -> io::Result<Option<String>> {
    let mut keyspaces = Vec::new();
    for entry in fs::read_dir(folder.join("keyspaces"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            keyspaces.push(entry.path());
        }
    }
    keyspaces.sort_unstable();
    for keyspace in keyspaces {
        if let Some(file) = damaged_file(&keyspace)? {
            let shown = file.strip_prefix(folder.parent().unwrap_or(folder)).unwrap_or(&file);
            return Ok(Some(format!("{} is not what was written", shown.display())));
        }
    }
    Ok(None)
}

fn damaged_file(keyspace: &Path) -> io::Result<Option<std::path::PathBuf>> {
    let current = keyspace.join("current");
    let octets = match fs::read(&current) {
        Ok(octets) => octets,
        // One that was being made when the program ended: fjall makes it anew.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut rest = octets.as_slice();
    let (Some(number), Some(sum), Some([0]), []) = (take(&mut rest), take(&mut rest), take(&mut rest), rest) else {
        return Ok(Some(current));
    };
    let version = keyspace.join(format!("v{}", u64::from_le_bytes(number)));
    if checksum(&version)? != Some(u128::from_le_bytes(sum)) {
        return Ok(Some(version));
    }
    let Some(listed) = listed(&version) else { return Ok(Some(version)) };
    for (number, sum) in listed {
        let file = keyspace.join("tables").join(number.to_string());
        if checksum(&file)? != Some(sum) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// The files that a version names, with their checksums.
fn listed(version: &Path) -> Option<Vec<(u64, u128)>> {
    let archive = sfa::Reader::new(version).ok()?;
    let mut section = Vec::new();
    archive.toc().section(b"tables")?.buf_reader(version).ok()?.read_to_end(&mut section).ok()?;
    let mut rest = section.as_slice();
    let mut files = Vec::new();
    let [levels] = take(&mut rest)?;
    for _ in 0..levels {
        let [runs] = take(&mut rest)?;
        for _ in 0..runs {
            for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
                let number = u64::from_le_bytes(take(&mut rest)?);
                let [_kind] = take(&mut rest)?;
                files.push((number, u128::from_le_bytes(take(&mut rest)?)));
                let _sequence: [u8; 8] = take(&mut rest)?;
            }
        }
    }
    Some(files)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (octets, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*octets)
}

/// The checksum of a file. `None` where there is none.
fn checksum(path: &Path) -> io::Result<Option<u128>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut hasher = Xxh3Default::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Some(hasher.digest128())),
            length => hasher.update(&buffer[..length]),
        }
    }
}
