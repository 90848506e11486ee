//! Golden messages, run without WebAssembly: the same files that `tubepost plugin test` runs in the sandbox.
//!
//! `NAME.eml` is a message, `NAME.toml` says how it is run, and may be missing, `NAME.out` is what came of it in the sandbox, written by
//! `tubepost plugin test --update`. Here it is compared by what it means: verdict, header fields, parts and their content, decoded; folding,
//! encoding and boundaries are the host's. Signed links are whatever they are.

use std::{fmt::Write as _, fs, path::Path};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    mime::is_content_field,
    stand_in::{Asked, StandIn},
};
use crate::{
    Failure, Message, Plugin, Recipient, Timestamp, Verdict,
    bindings::imports::tubepost::mail::message::{Link, Slot},
    plugin::parse_config,
};

/// Whom a message is for that nothing is said about, its id, and when it came: as the sandbox has it.
const RECIPIENT: &str = "reader@example.net";
const ID: &str = "01M6DQS9M0WM2GP40X2T95DGAW";
const RECEIVED: Timestamp = Timestamp::from_millis(1_793_610_000_000);
/// Letters of a token.
const TOKEN: usize = 32;

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

/// Runs the golden messages of a folder through the stages `submit` and `recipient`, and compares what comes of them with their `.out`.
///
/// ```no_run
/// # use tubepost_plugin_sdk::{Plugin, testing};
/// # struct Greet;
/// # impl Plugin for Greet { type Config = (); }
/// #[test]
/// fn golden() {
///     testing::golden::<Greet>("tests/golden");
/// }
/// ```
///
/// # Panics
/// Where something differs, a file is missing or cannot be read: with a line for each message. A folder without messages is a mistake too.
pub fn golden<P: Plugin>(folder: impl AsRef<Path>) {
    let folder = folder.as_ref();
    let Ok(entries) = fs::read_dir(folder) else { panic!("there is no folder {}", folder.display()) };
    let mut messages: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "eml")).collect();
    messages.sort();
    assert!(!messages.is_empty(), "there is no message (NAME.eml) in {}", folder.display());
    let mut report = String::new();
    for path in messages {
        if let Err(reason) = play::<P>(&path) {
            // Writing to a String cannot fail.
            let _ = writeln!(report, "{}: {reason}", path.display());
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

fn read(path: &Path) -> Result<Option<String>, String> {
    match fs::read(path) {
        Ok(octets) => {
            String::from_utf8(octets).map(|text| Some(text.replace("\r\n", "\n"))).map_err(|_| format!("{} is no UTF-8", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn play<P: Plugin>(path: &Path) -> Result<(), String> {
    let octets = fs::read(path).map_err(|error| error.to_string())?;
    let mut settings = Settings::default();
    if let Some(text) = read(&path.with_extension("toml"))? {
        settings = toml::from_str(&text).map_err(|error| error.to_string())?;
    }
    if settings.recipients.is_empty() {
        settings.recipients.push(SettingsRecipient { address: RECIPIENT.to_owned(), data: Map::new() });
    }
    let expected = read(&path.with_extension("out"))?.ok_or("there is no .out beside it: `tubepost plugin test --update` writes it")?;
    compare(&run::<P>(&octets, &settings)?, &parse(&expected))
}

/// What came of a message.
#[derive(Debug, Default)]
struct Outcome {
    /// `next`, `reject 550 5.7.1 no`, "failed" for a failure.
    submit: String,
    copies: Vec<Copy>,
}

#[derive(Debug, Default)]
struct Copy {
    address: String,
    /// Of the stage `recipient`; "" where it did not run.
    verdict: String,
    /// Nothing where nothing is sent.
    message: Option<Vec<String>>,
}

fn run<P: Plugin>(octets: &[u8], settings: &Settings) -> Result<Outcome, String> {
    let config = parse_config::<P::Config>(&Value::Object(settings.options.clone()).to_string()).map_err(|error| error.to_string())?;
    let mut stand_in = StandIn::new();
    stand_in.read(&with_crlf(octets));
    stand_in.now = RECEIVED;
    ID.clone_into(&mut stand_in.id);
    stand_in.reverse_path.clone_from(&settings.reverse_path);
    stand_in.variables = Value::Object(settings.variables.clone()).to_string();
    stand_in.context = [("login", "trial"), ("protocol", "local"), ("public-url", "https://links.example")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    stand_in.recipients = (0..).zip(&settings.recipients).map(|(id, one)| Recipient { id, address: one.address.clone() }).collect();
    if settings.recipients.iter().any(|one| !one.data.is_empty()) {
        stand_in.context.push(("recipient-data".to_owned(), "true".to_owned()));
    }
    let mut message = Message::new(stand_in);
    let verdict = P::submit(&mut message, &config);
    let mut outcome = Outcome { submit: words(&verdict), copies: Vec::new() };
    let after = match verdict {
        Ok(Verdict::Next | Verdict::Accept) => message.stand_in().clone(),
        // What the plugin did is dropped, and the message goes no further.
        Ok(Verdict::Reject(_) | Verdict::Defer(_) | Verdict::Discard(_) | Verdict::Hold(_)) | Err(_) => return Ok(outcome),
    };
    for recipient in after.recipients.clone() {
        let mut copy = after.clone();
        let data = settings.recipients.get(recipient.id as usize).map(|one| one.data.clone()).unwrap_or_default();
        let mut variables = settings.variables.clone();
        variables.extend(data);
        copy.variables = Value::Object(variables).to_string();
        copy.recipients = vec![recipient.clone()];
        copy.is_copy = true;
        let mut message = Message::new(copy);
        let verdict = match P::wanted(&message, &config) {
            Ok(true) => Some(P::recipient(&mut message, &config)),
            Ok(false) => None,
            Err(failure) => Some(Err(failure)),
        };
        let sent = verdict.as_ref().is_none_or(|verdict| matches!(verdict, Ok(Verdict::Next | Verdict::Accept)));
        outcome.copies.push(Copy {
            address: recipient.address,
            verdict: verdict.as_ref().map(words).unwrap_or_default(),
            message: sent.then(|| look(message.stand_in(), |token| filled(message.stand_in(), token))),
        });
    }
    Ok(outcome)
}

fn words(verdict: &Result<Verdict, Failure>) -> String {
    match verdict {
        Ok(Verdict::Next) => "next".to_owned(),
        Ok(Verdict::Accept) => "accept".to_owned(),
        Ok(Verdict::Reject(reply)) => format!("reject {reply}"),
        Ok(Verdict::Defer(reply)) => format!("defer {reply}"),
        Ok(Verdict::Discard(reason)) => format!("discard: {reason}"),
        Ok(Verdict::Hold(reason)) => format!("hold: {reason}"),
        Err(_) => "failed".to_owned(),
    }
}

fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(octets.len());
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        let text = line.strip_suffix(b"\n").map(|text| text.strip_suffix(b"\r").unwrap_or(text));
        wire.extend_from_slice(text.unwrap_or(line));
        if text.is_some() {
            wire.extend(b"\r\n");
        }
    }
    wire
}

/// The value of a slot for one recipient; nothing for a link.
fn filled(copy: &StandIn, token: &str) -> Option<String> {
    let number: usize = token.get(4..)?.parse().ok()?;
    match copy.slots.borrow().get(number)? {
        Asked::Slot(Slot::Address) => copy.recipients.first().map(|one| one.address.clone()),
        Asked::Slot(Slot::Variable(name)) => Some(copy.variable(name)),
        Asked::Slot(Slot::Link(Link::Click(_) | Link::Open(_) | Link::Unsubscribe)) | Asked::Own { .. } => None,
    }
}

/// A message in lines: its fields, then its parts with their content. A link that differs is "\0".
fn look(stand_in: &StandIn, value: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let fill = |text: &str| {
        let mut result = String::new();
        let mut rest = text;
        while let Some(place) = rest.find("SLOT") {
            result.push_str(rest.get(..place).unwrap_or_default());
            let token = rest.get(place..place + TOKEN).filter(|token| token.bytes().skip(4).all(|octet| octet.is_ascii_digit()));
            let length = if let Some(token) = token {
                result.push_str(value(token).as_deref().unwrap_or("\0"));
                TOKEN
            } else {
                result.push_str("SLOT");
                4
            };
            rest = rest.get(place + length..).unwrap_or_default();
        }
        result + rest
    };
    let mut lines = Vec::new();
    for field in stand_in.headers.iter().filter(|field| !is_content_field(&field.name) && !field.name.eq_ignore_ascii_case("MIME-Version"))
    {
        let value = fill(&field.value).split_whitespace().collect::<Vec<_>>().join(" ");
        lines.push(format!("{}: {value}", field.name.to_ascii_lowercase()));
    }
    for (info, content) in &stand_in.parts {
        let names =
            [("file", &info.filename), ("id", &info.content_id)].map(|(what, name)| name.as_ref().map(|name| format!(" {what}={name}")));
        let kind = if info.inline { "" } else { " attachment" };
        let [filename, content_id] = names.map(Option::unwrap_or_default);
        lines.push(format!("[part {}{kind}{filename}{content_id}]", info.content_type));
        let text = String::from_utf8_lossy(content).replace("\r\n", "\n").replace('\0', "\u{2400}");
        lines.extend(fill(&text).trim_end_matches('\n').split('\n').map(|line| line.trim_end().to_owned()));
    }
    lines
}

/// Reads what `tubepost plugin test` writes.
fn parse(text: &str) -> Outcome {
    let mut sections = text.split("\n=== for ");
    let verdict = |section: &str, stage: &str| {
        let line = section.lines().find_map(|line| line.strip_prefix(stage)?.strip_prefix(": "));
        line.unwrap_or_default().to_owned()
    };
    let mut outcome = Outcome { submit: verdict(sections.next().unwrap_or_default(), "submit"), copies: Vec::new() };
    for section in sections {
        let (head, body) = section.split_once("\n---\n").map_or((section, None), |(head, body)| (head, Some(body)));
        let (address, head) = head.split_once('\n').unwrap_or((head, ""));
        let message = match body {
            Some(body) => {
                let mut sent = StandIn::new();
                sent.read(&with_crlf(body.as_bytes()));
                Some(look(&sent, |_| None))
            }
            None if head.contains("the same octets as for") => outcome.copies.iter().rev().find_map(|copy| copy.message.clone()),
            None => None,
        };
        outcome.copies.push(Copy { address: address.to_owned(), verdict: verdict(head, "recipient"), message });
    }
    outcome
}

fn same_verdict(ours: &str, theirs: &str) -> bool {
    const VERDICTS: [&str; 6] = ["next", "accept", "reject", "defer", "discard", "hold"];
    let is_failure = |words: &str| !VERDICTS.iter().any(|known| words.starts_with(known));
    // A stage that the component does not export does nothing here.
    ours == theirs || (theirs.is_empty() && ours == "next") || (is_failure(ours) && is_failure(theirs) && !theirs.is_empty())
}

fn compare(ours: &Outcome, theirs: &Outcome) -> Result<(), String> {
    if !same_verdict(&ours.submit, &theirs.submit) {
        return Err(format!("submit: expected {:?}, found {:?}", theirs.submit, ours.submit));
    }
    if ours.copies.len() != theirs.copies.len() && ["next", "accept"].contains(&ours.submit.as_str()) {
        return Err(format!("expected {} recipients, found {}", theirs.copies.len(), ours.copies.len()));
    }
    for (own, expected) in ours.copies.iter().zip(&theirs.copies) {
        let who = &expected.address;
        if own.address != expected.address || !same_verdict(&own.verdict, &expected.verdict) {
            return Err(format!("for {who}: expected {:?}, found {:?} for {}", expected.verdict, own.verdict, own.address));
        }
        match (&own.message, &expected.message) {
            (Some(found), Some(wanted)) => lines(found, wanted).map_err(|reason| format!("for {who}: {reason}"))?,
            (None, None) => {}
            (Some(_), None) => return Err(format!("for {who}: nothing was to be sent")),
            (None, Some(_)) => return Err(format!("for {who}: nothing is sent")),
        }
    }
    Ok(())
}

fn lines(found: &[String], wanted: &[String]) -> Result<(), String> {
    for place in 0..found.len().max(wanted.len()) {
        match (found.get(place), wanted.get(place)) {
            (Some(found), Some(wanted)) if fits(found, wanted) => {}
            (found, wanted) => {
                let [found, wanted] = [found, wanted].map(|line| line.map_or("nothing", String::as_str).replace('\0', "(a link)"));
                return Err(format!("\n  expected: {wanted}\n  found:    {found}"));
            }
        }
    }
    Ok(())
}

/// Whether a line is as expected, where "\0" stands for anything without blanks.
fn fits(found: &str, wanted: &str) -> bool {
    let mut pieces = found.split('\0');
    let Some(mut rest) = pieces.next().and_then(|first| wanted.strip_prefix(first)) else { return false };
    for piece in pieces {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let found = if piece.is_empty() { Some(end) } else { rest.find(piece).filter(|place| *place > 0 && *place <= end) };
        let Some(place) = found else { return false };
        rest = rest.get(place + piece.len()..).unwrap_or_default();
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests;
