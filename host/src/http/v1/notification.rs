//! `dsn`: who hears of failures; and how times are written.

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::http::problem::Flaw;
use crate::mail::envelope::{Envelope, Notify, Return};

/// Longest `envid` and `orcpt` (RFC 3461 §4.4, §4.2).
const LONGEST_ID: usize = 100;
const LONGEST_ORCPT: usize = 500;

/// Puts the `dsn` object `{notify, ret, envid, orcpt}` into an envelope that has its recipients.
pub fn apply_dsn(dsn: &Map<String, Value>, envelope: &mut Envelope) -> Result<(), Flaw> {
    let mut notify = None;
    let mut original = None;
    for (name, value) in dsn {
        let field = format!("dsn.{name}");
        let text = |longest: usize| match value.as_str() {
            Some(text) if !text.is_empty() && text.len() <= longest && text.bytes().all(|octet| (b' '..=b'~').contains(&octet)) => Ok(text),
            Some(_) | None => Err(Flaw::new(&field, format!("1 to {longest} printable ASCII characters are expected"))),
        };
        match name.to_ascii_lowercase().as_str() {
            _ if value.is_null() => {}
            "notify" => notify = Some(read_notify(&field, value)?),
            "ret" => {
                envelope.ret = Some(match value.as_str().map(str::to_ascii_uppercase).as_deref() {
                    Some("FULL") => Return::Full,
                    Some("HDRS") => Return::Headers,
                    Some(_) | None => return Err(Flaw::new(field, "FULL or HDRS is expected")),
                });
            }
            "envid" => envelope.envid = Some(text(LONGEST_ID)?.to_owned()),
            "orcpt" => {
                if envelope.forward_paths.len() > 1 {
                    return Err(Flaw::new(field, "one original recipient does not fit several recipients"));
                }
                let text = text(LONGEST_ORCPT)?;
                original = Some(if text.contains(';') { text.to_owned() } else { format!("rfc822;{text}") });
            }
            _ => return Err(Flaw::new(field, "notify, ret, envid and orcpt are known")),
        }
    }
    for path in &mut envelope.forward_paths {
        if let Some(notify) = notify {
            path.notify = Some(notify);
        }
        path.original = Some(original.clone().unwrap_or_else(|| format!("rfc822;{}", path.address)));
    }
    Ok(())
}

fn read_notify(field: &str, value: &Value) -> Result<Notify, Flaw> {
    let words: Vec<&str> = match value {
        Value::String(list) => list.split(',').collect(),
        Value::Array(words) => words.iter().map(|word| word.as_str().unwrap_or_default()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let wrong = || Flaw::new(field, "NEVER, or a list of SUCCESS, FAILURE and DELAY is expected");
    let mut notify = Notify::NEVER;
    let mut never = false;
    for word in &words {
        match word.trim().to_ascii_uppercase().as_str() {
            "NEVER" => never = true,
            "SUCCESS" => notify.success = true,
            "FAILURE" => notify.failure = true,
            "DELAY" => notify.delay = true,
            _ => return Err(wrong()),
        }
    }
    if words.is_empty() || (never && notify != Notify::NEVER) { Err(wrong()) } else { Ok(notify) }
}

/// Reads `YYYY-MM-DD hh:mm:ss` in UTC, and nothing else.
pub fn read_time(text: &str) -> Option<Timestamp> {
    let shape = text.len() == 19
        && text.bytes().enumerate().all(|(place, octet)| match place {
            4 | 7 => octet == b'-',
            10 => octet == b' ',
            13 | 16 => octet == b':',
            _ => octet.is_ascii_digit(),
        });
    let number = |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse::<u16>().ok());
    let small = |start: usize| number(start..start + 2).and_then(|n| u8::try_from(n).ok());
    if !shape {
        return None;
    }
    let date = mail_parser::DateTime {
        year: number(0..4)?,
        month: small(5)?,
        day: small(8)?,
        hour: small(11)?,
        minute: small(14)?,
        second: small(17)?,
        tz_before_gmt: false,
        tz_hour: 0,
        tz_minute: 0,
    };
    let seconds = u64::try_from(date.to_timestamp()).ok()?;
    let time = Timestamp::from_millis(seconds.checked_mul(1000)?);
    // A day that no month has comes back as another one.
    (time.to_rfc3339().get(..19) == Some(&text.replace(' ', "T"))).then_some(time)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use serde_json::json;

    use super::*;
    use crate::mail::address::EmailAddress;
    use crate::mail::envelope::{ForwardPath, ReversePath};

    fn apply(dsn: Value, recipients: &[&str]) -> Result<Envelope, Flaw> {
        let mut envelope = Envelope::new(ReversePath::Null);
        envelope.forward_paths = recipients.iter().map(|text| ForwardPath::new(EmailAddress::parse(text).unwrap())).collect();
        let Value::Object(dsn) = dsn else { panic!("an object") };
        apply_dsn(&dsn, &mut envelope).map(|()| envelope)
    }

    #[test]
    fn all_four_fields_go_into_the_envelope() {
        let dsn = json!({ "notify": "SUCCESS, failure", "ret": "FULL", "envid": "order 7", "orcpt": "b@y" });
        let envelope = apply(dsn, &["a@x"]).unwrap();
        assert_eq!((envelope.ret, envelope.envid.as_deref()), (Some(Return::Full), Some("order 7")));
        let path = envelope.forward_paths.first().unwrap();
        assert_eq!(path.notify, Some(Notify { success: true, failure: true, delay: false }));
        assert_eq!(path.original.as_deref(), Some("rfc822;b@y"));
        let defaults = apply(json!({ "notify": ["NEVER"] }), &["a@x", "b@x"]).unwrap();
        assert_eq!(defaults.forward_paths.last().unwrap().original.as_deref(), Some("rfc822;b@x"));
        assert_eq!(defaults.forward_paths.last().unwrap().notify, Some(Notify::NEVER));
    }

    #[test]
    fn unknown_values_are_named() {
        for (dsn, field) in [
            (json!({ "notify": "NEVER,DELAY" }), "dsn.notify"),
            (json!({ "notify": "SOMETIMES" }), "dsn.notify"),
            (json!({ "notify": "" }), "dsn.notify"),
            (json!({ "notify": [] }), "dsn.notify"),
            (json!({ "ret": "SOME" }), "dsn.ret"),
            (json!({ "envid": "a\r\nb" }), "dsn.envid"),
            (json!({ "envid": "x".repeat(101) }), "dsn.envid"),
            (json!({ "orcpt": 7 }), "dsn.orcpt"),
            (json!({ "other": "x" }), "dsn.other"),
        ] {
            assert_eq!(apply(dsn.clone(), &["a@x"]).unwrap_err().field, field, "{dsn}");
        }
        assert_eq!(apply(json!({ "orcpt": "c@x" }), &["a@x", "b@x"]).unwrap_err().field, "dsn.orcpt");
    }

    #[test]
    fn times_have_one_form() {
        assert_eq!(read_time("2018-08-01 00:00:00"), Some(Timestamp::from_millis(1_533_081_600_000)));
        assert!(read_time("2024-02-29 23:59:59").is_some());
        for text in [
            "2018-08-01T00:00:00",
            "2018-08-01",
            "2018-8-1 00:00:00",
            "2023-02-29 00:00:00",
            "2018-13-01 00:00:00",
            "2018-08-01 24:00:00",
            "2018-08-01 00:00:60",
            "2018-08-01 00:00:00Z",
            "1969-12-31 23:59:59",
            "é018-08-01 00:00:0",
            "",
        ] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }
}
