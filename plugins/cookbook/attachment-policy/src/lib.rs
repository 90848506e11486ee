//! Refuses, removes or holds attachments of forbidden kinds, and messages with too many or too large ones.
//!
//! ```toml
//! [chains]
//! example = [{ use = "attachment-policy", action = "remove", most_octets = 20_000_000 }]
//! ```
//!
//! A kind is known by the last extension of the file name, as a reader's system knows it; what is inside of archives is not looked at. Of a signed or
//! encrypted message nothing can be removed: it is refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{Failure, Message, NewPart, PartInfo, Plugin, Verdict, log, register, reject};

/// The plugin.
#[derive(Debug)]
pub struct AttachmentPolicy;

/// The options of the plugin.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Extensions of file names, without the dot
    pub forbidden: Vec<String>,
    /// What becomes of a message with such a file
    pub action: Action,
    /// The most octets that all attachments may have together
    pub most_octets: Option<u64>,
    /// The most attachments
    pub most: Option<usize>,
}

/// What becomes of a message with a forbidden file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Refused
    Reject,
    /// Sent without the file, and with a note in its place
    Remove,
    /// Kept for an operator
    Hold,
}

impl Default for Options {
    fn default() -> Self {
        let forbidden =
            ["bat", "cmd", "com", "cpl", "exe", "hta", "iso", "jar", "js", "jse", "lnk", "msi", "ps1", "reg", "scr", "vbe", "vbs", "wsf"];
        Self { forbidden: forbidden.map(ToOwned::to_owned).to_vec(), action: Action::Reject, most_octets: None, most: None }
    }
}

impl Plugin for AttachmentPolicy {
    type Config = Options;

    fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        let files: Vec<PartInfo> = message.parts().into_iter().filter(|part| part.filename.is_some() || !part.inline).collect();
        let octets: u64 = files.iter().map(|file| file.size).sum();
        if let Some(most) = options.most_octets.filter(|most| octets > *most) {
            reject!("attachments have at most {most} octets together, these have {octets}");
        }
        if let Some(most) = options.most.filter(|most| files.len() > *most) {
            reject!("a message has at most {most} attachments, this one has {}", files.len());
        }
        let forbidden: Vec<_> = files.iter().filter_map(|file| Some((file.id, forbidden(file.filename.as_deref()?, options)?))).collect();
        let Some((_, first)) = forbidden.first() else { return Ok(Verdict::Next) };
        match options.action {
            Action::Remove if !message.is_sealed() => {}
            Action::Reject | Action::Remove => reject!("attachments of the kind .{first} are not allowed"),
            Action::Hold => return Ok(Verdict::hold(format!("an attachment of the kind .{first}"))),
        }
        for (id, kind) in &forbidden {
            // The note is there before the file goes: a message keeps at least one part.
            let note = format!("A file of the kind .{kind} was removed from this message.\r\n");
            message.add_part(None, &NewPart::attachment("removed.txt", "text/plain", note))?;
            message.remove_part(*id)?;
            log::info!("removed a file of the kind .{kind}");
        }
        Ok(Verdict::Next)
    }
}

/// The extension of a file name, if it is forbidden. Systems leave out dots and blanks at the end.
fn forbidden(name: &str, options: &Options) -> Option<String> {
    let name = name.trim_end_matches(|character: char| character == '.' || character.is_whitespace());
    let (_, extension) = name.rsplit_once('.')?;
    let extension = extension.to_lowercase();
    options.forbidden.iter().any(|known| known.to_lowercase() == extension).then_some(extension)
}

register!(AttachmentPolicy: submit);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use tubepost_plugin_sdk::testing::{self, Draft};

    use super::*;

    fn run(draft: Draft, options: &str) -> (Verdict, Message) {
        let mut message = draft.message();
        let verdict = AttachmentPolicy::submit(&mut message, &testing::config::<AttachmentPolicy>(options).unwrap());
        (verdict.unwrap(), message)
    }

    fn with(name: &str) -> Draft {
        Draft::new().text("See below").attachment(name, "application/octet-stream", b"12345")
    }

    #[test]
    fn a_kind_is_known_by_its_last_extension() {
        for name in ["a.exe", "invoice.pdf.EXE", "a.exe. .", "\u{202e}fdp.exe"] {
            assert_eq!(run(with(name), "{}").0, Verdict::reject("attachments of the kind .exe are not allowed"), "{name}");
        }
        for name in ["a.pdf", "exe", "exe.txt", "a."] {
            assert_eq!(run(with(name), "{}").0, Verdict::Next, "{name}");
        }
    }

    #[test]
    fn what_is_removed_leaves_a_note() {
        let (verdict, message) = run(with("a.exe"), r#"{"action":"remove"}"#);
        let names: Vec<_> = message.parts().into_iter().filter_map(|part| part.filename).collect();
        assert_eq!((verdict, names), (Verdict::Next, vec!["removed.txt".to_owned()]));
    }

    #[test]
    fn nothing_is_removed_from_what_is_signed() {
        let signed = with("a.exe").attachment("signature.asc", "application/pgp-signature", b"x");
        assert!(matches!(run(signed, r#"{"action":"remove"}"#).0, Verdict::Reject(_)));
    }

    #[test]
    fn numbers_and_sizes_are_limited() {
        assert!(matches!(run(with("a.pdf"), r#"{"most_octets":4}"#).0, Verdict::Reject(_)));
        assert!(matches!(run(with("a.pdf"), r#"{"most":0}"#).0, Verdict::Reject(_)));
        assert_eq!(run(with("a.pdf"), r#"{"most_octets":5,"most":1}"#).0, Verdict::Next);
        assert!(matches!(run(with("a.js"), r#"{"action":"hold"}"#).0, Verdict::Hold(_)));
    }

    #[test]
    fn golden() {
        testing::golden::<AttachmentPolicy>("tests/golden");
    }
}
