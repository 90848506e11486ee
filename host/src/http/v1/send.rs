//! `POST /v1/send`: from fields to an [`Order`].
//!
//! `recipient(s)` decides who gets the message, `to` and `cc` are header fields and nothing else; an address that is in no header field is
//! a hidden recipient, and `bcc` is another way to name some. Without `envelope` nobody is written to about bounces: the wire carries the
//! sender, or, with `trackbounces` off, the null reverse-path. Fields that are not known are ignored, as SMTPeter does; the response names them.

use serde_json::Value;

use super::template::Template;
use super::timing::{self, Moment};
use super::{attachments, notification, recipients::Recipients, switches, template};
use crate::http::address_list::{BadAddress, Element, has_line_break, parse_template, parse_value};
use crate::http::compose::{Body, Content, HeaderField, Letter, address_field};
use crate::http::fields::Fields;
use crate::http::order::{Order, Stations, silent_envelope, without_doubles};
use crate::http::problem::Flaw;
use crate::http::raw_mime::{self, RawMime};
use crate::mail::address::EmailAddress;
use crate::mail::envelope::{Envelope, ForwardPath, ReversePath};
use crate::mail::header::{self, Mailbox};
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
    "holduntil",
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
    "priority",
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
pub fn parse(fields: &Fields, stations: &Stations, moment: Moment) -> Result<Order, Flaw> {
    let recipients = Recipients::read(fields)?;
    let addresses = recipients.addresses();
    let recipient_variables = recipients.into_data();
    let mut options = Options { tags: tags(fields)?, ..Options::default() };
    let template = template::read(fields, stations, !recipient_variables.is_empty(), &mut options)?;
    options.recipient_variables = recipient_variables;
    let mut ignored = fields.unknown(KNOWN);
    ignored.append(&mut switches::read(fields, stations, &mut options)?);
    let unsubscribe = switches::read_unsubscribe(fields, stations, &mut options)?;
    let placeholders = stations.runs(template::PLUGIN, &options);
    let call = Call { fields, template: template.unwrap_or_default(), placeholders };
    let content = call.content(&addresses, unsubscribe)?;
    let mut envelope = envelope(fields, with_hidden(fields, addresses)?, &content)?;
    timing::read(fields, moment, &mut envelope, &mut options)?;
    options.track_bounces = fields.switch(&switches::TRACK_BOUNCES)?;
    options.has_no_envelope = fields.text(&["envelope"])?.is_none_or(|text| text.is_empty());
    Ok(Order::new(envelope, content, options, ignored))
}

/// Adds the addresses of `bcc`, which stand in no header field.
fn with_hidden(fields: &Fields, addresses: Vec<EmailAddress>) -> Result<Vec<EmailAddress>, Flaw> {
    let hidden = elements(fields, &["bcc"], false)?.unwrap_or_default();
    Ok(without_doubles(addresses.into_iter().chain(hidden.iter().filter_map(Element::address))))
}

/// What content is made of.
struct Call<'a> {
    fields: &'a Fields,
    template: Template,
    /// Whether the plugin `template` will run.
    placeholders: bool,
}

impl Call<'_> {
    fn content(self, recipients: &[EmailAddress], unsubscribe: Vec<HeaderField>) -> Result<Content, Flaw> {
        let mime = match self.fields.text(&["mime"])?.filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(
                raw_mime::parse(&text).map_err(|_| Flaw::new("mime", "not a message: a header, an empty line and a body are expected"))?,
            ),
        };
        let body = match mime {
            Some(RawMime::Message(octets)) => return Ok(Content::Raw(octets)),
            Some(RawMime::BodyOnly(body)) => Some(Body::Bare(body)),
            None => None,
        };
        let letter = self.letter(recipients, unsubscribe, body)?;
        if letter.from.is_none() {
            return Err(Flaw::new("from", "missing"));
        }
        if let Body::Parts { text: None, html: None, files } = &letter.body
            && files.is_empty()
        {
            return Err(Flaw::new("text", "one of text, html, mime, template and attachments is needed"));
        }
        Ok(Content::Letter(Box::new(letter)))
    }

    fn letter(self, recipients: &[EmailAddress], unsubscribe: Vec<HeaderField>, body: Option<Body>) -> Result<Letter, Flaw> {
        let mut from = self.list(&["from"])?.unwrap_or_default();
        if from.len() > 1 {
            return Err(Flaw::new("from", "exactly one address is expected"));
        }
        let to = match self.list(&["to"])? {
            Some(to) => to,
            // Several recipients do not learn of each other.
            None => match recipients {
                [only] => vec![Element::Mailbox(Mailbox { name: None, address: only.clone() })],
                _ => Vec::new(),
            },
        };
        let cc = self.list(&["cc"])?.unwrap_or_default();
        let mut reply_to = self.list(&["replyto"])?;
        let mut headers = unsubscribe;
        headers.extend(extra(self.fields)?);
        for header in self.template_headers()? {
            if header.is("Reply-To") {
                // A field of addresses as `replyto` is, which goes before it.
                reply_to = match reply_to {
                    None => Some(self.elements(header.name(), &header.value().into())?),
                    given @ Some(_) => given,
                };
            } else if !headers.iter().any(|known| known.is(header.name())) {
                headers.push(header);
            }
        }
        let Self { fields, template, .. } = self;
        let body = match body {
            Some(body) => body,
            None => Body::Parts {
                text: fields.text(&["text"])?.or(template.text),
                html: fields.text(&["html"])?.or(template.html),
                files: attachments::read(fields)?,
            },
        };
        let subject = fields.line(&["subject"])?.or(template.subject);
        Ok(Letter { from: from.pop(), to, cc, reply_to: reply_to.unwrap_or_default(), subject, headers, body })
    }

    /// `headers`: with a template, any header field; those of the call go before those of the template.
    fn template_headers(&self) -> Result<Vec<HeaderField>, Flaw> {
        if self.template == Template::default() {
            return Ok(Vec::new());
        }
        let mut headers = self.fields.headers(&["headers"])?;
        headers.append(&mut self.template.others.headers(&["headers"]).map_err(of_template)?);
        Ok(headers)
    }

    /// Returns the addresses of a field of the call, or else of the template; `None` where there are none.
    fn list(&self, names: &[&str]) -> Result<Option<Vec<Element>>, Flaw> {
        match elements(self.fields, names, self.placeholders)? {
            Some(list) => Ok(Some(list)),
            None => elements(&self.template.others, names, self.placeholders).map_err(of_template),
        }
    }

    fn elements(&self, name: &str, value: &Value) -> Result<Vec<Element>, Flaw> {
        read_elements(name, value, self.placeholders)
    }
}

fn of_template(flaw: Flaw) -> Flaw {
    Flaw::new(format!("template.{}", flaw.field), flaw.reason)
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
            // Where the address differs by recipient, there is none for the envelope.
            Content::Letter(letter) => letter.from.as_ref().and_then(Element::address),
        };
        silent_envelope(sender.filter(|_| track_bounces), recipients)
    };
    if let Some(dsn) = fields.object(&["dsn"])? {
        notification::apply_dsn(&dsn, &mut envelope)?;
    }
    Ok(envelope)
}

/// Returns the addresses of a field; `None` where it is not there or empty.
fn elements(fields: &Fields, names: &[&str], placeholders: bool) -> Result<Option<Vec<Element>>, Flaw> {
    let Some((name, value)) = fields.get(names) else { return Ok(None) };
    if value.as_str().is_some_and(has_line_break) {
        return Err(Flaw::new(name, "line breaks are not allowed"));
    }
    let list = read_elements(name, value, placeholders)?;
    Ok((!list.is_empty()).then_some(list))
}

fn read_elements(name: &str, value: &Value, placeholders: bool) -> Result<Vec<Element>, Flaw> {
    let wrong = |BadAddress(text)| Flaw::new(name, format!("'{text}' is not a valid email address"));
    let parsed: Vec<_> = if placeholders {
        parse_template(value)
    } else {
        parse_value(value).into_iter().map(|mailbox| mailbox.map(Element::Mailbox)).collect()
    };
    let list: Vec<Element> = parsed.into_iter().collect::<Result<_, _>>().map_err(wrong)?;
    if list.iter().any(|element| matches!(element, Element::Template(_))) && !is_kept(&list) {
        return Err(Flaw::new(name, "such a placeholder and a name that is not ASCII do not go together; give the name as data"));
    }
    Ok(list)
}

/// Whether the plugin will find the placeholders in the header field as they were written: next to encoded words, a colon or a quote in them
/// may read as a part of the list.
fn is_kept(list: &[Element]) -> bool {
    const NAME: &str = "To";
    let essence = |text: &str| text.chars().filter(|c| *c != '"' && !c.is_whitespace()).collect::<String>();
    let written: Vec<String> = list.iter().map(ToString::to_string).collect();
    let field = address_field(NAME, list);
    essence(&header::decode(NAME, field.get(NAME.len() + 1..).unwrap_or_default())) == essence(&written.join(","))
}

/// `extra`: header fields whose names begin with `x-`.
fn extra(fields: &Fields) -> Result<Vec<HeaderField>, Flaw> {
    let headers = fields.headers(&["extra"])?;
    match headers.iter().find(|header| !header.name().get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"))) {
        Some(header) => Err(Flaw::new(format!("extra.{}", header.name()), "only names that begin with x- are allowed")),
        None => Ok(headers),
    }
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

#[cfg(test)]
mod tests;
