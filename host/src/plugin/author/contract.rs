//! `plugin wit`: the contract, for generators of bindings.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const MAIL: &str = include_str!("../../../../wit/0.1.0/mail.wit");

/// Writes `mail.wit` to `folder`, which is made where it is missing. Returns its path.
///
/// # Errors
/// Whatever the file system says.
pub fn write(folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let path = folder.join("mail.wit");
    fs::write(&path, MAIL)?;
    Ok(path)
}
