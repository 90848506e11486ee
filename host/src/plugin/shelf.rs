//! Components that were loaded, in a folder of their own: queued mail is finished by the version that took it, whatever has come since.
//!
//! A file is `SHA256.wasm`, written beside and renamed, and synced before any message can be promised that needs it. A file whose content is not
//! what its name says is not believed. Files are touched as long as their component is in use; those that nobody has used for long enough are
//! removed. What does not have a name of ours stays.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tracing::{debug, warn};

use super::component::Component;
use crate::clock::Timestamp;

/// Ends the name of a file that is whole.
const EXTENSION: &str = "wasm";
/// Ends the name of a file that is being written.
const TEMPORARY: &str = "new";
/// Digits of a SHA-256.
const DIGITS: usize = 64;

/// A folder of components.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    next_temporary: AtomicU64,
}

impl Shelf {
    /// Opens `folder`, and makes it, for us alone, where it is missing.
    ///
    /// # Errors
    /// It cannot be made, or is none.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)?.flatten() {
            // Whoever was writing it has not come to its end.
            if entry.path().extension().is_some_and(|extension| extension == TEMPORARY) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { folder, next_temporary: AtomicU64::new(0) })
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.{EXTENSION}"))
    }

    /// Keeps a component. Where that fails, a later version may have to finish the mail of this one.
    pub fn keep(&self, component: &Component) {
        let path = self.path(component.digest());
        // One that was damaged on the disk is put right.
        let is_there = fs::read(&path).is_ok_and(|octets| octets == component.octets());
        let kept = if is_there { touch(&path) } else { self.write(&path, component.octets()) };
        if let Err(error) = kept {
            warn!(folder = %self.folder.display(), %error, "a plugin could not be kept for mail that will be queued");
        }
    }

    fn write(&self, path: &Path, octets: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        // Two plugins may be the same component, and be loaded at the same time.
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let beside = path.with_extension(format!("{number}.{TEMPORARY}"));
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(octets)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        fs::File::open(&self.folder)?.sync_all()
    }

    /// Returns a component by its digest, or by at least twelve digits that it begins with; `None` where it is not here, or damaged.
    pub fn find(&self, wanted: &str) -> Option<Component> {
        let path = if wanted.len() == DIGITS { self.path(wanted) } else { self.beginning_with(wanted)? };
        let component = Component::kept(fs::read(&path).ok()?);
        let is_whole = component.digest().starts_with(wanted);
        if !is_whole {
            warn!(path = %path.display(), "a plugin that was kept is damaged");
        }
        is_whole.then_some(component)
    }

    fn beginning_with(&self, digits: &str) -> Option<PathBuf> {
        if digits.len() < crate::event::DIGEST_DIGITS {
            return None;
        }
        let mut found = self.files().filter(|(name, _)| name.starts_with(digits)).map(|(_, path)| path);
        found.next()
    }

    /// Digests and paths of all that is here.
    fn files(&self) -> impl Iterator<Item = (String, PathBuf)> {
        fs::read_dir(&self.folder).into_iter().flatten().flatten().filter_map(|entry| {
            let path = entry.path();
            let name = path.file_stem()?.to_str()?.to_owned();
            let is_ours = name.len() == DIGITS && name.bytes().all(|digit| digit.is_ascii_hexdigit());
            let is_whole = path.extension().is_some_and(|extension| extension == EXTENSION);
            (is_ours && is_whole).then_some((name, path))
        })
    }

    /// Says of components that they are in use at this moment, and removes those that have not been for longer than `age`.
    pub fn tidy(&self, in_use: &[Arc<str>], now: Timestamp, age: Duration) {
        let oldest = Duration::from_millis(now.minus(age).as_millis());
        for (name, path) in self.files() {
            if in_use.iter().any(|digest| **digest == *name) {
                if let Err(error) = touch(&path) {
                    debug!(path = %path.display(), %error, "a plugin in use could not be marked so");
                }
                continue;
            }
            let modified = fs::metadata(&path).and_then(|data| data.modified()).ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            if modified.is_some_and(|modified| modified < oldest)
                && let Err(error) = fs::remove_file(&path)
            {
                debug!(path = %path.display(), %error, "an old plugin could not be removed");
            }
        }
    }
}

/// Says of a file that it was used now, by the clock of the file system.
fn touch(path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Ok(rustix::fs::utimensat(CWD, path, &Timestamps { last_access: now, last_modification: now }, AtFlags::empty())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_is_found_until_nobody_has_used_it_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(folder.path().join("plugins")).unwrap();
        let (one, two) = (Component::kept(b"one".to_vec()), Component::kept(b"two".to_vec()));
        for component in [&one, &two, &one] {
            shelf.keep(component);
        }
        let file = shelf.path(one.digest());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&shelf.folder).unwrap().permissions().mode() & 0o777, 0o700);
        let found = shelf.find(one.digest()).unwrap();
        assert_eq!((found.octets(), found.digest()), (b"one".as_slice(), one.digest()));
        assert_eq!(shelf.find(&one.digest()[..12]).unwrap().digest(), one.digest());
        assert!(shelf.find(&one.digest()[..11]).is_none() && shelf.find(&"0".repeat(64)).is_none());

        fs::write(shelf.folder.join("notes.txt"), "mine").unwrap();
        let soon = crate::clock::Clock::system().now().plus(Duration::from_hours(2));
        shelf.tidy(&[Arc::clone(one.digest())], soon, Duration::from_hours(24));
        assert!(shelf.find(two.digest()).is_some(), "it was used today");
        shelf.tidy(&[Arc::clone(one.digest())], soon, Duration::from_hours(1));
        assert!(shelf.find(one.digest()).is_some() && shelf.find(two.digest()).is_none());
        assert!(shelf.folder.join("notes.txt").exists());

        fs::write(&file, "damaged").unwrap();
        assert!(shelf.find(one.digest()).is_none());
    }
}
