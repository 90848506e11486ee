//! Compiled plugins on disk, so that a start takes milliseconds and not a second.
//!
//! A file is `SHA256-ENGINE.cwasm`: the digest of the component, and a hash of everything in the engine that the machine code depends on.
//! It holds the machine code and, behind it, 32 octets of BLAKE3 over it: a file that a power cut left half written is compiled again.
//! The folder belongs to us alone (mode 0700): machine code is run as it is, so nobody else may write it. Of a folder that others could
//! write to, nothing of this kind is believed. What does not have a name of ours is never removed: the folder may be one that an operator
//! uses for more.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tracing::{debug, warn};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::clock::Timestamp;

/// Files that are kept; the oldest go first.
const FILES: usize = 64;

const EXTENSION: &str = "cwasm";
/// Ends the name of a file that is being written.
const TEMPORARY: &str = "tmp";
/// After this, whoever was writing a file is gone.
const ABANDONED: Duration = Duration::from_hours(1);
/// Digits of the digest, and of the engine's hash, in a name.
const NAME_DIGITS: (usize, usize) = (64, 16);

/// A folder of compiled plugins for one engine.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    engine_hash: String,
    next_temporary: AtomicU64,
}

impl Cache {
    /// Opens `folder`, and makes it where it is missing. `None` where it cannot be trusted: then plugins are compiled at each start.
    pub fn open(folder: PathBuf, engine: &Engine) -> Option<Self> {
        if let Err(error) = private_folder(&folder) {
            warn!(folder = %folder.display(), %error, "compiled plugins are not kept: their folder cannot be used");
            return None;
        }
        // A hash that changed with the Rust release would only cost a compilation.
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Some(Self { folder, engine_hash: format!("{:016x}", hasher.finish()), next_temporary: AtomicU64::new(0) })
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}-{}.{EXTENSION}", self.engine_hash))
    }

    /// Returns the compiled component, if it is here and whole.
    pub fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let octets = fs::read(self.path(digest)).ok()?;
        let (code, hash) = octets.split_last_chunk::<32>()?;
        if blake3::hash(code).as_bytes() != hash {
            warn!(plugin.digest = digest, "a compiled plugin is damaged and is compiled again");
            return None;
        }
        #[expect(unsafe_code, reason = "wasmtime cannot check machine code; ours comes from a folder that only we can write to")]
        // SAFETY: the octets are what `Engine::precompile_component` of an engine with the same compatibility hash gave to `store`, below:
        // the folder is private to this user, and the hash behind the code shows that it is whole.
        let component = unsafe { Component::deserialize(engine, code) };
        component.inspect_err(|error| debug!(plugin.digest = digest, %error, "a compiled plugin cannot be used")).ok()
    }

    /// Keeps a compiled component. Failure costs a compilation at the next start and nothing else.
    pub fn store(&self, digest: &str, component: &Component) {
        let written = component.serialize().map_err(std::io::Error::other).and_then(|code| self.write(digest, &code));
        if let Err(error) = written {
            warn!(folder = %self.folder.display(), %error, "a compiled plugin could not be kept");
        }
    }

    fn write(&self, digest: &str, code: &[u8]) -> std::io::Result<()> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!("{}-{number}.{TEMPORARY}", std::process::id()));
        let written = (|| {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(code)?;
            file.write_all(blake3::hash(code).as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, self.path(digest))
        })();
        if written.is_err() {
            // It may never have been made.
            drop(fs::remove_file(&temporary));
        }
        written
    }

    /// Removes what other engines left, what was never finished, and all but the newest of our files. Those of `digests` stay, and so does
    /// everything that does not have a name of ours.
    pub fn tidy(&self, digests: &[&str], now: Timestamp) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut kept = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            if digests.iter().any(|digest| self.path(digest) == path) {
                continue;
            }
            let modified = entry.metadata().and_then(|data| data.modified()).ok();
            let is_abandoned = || {
                let at = modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
                at + ABANDONED < Duration::from_millis(now.as_millis())
            };
            match Ours::of(&path) {
                Some(Ours::Compiled { engine }) if engine == self.engine_hash => kept.push((modified, path)),
                Some(Ours::Compiled { .. }) => remove(&path),
                Some(Ours::Temporary) if is_abandoned() => remove(&path),
                Some(Ours::Temporary) | None => {}
            }
        }
        kept.sort();
        let room = FILES.saturating_sub(digests.len());
        for (_, path) in kept.iter().rev().skip(room) {
            remove(path);
        }
    }
}

/// What the name of one of our files says.
enum Ours {
    /// A compiled plugin, and the engine that it was compiled for.
    Compiled { engine: String },
    /// A file that was being written.
    Temporary,
}

impl Ours {
    fn of(path: &Path) -> Option<Self> {
        let (name, extension) = path.file_name()?.to_str()?.rsplit_once('.')?;
        let (first, second) = name.split_once('-')?;
        let is_hexadecimal = |text: &str, length| text.len() == length && text.bytes().all(|octet| octet.is_ascii_hexdigit());
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        match extension {
            EXTENSION if is_hexadecimal(first, NAME_DIGITS.0) && is_hexadecimal(second, NAME_DIGITS.1) => {
                Some(Self::Compiled { engine: second.to_owned() })
            }
            TEMPORARY if is_number(first) && is_number(second) => Some(Self::Temporary),
            _ => None,
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        debug!(path = %path.display(), %error, "an old compiled plugin could not be removed");
    }
}

/// Makes `folder` for us alone; refuses one that is somebody else's. Compiled plugins in one that others could write to may be theirs, and
/// are removed.
#[cfg(unix)]
fn private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let metadata = fs::symlink_metadata(folder)?;
    if !metadata.is_dir() {
        return Err(std::io::Error::other("not a folder"));
    }
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        // Fails where the folder is not ours.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    // A file that we make belongs to whom we run as: the folder must too.
    let probe = folder.join(format!("{}-0.{TEMPORARY}", std::process::id()));
    let owner = fs::File::create(&probe)?.metadata()?.uid();
    fs::remove_file(&probe)?;
    if owner != metadata.uid() {
        return Err(std::io::Error::other("it belongs to somebody else"));
    }
    if mode & 0o022 != 0 {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if matches!(Ours::of(&path), Some(Ours::Compiled { .. })) {
                fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn private_folder(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)
}
