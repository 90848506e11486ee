//! Bounces that are written for people: qmail's QSBMF, Exim, Postfix, Exchange, Outlook, Gmail, Yahoo, Lotus Domino, Courier, Sendmail and their likes.
//!
//! They have no grammar in common, but a form: an introduction that every message of one software has, then addresses, each with a reason behind it,
//! then what came back. So: is it one (who sent it, an introduction that is known, a subject)? Where does what came back begin? Which addresses stand
//! before that, and what is said behind each? The reason is classified as a server's reply is.

use super::class::{self, BounceClass};
use super::trail::Trail;
use super::{Action, DeliveryReport, Letter, RECIPIENTS, RecipientReport, TEXT, one_line};
use crate::mail::address::EmailAddress;
use crate::mail::enhanced_status::EnhancedStatus;
use bytes::Bytes;

/// Octets of the text that are searched.
const LONGEST: usize = 64 * 1024;
/// Lines of the text that are searched.
const LINES: usize = 1_000;
/// Lines behind an address that may say why.
const REASON_LINES: usize = 12;

/// Phrases that software begins its bounces with, in lower case, blanks made single.
const INTRODUCTIONS: [&str; 38] = [
    // qmail
    "this is the qmail-send program",
    "i wasn't able to deliver your message",
    "i'm afraid i wasn't able to deliver",
    // Exim
    "this message was created automatically by mail delivery software",
    "a message that you sent could not be delivered",
    "a message that you sent has not yet been delivered",
    // Postfix
    "this is the mail system at host",
    "this is the postfix program at host",
    "i'm sorry to have to inform you that your message could not be delivered",
    "your message could not be delivered",
    // Exchange and Outlook
    "your message did not reach some or all of the intended recipients",
    "delivery has failed to these recipients",
    "delivery has failed to these recipients or distribution lists",
    "generating server:",
    "your message couldn't be delivered",
    "your message wasn't delivered",
    "this is an automatically generated delivery status notification",
    "delivery to the following recipients failed",
    "zustellung an folgende empfänger",
    "échec de la remise",
    // Gmail
    "delivery to the following recipient failed permanently",
    "delivery to the following recipient has been delayed",
    "address not found",
    "message not delivered",
    "message blocked",
    "there was a temporary problem delivering your message",
    // Yahoo
    "we were unable to deliver your message to the following address",
    "unable to deliver message to the following address",
    // Lotus Domino
    "delivery failure report",
    "your document",
    // Courier
    "this is a delivery status notification from",
    "the original message was received on",
    // Sendmail
    "the original message was received at",
    "the following addresses had permanent fatal errors",
    "the following addresses had transient non-fatal errors",
    // Others
    "undeliverable mail",
    "the following message could not be delivered",
    "could not be delivered to",
];

/// Beginnings of subjects, in lower case.
const SUBJECTS: [&str; 23] = [
    "notice: mail delivery status",
    "undeliver",
    "undelivered mail",
    "delivery status notification",
    "delivery failure",
    "delivery failed",
    "delivery report",
    "mail delivery",
    "mail delivery failed",
    "mail system error",
    "failure notice",
    "failed delivery",
    "returned mail",
    "message not delivered",
    "warning: message",
    "warning: could not send",
    "non delivery",
    "non-delivery",
    "unzustellbar",
    "nicht zustellbar",
    "non remis",
    "no se puede entregar",
    "onbestelbaar",
];

/// Lines behind which stands what came back.
const RETURNED: [&str; 17] = [
    "--- below this line is a copy of the message",
    "--- below the line is a copy of the message",
    "--- enclosed is a copy of the message",
    "------ this is a copy of the message",
    "------ this is a copy of your message",
    "----- original message -----",
    "----- message header follows -----",
    "----- transcript of session follows",
    "--- original message follows",
    "--- the header of the original message",
    "original message headers:",
    "original message header",
    "--- undelivered message follows",
    "--- the original message is included",
    "return-path: <",
    "the following is the original message",
    "final-recipient:",
];

/// Phrases that say that it is tried again.
const DELAYS: [&str; 12] = [
    "has not yet been delivered",
    "has not been delivered yet",
    "will be retried",
    "will keep trying",
    "will continue to try",
    "no action is required on your part",
    "delivery to the following recipient has been delayed",
    "delivery to the following recipients has been delayed",
    "transient non-fatal errors",
    "this is a warning message only",
    "could not be delivered for",
    "temporary problem delivering",
];

/// Whether a mail server is the author, as far as the header says.
pub(super) fn is_from_server(letter: &Letter) -> bool {
    let from = letter.header("From").unwrap_or_default().to_lowercase();
    ["mailer-daemon", "postmaster", "mail delivery sub", "mail delivery system", "microsoftexchange"].iter().any(|name| from.contains(name))
}

/// Reads a bounce in free text; `None` where it is none. `own` is the address that it came to.
pub(super) fn read(letter: &mut Letter, own: &EmailAddress) -> Option<DeliveryReport> {
    let mut text = letter.text();
    text.truncate(text.floor_char_boundary(LONGEST));
    let subject = letter.subject().to_lowercase();
    let failed = letter.header_all("X-Failed-Recipients");
    let lines: Vec<&str> = text.lines().take(LINES).collect();
    let end = lines.iter().position(|line| is_start_of_returned(line)).unwrap_or(lines.len());
    let (said, returned) = lines.split_at_checked(end).unwrap_or((&lines, &[]));
    let introduction = one_space(&said.join(" "));
    let is_known = INTRODUCTIONS.iter().any(|phrase| introduction.contains(phrase));
    let is_subject = SUBJECTS.iter().any(|start| subject.starts_with(start));
    // One sign alone may be a human being who writes of bounces.
    let signs = [is_known, is_subject, is_from_server(letter)].into_iter().filter(|sign| *sign).count();
    if failed.is_empty() && signs < 2 {
        return None;
    }
    let is_delay = DELAYS.iter().any(|phrase| introduction.contains(phrase)) && !introduction.contains("failed permanently");
    let action = if is_delay { Action::Delayed } else { Action::Failed };
    let mut report = DeliveryReport { trail: trail_of(letter, returned), ..DeliveryReport::default() };
    let mut recipients = find_recipients(said, action, own);
    // What the header names and the text does not explain shares the reason of the whole text.
    let unexplained = recipient(None, action, &overall_reason(said));
    let named = failed.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|address| address.contains('@'));
    for address in named.take(RECIPIENTS) {
        if recipients.len() >= RECIPIENTS {
            break;
        }
        if !recipients.iter().any(|known| known.address.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(address))) {
            recipients.push(RecipientReport { address: Some(address.to_owned()), ..unexplained.clone() });
        }
    }
    if recipients.is_empty() {
        recipients.push(unexplained);
    }
    report.recipients = recipients;
    Some(report)
}

fn trail_of(letter: &mut Letter, returned: &[&str]) -> Trail {
    let mut trail = Trail::default();
    for content in letter.contents(&["message/rfc822", "text/rfc822-headers"]) {
        trail.append(&Trail::of_message(&content));
    }
    // Behind the line there may be another one or empty ones before the header begins.
    let header: Vec<&str> = returned.iter().copied().skip_while(|line| !is_field(line)).take(400).collect();
    trail.append(&Trail::of_message(&Bytes::from(header.join("\r\n"))));
    trail
}

fn is_field(line: &str) -> bool {
    line.split_once(':').is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic()))
}

fn is_start_of_returned(line: &str) -> bool {
    let line = line.trim().to_lowercase();
    let bare = line.trim_start_matches('-').trim();
    RETURNED.iter().any(|start| line.starts_with(start) || bare.starts_with(start.trim_start_matches('-').trim()))
}

/// Finds addresses that stand at the beginning of a line, or alone in it, and what is said behind each.
fn find_recipients(lines: &[&str], action: Action, own: &EmailAddress) -> Vec<RecipientReport> {
    let mut found: Vec<RecipientReport> = Vec::new();
    let mut rest = lines;
    while let Some((line, behind)) = rest.split_first() {
        rest = behind;
        if found.len() >= RECIPIENTS {
            break;
        }
        let Some((address, said)) = leading_address(line).filter(|(address, _)| !is_ours(address, own)) else { continue };
        if found.iter().any(|known| known.address.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(&address))) {
            continue;
        }
        let reason = reason(said, behind);
        found.push(recipient(Some(&address), action, &reason));
    }
    // Addresses that only stand there, while others are explained, are those of the introduction.
    if found.iter().any(|recipient| !recipient.diagnostic.is_empty()) {
        found.retain(|recipient| !recipient.diagnostic.is_empty());
    }
    found
}

fn recipient(address: Option<&str>, action: Action, reason: &str) -> RecipientReport {
    let status: Option<EnhancedStatus> = class::find_status(reason);
    let code = find_code(reason);
    let class = BounceClass::of(code, status, reason);
    RecipientReport {
        address: address.map(str::to_owned),
        original: None,
        action,
        status,
        diagnostic: reason.to_owned(),
        remote_mta: None,
        class,
    }
}

/// Finds the code of a reply in a text: three digits as a word, 4yz or 5yz.
fn find_code(reason: &str) -> Option<u16> {
    let words = reason.split(|c: char| !(c.is_alphanumeric() || c == '.')).filter(|word| word.len() == 3).take(200);
    words.filter_map(class::read_code).find(|code| (400..=559).contains(code))
}

/// Takes the address that a line names: at its beginning, or behind a name (`Name (user@example.com)`, as Outlook has it); with what stands behind it.
fn leading_address(line: &str) -> Option<(String, &str)> {
    let line = bare(line);
    if let Some(found) = first_address(line) {
        return Some(found);
    }
    let start = line.find(['(', '<']).filter(|start| *start <= 80 && line.len() <= 200)?;
    let inner = line.get(start + 1..)?;
    let (word, behind) = inner.split_at_checked(inner.find([')', '>'])?)?;
    let word = word.strip_prefix("mailto:").unwrap_or(word);
    (is_address(word) && behind.len() < 120).then(|| (word.to_owned(), behind))
}

/// Takes the address that a line begins with, bare or in angle brackets.
fn first_address(line: &str) -> Option<(String, &str)> {
    let (word, behind) = line.split_at_checked(line.find(|c: char| c.is_whitespace() || ">,;()".contains(c)).unwrap_or(line.len()))?;
    let word = word.trim_start_matches(['<', '[', '\'', '"']).trim_end_matches([':', ']', '\'', '"', '.']);
    let word = word.strip_prefix("mailto:").unwrap_or(word);
    is_address(word).then(|| (word.to_owned(), behind))
}

/// Takes marks of lists, and words such as `To:`, off a line.
fn bare(line: &str) -> &str {
    let line = line.trim_start_matches(|c: char| c.is_whitespace() || "*>|\"'-•·".contains(c));
    ["to:", "recipient:", "e-mail:", "address:", "failed recipient:"]
        .iter()
        .find_map(|word| line.get(..word.len()).filter(|start| start.eq_ignore_ascii_case(word)).and_then(|_| line.get(word.len()..)))
        .map_or(line, str::trim_start)
}

fn is_address(word: &str) -> bool {
    word.len() <= 254
        && word.contains('@')
        && word.rsplit_once('@').is_some_and(|(_, domain)| domain.contains('.'))
        && EmailAddress::parse(word).is_ok()
}

fn is_ours(address: &str, own: &EmailAddress) -> bool {
    let local = address.split('@').next().unwrap_or_default().to_ascii_lowercase();
    address.eq_ignore_ascii_case(&own.to_string())
        || matches!(local.as_str(), "mailer-daemon" | "postmaster")
        || local.starts_with("bounces+")
}

/// What is said of an address: behind it, then in the lines that follow, to the next address or to an empty line behind a word.
fn reason(said: &str, behind: &[&str]) -> String {
    let mut reason = said.trim_matches(|c: char| c.is_whitespace() || ">:,;()-".contains(c)).to_owned();
    for line in behind.iter().take(REASON_LINES) {
        let line = line.trim();
        if line.is_empty() {
            // `because:` promises more.
            if reason.len() > 3 && !reason.ends_with(':') {
                break;
            }
            continue;
        }
        if first_address(bare(line)).is_some() || reason.len() > TEXT {
            break;
        }
        if !reason.is_empty() {
            reason.push(' ');
        }
        reason.push_str(line);
    }
    // Exchange gives its reason far below, to administrators.
    if find_code(&reason).is_none()
        && class::find_status(&reason).is_none()
        && let Some(line) = behind.iter().take(60).find(|line| class::find_status(line).is_some())
    {
        reason = format!("{} {reason}", line.trim());
    }
    one_line(&reason)
}

/// The line that says most of the whole text: one with a code, else one that is understood.
fn overall_reason(lines: &[&str]) -> String {
    let with_code = lines.iter().find(|line| class::find_status(line).is_some() || find_code(line).is_some());
    let understood = || lines.iter().find(|line| BounceClass::of(None, None, line) != BounceClass::Undetermined);
    one_line(with_code.or_else(understood).copied().unwrap_or_default())
}

fn one_space(text: &str) -> String {
    let mut single = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !single.is_empty() {
            single.push(' ');
        }
        single.push_str(word);
    }
    single.make_ascii_lowercase();
    single.replace('\u{2019}', "'")
}
