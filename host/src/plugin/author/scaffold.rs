//! `plugin new`: a crate with one function to fill in, a test, messages to try it on, and copies of the SDK and the contract, so that it builds
//! in any folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

mod generated {
    include!(concat!(env!("OUT_DIR"), "/sdk_files.rs"));
}

/// Folder of a plugin's crate with the copies of SDK and contract.
const VENDORED: &str = ".tubepost";

/// The crate's own files. `{{name}}` stands for the plugin's name, `{{type}}` for the type named after it.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("scaffold/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("scaffold/lib.rs.txt")),
    ("README.md", include_str!("scaffold/README.md.txt")),
    (".gitignore", include_str!("scaffold/gitignore.txt")),
    ("samples/plain.eml", include_str!("scaffold/plain.eml")),
    ("samples/newsletter.eml", include_str!("scaffold/newsletter.eml")),
];

/// Why there is no crate.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    /// The name does not do for a crate.
    #[error("{0:?} cannot be a plugin's name: small letters, digits and hyphens, a letter first, at most 40 characters")]
    Name(String),
    /// There is something already.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Writes the crate of a plugin called `name` to `folder`, which must not exist, or be empty. Returns the files that its author may want to open.
pub fn create(name: &str, folder: &Path) -> Result<Vec<PathBuf>, ScaffoldError> {
    if !is_name(name) {
        return Err(ScaffoldError::Name(name.to_owned()));
    }
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        return Err(ScaffoldError::Exists(folder.to_owned()));
    }
    let mut written = Vec::new();
    for (file, template) in FILES {
        let path = folder.join(file);
        let text = template.replace("{{name}}", name).replace("{{type}}", &type_name(name));
        // Mail has CRLF line ends; a checkout of this repository may have changed them.
        let text = if file.starts_with("samples/") { text.replace("\r\n", "\n").replace('\n', "\r\n") } else { text };
        write(&path, &text)?;
        written.push(path);
    }
    for (file, text) in generated::FILES {
        write(&folder.join(VENDORED).join(file), text)?;
    }
    Ok(written)
}

fn write(path: &Path, text: &str) -> Result<(), ScaffoldError> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    written.map_err(|error| ScaffoldError::Io { path: path.to_owned(), error })
}

fn is_name(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    starts && name.len() <= 40 && !name.ends_with('-') && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// `list-unsubscribe` → `ListUnsubscribe`.
fn type_name(name: &str) -> String {
    name.split('-')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_crate_is_complete_and_never_overwrites() {
        let folder = tempfile::tempdir().unwrap();
        let crate_folder = folder.path().join("greet-all");
        let files = create("greet-all", &crate_folder).unwrap();
        assert!(files.iter().all(|file| file.is_file()));
        let source = fs::read_to_string(crate_folder.join("src/lib.rs")).unwrap();
        assert!(source.contains("struct GreetAll;") && !source.contains("{{"));
        assert!(crate_folder.join(".tubepost/wit/0.1.0/mail.wit").is_file());
        assert!(crate_folder.join(".tubepost/plugin-sdk/Cargo.toml").is_file());
        let sample = fs::read_to_string(crate_folder.join("samples/plain.eml")).unwrap();
        assert!(sample.contains("\r\n\r\n") && !sample.contains("\r\r"));
        assert!(matches!(create("greet-all", &crate_folder), Err(ScaffoldError::Exists(_))));
    }

    #[test]
    fn names_are_those_of_crates() {
        for good in ["a", "greet", "greet-2"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "Greet", "2greet", "-a", "a-", "a_b", "a/b", "../a", "é"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
