//! The list as a file for spreadsheets, with the columns of turboSMTP: `Status;Subject;From;To;Date;Reason`.

use std::fmt::Write as _;

use super::entry::{Entry, Source};

/// The first line.
pub const HEADING: &str = "Status;Subject;From;To;Date;Reason\n";

/// Adds the line of an entry.
pub fn push_line(text: &mut String, entry: &Entry) {
    let note = &entry.note;
    let status = match note.source {
        Source::Manual => "MANUAL",
        Source::Bounce => "FAIL",
        Source::Spam => "REPORT",
        Source::Unsubscribe => "UNSUB",
        Source::ValidationFailed => "VALIDATION_FAILED",
    };
    let date = note.at.to_rfc3339();
    let date = format!("{}.{:03}Z", date.trim_end_matches('Z'), note.at.as_millis() % 1000);
    let (subject, sender, recipient, reason) =
        (quoted(&note.subject), cell(&note.sender), cell(entry.recipient.as_str()), quoted(&note.reason));
    let _ = writeln!(text, "{status};{subject};{sender};{recipient};{date};{reason}");
}

/// A text that people wrote: in quotes, unless it is empty.
fn quoted(text: &str) -> String {
    if text.is_empty() { String::new() } else { in_quotes(&defused(text)) }
}

/// A cell, in quotes where it must be.
fn cell(text: &str) -> String {
    let text = defused(text);
    if text.contains([';', ',', '"', '\'']) { in_quotes(&text) } else { text }
}

fn in_quotes(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Puts an apostrophe before what a spreadsheet would take for a formula, and makes blanks of control characters.
fn defused(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.trim_start().starts_with(['=', '+', '-', '@']) { format!("'{clean}") } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::suppression::entry::{List, Note, Recipient, Scope};

    #[test]
    fn cells_are_no_formulas() {
        let note = Note {
            source: Source::Bounce,
            at: Timestamp::from_millis(1_700_000_000_123),
            reason: "550 \"no\"; such\nuser".into(),
            sender: "news@example.com".into(),
            subject: "=HYPERLINK(\"http://evil.example\")".into(),
        };
        let address = crate::mail::address::EmailAddress::parse("+cmd@example.net").unwrap_or_else(|_| unreachable!("it is an address"));
        let entry = Entry { list: List::Blocked, scope: Scope::Global, recipient: Recipient::of(&address), note };
        let mut text = String::new();
        push_line(&mut text, &entry);
        let expected = "FAIL;\"'=HYPERLINK(\"\"http://evil.example\"\")\";news@example.com;\"'+cmd@example.net\";2023-11-14T22:13:20.123Z;\"550 \"\"no\"\"; such user\"\n";
        assert_eq!(text, expected);
    }
}
