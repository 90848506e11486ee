//! `[templates.NAME]`: texts that plugins may ask for by name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use super::document::{Fault, Section, Value};

/// Octets of one file of a template.
const LARGEST: u64 = 1024 * 1024;

/// A template: what it says is for the plugin that asks for it to interpret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// `subject`.
    pub subject: Option<String>,
    /// Content of the file `text`.
    pub text: Option<String>,
    /// Content of the file `html`.
    pub html: Option<String>,
}

pub(super) fn read(file: &Section<'_>) -> BTreeMap<Arc<str>, Arc<Template>> {
    let named = file.named("templates", "template", |_, value| {
        value.section(|section| Template {
            subject: section.optional("subject", |value| value.text().map(str::to_owned)),
            text: section.optional("text", content),
            html: section.optional("html", content),
        })
    });
    named.map(|(name, template)| (Arc::from(name), Arc::new(template))).collect()
}

/// Reads the file that a value names.
fn content(value: &Value<'_>) -> Result<String, Fault> {
    let path = value.readable_file()?;
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text));
    let read = read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if read as u64 > LARGEST { Err(format!("{} has more than 1 MiB", path.display())) } else { Ok(text) }
}
