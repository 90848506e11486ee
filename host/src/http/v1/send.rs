//! `POST /v1/send`: from fields to an [`Order`].
//!
//! `recipient(s)` decides who gets the message, `to` and `cc` are header fields and nothing else; an address that is in no header field is
//! a hidden recipient. Without `envelope` nobody is written to about bounces: the wire carries the sender, or, with `trackbounces` off,
//! the null reverse-path. Fields that are not known are ignored, as SMTPeter does; the response names them.

use serde_json::Value;

use super::{attachments, notification, recipients::Recipients, switches, template};
use crate::clock::Timestamp;
use crate::http::address_list::{BadAddress, Mailbox, has_line_break, parse_value};
use crate::http::compose::{Body, Content, Letter};
use crate::http::fields::Fields;
use crate::http::order::{Order, Stations, silent_envelope};
use crate::http::problem::Flaw;
use crate::http::raw_mime::{self, RawMime};
use crate::mail::address::EmailAddress;
use crate::mail::envelope::{BodyType, Envelope, ForwardPath, ReversePath};
use crate::mail::header::is_field_name;
use crate::mail::tag::Tag;
use crate::submission::Options;

/// Tags that one message may have.
const MOST_TAGS: usize = 100;

/// Fields that mean something, in lower case.
const KNOWN: &[&str] = &[
    "access_token",
    "attachments",
    "bcc",
    "bouncetracking",
    "cc",
    "clicktracking",
    "data",
    "dsn",
    "envelope",
    "extra",
    "from",
    "headers",
    "html",
    "images",
    "inlinecss",
    "inlineizecss",
    "inlinizecss",
    "maxdelivertime",
    "mime",
    "openstracking",
    "patch",
    "plugins",
    "preventscam",
    "recipient",
    "recipients",
    "replyto",
    "subject",
    "tags",
    "template",
    "text",
    "to",
    "trackbounces",
    "trackclicks",
    "trackopens",
    "unsubscribe",
];

/// Reads a call of `/v1/send`.
pub fn parse(fields: &Fields, stations: &Stations, now: Timestamp) -> Result<Order, Flaw> {
    let recipients = Recipients::read(fields)?;
    let addresses = recipients.addresses();
    let recipient_variables = recipients.into_data();
    let mut options = Options { tags: tags(fields)?, ..Options::default() };
    let template = template::read(fields, !recipient_variables.is_empty(), &mut options)?;
    options.recipient_variables = recipient_variables;
    switches::read(fields, stations, &mut options)?;
    options.deliver_before = deliver_before(fields, now)?;
    let unsubscribe = switches::read_unsubscribe(fields, stations, &mut options)?;
    let content = content(fields, template, &addresses, unsubscribe)?;
    let envelope = envelope(fields, addresses, &content)?;
    Ok(Order { envelope, content, options, ignored: fields.unknown(KNOWN) })
}

fn content(
    fields: &Fields,
    template: Option<template::Template>,
    recipients: &[EmailAddress],
    unsubscribe: Vec<(String, String)>,
) -> Result<Content, Flaw> {
    let mime = match fields.text(&["mime"])?.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            Some(raw_mime::parse(&text).map_err(|_| Flaw::new("mime", "not a message: a header, an empty line and a body are expected"))?)
        }
    };
    let body = match mime {
        Some(RawMime::Message(octets)) => return Ok(Content::Raw(octets)),
        Some(RawMime::BodyOnly(body)) => Some(Body::Bare(body)),
        None => None,
    };
    let bare = body.is_some();
    let letter = letter(fields, template.unwrap_or_default(), recipients, unsubscribe, body)?;
    if letter.from.is_none() && !bare {
        return Err(Flaw::new("from", "missing"));
    }
    if let Body::Parts { text: None, html: None, files } = &letter.body
        && files.is_empty()
    {
        return Err(Flaw::new("text", "one of text, html, mime, template and attachments is needed"));
    }
    Ok(Content::Letter(Box::new(letter)))
}

fn letter(
    fields: &Fields,
    template: template::Template,
    recipients: &[EmailAddress],
    unsubscribe: Vec<(String, String)>,
    body: Option<Body>,
) -> Result<Letter, Flaw> {
    let is_template = template != template::Template::default();
    let list = |names: &[&str]| match mailboxes(fields, names)? {
        Some(list) => Ok(Some(list)),
        None => mailboxes(&template.others, names).map_err(|flaw| Flaw::new(format!("template.{}", flaw.field), flaw.reason)),
    };
    let mut from = list(&["from"])?.unwrap_or_default();
    if from.len() > 1 {
        return Err(Flaw::new("from", "exactly one address is expected"));
    }
    // bcc never shows; who gets the message is said by recipient and recipients.
    list(&["bcc"])?;
    let to = match list(&["to"])? {
        Some(to) => to,
        // Several recipients do not learn of each other.
        None => match recipients {
            [only] => vec![Mailbox::bare(only.clone())],
            _ => Vec::new(),
        },
    };
    let mut headers = unsubscribe;
    headers.extend(extra(fields)?);
    if is_template {
        let own = any_headers(fields, "headers")?;
        for (name, value) in own.into_iter().chain(any_headers(&template.others, "headers")?) {
            if !headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                headers.push((name, value));
            }
        }
    }
    let body = match body {
        Some(body) => body,
        None => Body::Parts {
            text: fields.text(&["text"])?.or(template.text),
            html: fields.text(&["html"])?.or(template.html),
            files: attachments::read(fields)?,
        },
    };
    Ok(Letter {
        from: from.pop(),
        to,
        cc: list(&["cc"])?.unwrap_or_default(),
        reply_to: list(&["replyto"])?.unwrap_or_default(),
        subject: fields.line(&["subject"])?.or(template.subject),
        headers,
        body,
    })
}

fn envelope(fields: &Fields, recipients: Vec<EmailAddress>, content: &Content) -> Result<Envelope, Flaw> {
    let given = match fields.text(&["envelope"])?.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            Some(EmailAddress::parse(&text).map_err(|error| Flaw::new("envelope", format!("a pure address is expected: {error}")))?)
        }
    };
    let track_bounces = fields.switch(&switches::TRACK_BOUNCES)?.unwrap_or(true);
    let mut envelope = if let Some(address) = given {
        let mut envelope = Envelope::new(ReversePath::Mailbox(address));
        envelope.forward_paths = recipients.into_iter().map(ForwardPath::new).collect();
        envelope
    } else {
        let sender = match content {
            Content::Raw(octets) => raw_mime::sender(octets),
            Content::Letter(letter) => letter.from.as_ref().map(|from| from.address.clone()),
        };
        silent_envelope(sender.filter(|_| track_bounces), recipients)
    };
    if let Some(dsn) = fields.object(&["dsn"])? {
        notification::apply_dsn(&dsn, &mut envelope)?;
    }
    finish(&mut envelope, content);
    Ok(envelope)
}

/// Says what the content and the addresses need of the next hop.
pub fn finish(envelope: &mut Envelope, content: &Content) {
    let reverse_path = envelope.reverse_path.mailbox().is_none_or(EmailAddress::is_ascii);
    let ascii = reverse_path && envelope.forward_paths.iter().all(|path| path.address.is_ascii());
    envelope.smtputf8 = !ascii || content.needs_smtputf8();
    if let Content::Raw(octets) = content
        && !octets.is_ascii()
    {
        envelope.body = BodyType::EightBitMime;
    }
    if envelope.smtputf8 {
        envelope.body = BodyType::EightBitMime;
    }
}

/// Returns the addresses of a field; `None` where it is not there or empty.
fn mailboxes(fields: &Fields, names: &[&str]) -> Result<Option<Vec<Mailbox>>, Flaw> {
    let Some((name, value)) = fields.get(names) else { return Ok(None) };
    if value.as_str().is_some_and(has_line_break) {
        return Err(Flaw::new(name, "line breaks are not allowed"));
    }
    let wrong = |BadAddress(text)| Flaw::new(name, format!("'{text}' is not a valid email address"));
    let list: Vec<Mailbox> = parse_value(value).into_iter().collect::<Result<_, _>>().map_err(wrong)?;
    Ok((!list.is_empty()).then_some(list))
}

/// `extra`: header fields whose names begin with `x-`.
fn extra(fields: &Fields) -> Result<Vec<(String, String)>, Flaw> {
    let headers = any_headers(fields, "extra")?;
    match headers.iter().find(|(name, _)| !name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"))) {
        Some((name, _)) => Err(Flaw::new(format!("extra.{name}"), "only names that begin with x- are allowed")),
        None => Ok(headers),
    }
}

/// An object of header fields. Those that come from fields of the call are not to be had this way.
pub fn any_headers(fields: &Fields, field: &str) -> Result<Vec<(String, String)>, Flaw> {
    let Some(object) = fields.object(&[field])? else { return Ok(Vec::new()) };
    let mut headers = Vec::with_capacity(object.len());
    for (name, value) in object {
        let place = || format!("{field}.{name}");
        if !is_field_name(&name) {
            return Err(Flaw::new(field, "a name of a header field has printable ASCII characters without a colon"));
        }
        if is_reserved(&name) {
            return Err(Flaw::new(place(), "this header field is made from the other fields of the call"));
        }
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(switch) => switch.to_string(),
            Value::Null => continue,
            Value::Array(_) | Value::Object(_) => return Err(Flaw::new(place(), "a text is expected")),
        };
        if has_line_break(&text) {
            return Err(Flaw::new(place(), "line breaks are not allowed"));
        }
        headers.push((name, text));
    }
    Ok(headers)
}

/// Header fields that no caller adds by name: they come from fields of their own, or are the server's to write.
fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("content-")
        || name.starts_with("resent-")
        || ["bcc", "cc", "from", "mime-version", "received", "return-path", "subject", "to"].contains(&name.as_str())
}

/// `tags`: an array, or a text with commas. SMTPeter's have no blanks.
fn tags(fields: &Fields) -> Result<Vec<Tag>, Flaw> {
    let Some((name, value)) = fields.structured(&["tags"])? else { return Ok(Vec::new()) };
    let words: Vec<&str> = match &value {
        Value::String(text) => text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect(),
        Value::Array(words) => {
            words.iter().map(|word| word.as_str().ok_or_else(|| Flaw::new(&name, "texts are expected"))).collect::<Result<_, _>>()?
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(Flaw::new(name, "an array of texts is expected"));
        }
    };
    if words.len() > MOST_TAGS {
        return Err(Flaw::new(name, format!("more than {MOST_TAGS} tags")));
    }
    let read = |word: &str| {
        if word.chars().any(char::is_whitespace) {
            return Err(Flaw::new(&name, format!("white space is not allowed in the tag \"{}\"", word.escape_debug())));
        }
        Tag::parse(word).map_err(|error| Flaw::new(&name, error.to_string()))
    };
    words.into_iter().map(read).collect()
}

fn deliver_before(fields: &Fields, now: Timestamp) -> Result<Option<Timestamp>, Flaw> {
    let Some(text) = fields.text(&["maxdelivertime"])?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let time = notification::read_time(&text)
        .ok_or_else(|| Flaw::new("maxdelivertime", "a time of the form \"YYYY-MM-DD hh:mm:ss\" in UTC is expected"))?;
    if time <= now { Err(Flaw::new("maxdelivertime", "this time has passed")) } else { Ok(Some(time)) }
}

#[cfg(test)]
mod tests;
