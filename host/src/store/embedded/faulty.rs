//! A disk in memory that fails, fills up or loses power at a chosen moment.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile, FileName};

/// Octets that a disk writes as a whole.
const SECTOR: usize = 512;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// One write finds no room half way through; later ones do.
    Full,
    /// One write or sync fails.
    Broken,
    /// The thread that writes panics.
    Panic,
    /// Nothing goes on; what was not synced is there in part or not at all.
    PowerCut,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    SetLength(usize),
}

#[derive(Debug, Default)]
struct Octets {
    synced: Vec<u8>,
    live: Vec<u8>,
    /// What leads from `synced` to `live`.
    pending: Vec<Change>,
}

type Folder = BTreeMap<FileName, Arc<Mutex<Octets>>>;

#[derive(Default)]
struct Inner {
    live: Folder,
    /// The folder after each change since it was synced; the first one is what is synced.
    history: Vec<Folder>,
    /// What goes wrong after so many more changes.
    fault: Option<(u32, Fault)>,
    dead: bool,
    /// A file that can be neither made nor opened.
    refused: Option<FileName>,
    /// What is in a bad sector.
    bad: Option<Vec<u8>>,
    free: u64,
}

/// A disk. Clones are the same disk.
#[derive(Clone)]
pub(super) struct FaultyDisk(Arc<Mutex<Inner>>);

fn apply(octets: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, new) => {
            octets.resize(octets.len().max(offset + new.len()), 0);
            octets[*offset..offset + new.len()].copy_from_slice(new);
        }
        Change::SetLength(length) => octets.resize(*length, 0),
    }
}

impl FaultyDisk {
    pub(super) fn new() -> Self {
        let inner = Inner { history: vec![Folder::new()], free: u64::MAX, ..Inner::default() };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Makes `fault` happen at the change after so many more.
    pub(super) fn arm(&self, after: u32, fault: Fault) {
        self.0.lock().fault = Some((after, fault));
    }

    /// Lets nobody make or open this file, as a process that has too many open is told.
    pub(super) fn refuse(&self, name: Option<FileName>) {
        self.0.lock().refused = name;
    }

    /// Lets nobody read these octets, as from a bad sector.
    pub(super) fn spoil(&self, octets: &[u8]) {
        self.0.lock().bad = Some(octets.to_vec());
    }

    fn check_refused(&self, name: FileName) -> io::Result<()> {
        const EMFILE: i32 = 24;
        if self.0.lock().refused == Some(name) { Err(io::Error::from_raw_os_error(EMFILE)) } else { Ok(()) }
    }

    pub(super) fn set_free(&self, free: u64) {
        self.0.lock().free = free;
    }

    /// The disk as the next start finds it after the process was killed: all that was written is there.
    pub(super) fn killed(&self) -> Self {
        let inner = self.0.lock();
        let copy = |folder: &Folder| -> Folder {
            folder
                .iter()
                .map(|(name, file)| {
                    let file = file.lock();
                    let octets = Octets { synced: file.synced.clone(), live: file.live.clone(), pending: file.pending.clone() };
                    (*name, Arc::new(Mutex::new(octets)))
                })
                .collect()
        };
        let live = copy(&inner.live);
        let inner = Inner { history: vec![live.clone()], live, free: u64::MAX, ..Inner::default() };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// The disk as the next start finds it after a power cut; `choose` says what of the unsynced changes got through.
    pub(super) fn after_power_cut(&self, mut choose: impl FnMut(usize) -> usize) -> Self {
        let inner = self.0.lock();
        let folder = &inner.history[choose(inner.history.len())];
        let mut found = Folder::new();
        for (name, file) in folder {
            let file = file.lock();
            let mut octets = file.synced.clone();
            // All of them, none of them, or any sectors of any of them.
            let how = choose(4);
            for change in &file.pending {
                match change {
                    _ if how == 0 => {}
                    change if how == 1 => apply(&mut octets, change),
                    Change::SetLength(_) if choose(2) == 0 => {}
                    Change::SetLength(_) => apply(&mut octets, change),
                    Change::Write(offset, new) => {
                        let mut start = 0;
                        while start < new.len() {
                            let end = ((offset + start) / SECTOR * SECTOR + SECTOR - offset).min(new.len());
                            if choose(2) == 0 {
                                apply(&mut octets, &Change::Write(offset + start, new[start..end].to_vec()));
                            }
                            start = end;
                        }
                    }
                }
            }
            found.insert(*name, Arc::new(Mutex::new(Octets { synced: octets.clone(), live: octets, pending: Vec::new() })));
        }
        let inner = Inner { history: vec![found.clone()], live: found, free: u64::MAX, ..Inner::default() };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Changes octets of a file, as a failing disk would.
    pub(super) fn edit(&self, name: FileName, edit: impl FnOnce(&mut Vec<u8>)) {
        let inner = self.0.lock();
        let mut file = inner.live[&name].lock();
        edit(&mut file.live);
        file.synced = file.live.clone();
        file.pending.clear();
    }

    pub(super) fn names(&self) -> Vec<FileName> {
        self.0.lock().live.keys().copied().collect()
    }

    /// Counts one change. `Err` if it fails; a write may have been made in part.
    fn change(&self) -> io::Result<()> {
        let mut inner = self.0.lock();
        if inner.dead {
            return Err(io::Error::other("the power is off"));
        }
        match &mut inner.fault {
            Some((0, Fault::PowerCut)) => {
                inner.dead = true;
                Err(io::Error::other("the power is off"))
            }
            Some((0, Fault::Panic)) => panic!("as the test wants it"),
            Some((0, fault)) => {
                let kind = if *fault == Fault::Full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
                inner.fault = None;
                Err(kind.into())
            }
            Some((after, _)) => {
                *after -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn change_folder(&self, change: impl FnOnce(&mut Folder)) {
        let mut inner = self.0.lock();
        change(&mut inner.live);
        let now = inner.live.clone();
        inner.history.push(now);
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<FileName>> {
        Ok(self.names())
    }

    fn create(&self, name: FileName) -> io::Result<Arc<dyn DiskFile>> {
        self.check_refused(name)?;
        self.change()?;
        let known = self.0.lock().live.get(&name).cloned();
        let octets = if let Some(known) = known {
            let mut file = known.lock();
            file.live.clear();
            file.pending.push(Change::SetLength(0));
            drop(file);
            known
        } else {
            let new = Arc::<Mutex<Octets>>::default();
            self.change_folder(|folder| {
                folder.insert(name, Arc::clone(&new));
            });
            new
        };
        Ok(Arc::new(FaultyFile { disk: self.clone(), octets }))
    }

    fn open(&self, name: FileName) -> io::Result<Arc<dyn DiskFile>> {
        self.check_refused(name)?;
        let octets = self.0.lock().live.get(&name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FaultyFile { disk: self.clone(), octets }))
    }

    fn remove(&self, name: FileName) -> io::Result<()> {
        self.change()?;
        if !self.0.lock().live.contains_key(&name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change_folder(|folder| {
            folder.remove(&name);
        });
        Ok(())
    }

    fn sync_folders(&self) -> io::Result<()> {
        self.change()?;
        let mut inner = self.0.lock();
        inner.history = vec![inner.live.clone()];
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        Ok(self.0.lock().free)
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    octets: Arc<Mutex<Octets>>,
}

impl FaultyFile {
    fn make(&self, change: Change) {
        let mut octets = self.octets.lock();
        apply(&mut octets.live, &change);
        octets.pending.push(change);
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, offset: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let mut octets: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let result = self.disk.change();
        if result.is_err() {
            octets.truncate(octets.len() * 2 / 3);
        }
        self.make(Change::Write(offset, octets));
        result
    }

    fn read_at(&self, offset: u64, octets: &mut [u8]) -> io::Result<()> {
        const EIO: i32 = 5;
        let bad = self.disk.0.lock().bad.clone();
        let file = self.octets.lock();
        let offset = usize::try_from(offset).unwrap();
        let there = file.live.get(offset..offset + octets.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        if bad.is_some_and(|bad| memchr::memmem::find(there, &bad).is_some()) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        octets.copy_from_slice(there);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.octets.lock().live.len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.disk.change()?;
        self.make(Change::SetLength(usize::try_from(length).unwrap()));
        Ok(())
    }

    fn reserve(&self, length: u64) {
        let length = usize::try_from(length).unwrap();
        if self.octets.lock().live.len() < length {
            self.make(Change::SetLength(length));
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.change()?;
        let mut octets = self.octets.lock();
        octets.synced = octets.live.clone();
        octets.pending.clear();
        Ok(())
    }
}
