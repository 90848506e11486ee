//! Fields of calls about sender domains.

use serde_json::Value;

use crate::clock::Timestamp;
use crate::config::{SenderRule, SenderRuleKind};
use crate::http::fields::Fields;
use crate::http::problem::Flaw;
use crate::http::v1::notification::read_time;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;
use crate::sending_domain::change::{Changes, NewKey};
use crate::sending_domain::dmarc::{Day, Policy};
use crate::sending_domain::spf::{KINDS, Mechanism};

/// Reads what a domain shall become.
pub fn changes(fields: &Fields) -> Result<Changes, Flaw> {
    let host = |name: &'static str| match fields.text(&[name])? {
        None => Ok(None),
        Some(text) => match Domain::parse(&text) {
            Ok(host) if host.literal().is_none() => Ok(Some(host)),
            Ok(_) | Err(_) => Err(Flaw::new(name, "a host name is expected")),
        },
    };
    let day = |names: &[&str]| match fields.text(names)? {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(Some(None)),
        Some(text) => text
            .parse::<Day>()
            .map(|day| Some(Some(day)))
            .map_err(|error| Flaw::new(names.first().copied().unwrap_or_default(), error.to_string())),
    };
    let policy = match fields.text(&["policy"])? {
        None => None,
        Some(text) => Some(Policy::parse(&text).ok_or_else(|| Flaw::new("policy", "none, quarantine or reject is expected"))?),
    };
    let percentage = match fields.text(&["percentage"])? {
        None => None,
        Some(text) => {
            let number = text.trim_end_matches('%').parse::<u8>().ok().filter(|number| *number <= 100);
            Some(number.ok_or_else(|| Flaw::new("percentage", "a number from 0 to 100 is expected"))?)
        }
    };
    Ok(Changes {
        bounces: host("bounces")?,
        tracking: host("tracking")?,
        https: fields.switch(&["https"])?,
        policy,
        percentage,
        start: day(&["startdate", "begindate"])?,
        end: day(&["enddate"])?,
        addresses: texts(fields, &["address", "addresses"])?
            .iter()
            .map(|text| EmailAddress::parse(text).map_err(|error| Flaw::new("address", format!("{text}: {error}"))))
            .collect::<Result<_, _>>()?,
    })
}

/// Reads a key to add.
pub fn new_key(fields: &Fields) -> Result<NewKey, Flaw> {
    let mut senders = Vec::new();
    for kind in [SenderRuleKind::Name, SenderRuleKind::Pattern, SenderRuleKind::Regex] {
        for text in texts(fields, &[kind.as_str()])? {
            senders.push(SenderRule::new(kind, &text).map_err(|error| Flaw::new(kind.as_str(), error.to_string()))?);
        }
    }
    let new = NewKey {
        private: fields.text(&["privatekey"])?.filter(|text| !text.is_empty()),
        always: fields.switch(&["always"])?.unwrap_or_default(),
        fallback: fields.switch(&["fallback"])?.unwrap_or_default(),
        start: time(fields, "start")?,
        end: time(fields, "end")?,
        senders,
    };
    match new.senders.first() {
        Some(rule) if new.always || new.fallback => Err(Flaw::new(rule.kind().as_str(), "a key for all senders has no conditions")),
        Some(_) | None => Ok(new),
    }
}

/// Reads mechanisms by their names: `{"ip4": "192.0.2.0/24", "mx": ["mail.example.com"]}`. `a` and `mx` without a host are the domain's own.
pub fn mechanisms(fields: &Fields, domain: &Domain) -> Result<Vec<Mechanism>, Flaw> {
    let mut mechanisms = Vec::new();
    for kind in KINDS {
        let values = match fields.get(&[kind]) {
            Some((_, Value::Bool(true))) => vec![String::new()],
            Some(_) | None => texts(fields, &[kind])?,
        };
        for value in values {
            let is_own = value.is_empty() && matches!(kind, "a" | "mx" | "ptr");
            let value = if is_own { domain.to_ascii() } else { value };
            mechanisms.push(Mechanism::new(kind, &value).map_err(|error| Flaw::new(kind, error.to_string()))?);
        }
    }
    if mechanisms.is_empty() {
        return Err(Flaw::new("spf", format!("one of {} is expected", KINDS.join(", "))));
    }
    Ok(mechanisms)
}

/// A text, or several.
fn texts(fields: &Fields, names: &[&str]) -> Result<Vec<String>, Flaw> {
    match fields.get(names) {
        None => Ok(Vec::new()),
        Some((name, Value::Array(values))) => {
            let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| Flaw::new(name, "texts are expected"));
            values.iter().map(text).collect()
        }
        Some(_) => Ok(fields.text(names)?.into_iter().collect()),
    }
}

/// Seconds since 1970, `YYYY-MM-DD hh:mm:ss`, or the same with `T` and `Z`; "" is none.
fn time(fields: &Fields, name: &'static str) -> Result<Option<Timestamp>, Flaw> {
    let Some(text) = fields.text(&[name])?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let seconds = text.parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1000)).map(Timestamp::from_millis);
    let written = || read_time(&text.trim_end_matches('Z').replacen('T', " ", 1));
    seconds.or_else(written).map(Some).ok_or_else(|| Flaw::new(name, "a time such as 2026-12-31 23:59:59 is expected"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        let Value::Object(object) = value else { panic!("an object") };
        Fields::from_object(object).unwrap()
    }

    #[test]
    fn settings_are_read_in_all_their_forms() {
        let read = changes(&fields(json!({
            "bounces": "b.x.example", "https": "true", "policy": "reject", "percentage": "100%", "begindate": "2026-11-01", "enddate": "",
            "address": ["a@x.example", "b@x.example"],
        })));
        let read = read.unwrap();
        assert_eq!((read.https, read.policy, read.percentage), (Some(true), Some(Policy::Reject), Some(100)));
        assert_eq!((read.start, read.end), (Some(Some("2026-11-01".parse().unwrap())), Some(None)));
        assert_eq!((read.addresses.len(), read.tracking), (2, None));
        for (value, field) in [
            (json!({ "bounces": "[192.0.2.1]" }), "bounces"),
            (json!({ "policy": "strict" }), "policy"),
            (json!({ "percentage": 101 }), "percentage"),
            (json!({ "startdate": "tomorrow" }), "startdate"),
            (json!({ "address": "nobody" }), "address"),
        ] {
            assert_eq!(changes(&fields(value)).unwrap_err().field, field);
        }
    }

    #[test]
    fn mechanisms_are_read_by_their_names() {
        let domain = Domain::parse("x.example").unwrap();
        let read =
            mechanisms(&fields(json!({ "mx": "mail.x.example", "ip4": ["192.0.2.0/24", "192.0.2.9"], "a": true })), &domain).unwrap();
        let texts: Vec<String> = read.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["a:x.example", "mx:mail.x.example", "ip4:192.0.2.0/24", "ip4:192.0.2.9"]);
        assert_eq!(mechanisms(&fields(json!({ "ip4": "mail" })), &domain).unwrap_err().field, "ip4");
        assert_eq!(mechanisms(&fields(json!({})), &domain).unwrap_err().field, "spf");
    }

    #[test]
    fn windows_are_read() {
        let read = new_key(&fields(json!({ "start": 1_800_000_000, "end": "2027-01-16T00:00:00Z", "name": "a@x.example" }))).unwrap();
        assert_eq!(read.start, Some(Timestamp::from_millis(1_800_000_000_000)));
        assert_eq!(read.end, read_time("2027-01-16 00:00:00"));
        assert_eq!(new_key(&fields(json!({ "always": true, "regex": "x" }))).unwrap_err().field, "regex");
        assert_eq!(new_key(&fields(json!({ "start": "soon" }))).unwrap_err().field, "start");
    }
}
