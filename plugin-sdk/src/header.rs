//! Header fields with a type: addresses, dates, ids, lists.
//!
//! ```
//! use tubepost_plugin_sdk::{Failure, address::Mailbox, header, testing::Draft};
//!
//! let mut message = Draft::new()
//!     .header("From", r#""Lee, Ann" <ann@example.com>"#)
//!     .header("Date", "Thu, 1 Jan 2026 00:00:00 +0000")
//!     .message();
//!
//! let from = message.get::<header::From>()?;
//! assert_eq!(from[0].name.as_deref(), Some("Lee, Ann"));
//! assert!(from.iter().all(|mailbox| mailbox.address.is_at("example.com")));
//! assert!(message.get::<header::ReplyTo>()?.is_empty());
//! assert_eq!(message.get::<header::Date>()?.unwrap().date_and_time().year, 2026);
//!
//! message.set::<header::ReplyTo>(&vec![Mailbox::new("desk@example.com")?.named("Desk")])?;
//! assert_eq!(message.header("Reply-To").as_deref(), Some("Desk <desk@example.com>"));
//! # Ok::<(), Failure>(())
//! ```
//!
//! A field that is not there is an empty list, or `None`; one that is not what it must be is an [`InvalidHeader`], which is a permanent [`Failure`] with
//! `?`. A field of your own is a type that implements [`Field`].

use std::fmt;

use crate::{EditError, Failure, Message, Timestamp, address};

/// Why a field does not have the value that its type says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidHeader {
    /// Name of the field.
    pub name: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for InvalidHeader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.name, self.reason)
    }
}

impl std::error::Error for InvalidHeader {}

impl std::convert::From<InvalidHeader> for Failure {
    fn from(error: InvalidHeader) -> Self {
        Self::permanent(error)
    }
}

/// A header field with a type.
///
/// ```
/// use tubepost_plugin_sdk::{Failure, header::{Field, InvalidHeader}, testing::Draft};
///
/// /// `X-Priority: 1` to 5.
/// struct Priority;
/// impl Field for Priority {
///     const NAME: &'static str = "X-Priority";
///     type Value = Option<u8>;
///
///     fn parse(values: &[String]) -> Result<Self::Value, String> {
///         values.first().map(|value| value.trim().parse().map_err(|_| format!("{value:?} is no number"))).transpose()
///     }
///     fn write(value: &Self::Value) -> String {
///         value.map(|number| number.to_string()).unwrap_or_default()
///     }
/// }
///
/// let message = Draft::new().header("X-Priority", "2").message();
/// assert_eq!(message.get::<Priority>()?, Some(2));
/// # Ok::<(), Failure>(())
/// ```
pub trait Field {
    /// Name of the field.
    const NAME: &'static str;
    /// What it says.
    type Value;

    /// Reads the decoded values of all fields of this name, in order; there may be none.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn parse(values: &[String]) -> Result<Self::Value, String>;

    /// Writes a value, not encoded. "" is written where there is nothing to say, and the field is then left out.
    fn write(value: &Self::Value) -> String;
}

impl Message {
    /// What a field says, by its type.
    ///
    /// # Errors
    /// [`InvalidHeader`] where it is not what it must be; a field that is not there is nothing of that sort.
    pub fn get<F: Field>(&self) -> Result<F::Value, InvalidHeader> {
        F::parse(&self.header_all(F::NAME)).map_err(|reason| InvalidHeader { name: F::NAME, reason })
    }

    /// Puts one field in the place of all of its name; takes them out where the value is empty.
    ///
    /// # Errors
    /// [`EditError::Invalid`] where the value cannot be written.
    pub fn set<F: Field>(&mut self, value: &F::Value) -> Result<(), EditError> {
        let value = F::write(value);
        if value.is_empty() { self.remove_header(F::NAME).map(|_| ()) } else { self.set_header(F::NAME, &value) }
    }
}

macro_rules! fields {
    ($($(#[$docs:meta])* $type:ident = $name:literal: $value:ty, $parse:expr, $write:expr;)+) => {
        $(
            $(#[$docs])*
            #[derive(Debug)]
            pub struct $type;

            impl Field for $type {
                const NAME: &'static str = $name;
                type Value = $value;

                fn parse(values: &[String]) -> Result<Self::Value, String> {
                    $parse(values)
                }

                fn write(value: &Self::Value) -> String {
                    $write(value)
                }
            }
        )+
    };
}

type Mailboxes = Vec<address::Mailbox>;

fields! {
    /// The authors.
    From = "From": Mailboxes, mailboxes, write_mailboxes;
    /// Who sent it, where that is not the author.
    Sender = "Sender": Mailboxes, mailboxes, write_mailboxes;
    /// Whom to answer.
    ReplyTo = "Reply-To": Mailboxes, mailboxes, write_mailboxes;
    /// Whom it is for. That is not the envelope: see [`Message::recipients`].
    To = "To": Mailboxes, mailboxes, write_mailboxes;
    /// Who gets a copy.
    Cc = "Cc": Mailboxes, mailboxes, write_mailboxes;
    /// Who gets one without being seen.
    Bcc = "Bcc": Mailboxes, mailboxes, write_mailboxes;
    /// What it is about.
    Subject = "Subject": Option<String>, |values: &[String]| Ok(values.first().cloned()), |value: &Option<String>| value.clone().unwrap_or_default();
    /// When it was written.
    Date = "Date": Option<Timestamp>, date, |value: &Option<Timestamp>| value.map(Timestamp::to_rfc5322).unwrap_or_default();
    /// Its id, without the angle brackets.
    MessageId = "Message-ID": Option<String>, |values: &[String]| Ok(bracketed(values).into_iter().next()), |value: &Option<String>| write_bracketed(value.as_slice(), " ");
    /// Ids of the messages that it answers, without the angle brackets.
    InReplyTo = "In-Reply-To": Vec<String>, |values: &[String]| Ok(bracketed(values)), |value: &Vec<String>| write_bracketed(value, " ");
    /// Ids of the messages before it, without the angle brackets.
    References = "References": Vec<String>, |values: &[String]| Ok(bracketed(values)), |value: &Vec<String>| write_bracketed(value, " ");
    /// URIs that unsubscribe, without the angle brackets (RFC 2369).
    ListUnsubscribe = "List-Unsubscribe": Vec<String>, |values: &[String]| Ok(bracketed(values)), |value: &Vec<String>| write_bracketed(value, ", ");
    /// Languages of the message, as tags such as "en" and "de-CH" (RFC 3282).
    ContentLanguage = "Content-Language": Vec<String>, |values: &[String]| Ok(comma_list(values)), |value: &Vec<String>| value.join(", ");
    /// What the body is. Of a message without the field, plain text.
    ContentType = "Content-Type": MediaType, |values: &[String]| MediaType::parse(values), ToString::to_string;
}

fn mailboxes(values: &[String]) -> Result<Mailboxes, String> {
    let mut all = Vec::new();
    for value in values {
        all.extend(address::Mailbox::parse_list(value).map_err(|error| error.to_string())?);
    }
    Ok(all)
}

fn write_mailboxes(list: &Mailboxes) -> String {
    address::write_list(list)
}

fn date(values: &[String]) -> Result<Option<Timestamp>, String> {
    let read = |value: &String| Timestamp::parse_rfc5322(value).ok_or_else(|| format!("{value:?} is no date"));
    values.first().map(read).transpose()
}

/// What stands in angle brackets, without blanks.
fn bracketed(values: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for value in values {
        let mut rest = value.as_str();
        while let Some((_, behind)) = rest.split_once('<')
            && let Some((inside, next)) = behind.split_once('>')
        {
            found.push(inside.split_whitespace().collect());
            rest = next;
        }
    }
    found
}

fn write_bracketed(list: &[String], separator: &str) -> String {
    list.iter().map(|item| format!("<{item}>")).collect::<Vec<_>>().join(separator)
}

fn comma_list(values: &[String]) -> Vec<String> {
    values.iter().flat_map(|value| value.split(',')).map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

/// The value of a Content-Type (RFC 2045 §5.1).
///
/// ```
/// # use tubepost_plugin_sdk::{header, testing::Draft};
/// let message = Draft::new().header("Content-Type", r#"Text/HTML; Charset="utf-8"; format=flowed"#).message();
/// let kind = message.get::<header::ContentType>()?;
/// assert_eq!((kind.essence.as_str(), kind.parameter("charset")), ("text/html", Some("utf-8")));
/// # Ok::<(), tubepost_plugin_sdk::header::InvalidHeader>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// "type/subtype" in small letters.
    pub essence: String,
    /// Names in small letters, and values without quotes, in order.
    pub parameters: Vec<(String, String)>,
}

impl MediaType {
    fn parse(values: &[String]) -> Result<Self, String> {
        let Some(value) = values.first() else { return Ok(Self { essence: "text/plain".to_owned(), parameters: Vec::new() }) };
        let mut pieces = pieces(value).into_iter();
        let essence = pieces.next().unwrap_or_default().trim().to_ascii_lowercase();
        if essence.split('/').count() != 2 || essence.split('/').any(str::is_empty) {
            return Err(format!("{value:?} is no media type"));
        }
        let parameter = |piece: String| {
            let (name, value) = piece.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), unquote(value.trim())))
        };
        Ok(Self { essence, parameters: pieces.filter_map(parameter).collect() })
    }

    /// A parameter; names are compared without case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.essence)?;
        for (name, value) in &self.parameters {
            let is_token = !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c));
            if is_token {
                write!(formatter, "; {name}={value}")?;
            } else {
                write!(formatter, "; {name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))?;
            }
        }
        Ok(())
    }
}

/// Splits at semicolons outside of quotes.
fn pieces(value: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for character in value.chars() {
        match character {
            ';' if !quoted => {
                pieces.push(String::new());
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = character == '\\' && !escaped;
        if let Some(piece) = pieces.last_mut() {
            piece.push(character);
        }
    }
    pieces
}

fn unquote(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"') else { return value.to_owned() };
    let mut text = String::new();
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::testing::Draft;

    #[test]
    fn ids_and_uris_stand_in_brackets() {
        let mut message = Draft::new()
            .header("Message-ID", "<a@b>")
            .header("References", "<1@b> <2@b>\t<3@b>")
            .header("List-Unsubscribe", "<mailto:u@b>, (comment) <https://b/u?x=1>")
            .message();
        assert_eq!(message.get::<MessageId>().unwrap().as_deref(), Some("a@b"));
        assert_eq!(message.get::<References>().unwrap(), ["1@b", "2@b", "3@b"]);
        assert_eq!(message.get::<ListUnsubscribe>().unwrap(), ["mailto:u@b", "https://b/u?x=1"]);
        message.set::<ListUnsubscribe>(&vec!["mailto:v@b".to_owned()]).unwrap();
        message.set::<References>(&Vec::new()).unwrap();
        assert_eq!(message.header("List-Unsubscribe").as_deref(), Some("<mailto:v@b>"));
        assert_eq!(message.header("References"), None);
    }

    #[test]
    fn what_is_not_what_it_must_be_says_so() {
        let message = Draft::new().header("Date", "now").header("From", "nobody").header("Content-Type", "text").message();
        let failure = Failure::from(message.get::<From>().unwrap_err());
        assert_eq!(failure, Failure::Permanent("From: \"nobody\" is no address".to_owned()));
        assert!(message.get::<Date>().is_err() && message.get::<ContentType>().is_err());
        assert_eq!(Draft::new().message().get::<ContentType>().unwrap().essence, "text/plain");
    }

    #[test]
    fn a_media_type_comes_back() {
        let text = r#"multipart/signed; micalg=pgp-sha256; boundary="a;\"b\""; protocol="application/pgp-signature""#;
        let kind = MediaType::parse(&[text.to_owned()]).unwrap();
        assert_eq!(kind.parameter("Boundary"), Some("a;\"b\""));
        assert_eq!(kind.to_string(), text);
    }
}
