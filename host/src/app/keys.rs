//! Keys that the server makes for itself, below the data folder.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::clock::Entropy;

/// Makes the data folder, for its user alone, where it is not there yet. What is kept in it must not vanish with it when power goes.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists()).collect();
    let made = || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        missing.iter().try_for_each(|made| sync_parent(made))
    };
    made().with_context(|| format!("{} cannot be made", folder.display()))
}

/// Makes the entry of a file or folder in the folder above it durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent)?.sync_all()
}

/// Reads the key of signed links, or makes it at the first start. Links in mail that was sent stay good as long as this file stays.
pub(super) fn link_key(data: &Path, entropy: &Entropy) -> Result<[u8; 32]> {
    key(data, "links", entropy)
}

/// Reads the key of return paths, or makes it at the first start. Mail that comes back is known as long as this file stays.
pub(super) fn return_path_key(data: &Path, entropy: &Entropy) -> Result<[u8; 32]> {
    key(data, "return-paths", entropy)
}

/// Reads the key that validation records of sender domains are made with. Records that are in DNS stay good as long as this file stays.
pub(super) fn domain_key(data: &Path, entropy: &Entropy) -> Result<[u8; 32]> {
    key(data, "domains", entropy)
}

/// Reads the key of places in the queue as logins are told them, or makes it at the first start. A look through it goes on over a restart as long as this
/// file stays.
pub(super) fn queue_key(data: &Path, entropy: &Entropy) -> Result<[u8; 32]> {
    key(data, "queue", entropy)
}

fn key(data: &Path, name: &str, entropy: &Entropy) -> Result<[u8; 32]> {
    let folder = data.join("keys");
    make_folder(&folder)?;
    let path = folder.join(name);
    match fs::read(&path) {
        Ok(octets) => octets
            .try_into()
            .ok()
            .with_context(|| format!("{} is not a key of 32 octets; remove it to have a new one made", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key: [u8; 32] = entropy.array();
            write_new(&path, &key).with_context(|| format!("{} cannot be written", path.display()))?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// Writes beside and renames, so that a crash leaves either no key or all of it.
fn write_new(path: &Path, key: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(key)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // What is in mail that is sent from now on needs this key.
    sync_parent(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_folder_is_made_with_those_above_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        for _ in 0..2 {
            make_folder(&deep).unwrap();
            assert_eq!(fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
        }
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(make_folder(&folder.path().join("file/b")).is_err());
    }

    #[test]
    fn the_key_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let made = link_key(folder.path(), &Entropy::seeded(1)).unwrap();
        assert_eq!(link_key(folder.path(), &Entropy::seeded(2)).unwrap(), made);
        fs::write(folder.path().join("keys/links"), b"short").unwrap();
        assert!(link_key(folder.path(), &Entropy::seeded(2)).is_err());
    }
}
