//! The content of a message: its HTML for a frame that can do nothing, its text, its source.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use bytes::Bytes;
use mail_parser::{Message, MessageParser, MimeHeaders, PartType};

use super::message::Wanted;
use super::{Services, failed, kept, not_there, plain_text};
use crate::archive::trace::header_lines;
use crate::event::search::Summary;
use crate::mail::address::EmailAddress;
use crate::mail::message_id::MessageId;
use crate::spool::entry::Entry;

/// Octets of inline images that are put into a preview.
const MOST_INLINE: usize = 8 * 1024 * 1024;
/// Nothing runs, nothing is sent, nothing is loaded but what the message brought along.
const POLICY: &str = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; form-action 'none'; \
                      base-uri 'none'; frame-ancestors 'self'";
/// The same, after somebody clicked on "load images".
const POLICY_WITH_IMAGES: &str = "sandbox; default-src 'none'; img-src data: http: https:; style-src 'unsafe-inline'; font-src data:; \
                                  form-action 'none'; base-uri 'none'; frame-ancestors 'self'";

/// `GET /dashboard/messages/ID/html`.
pub(super) async fn html(State(services): State<Arc<Services>>, Path(id): Path<String>, Query(wanted): Query<Wanted>) -> Response {
    let octets = match rendered_by_path(&services, &id, wanted).await {
        Ok(octets) => octets,
        Err(response) => return response,
    };
    let page =
        document(&octets).unwrap_or_else(|| "<!doctype html><p style=\"font:1rem system-ui\">This message has no HTML part.</p>".into());
    let mut response = Html(page).into_response();
    let policy = if wanted.images == 0 { POLICY } else { POLICY_WITH_IMAGES };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    // Looking up the names in links would tell their owners that somebody reads the message.
    headers.insert(header::X_DNS_PREFETCH_CONTROL, HeaderValue::from_static("off"));
    response
}

/// `GET /dashboard/messages/ID/source`: one recipient's copy as it is delivered, before DKIM.
pub(super) async fn source(State(services): State<Arc<Services>>, Path(id): Path<String>, Query(wanted): Query<Wanted>) -> Response {
    rendered_by_path(&services, &id, wanted).await.map_or_else(|response| response, plain_text)
}

/// `GET /dashboard/messages/ID/original`: the message as it came in, trace header included.
pub(super) async fn original(State(services): State<Arc<Services>>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse::<MessageId>() else { return not_there() };
    match kept(&services, id).await {
        Ok((_, _, Some(original))) => plain_text(original),
        // The chain changed nothing: the first copy is what came in.
        Ok((entry, body, None)) => match services.archive.summary(id).await {
            Ok(Some(summary)) => render(&services, entry, body, &summary, 0).await.map_or_else(|text| said(&text), plain_text),
            Ok(None) => not_there(),
            Err(error) => failed(&error),
        },
        Err(response) => response,
    }
}

/// The plain text of a copy, "" where it has none, `None` where its content is not kept or cannot be rendered.
pub(super) async fn text(services: &Services, id: MessageId, summary: &Summary, wanted: Wanted) -> Option<String> {
    let (entry, body, _) = kept(services, id).await.ok()?;
    let octets = match render(services, entry, body, summary, wanted.recipient).await {
        Ok(octets) => octets,
        Err(reason) => return Some(reason),
    };
    let parsed = MessageParser::new().parse(&octets)?;
    Some(leaf(&parsed, "plain").unwrap_or_default().into_owned())
}

async fn rendered_by_path(services: &Services, id: &str, wanted: Wanted) -> Result<Bytes, Response> {
    let Ok(id) = id.parse::<MessageId>() else { return Err(not_there()) };
    let Some(summary) = services.archive.summary(id).await.map_err(|error| failed(&error))? else { return Err(not_there()) };
    let (entry, body, _) = kept(services, id).await?;
    render(services, entry, body, &summary, wanted.recipient).await.map_err(|reason| said(&reason))
}

async fn render(services: &Services, entry: Entry, body: Bytes, summary: &Summary, recipient: u32) -> Result<Bytes, String> {
    let address = summary.address(recipient).and_then(|text| EmailAddress::parse(text).ok());
    let address = address.ok_or_else(|| "This recipient's address is not known any more.".to_owned())?;
    services.archive.render(entry, body, recipient, address).await
}

fn said(reason: &str) -> Response {
    plain_text(Bytes::from(format!("{reason}\n")))
}

/// The HTML part of a message with the images that it brings along.
fn document(octets: &[u8]) -> Option<String> {
    let parsed = MessageParser::new().parse(octets)?;
    let html = leaf(&parsed, "html")?;
    Some(with_inline_images(&html, &parsed))
}

/// The first text leaf of a subtype that is no attachment.
fn leaf<'a>(message: &'a Message<'_>, subtype: &str) -> Option<Cow<'a, str>> {
    let fits = |part: &&mail_parser::MessagePart<'_>| {
        let kind = part.content_type();
        let is_kind = kind.map_or(subtype == "plain", |kind| {
            kind.ctype().eq_ignore_ascii_case("text") && kind.subtype().is_some_and(|own| own.eq_ignore_ascii_case(subtype))
        });
        let is_attachment = part.content_disposition().is_some_and(mail_parser::ContentType::is_attachment);
        is_kind && !is_attachment && matches!(part.body, PartType::Text(_) | PartType::Html(_))
    };
    message.parts.iter().find(fits).and_then(|part| part.text_contents()).map(Cow::Borrowed)
}

/// Puts `data:` in the place of each `cid:` that a part of the message stands for.
fn with_inline_images(html: &str, message: &Message<'_>) -> String {
    let mut result = String::with_capacity(html.len());
    let mut room = MOST_INLINE;
    let mut rest = html;
    while let Some(place) = find_cid(rest) {
        let (before, behind) = rest.split_at(place);
        result.push_str(before);
        let reference = behind.get(4..).unwrap_or_default();
        let end = reference.find(['"', '\'', ')', '>', ' ', '\n']).unwrap_or(reference.len());
        let (id, after) = reference.split_at(end);
        let id = percent_encoding::percent_decode_str(id).decode_utf8_lossy();
        let part = message.parts.iter().find(|part| part.content_id().is_some_and(|own| own.trim_matches(['<', '>']) == id));
        match part.map(|part| (part.content_type(), part.contents())) {
            Some((kind, content)) if content.len() <= room => {
                room -= content.len();
                let subtype = kind.filter(|kind| kind.ctype().eq_ignore_ascii_case("image")).and_then(mail_parser::ContentType::subtype);
                let subtype: String =
                    subtype.unwrap_or("png").chars().filter(|c| c.is_ascii_alphanumeric() || "+-.".contains(*c)).collect();
                result.push_str("data:image/");
                result.push_str(&subtype);
                result.push_str(";base64,");
                base64::engine::general_purpose::STANDARD.encode_string(content, &mut result);
            }
            Some(_) | None => result.push_str(behind.get(..4 + end).unwrap_or_default()),
        }
        rest = after;
    }
    result.push_str(rest);
    result
}

fn find_cid(text: &str) -> Option<usize> {
    let octets = text.as_bytes();
    memchr::memchr2_iter(b'c', b'C', octets)
        .find(|place| octets.get(*place..place.saturating_add(4)).is_some_and(|start| start.eq_ignore_ascii_case(b"cid:")))
}

/// A message as lines for people: its header decoded, a line for each field, then each text decoded, then what else there is.
pub(super) fn readable(octets: &[u8]) -> String {
    let Some(message) = MessageParser::new().parse(octets) else { return String::from_utf8_lossy(octets).into_owned() };
    let mut lines = header_lines(octets);
    for part in &message.parts {
        let kind = part
            .content_type()
            .map_or_else(|| "text/plain".to_owned(), |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("-")));
        match &part.body {
            PartType::Text(text) => lines.push_str(&format_part(&kind, text)),
            // One tag a line: newsletters come as one line of 50 KB.
            PartType::Html(html) => lines.push_str(&format_part(&kind, &html.replace("><", ">\n<"))),
            PartType::Binary(content) | PartType::InlineBinary(content) => {
                let name = part.attachment_name().unwrap_or("without a name");
                write!(lines, "\n[{kind}, {name}, {} octets]\n", content.len()).ok();
            }
            PartType::Message(inner) => {
                write!(lines, "\n[{kind}, {} octets]\n", inner.raw_message.len()).ok();
            }
            PartType::Multipart(_) => {}
        }
    }
    lines
}

fn format_part(kind: &str, text: &str) -> String {
    format!("\n[{kind}]\n{}\n", text.replace("\r\n", "\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    const MAIL: &[u8] = b"Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
        <p>Gr=FC=DFe</p><img src=3D\"CID:logo\"><img src=3D'cid:other'>\r\n\
        --b\r\nContent-Type: image/gif\r\nContent-ID: <logo>\r\nContent-Transfer-Encoding: base64\r\n\r\naGk=\r\n--b--\r\n";

    #[test]
    fn inline_images_come_along() {
        let html = document(MAIL).unwrap();
        assert_eq!(html.trim_end(), "<p>Grüße</p><img src=\"data:image/gif;base64,aGk=\"><img src='cid:other'>");
        assert_eq!(document(b"Subject: s\r\n\r\ntext"), None);
    }

    #[test]
    fn text_is_text() {
        let mail = b"Subject: s\r\n\r\nplain\r\n";
        let parsed = MessageParser::new().parse(mail).unwrap();
        assert_eq!(leaf(&parsed, "plain").as_deref(), Some("plain\r\n"));
        assert_eq!(leaf(&MessageParser::new().parse(MAIL).unwrap(), "plain"), None);
    }

    #[test]
    fn a_message_as_lines() {
        insta::assert_snapshot!(readable(MAIL));
    }

    #[test]
    fn previews_load_nothing() {
        for policy in [POLICY, POLICY_WITH_IMAGES] {
            assert!(
                policy.starts_with("sandbox; default-src 'none';") && !policy.contains("script") && HeaderValue::from_str(policy).is_ok()
            );
        }
    }
}
