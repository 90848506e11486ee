//! The configuration file.

use std::path::Path;

use tubepost::config;

/// Configurations: all errors are said, each with a place in the file, and none hides another panic.
pub fn configuration(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    let environment = |name: &str| (name == "SECRET").then(|| "hunter2".to_owned());
    // No such folder: files that the text names are not read.
    let parsed = config::parse(text, "tubepost.toml", Path::new("/nonexistent/tubepost"), &environment);
    match parsed {
        Ok(config) => {
            let shown = format!("{config:?}");
            assert!(!shown.contains("hunter2"), "a secret is shown");
        }
        Err(errors) => {
            let shown = errors.to_string();
            assert!(!shown.trim().is_empty(), "it is wrong, and nobody says why");
            assert!(!shown.contains("hunter2"), "a secret is shown");
        }
    }
}
