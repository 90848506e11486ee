//! turboSMTP's parameters of queries: from the query string or a JSON body to a [`Query`], with its words for what is wrong.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::suppression::entry::Source;
use crate::suppression::query::{Field, Order, Query, Restriction, Words};

/// Rows of a page where nobody says otherwise.
const ROWS: usize = 10;
/// Rows of a page at most; who asks for more gets so many.
const MOST_ROWS: usize = 10_000;
/// Restrictions of one query.
const MOST_RESTRICTIONS: usize = 100;

/// What is wrong, in turboSMTP's words.
pub type Wrong = &'static str;

/// The time zone that dates are meant in, and shown in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    ahead: Duration,
    behind: Duration,
}

impl Zone {
    /// `+01:00`, `-07:00`.
    fn parse(text: &str) -> Option<Self> {
        let (sign, rest) = text.split_at_checked(1)?;
        let (hours, minutes) = rest.split_once(':')?;
        let number = |digits: &str, most: u64| (digits.len() == 2).then(|| digits.parse::<u64>().ok().filter(|n| *n <= most)).flatten();
        let offset = Duration::from_mins(number(hours, 14)? * 60 + number(minutes, 59)?);
        match sign {
            // A plus that was not encoded is a blank.
            "+" | " " => Some(Self { ahead: offset, ..Self::default() }),
            "-" => Some(Self { behind: offset, ..Self::default() }),
            _ => None,
        }
    }

    /// `2026-03-18 14:22:15`.
    pub fn show(self, time: Timestamp) -> String {
        time.plus(self.ahead).minus(self.behind).to_rfc3339().replace('T', " ").trim_end_matches('Z').to_owned()
    }

    /// When a day begins, in days after 1970.
    fn midnight(self, day: u64) -> Timestamp {
        Timestamp::from_millis(day.saturating_mul(86_400_000)).minus(self.ahead).plus(self.behind)
    }
}

/// Puts the parameters of a query string into the form that a body has.
pub fn of_pairs(pairs: Vec<(String, String)>) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in pairs {
        let name = name.strip_suffix("[]").unwrap_or(&name);
        if name == "filter_by" {
            let words = value.split(',').map(|word| Value::from(word.trim()));
            if let Some(list) = fields.entry(name).or_insert_with(|| Value::Array(Vec::new())).as_array_mut() {
                list.extend(words);
            }
        } else {
            fields.insert(name.to_owned(), value.into());
        }
    }
    fields
}

/// Reads a query, and the zone of its dates.
///
/// # Errors
/// The first thing that is wrong.
pub fn read(fields: &Map<String, Value>) -> Result<(Query, Zone), Wrong> {
    let zone = text(fields, "tz").map_or(Some(Zone::default()), |text| Zone::parse(&text)).ok_or("tz_should_be_like_-07:00")?;
    let from = text(fields, "from").ok_or("missing_required_parameter_from")?;
    let from = day(&from).ok_or("from_format_should_be_yyyy-mm-dd")?;
    let to = text(fields, "to").ok_or("missing_required_parameter_to")?;
    let to = day(&to).ok_or("to_format_should_be_yyyy-mm-dd")?;
    let page = number(fields, "page", 1, ["page_should_be_integer", "page_should_be_greater_than_0"])?;
    let limit = number(fields, "limit", ROWS, ["limit_should_be_integer", "limit_should_be_greater_than_0"])?.min(MOST_ROWS);
    let smart = switch(fields)?;
    let order = match text(fields, "orderby").as_deref() {
        None | Some("date") => Order::Date,
        Some("source") => Order::Source,
        Some("recipient") => Order::Recipient,
        Some("reason") => Order::Reason,
        Some(_) => return Err("orderby_can_only_be_date_or_source_or_recipient_or_reason"),
    };
    let ascending = match text(fields, "ordertype").as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err("ordertype_should_be_asc_or_desc"),
    };
    let query = Query {
        from: Some(zone.midnight(from)),
        before: Some(zone.midnight(to + 1)),
        sources: sources(fields.get("filter_by"))?,
        filter: text(fields, "filter").map(|text| Words::new(&text, smart)),
        restrictions: restrictions(fields.get("restrict"))?,
        order,
        ascending,
        offset: (page - 1).saturating_mul(limit),
        limit,
        ..Query::default()
    };
    Ok((query, zone))
}

/// A value as text; what is empty is not there.
fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Null => None,
        value @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Some(value.to_string()),
    }
}

fn number(fields: &Map<String, Value>, name: &str, default: usize, wrong: [Wrong; 2]) -> Result<usize, Wrong> {
    let Some(text) = text(fields, name) else { return Ok(default) };
    let [no_integer, too_small] = wrong;
    let number: i64 = text.parse().map_err(|_| no_integer)?;
    usize::try_from(number).ok().filter(|number| *number > 0).ok_or(too_small)
}

fn switch(fields: &Map<String, Value>) -> Result<bool, Wrong> {
    match text(fields, "smart_search").as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err("smart_search_should_be_true_or_false"),
    }
}

fn sources(value: Option<&Value>) -> Result<Vec<Source>, Wrong> {
    const WRONG: Wrong = "filter_by_can_only_be_manual_or_bounce_or_spam_or_unsubscribe_or_validation_failed";
    let source = |value: &Value| value.as_str().and_then(Source::of_word).ok_or(WRONG);
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(words)) => words.iter().filter(|word| word.as_str() != Some("")).map(source).collect(),
        Some(word) => source(word).map(|source| vec![source]),
    }
}

fn restrictions(value: Option<&Value>) -> Result<Vec<Restriction>, Wrong> {
    let elements = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(elements)) if elements.len() <= MOST_RESTRICTIONS => elements,
        Some(_) => return Err("restrict_should_be_an_array"),
    };
    let restriction = |element: &Value| {
        let fields = element.as_object().ok_or("restrict_should_be_an_array")?;
        let by = match text(fields, "by").as_deref() {
            Some("sender") => Field::Sender,
            Some("recipient") => Field::Recipient,
            Some("reason") => Field::Reason,
            Some("subject") => Field::Subject,
            None | Some(_) => return Err("restrict_by_can_only_be_sender_or_recipient_or_reason_or_subject"),
        };
        let exclude = match text(fields, "operator").as_deref() {
            None | Some("include") => false,
            Some("exclude") => true,
            Some(_) => return Err("restrict_operator_can_only_be_include_or_exclude"),
        };
        let filter = text(fields, "filter").ok_or("missing_required_parameter_filter")?;
        Ok(Restriction { by, exclude, words: Words::new(&filter, switch(fields)?) })
    };
    elements.iter().map(restriction).collect()
}

/// `yyyy-mm-dd` in days after 1970.
fn day(text: &str) -> Option<u64> {
    let mut parts = text.split('-');
    let mut part = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits && part.bytes().all(|octet| octet.is_ascii_digit()))?;
        part.parse::<u64>().ok()
    };
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    if parts.next().is_some() || !(1970..=9998).contains(&year) {
        return None;
    }
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = usize::try_from(month.checked_sub(1)?).ok()?;
    let length = *lengths.get(before)?;
    if !(1..=length).contains(&day) {
        return None;
    }
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    Some(years + lengths.iter().take(before).sum::<u64>() + day - 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use serde_json::json;

    use super::*;

    #[test]
    fn days_are_counted() {
        for (text, expected) in [
            ("1970-01-01", Some(0)),
            ("2000-03-01", Some(11_017)),
            ("2024-02-29", Some(19_782)),
            ("2026-11-26", Some(20_783)),
            ("2025-02-29", None),
            ("2026-13-01", None),
            ("2026-00-01", None),
            ("2026-1-01", None),
            ("2026-01-01-", None),
            ("+026-01-01", None),
            ("", None),
        ] {
            assert_eq!(day(text), expected, "{text}");
        }
    }

    #[test]
    fn f13_parameters_are_checked_in_turbosmtps_words() {
        let wrong = |changes: Value| {
            let mut fields = json!({ "from": "2026-01-01", "to": "2026-12-31" }).as_object().unwrap().clone();
            fields.extend(changes.as_object().unwrap().clone());
            read(&fields).err()
        };
        for (changes, expected) in [
            (json!({}), None),
            (json!({ "from": null }), Some("missing_required_parameter_from")),
            (json!({ "to": "" }), Some("missing_required_parameter_to")),
            (json!({ "from": "01-01-2026" }), Some("from_format_should_be_yyyy-mm-dd")),
            (json!({ "to": "2026-02-30" }), Some("to_format_should_be_yyyy-mm-dd")),
            (json!({ "page": "x" }), Some("page_should_be_integer")),
            (json!({ "page": 0 }), Some("page_should_be_greater_than_0")),
            (json!({ "limit": 1.5 }), Some("limit_should_be_integer")),
            (json!({ "limit": "-1" }), Some("limit_should_be_greater_than_0")),
            (json!({ "smart_search": "yes" }), Some("smart_search_should_be_true_or_false")),
            (json!({ "smart_search": true }), None),
            (json!({ "orderby": "size" }), Some("orderby_can_only_be_date_or_source_or_recipient_or_reason")),
            (json!({ "ordertype": "up" }), Some("ordertype_should_be_asc_or_desc")),
            (json!({ "tz": "Berlin" }), Some("tz_should_be_like_-07:00")),
            (json!({ "restrict": [{ "by": "recipient", "operator": "exclude", "filter": "@x" }] }), None),
            (
                json!({ "restrict": [{ "by": "x", "filter": "@x" }] }),
                Some("restrict_by_can_only_be_sender_or_recipient_or_reason_or_subject"),
            ),
        ] {
            assert_eq!(wrong(changes.clone()), expected, "{changes}");
        }
        let pairs =
            [("from", "2026-01-01"), ("to", "2026-01-01"), ("filter_by[]", "bounce"), ("filter_by", "spam,manual"), ("tz", " 01:00")];
        let (query, zone) = read(&of_pairs(pairs.map(|(name, value)| (name.into(), value.into())).into())).unwrap();
        assert_eq!(query.sources, [Source::Bounce, Source::Spam, Source::Manual]);
        let shown = [query.from, query.before].map(|time| time.unwrap().to_rfc3339());
        assert_eq!(shown, ["2025-12-31T23:00:00Z", "2026-01-01T23:00:00Z"]);
        assert_eq!(zone.show(query.from.unwrap()), "2026-01-01 00:00:00");
    }
}
