//! MailPace's (once OhMySMTP's) `POST /api/v1/send`.

use serde_json::Value;

use super::address_list::{Element, has_line_break, parse_list};
use super::attachment::{content_id, decode_base64, file_name, media_type, type_of_name};
use super::compose::{Attachment, Body, Content, HeaderField, Letter};
use super::fields::Fields;
use super::order::{Order, silent_envelope, without_doubles};
use super::problem::{Flaw, Problem};
use crate::mail::header::Mailbox;
use crate::mail::tag::Tag;
use crate::submission::Options;

/// Addresses in `to`.
const MOST_TO: usize = 50;
/// What files may be.
const EXTENSIONS: [&str; 16] =
    ["jpeg", "jpg", "png", "gif", "txt", "pdf", "docx", "xlsx", "pptx", "csv", "att", "ics", "ical", "html", "zip", "auf"];

const MISSING: &str = "undefined field";
const INVALID: &str = "is invalid";
const TOO_MANY: &str = "number of email addresses exceeds maximum volume";
const BLOCKED: &str = "Extension file type blocked, see Docs for full list of allowed file types";

/// Fields that mean something, in lower case.
const KNOWN: &[&str] = &[
    "attachments",
    "bcc",
    "cc",
    "from",
    "htmlbody",
    "inreplyto",
    "list_unsubscribe",
    "references",
    "replyto",
    "subject",
    "tags",
    "textbody",
    "to",
];

/// Reads a call of `/api/v1/send`.
pub fn parse(fields: &Fields) -> Result<Order, Problem> {
    let mut flaws = Vec::new();
    let mut say = |field: &str, text: &str| flaws.push(Flaw::new(field, text));
    let text = |name: &str| fields.text(&[name]).map_err(|_| name.to_owned()).map(|text| text.filter(|text| !text.trim().is_empty()));
    let from = match text("from") {
        Ok(None) => {
            say("from", MISSING);
            None
        }
        Ok(Some(text)) => match parse_list(&text).as_slice() {
            [Ok(from)] => Some(from.clone()),
            _ => return Err(Problem::SenderUnreadable),
        },
        Err(_) => return Err(Problem::SenderUnreadable),
    };
    let mut list = |name: &str| -> Vec<Mailbox> {
        let parsed = text(name).ok().map(|text| parse_list(&text.unwrap_or_default()).into_iter().collect::<Result<Vec<_>, _>>());
        if let Some(Ok(list)) = parsed {
            list
        } else {
            say(name, INVALID);
            Vec::new()
        }
    };
    let (to, cc, bcc, reply_to) = (list("to"), list("cc"), list("bcc"), list("replyto"));
    // Where something is there that is no address, that has been said.
    if to.is_empty() && !flaws.iter().any(|flaw| flaw.field == "to") {
        flaws.push(Flaw::new("to", MISSING));
    }
    let mut say = |field: &str, text: &str| flaws.push(Flaw::new(field, text));
    if to.len() > MOST_TO {
        say("to", TOO_MANY);
    }
    let mut line = |name: &str| {
        let text = fields.line(&[name]).unwrap_or_else(|_| {
            say(name, INVALID);
            None
        });
        text.filter(|text| !text.is_empty())
    };
    let subject = line("subject");
    let written = [
        ("inreplyto", "In-Reply-To", line("inreplyto")),
        ("references", "References", line("references")),
        ("list_unsubscribe", "List-Unsubscribe", line("list_unsubscribe").map(|list| unsubscribe_list(&list))),
    ];
    let mut headers = Vec::new();
    for (field, name, value) in written {
        match value.map(|value| HeaderField::new(name, &value)) {
            None => {}
            Some(Ok(header)) => headers.push(header),
            Some(Err(_)) => say(field, INVALID),
        }
    }
    let mut body = |name: &str| {
        text(name).unwrap_or_else(|name| {
            say(&name, INVALID);
            None
        })
    };
    let (html, plain) = (body("htmlbody"), body("textbody"));
    if html.is_none() && plain.is_none() {
        say("htmlbody", MISSING);
        say("textbody", MISSING);
    }
    let tags = tags(fields).unwrap_or_else(|()| {
        say("tags", INVALID);
        Vec::new()
    });
    let files = attachments(fields, &mut say);
    let (Some(from), true) = (from, flaws.is_empty()) else { return Err(Problem::Flaws(flaws)) };

    let everybody = without_doubles([&to, &cc, &bcc].into_iter().flatten().map(|mailbox| mailbox.address.clone()));
    let envelope = silent_envelope(Some(from.address.clone()), everybody);
    let list = |mailboxes: Vec<Mailbox>| mailboxes.into_iter().map(Element::Mailbox).collect();
    let content = Content::Letter(Box::new(Letter {
        from: Some(Element::Mailbox(from)),
        to: list(to),
        cc: list(cc),
        reply_to: list(reply_to),
        subject,
        headers,
        body: Body::Parts { text: plain, html, files },
    }));
    Ok(Order::new(envelope, content, Options { tags, has_no_envelope: true, ..Options::default() }, fields.unknown(KNOWN)))
}

/// A List-Unsubscribe value; bare URIs get their brackets.
fn unsubscribe_list(list: &str) -> String {
    if list.contains('<') {
        return list.to_owned();
    }
    list.split(',').map(str::trim).filter(|uri| !uri.is_empty()).map(|uri| format!("<{uri}>")).collect::<Vec<_>>().join(", ")
}

/// A text (commas part tags) or an array of texts; blanks are fine inside.
fn tags(fields: &Fields) -> Result<Vec<Tag>, ()> {
    let words: Vec<String> = match fields.get(&["tags"]) {
        None => Vec::new(),
        Some((_, Value::String(text))) => text.split(',').filter(|word| !word.trim().is_empty()).map(str::to_owned).collect(),
        Some((_, Value::Array(words))) => words.iter().map(|word| word.as_str().map(str::to_owned).ok_or(())).collect::<Result<_, _>>()?,
        Some(_) => return Err(()),
    };
    words.into_iter().map(|word| Tag::parse(&word).map_err(|_| ())).collect()
}

fn attachments(fields: &Fields, say: &mut impl FnMut(&str, &str)) -> Vec<Attachment> {
    let elements = match fields.get(&["attachments"]) {
        None => return Vec::new(),
        Some((_, Value::Array(elements))) => elements,
        Some(_) => {
            say("attachments", INVALID);
            return Vec::new();
        }
    };
    let mut files = Vec::new();
    for element in elements {
        let text = |name: &str| element.get(name).and_then(Value::as_str);
        let name = match text("name").map(|name| (name, file_name(name))) {
            None => {
                say("attachments.name", MISSING);
                continue;
            }
            Some((_, None)) => {
                say("attachments.name", INVALID);
                continue;
            }
            Some((written, Some(name))) if is_allowed(written) => name,
            Some(_) => {
                say("attachments.name", BLOCKED);
                continue;
            }
        };
        let Some(content) = text("content") else {
            say("attachments.content", MISSING);
            continue;
        };
        let Some(content) = decode_base64(content) else {
            say("attachments.content", INVALID);
            continue;
        };
        let content_type = match text("content_type") {
            None => Some(type_of_name(Some(&name))),
            Some(text) => media_type(text),
        };
        let Some(content_type) = content_type else {
            say("attachments.content_type", INVALID);
            continue;
        };
        let content_id = match text("cid").map(|cid| (content_id(cid), has_line_break(cid))) {
            None => None,
            Some((Some(id), false)) => Some(id),
            Some(_) => {
                say("attachments.cid", INVALID);
                continue;
            }
        };
        files.push(Attachment { name: Some(name), content_type, content_id, content });
    }
    files
}

/// One period, and an extension of the list behind it.
fn is_allowed(name: &str) -> bool {
    name.split_once('.').is_some_and(|(_, extension)| {
        let extension = extension.to_ascii_lowercase();
        EXTENSIONS.contains(&extension.as_str())
    })
}

#[cfg(test)]
mod tests;
