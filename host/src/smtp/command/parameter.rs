//! Parameters of `MAIL` and `RCPT` (RFC 5321 §4.1.2):
//!
//! ```text
//! esmtp-param   = esmtp-keyword ["=" esmtp-value]
//! esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
//! esmtp-value   = 1*(%d33-60 / %d62-126 / UTF8-non-ascii)
//! ```

use std::time::Duration;

use super::{Hold, Mail, RcptParameters, SyntaxError};
use crate::clock::Timestamp;
use crate::mail::envelope::{BodyType, Notify, Return, ReversePath};
use crate::smtp::extension::{utf8_address_decode, xtext_decode};

/// Those of `MAIL`. Whether one is offered at this moment knows the session.
const MAIL: [&str; 10] = ["SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH", "HOLDFOR", "HOLDUNTIL", "MT-PRIORITY", "REQUIRETLS"];

/// Parameters whose form is right.
pub(super) struct Parameters<'a>(&'a str);

type Parameter<'a> = (&'a str, Option<&'a str>);

impl<'a> Parameters<'a> {
    /// Checks the form of what follows a path.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let parameters = if text.is_empty() { "" } else { text.strip_prefix(' ')? };
        let parameters = Self(parameters.trim_matches(' '));
        parameters.iter().all(is_well_formed).then_some(parameters)
    }

    fn iter(&self) -> impl Iterator<Item = Parameter<'a>> + use<'a> {
        let words = self.0.split(' ').filter(|word| !word.is_empty());
        words.map(|word| word.split_once('=').map_or((word, None), |(keyword, value)| (keyword, Some(value))))
    }

    pub(super) fn into_mail(self, reverse_path: ReversePath) -> Result<Mail, SyntaxError> {
        let mut mail = Mail {
            reverse_path,
            size: None,
            body: BodyType::default(),
            smtputf8: false,
            ret: None,
            envid: None,
            hold: None,
            priority: None,
            require_tls: false,
        };
        let mut seen = Seen::default();
        for (keyword, value) in self.iter() {
            let name = seen.check(keyword, &MAIL)?;
            let invalid = SyntaxError::Parameter { keyword: name };
            match (name, value) {
                ("SIZE", Some(value)) => mail.size = Some(number(value).ok_or(invalid)?),
                ("BODY", Some(value)) => mail.body = body(value).ok_or(invalid)?,
                ("SMTPUTF8", None) => mail.smtputf8 = true,
                ("RET", Some(value)) => mail.ret = Some(ret(value).ok_or(invalid)?),
                ("ENVID", Some(value)) => mail.envid = Some(envid(value).ok_or(invalid)?),
                // One of the two (RFC 4865 §3).
                ("HOLDFOR", Some(value)) if mail.hold.is_none() => mail.hold = Some(hold_for(value).ok_or(invalid)?),
                ("HOLDUNTIL", Some(value)) if mail.hold.is_none() => mail.hold = Some(hold_until(value).ok_or(invalid)?),
                ("MT-PRIORITY", Some(value)) => mail.priority = Some(priority(value).ok_or(invalid)?),
                ("REQUIRETLS", None) => mail.require_tls = true,
                // Who speaks for whom is decided by the login alone (RFC 4954 §5: a server that does not trust the client takes it as <>).
                ("AUTH", Some(value)) if xtext_decode(value).is_some() => {}
                _ => return Err(invalid),
            }
        }
        Ok(mail)
    }

    pub(super) fn into_rcpt(self) -> Result<RcptParameters, SyntaxError> {
        let mut parameters = RcptParameters::default();
        let mut seen = Seen::default();
        for (keyword, value) in self.iter() {
            let name = seen.check(keyword, &["NOTIFY", "ORCPT"])?;
            let invalid = SyntaxError::Parameter { keyword: name };
            match (name, value) {
                ("NOTIFY", Some(value)) => parameters.notify = Some(notify(value).ok_or(invalid)?),
                ("ORCPT", Some(value)) => parameters.original = Some(original(value).ok_or(invalid)?),
                _ => return Err(invalid),
            }
        }
        Ok(parameters)
    }
}

/// The parameters that were given; none may be given twice.
#[derive(Default)]
struct Seen(Vec<&'static str>);

impl Seen {
    fn check(&mut self, keyword: &str, known: &[&'static str]) -> Result<&'static str, SyntaxError> {
        let name = *known.iter().find(|name| name.eq_ignore_ascii_case(keyword)).ok_or(SyntaxError::UnknownParameter)?;
        if self.0.contains(&name) {
            return Err(SyntaxError::Parameter { keyword: name });
        }
        self.0.push(name);
        Ok(name)
    }
}

fn is_well_formed((keyword, value): Parameter<'_>) -> bool {
    let valid_keyword = keyword.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-') && !keyword.starts_with('-');
    let valid_value =
        value.is_none_or(|value| !value.is_empty() && value.bytes().all(|octet| octet > b' ' && octet != b'=' && octet != 0x7f));
    !keyword.is_empty() && valid_keyword && valid_value
}

/// `1*20DIGIT`, as far as 64 bits go.
pub(super) fn number(text: &str) -> Option<u64> {
    let digits = (1..=20).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn body(value: &str) -> Option<BodyType> {
    if value.eq_ignore_ascii_case("7BIT") {
        Some(BodyType::SevenBit)
    } else if value.eq_ignore_ascii_case("8BITMIME") {
        Some(BodyType::EightBitMime)
    } else if value.eq_ignore_ascii_case("BINARYMIME") {
        Some(BodyType::BinaryMime)
    } else {
        None
    }
}

fn ret(value: &str) -> Option<Return> {
    if value.eq_ignore_ascii_case("FULL") {
        Some(Return::Full)
    } else if value.eq_ignore_ascii_case("HDRS") {
        Some(Return::Headers)
    } else {
        None
    }
}

/// At most 100 characters, of printable ASCII once it is decoded (RFC 3461 §4.4).
fn envid(value: &str) -> Option<String> {
    if value.len() > 100 { None } else { xtext_decode(value).filter(|envid| envid.is_ascii()) }
}

/// `1*9DIGIT` seconds (RFC 4865 §3).
fn hold_for(value: &str) -> Option<Hold> {
    if value.len() > 9 { None } else { number(value).map(Duration::from_secs).map(Hold::For) }
}

/// A `date-time` of RFC 3339 (RFC 4865 §3, erratum 2040).
fn hold_until(value: &str) -> Option<Hold> {
    Timestamp::parse_rfc3339(value).map(Hold::Until)
}

/// `(["-"] NZDIGIT) / "0"` (RFC 6710 §9).
fn priority(value: &str) -> Option<i8> {
    match value.as_bytes() {
        [digit @ b'0'..=b'9'] => i8::try_from(digit - b'0').ok(),
        [b'-', digit @ b'1'..=b'9'] => i8::try_from(digit - b'0').ok().map(i8::wrapping_neg),
        _ => None,
    }
}

/// `NEVER`, or a list of the others (RFC 3461 §4.1).
fn notify(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify::NEVER);
    }
    let mut notify = Notify::NEVER;
    for word in value.split(',') {
        let wanted = match word {
            _ if word.eq_ignore_ascii_case("SUCCESS") => &mut notify.success,
            _ if word.eq_ignore_ascii_case("FAILURE") => &mut notify.failure,
            _ if word.eq_ignore_ascii_case("DELAY") => &mut notify.delay,
            _ => return None,
        };
        *wanted = true;
    }
    Some(notify)
}

/// `addr-type ";" xtext`, at most 500 characters (RFC 3461 §4.2). What is not ASCII has an address type and an encoding of its own (RFC 6533 §3).
fn original(value: &str) -> Option<String> {
    let (kind, address) = value.split_once(';')?;
    let valid_kind = !kind.is_empty() && kind.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    if !valid_kind || address.is_empty() || value.len() > 500 {
        return None;
    }
    if kind.eq_ignore_ascii_case("utf-8") {
        return Some(format!("utf-8;{}", utf8_address_decode(address)?));
    }
    let address = xtext_decode(address).filter(|address| address.is_ascii())?;
    Some(format!("{kind};{address}"))
}
