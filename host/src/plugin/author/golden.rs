//! Golden tests: messages in a folder, and beside each what the plugin made of it when somebody last looked at it and was content.
//!
//! `NAME.eml` is a message, `NAME.toml` says how it is run, and may be missing, `NAME.out` is what came of it, as text. All ids, times and keys are the
//! same every time, so that nothing differs but what the plugin does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::running::{Report, Trial, TrialCall, TrialError, TrialRecipient, Workbench, with_crlf};
use super::showing::{readable, text_diff};
use crate::mail::address::EmailAddress;
use crate::mail::envelope::ReversePath;

/// Folder of a crate with its golden tests.
pub const FOLDER: &str = "tests/golden";
/// Whom a message is for that nothing is said about.
pub const RECIPIENT: &str = "reader@example.net";
/// Octets of a message.
const MESSAGE: u64 = 50 << 20;

/// Why a golden test cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A message is too large.
    #[error("{}: a message of a golden test has at most {MESSAGE} octets", .0.display())]
    TooLarge(PathBuf),
    /// What stands beside a message is not understood.
    #[error("{}: {reason}", path.display())]
    Settings {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file belongs to no message.
    #[error("{}: there is no message {name}.eml beside it", path.display())]
    Stray {
        /// Which file.
        path: PathBuf,
        /// Of which message.
        name: String,
    },
    /// The plugin does not take the options.
    #[error("{name}: {error}")]
    Trial {
        /// Which test.
        name: String,
        /// Why.
        error: TrialError,
    },
}

/// One golden test.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of its files, without extensions.
    pub name: String,
    trial: Trial,
    /// `NAME.out`.
    path: PathBuf,
    /// What is in it; `None` where there is none yet.
    expected: Option<String>,
}

/// What came of a golden test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// Which.
    pub name: String,
    /// What came of it.
    pub result: Match,
}

/// Whether it is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// It is.
    Same,
    /// It is not: what differs.
    Differs(String),
    /// There is no golden file yet.
    Missing,
    /// The golden file was written.
    Written,
}

/// `NAME.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    options: Map<String, Value>,
    variables: Map<String, Value>,
    reverse_path: String,
    recipients: Vec<SettingsRecipient>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsRecipient {
    address: String,
    #[serde(default)]
    data: Map<String, Value>,
}

/// Reads the golden tests of a folder, in the order of their names; none where there is no folder. `options` are laid under those of each test.
pub fn cases(folder: &Path, options: &Map<String, Value>) -> Result<Vec<Case>, GoldenError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |error| GoldenError::Io { path, error }
    };
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let (Some(stem), Some(extension)) = (path.file_stem(), path.extension()) else { continue };
        let (stem, extension) = (stem.to_string_lossy().into_owned(), extension.to_string_lossy().into_owned());
        if ["eml", "toml", "out"].contains(&extension.as_str()) {
            files.entry(stem).or_default().insert(extension, path);
        }
    }
    let mut cases = Vec::with_capacity(files.len());
    for (name, mut paths) in files {
        let Some(message) = paths.remove("eml") else {
            let path = paths.into_values().next().unwrap_or_default();
            return Err(GoldenError::Stray { path, name });
        };
        if fs::metadata(&message).map_err(unreadable(&message))?.len() > MESSAGE {
            return Err(GoldenError::TooLarge(message));
        }
        let content = with_crlf(fs::read(&message).map_err(unreadable(&message))?);
        let settings = match paths.remove("toml") {
            Some(path) => {
                let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
                Settings::parse(&text).map_err(|reason| GoldenError::Settings { path, reason })?
            }
            None => Settings::default(),
        };
        let place = message.with_extension("toml");
        let trial = settings.trial(content, options).map_err(|reason| GoldenError::Settings { path: place, reason })?;
        let expected = match paths.remove("out") {
            Some(path) => Some(fs::read_to_string(&path).map_err(unreadable(&path))?.replace("\r\n", "\n")),
            None => None,
        };
        cases.push(Case { path: message.with_extension("out"), name, trial, expected });
    }
    Ok(cases)
}

impl Settings {
    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }

    fn trial(self, content: bytes::Bytes, options: &Map<String, Value>) -> Result<Trial, String> {
        let mut merged = options.clone();
        merged.extend(self.options);
        let mut recipients = Vec::with_capacity(self.recipients.len().max(1));
        for SettingsRecipient { address, data } in self.recipients {
            let address = EmailAddress::parse(&address).map_err(|error| format!("recipients: {address:?}: {error}"))?;
            recipients.push(TrialRecipient { address, variables: data });
        }
        if recipients.is_empty() {
            let address = EmailAddress::parse(RECIPIENT).map_err(|error| error.to_string())?;
            recipients.push(TrialRecipient { address, variables: Map::new() });
        }
        let reverse_path =
            ReversePath::parse(&self.reverse_path).map_err(|error| format!("reverse_path: {:?}: {error}", self.reverse_path))?;
        Ok(Trial { content, options: merged, variables: self.variables, reverse_path, recipients })
    }
}

/// Plays a golden test; with `update`, its golden file is written where it differs.
///
/// # Errors
/// The plugin does not take the test's options, or the file cannot be written.
pub async fn play(bench: &Workbench, case: &Case, update: bool) -> Result<Played, GoldenError> {
    let report = bench.run(&case.trial).await.map_err(|error| GoldenError::Trial { name: case.name.clone(), error })?;
    let text = golden(&report);
    let result = match &case.expected {
        Some(expected) if *expected == text => Match::Same,
        _ if update => {
            fs::write(&case.path, &text).map_err(|error| GoldenError::Io { path: case.path.clone(), error })?;
            Match::Written
        }
        Some(expected) => Match::Differs(text_diff(expected, &text, ["golden", "now"])),
        None => Match::Missing,
    };
    Ok(Played { name: case.name.clone(), result })
}

/// Returns the text of a golden file.
pub fn golden(report: &Report) -> String {
    let mut text = String::new();
    for call in &report.calls {
        push_call(&mut text, call);
    }
    let lists = [("tags", &report.tags), ("envelope", &report.envelope), ("slots", &report.slots)];
    for (name, lines) in lists {
        push_lines(&mut text, name, lines);
    }
    let mut shown: Option<(&str, &bytes::Bytes)> = None;
    for copy in &report.copies {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n=== for {}", readable(copy.address.as_bytes()));
        for call in &copy.calls {
            push_call(&mut text, call);
        }
        push_lines(&mut text, "tags", &copy.tags);
        push_lines(&mut text, "envelope", &copy.envelope);
        match (&copy.after, shown) {
            (None, _) => text.push_str("nothing is sent\n"),
            (Some(after), Some((address, before))) if after == before => {
                let _ = writeln!(text, "the same octets as for {}", readable(address.as_bytes()));
            }
            (Some(after), _) => {
                text.push_str("---\n");
                let message = readable(after);
                text.push_str(&message);
                if !message.ends_with('\n') {
                    text.push_str("\n--- without a line end\n");
                }
                shown = Some((&copy.address, after));
            }
        }
    }
    text
}

/// `submit: reject 550 5.7.1 no`, and what was logged below it.
fn push_call(text: &mut String, call: &TrialCall) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}: {}", call.run.stage, call.answer());
    for line in &call.run.log {
        let _ = writeln!(text, "  {line}");
    }
}

fn push_lines(text: &mut String, name: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = writeln!(text, "{name}:");
    }
    for line in lines {
        let _ = writeln!(text, "  {}", readable(line.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::clock::Clock;
    use crate::config::PluginSource;
    use crate::plugin::test_guest::{Guest, LIMITS};

    async fn played(folder: &Path, update: bool) -> Result<Vec<Match>, GoldenError> {
        let file = folder.join("greet.wasm");
        fs::write(&file, Guest::adding("greet", "X-Greeting", "hello").component()).unwrap();
        let bench = Workbench::open(&PluginSource::File(file), LIMITS, &Clock::system()).await.unwrap();
        let mut results = Vec::new();
        for case in cases(folder, &Map::new())? {
            results.push(play(&bench, &case, update).await?.result);
        }
        Ok(results)
    }

    #[tokio::test]
    async fn a_golden_file_is_written_compared_and_shown() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("one.eml", "Subject: x\n\nbody\n");
        write(
            "one.toml",
            "[[recipients]]\naddress = \"a@example.com\"\n[[recipients]]\naddress = \"b@example.com\"\ndata = { name = \"Bob\" }\n",
        );
        assert_eq!(played(folder.path(), false).await.unwrap(), [Match::Missing]);
        assert_eq!(played(folder.path(), true).await.unwrap(), [Match::Written]);
        let golden = fs::read_to_string(folder.path().join("one.out")).unwrap();
        assert_eq!(
            golden,
            "submit: next\n\n=== for a@example.com\n---\nX-Greeting: hello\nSubject: x\n\nbody\n\n\
             === for b@example.com\nthe same octets as for a@example.com\n"
        );
        assert_eq!(played(folder.path(), false).await.unwrap(), [Match::Same]);
        write("one.out", &golden.replace("hello", "good day"));
        let [Match::Differs(diff)] = &played(folder.path(), false).await.unwrap()[..] else { panic!("it differs") };
        assert!(diff.contains("\n-X-Greeting: good day\n+X-Greeting: hello\n"), "{diff}");
    }

    #[tokio::test]
    async fn what_is_wrong_beside_a_message_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("one.eml", "Subject: x\n\nbody\n");
        write("one.toml", "recipient = \"a@example.com\"\n");
        assert!(played(folder.path(), false).await.unwrap_err().to_string().contains("unknown field `recipient`"));
        write("one.toml", "recipients = [ { address = \"nobody\" } ]\n");
        assert!(played(folder.path(), false).await.unwrap_err().to_string().contains("\"nobody\""));
        write("one.toml", "options = { loud = true }\n");
        assert!(played(folder.path(), false).await.unwrap_err().to_string().contains("loud: no such option"));
        write("one.toml", "");
        write("two.out", "");
        assert!(played(folder.path(), false).await.unwrap_err().to_string().contains("no message two.eml"));
    }
}
