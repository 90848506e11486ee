//! Compiled plugins, shared by all servers of a test run and by the runs after it: compiling them takes seconds of a start, and what is tested
//! is the server. The files are named by plugin and engine; a server that meets one of another build leaves it alone.

use std::ffi::OsStr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Ends the name of a file that is whole.
const EXTENSION: &str = "cwasm";
/// Files that are kept. With more, most are of builds that are gone: all go, and those in use come back.
const MOST: usize = 64;

/// Puts what is there into the folder of a server that was not started yet. What cannot be put there is compiled.
pub(crate) fn lend(folder: &Path) {
    let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    for (name, path) in files(&shelf()) {
        let _ = copy(&path, folder, &name);
    }
}

/// Takes what a server has compiled.
pub(crate) fn keep(folder: &Path) {
    let shelf = shelf();
    let _ = std::fs::create_dir_all(&shelf);
    let kept = files(&shelf);
    if kept.len() > MOST {
        for (_, path) in kept {
            let _ = std::fs::remove_file(path);
        }
    }
    for (name, path) in files(folder) {
        if !shelf.join(&name).exists() {
            let _ = copy(&path, &shelf, &name);
        }
    }
}

/// `target/tmp/compiled-plugins`, beside `target/debug`.
fn shelf() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().nth(3).unwrap_or(Path::new(".")).join("tmp").join("compiled-plugins")
}

fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
    named.filter(|(_, path)| path.extension() == Some(OsStr::new(EXTENSION))).collect()
}

/// Copies under another name and renames, so that nobody who looks meanwhile sees half a file.
fn copy(from: &Path, folder: &Path, name: &str) -> std::io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let temporary = folder.join(format!("{}-{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    std::fs::copy(from, &temporary)?;
    std::fs::rename(&temporary, folder.join(name))
}
