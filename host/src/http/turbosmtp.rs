//! turboSMTP's `POST /api/mail/send` (its API v1): everybody in `to`, `cc` and `bcc` gets the message.
//!
//! All flaws of a call are reported at once, as texts in `errors`.

use serde_json::Value;

use super::address_list::{BadAddress, Element, parse_list, parse_value};
use super::attachment::{content_id, decode_base64, file_name, media_type, type_of_name, uploaded};
use super::compose::{Attachment, Body, Content, HeaderField, Letter};
use super::fields::Fields;
use super::order::{Order, silent_envelope, without_doubles};
use super::problem::Flaw;
use super::raw_mime::{self, RawMime};
use crate::mail::header::Mailbox;
use crate::submission::Options;

/// Characters of a subject.
const LONGEST_SUBJECT: usize = 700;

/// Fields that mean something, in lower case.
const KNOWN: &[&str] = &[
    "attachments",
    "authpass",
    "authuser",
    "bcc",
    "cc",
    "content",
    "content_html",
    "custom_headers",
    "from",
    "html_content",
    "mime",
    "mime_raw",
    "subject",
    "to",
];

/// Reads a call of `/api/mail/send`.
pub fn parse(fields: &Fields) -> Result<Order, Vec<Flaw>> {
    let mut flaws = Vec::new();
    let mut say = |field: &str, text: String| flaws.push(Flaw::new(field, text));
    let mut senders = fields.get(&["from"]).map(|(_, value)| parse_value(value)).unwrap_or_default();
    let from = senders.pop().and_then(Result::ok).filter(|_| senders.is_empty());
    if from.is_none() {
        say("from", "missing or not valid sender email (from)".into());
    }
    let mut list = |name: &str, what: &str| {
        let mut good = Vec::new();
        for mailbox in fields.get(&[name]).map(|(_, value)| parse_value(value)).unwrap_or_default() {
            match mailbox {
                Ok(mailbox) => good.push(mailbox),
                Err(BadAddress(text)) => say(name, format!("'{text}' {what} email not valid")),
            }
        }
        good
    };
    let (to, cc, bcc) = (list("to", "recipient"), list("cc", "cc"), list("bcc", "bcc"));
    // Where something is there that is no address, that has been said.
    if to.is_empty() && !flaws.iter().any(|flaw| flaw.field == "to") {
        flaws.push(Flaw::new("to", "missing recipients (to)"));
    }
    let mut say = |field: &str, text: String| flaws.push(Flaw::new(field, text));
    let mut keep = |result: Result<_, Flaw>| match result {
        Ok(value) => Some(value),
        Err(flaw) => {
            say(&flaw.field, format!("{} not valid: {}", flaw.field, flaw.reason));
            None
        }
    };
    let subject = keep(fields.line(&["subject"])).flatten();
    let text = keep(fields.text(&["content"])).flatten();
    let html = keep(fields.text(&["html_content", "content_html"])).flatten();
    let mime = keep(fields.text(&["mime_raw", "mime"])).flatten().filter(|text| !text.is_empty());
    if subject.as_ref().is_some_and(|subject| subject.chars().count() > LONGEST_SUBJECT) {
        say("subject", format!("subject longer than {LONGEST_SUBJECT} characters"));
    }
    let headers = custom_headers(fields).unwrap_or_else(|flaw| {
        say(&flaw.field, format!("{} not valid: {}", flaw.field, flaw.reason));
        CustomHeaders::default()
    });
    let files = attachments(fields, from.as_ref(), html.as_deref()).and_then(|mut files| {
        files.append(&mut uploaded(fields)?);
        Ok(files)
    });
    let files = files.unwrap_or_else(|flaw| {
        say(&flaw.field, format!("{} not valid: {}", flaw.field, flaw.reason));
        Vec::new()
    });
    let mime = match mime.map(|mime| raw_mime::parse(&mime)) {
        Some(Err(raw_mime::InvalidMime)) => {
            say("mime_raw", "Invalid Mime".into());
            None
        }
        Some(Ok(mime)) => Some(mime),
        None => None,
    };
    let (Some(from), true) = (from, flaws.is_empty()) else { return Err(flaws) };

    let everybody = without_doubles([&to, &cc, &bcc].into_iter().flatten().map(|mailbox| mailbox.address.clone()));
    let sender = from.address.clone();
    let letter = |body| {
        let CustomHeaders { reply_to, others } = headers;
        let list = |mailboxes: Vec<Mailbox>| mailboxes.into_iter().map(Element::Mailbox).collect();
        Content::Letter(Box::new(Letter {
            from: Some(Element::Mailbox(from)),
            to: list(to),
            cc: list(cc),
            reply_to: list(reply_to),
            subject,
            headers: others,
            body,
        }))
    };
    let content = match mime {
        Some(RawMime::Message(octets)) => Content::Raw(octets),
        Some(RawMime::BodyOnly(body)) => letter(Body::Bare(body)),
        None => letter(Body::Parts { text, html, files }),
    };
    let options = Options { has_no_envelope: true, ..Options::default() };
    Ok(Order::new(silent_envelope(Some(sender), everybody), content, options, fields.unknown(KNOWN)))
}

#[derive(Default)]
struct CustomHeaders {
    reply_to: Vec<Mailbox>,
    others: Vec<HeaderField>,
}

/// `custom_headers`: an object, or the JSON of one. Reply-To holds addresses, which are encoded otherwise than text is.
fn custom_headers(fields: &Fields) -> Result<CustomHeaders, Flaw> {
    let mut headers = CustomHeaders::default();
    for header in fields.headers(&["custom_headers"])? {
        if header.is("Reply-To") {
            for mailbox in parse_list(header.value()) {
                let wrong = |BadAddress(text)| Flaw::new("custom_headers", format!("'{text}' reply-to email not valid"));
                headers.reply_to.push(mailbox.map_err(wrong)?);
            }
        } else {
            headers.others.push(header);
        }
    }
    Ok(headers)
}

/// `attachments`: `{content, name, type, content_id}`. HTML may name an inline file by the bare id or by `id@domain-of-from`.
fn attachments(fields: &Fields, from: Option<&Mailbox>, html: Option<&str>) -> Result<Vec<Attachment>, Flaw> {
    const FIELD: &str = "attachments";
    let elements = match fields.structured(&[FIELD])? {
        None => return Ok(Vec::new()),
        Some((_, Value::Array(elements))) => elements,
        Some(_) => return Err(Flaw::new(FIELD, "an array of objects is expected")),
    };
    let one = |element: &Value| {
        let text = |name: &str| element.get(name).and_then(Value::as_str);
        let wrong = |reason: &str| Flaw::new(FIELD, reason);
        let content = text("content").and_then(decode_base64).ok_or_else(|| wrong("content is missing or not base64"))?;
        let name = text("name").map(|name| file_name(name).ok_or_else(|| wrong("name is not a file name"))).transpose()?;
        let content_type = match text("type") {
            None => type_of_name(name.as_deref()),
            Some(text) => media_type(text).ok_or_else(|| wrong("type is not a media type"))?,
        };
        let content_id = match text("content_id") {
            None => None,
            Some(text) => {
                let id = content_id(text).ok_or_else(|| wrong("content_id is not a content id"))?;
                let full = from.filter(|_| !id.contains('@')).map(|from| format!("{id}@{}", from.address.domain().to_ascii()));
                let named = |id: &String| html.is_some_and(|html| html.contains(&format!("cid:{id}")));
                Some(full.filter(|full| named(full) || !named(&id)).unwrap_or(id))
            }
        };
        Ok(Attachment { name, content_type, content_id, content })
    };
    elements.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
