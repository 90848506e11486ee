//! Files as the store needs them: few, known by kind and number, written at one place and read at any.
//!
//! Two implementations: [`RealDisk`], and for the tests a disk that fails or loses power at a chosen moment.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum FileName {
    /// `spool/NNNNNNNN.seg`: a part of the journal.
    Segment(u32),
    /// `spool/NNNNNNNN.sum`: what a sealed segment holds, without the content of messages.
    Summary(u32),
    /// `events/NNNNNNNN.log`: the events that were committed in the segment of this number.
    Events(u32),
}

impl FileName {
    fn path(self) -> PathBuf {
        match self {
            Self::Segment(number) => format!("spool/{number:08}.seg").into(),
            Self::Summary(number) => format!("spool/{number:08}.sum").into(),
            Self::Events(number) => format!("events/{number:08}.log").into(),
        }
    }

    fn parse(folder: &str, name: &str) -> Option<Self> {
        let (stem, extension) = name.split_once('.')?;
        let number = stem.parse().ok()?;
        let this = match (folder, extension) {
            ("spool", "seg") => Self::Segment(number),
            ("spool", "sum") => Self::Summary(number),
            ("events", "log") => Self::Events(number),
            _ => return None,
        };
        // "7.seg" is not ours: only the name that we would write is.
        (this.path() == Path::new(folder).join(name)).then_some(this)
    }
}

/// A folder with the store's files, locked against other processes.
pub(super) trait Disk: Send + Sync + 'static {
    /// Returns which files there are, in any order.
    fn list(&self) -> io::Result<Vec<FileName>>;
    /// Makes an empty file in place of what was there. It may be gone after a power cut until [`Disk::sync_folders`].
    fn create(&self, name: FileName) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, name: FileName) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file; one that is open can still be read.
    fn remove(&self, name: FileName) -> io::Result<()>;
    /// Makes creations and removals durable.
    fn sync_folders(&self) -> io::Result<()>;
    /// Returns octets that are free for us.
    fn free(&self) -> io::Result<u64>;
}

/// An open file.
pub(super) trait DiskFile: Send + Sync {
    /// Writes all of `slices` at `offset`. Only one thread writes.
    fn write_at(&self, offset: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Fills `octets` from `offset`; [`io::ErrorKind::UnexpectedEof`] where the file is shorter.
    fn read_at(&self, offset: u64, octets: &mut [u8]) -> io::Result<()>;
    /// Returns its length in octets.
    fn length(&self) -> io::Result<u64>;
    /// Cuts it, or fills it up with zeros.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Takes room for `length` octets from the file's start, so that writes there neither fail for want of room nor change the
    /// file's length. Only a hint: a file system that cannot do it is as good, but slower.
    fn reserve(&self, length: u64);
    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
}

/// Slices that one system call takes (`IOV_MAX` of Linux).
const SLICES_PER_CALL: usize = 1024;
/// Octets above which a write is done with more than one system call. For larger ones the kernel takes page cache in pieces of up to 2 MiB, which
/// are seldom in the processor's caches, and in a virtual machine often not even backed by memory: copying to them was measured three times as slow.
const OCTETS_PER_CALL: usize = 128 << 10;

/// A folder of the file system.
pub(super) struct RealDisk {
    root: PathBuf,
    spool: File,
    events: File,
    /// Held locked as long as the disk lives.
    _lock: File,
}

impl RealDisk {
    /// Opens the folder `root` and makes it if need be. [`io::ErrorKind::WouldBlock`] where another process has it open.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root.join("spool"))?;
        fs::create_dir_all(root.join("events"))?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(root.join("spool/lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        // The folders themselves, or a power cut takes all that is in them.
        File::open(root)?.sync_all()?;
        sync_parent(root);
        Ok(Self { root: root.into(), spool: File::open(root.join("spool"))?, events: File::open(root.join("events"))?, _lock: lock })
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<FileName>> {
        let mut names = Vec::new();
        for folder in ["spool", "events"] {
            for entry in fs::read_dir(self.root.join(folder))? {
                names.extend(entry?.file_name().to_str().and_then(|name| FileName::parse(folder, name)));
            }
        }
        Ok(names)
    }

    fn create(&self, name: FileName) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(self.root.join(name.path()))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: FileName) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(self.root.join(name.path()))?)))
    }

    fn remove(&self, name: FileName) -> io::Result<()> {
        fs::remove_file(self.root.join(name.path()))
    }

    fn sync_folders(&self) -> io::Result<()> {
        self.spool.sync_all()?;
        self.events.sync_all()
    }

    fn free(&self) -> io::Result<u64> {
        let space = rustix::fs::fstatvfs(&self.spool)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write_at(&self, mut offset: u64, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        while !slices.is_empty() {
            match write_some(&self.0, offset, slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, octets: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(octets, offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn reserve(&self, length: u64) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Err(error) = rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, length) {
            tracing::debug!(%error, "no room is taken ahead");
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = length;
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Writes as many slices as one call should, or a part of the first one.
fn write_some(file: &File, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut octets = 0;
    let fitting = slices.iter().take(SLICES_PER_CALL).take_while(|slice| {
        octets += slice.len();
        octets <= OCTETS_PER_CALL
    });
    match (fitting.count(), slices.first().and_then(|slice| slice.get(..OCTETS_PER_CALL))) {
        (0, Some(part)) => file.write_at(part, offset),
        (count, _) => write_slices(file, offset, slices.get(..count).unwrap_or_default()),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn write_slices(file: &File, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    Ok(rustix::io::pwritev(file, slices, offset)?)
}

/// Where one call cannot do both, the file is told first; only one thread writes to it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn write_slices(mut file: &File, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    use std::io::{Seek, SeekFrom, Write};
    file.seek(SeekFrom::Start(offset))?;
    file.write_vectored(slices)
}

/// Makes it durable that `folder` is there. Its parent need not be ours to read: then it was not we who made the folder.
fn sync_parent(folder: &Path) {
    let parent = folder.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    if let Some(Err(error)) = parent.map(|parent| File::open(parent).and_then(|parent| parent.sync_all())) {
        tracing::debug!(%error, folder = %folder.display(), "the folder above cannot be synced");
    }
}

/// Whether an error says that there is no room: nothing is broken then.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_folder_is_opened_once_and_lists_what_is_ours() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        assert_eq!(RealDisk::open(folder.path()).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        let file = disk.create(FileName::Segment(7)).unwrap();
        disk.create(FileName::Events(7)).unwrap();
        fs::write(folder.path().join("spool/7.seg"), "not ours").unwrap();
        let mut names = disk.list().unwrap();
        names.sort();
        assert_eq!(names, [FileName::Segment(7), FileName::Events(7)]);

        let pieces: Vec<[u8; 2]> = (0..3000_u16).map(u16::to_be_bytes).collect();
        file.write_at(10, &mut pieces.iter().map(|piece| IoSlice::new(piece)).collect::<Vec<_>>()).unwrap();
        let mut back = vec![0; 6000];
        file.read_at(10, &mut back).unwrap();
        assert_eq!(back, pieces.concat());
        file.reserve(1 << 20);
        file.sync().unwrap();
        disk.sync_folders().unwrap();
        assert!(disk.free().unwrap() > 0);
        drop(disk);
        RealDisk::open(folder.path()).unwrap();
    }
}
