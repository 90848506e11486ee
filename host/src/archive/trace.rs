//! What each plugin did to a message: its chain is run again on what came in, and the message before and after each plugin is compared.
//!
//! Plugins are deterministic, so this shows what happened, as long as the chain and the plugins are those of then; digests tell. Nothing is
//! kept, counted or sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use similar::{Algorithm, TextDiff};

use crate::event::PluginRun;
use crate::intake::dry_run::{DryCopy, DryResult, DryRun, DryStep};
use crate::mail::content::Draft;
use crate::mail::header;
use crate::mail::header::raw_fields::RawFields;

/// Octets of one difference that are shown.
const MOST_DIFFERENCE: usize = 64 * 1024;
/// How long two messages are compared; what is not found by then is shown as replaced.
const COMPARING: Duration = Duration::from_millis(200);
/// Unchanged lines around a change.
const CONTEXT: usize = 2;

/// What a chain did, or would do, to a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceView {
    /// Each plugin that ran once for all recipients, in order.
    pub steps: Vec<StepView>,
    /// What came out, in a line.
    pub result: String,
    /// Failures of plugins: which, and what went wrong.
    pub failures: Vec<(String, String)>,
    /// Each recipient's copy.
    pub copies: Vec<CopyView>,
    /// What may not be as it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What one plugin did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// The call.
    #[serde(flatten)]
    pub run: PluginRun,
    /// The message before and after it, decoded, as a unified difference; "" where it changed nothing.
    pub difference: String,
}

/// One recipient's copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CopyView {
    /// Where it goes.
    pub address: String,
    /// Plugins that ran for this recipient.
    pub steps: Vec<StepView>,
    /// What came out, in a line.
    pub result: String,
    /// The message as it would be sent; absent where it would not, or where there are too many to show.
    pub content: Option<String>,
}

impl TraceView {
    /// Makes a dry run readable. Comparing takes processor time: not for the hot path.
    pub fn new(run: &DryRun) -> Self {
        let copies = match &run.result {
            DryResult::Refused(_) | DryResult::Discarded { .. } => Vec::new(),
            DryResult::Kept { copies, .. } => copies.iter().map(copy).collect(),
        };
        let steps = run.steps.iter().map(step).collect();
        Self { steps, result: result(&run.result), failures: run.failures.clone(), copies, notes: Vec::new() }
    }

    /// Adds what may not be as it was.
    #[must_use]
    pub fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }
}

/// Says in a line what comes of a message.
pub(super) fn result(result: &DryResult) -> String {
    match result {
        DryResult::Refused(refusal) => format!("refused: {refusal}"),
        DryResult::Discarded { plugin, reason } => format!("discarded by {plugin}: {reason}"),
        DryResult::Kept { held: Some((plugin, reason)), .. } => format!("held by {plugin}: {reason}"),
        DryResult::Kept { held: None, copies, .. } => format!("accepted for {} recipients", copies.len()),
    }
}

/// Says in a line what comes of a copy.
pub(super) fn copy_result(copy: &DryCopy) -> String {
    match &copy.content {
        Some(Ok(content)) => format!("{} octets", content.len()),
        Some(Err(error)) => error.to_string(),
        None => "not rendered here".to_owned(),
    }
}

fn copy(copy: &DryCopy) -> CopyView {
    let content =
        copy.content.as_ref().and_then(|content| content.as_ref().ok()).map(|content| String::from_utf8_lossy(content).into_owned());
    CopyView { address: copy.address.to_string(), steps: copy.steps.iter().map(step).collect(), result: copy_result(copy), content }
}

fn step(step: &DryStep) -> StepView {
    StepView { run: step.run.clone(), difference: difference(&step.before, &step.after) }
}

/// Compares two messages, decoded where that shows the difference.
pub fn difference(before: &bytes::Bytes, after: &bytes::Bytes) -> String {
    if before == after {
        return String::new();
    }
    let (readable_before, readable_after) = (readable(before), readable(after));
    if readable_before == readable_after {
        // They differ in encoding, or in a part that is no text.
        return compared(&String::from_utf8_lossy(before), &String::from_utf8_lossy(after));
    }
    compared(&readable_before, &readable_after)
}

fn compared(before: &str, after: &str) -> String {
    let diff = TextDiff::configure().algorithm(Algorithm::Patience).timeout(COMPARING).diff_lines(before, after);
    let mut text = diff.unified_diff().context_radius(CONTEXT).header("before", "after").to_string();
    if text.len() > MOST_DIFFERENCE {
        text.truncate(text.floor_char_boundary(MOST_DIFFERENCE));
        text.push_str("\n… the rest is not shown\n");
    }
    text
}

/// The header of a message decoded, with a line for each field.
pub fn header_lines(message: &[u8]) -> String {
    let mut text = String::new();
    for line in RawFields::of(message) {
        match line.field {
            Some((name, value)) => {
                let name = String::from_utf8_lossy(name);
                let value = header::decode(&name, value);
                // Where it was folded does not matter here.
                let words: Vec<&str> = value.split_ascii_whitespace().collect();
                text.extend([&name, ": ", &words.join(" "), "\n"]);
            }
            None => text.push_str(&String::from_utf8_lossy(message.get(line.place).unwrap_or_default()).replace('\r', "")),
        }
    }
    text
}

/// The header, then text and HTML, all decoded.
fn readable(message: &bytes::Bytes) -> String {
    let mut text = header_lines(message);
    let mut draft = Draft::new(message.clone());
    for (name, part) in [("text/plain", draft.text()), ("text/html", draft.html())] {
        if let Some(part) = part {
            text.extend(["\n[", name, "]\n", &part, "\n"]);
        }
    }
    text.replace('\r', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_shown_decoded() {
        let before = bytes::Bytes::from_static(
            b"Subject: a\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>gr=C3=BCn</p>\r\n",
        );
        let after = bytes::Bytes::from_static(
            b"Subject: b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>r=C3=B6t</p>\r\n",
        );
        let shown = difference(&before, &after);
        for line in ["-Subject: a", "+Subject: b", "-<p>grün</p>", "+<p>röt</p>"] {
            assert!(shown.contains(line), "{line} is missing in:\n{shown}");
        }
        assert_eq!(difference(&before, &before), "");
    }
}
