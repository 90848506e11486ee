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

/// What every crate has. `{{name}}` stands for the plugin's name, `{{type}}` for the type named after it.
const COMMON: [File; 5] = [
    ("Cargo.toml", include_str!("scaffold/Cargo.toml.txt")),
    ("README.md", include_str!("scaffold/README.md.txt")),
    (".gitignore", include_str!("scaffold/gitignore.txt")),
    ("samples/plain.eml", include_str!("scaffold/plain.eml")),
    ("samples/newsletter.eml", include_str!("scaffold/newsletter.eml")),
];

/// Path in the crate, and text.
type File = (&'static str, &'static str);

/// What a plugin begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Template {
    /// Writes a header field.
    #[default]
    Header,
    /// Rewrites the HTML.
    Html,
    /// Refuses mail by a rule.
    Policy,
    /// Makes each recipient's copy from the data given for him.
    PerRecipient,
    /// Tells a server of yours what bounced.
    WebhookOnEvent,
}

/// What is told about a template, and its own files.
struct Content {
    /// The crate's description, and the plugin's summary.
    description: &'static str,
    /// Options in the step of a chain, as an example.
    options: &'static str,
    /// The line of its configuration with what it has to be granted, or "".
    grants: &'static str,
    files: &'static [File],
}

/// Names files below `scaffold/` by their places in a crate.
macro_rules! files {
    ($folder:literal: $($name:literal),+) => {
        &[
            ("src/lib.rs", include_str!(concat!("scaffold/", $folder, "/lib.rs.txt"))),
            $((concat!("tests/golden/", $name), include_str!(concat!("scaffold/", $folder, "/golden/", $name)))),+
        ]
    };
}

impl Template {
    /// A further template is a variant, an arm here, and a folder.
    fn content(self) -> Content {
        match self {
            Self::Header => Content {
                description: "Says in a header field that it has seen the message.",
                options: "greeting = \"good day\"",
                grants: "",
                files: files!("header": "plain.eml", "plain.out"),
            },
            Self::Html => Content {
                description: "Puts a footer below the HTML of each mail.",
                options: "footer = \"Example Ltd, 1 Main Street\"",
                grants: "",
                files: files!(
                    "html": "newsletter.eml", "newsletter.out", "plain.eml", "plain.out", "footer-of-our-own.eml", "footer-of-our-own.toml",
                    "footer-of-our-own.out"
                ),
            },
            Self::Policy => Content {
                description: "Refuses mail with attachments of some kinds.",
                options: "forbidden = [\"exe\", \"zip\"]",
                grants: "",
                files: files!("policy": "program.eml", "program.out", "plain.eml", "plain.out"),
            },
            Self::PerRecipient => Content {
                description: "Writes each recipient's own orders into his copy.",
                options: "mark = \"[[orders]]\"",
                grants: "",
                files: files!("per-recipient": "orders.eml", "orders.toml", "orders.out", "without-mark.eml", "without-mark.out"),
            },
            // There is no message to play: what it does is tested with `cargo test`.
            Self::WebhookOnEvent => Content {
                description: "Tells a server of ours what bounced.",
                options: "url = \"https://hooks.example.com/mail\"",
                grants: "allow = { http = [\"https://hooks.example.com/\"] }\n",
                files: &[("src/lib.rs", include_str!("scaffold/webhook-on-event/lib.rs.txt"))],
            },
        }
    }
}

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

/// Writes the crate of a plugin called `name`, made from `template`, to `folder`, which must not exist, or be empty. Returns the files that its author may want to open.
pub fn create(name: &str, template: Template, folder: &Path) -> Result<Vec<PathBuf>, ScaffoldError> {
    if !is_name(name) {
        return Err(ScaffoldError::Name(name.to_owned()));
    }
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        return Err(ScaffoldError::Exists(folder.to_owned()));
    }
    let Content { description, options, grants, files } = template.content();
    let step = format!("{{ use = \"{name}\", {options} }}");
    let type_name = type_name(name);
    let values =
        [("{{name}}", name), ("{{type}}", &type_name), ("{{description}}", description), ("{{step}}", &step), ("{{grants}}", grants)];
    let mut written = Vec::new();
    for (file, text) in COMMON.iter().chain(files) {
        let path = folder.join(file);
        let is_mail = path.extension().is_some_and(|extension| extension == "eml");
        // Mail has CRLF line ends; a checkout of this repository may have changed them. What is in it is not ours to fill in.
        let text = if is_mail {
            text.replace("\r\n", "\n").replace('\n', "\r\n")
        } else {
            values.iter().fold((*text).to_owned(), |text, (name, value)| text.replace(name, value))
        };
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
        for template in <Template as clap::ValueEnum>::value_variants() {
            let folder = tempfile::tempdir().unwrap();
            let crate_folder = folder.path().join("greet-all");
            let files = create("greet-all", *template, &crate_folder).unwrap();
            for file in &files {
                let text = fs::read_to_string(file).unwrap();
                assert!(!text.contains("{{"), "{}", file.display());
            }
            assert!(fs::read_to_string(crate_folder.join("src/lib.rs")).unwrap().contains("struct GreetAll;"));
            assert!(crate_folder.join(".tubepost/wit/0.1.0/mail.wit").is_file());
            assert!(crate_folder.join(".tubepost/plugin-sdk/Cargo.toml").is_file());
            let sample = fs::read_to_string(crate_folder.join("samples/plain.eml")).unwrap();
            assert!(sample.contains("\r\n\r\n") && !sample.contains("\r\r"));
            assert!(matches!(create("greet-all", *template, &crate_folder), Err(ScaffoldError::Exists(_))));
        }
    }

    #[test]
    fn every_message_has_its_golden_file() {
        for template in <Template as clap::ValueEnum>::value_variants() {
            let files = template.content().files;
            for message in files.iter().map(|(name, _)| Path::new(name)).filter(|path| path.extension().is_some_and(|kind| kind == "eml")) {
                let golden = message.with_extension("out");
                assert!(files.iter().any(|(other, text)| Path::new(other) == golden && !text.is_empty()), "{}", message.display());
            }
        }
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
