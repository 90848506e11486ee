//! `[[shaping]]`: how fast mail goes to whom, and when it is tried again.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::document::{Reader, Section, Value, is_name};
use super::error::ConfigErrors;
use crate::mail::domain::Domain;

/// Rules for the large providers, which come after those of the operator.
const PROVIDERS: &str = include_str!("shaping/providers.toml");

/// `[[shaping]]`: limits of the mail for certain recipients. The first rule that matches counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapingRule {
    /// `name`: unique; in what is shown of the queue.
    pub name: Arc<str>,
    /// `domains`: recipients' domains.
    pub domains: Vec<HostPattern>,
    /// `mx`: hosts that take the domain's mail.
    pub mx: Vec<HostPattern>,
    /// `route`: only mail of this route.
    pub route: Option<Arc<str>>,
    /// `shared`: whether all that matches shares the limits. Default: whether there are `domains` or `mx`.
    pub shared: bool,
    /// `connections`: at a time. Default `delivery.connections_per_destination`.
    pub connections: Option<u32>,
    /// `messages_per_connection`: default that of `[delivery]`.
    pub messages_per_connection: Option<u32>,
    /// `recipients_per_transaction`: default that of `[delivery]`.
    pub recipients_per_transaction: Option<u32>,
    /// `rate`: transactions in a time.
    pub rate: Option<Rate>,
    /// `burst`: transactions that may come at once after a pause. Default 1.
    pub burst: u32,
    /// `retry`: waits before each further attempt. Default that of `[delivery]`.
    pub retry: Vec<Duration>,
    /// `give_up`: default that of `[delivery]`.
    pub give_up: Option<Duration>,
    /// `slow_down`: whether answers such as 421 make it slower. Default true.
    pub slow_down: bool,
}

/// A name of a host or a domain, or `*.` and a domain: all names below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    below: bool,
    /// In lower-case A-labels.
    name: String,
}

impl HostPattern {
    /// Whether `name`, in A-labels, is meant.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        let Some(start) = name.len().checked_sub(self.name.len()) else { return false };
        let Some((labels, end)) = name.split_at_checked(start) else { return false };
        end.eq_ignore_ascii_case(&self.name) && if self.below { labels.len() > 1 && labels.ends_with('.') } else { labels.is_empty() }
    }
}

impl FromStr for HostPattern {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (below, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        let domain = Domain::parse(name).map_err(|error| format!("{error}; a pattern is a name, or \"*.\" and a name"))?;
        Ok(Self { below, name: domain.to_ascii().to_ascii_lowercase() })
    }
}

impl TryFrom<String> for HostPattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.name)
    }
}

/// So many in a time: `600/m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least one.
    pub count: u32,
    /// In which time; a second at least.
    pub period: Duration,
}

const PERIODS: [(&str, Duration); 4] =
    [("s", Duration::from_secs(1)), ("m", Duration::from_mins(1)), ("h", Duration::from_hours(1)), ("d", Duration::from_hours(24))];

impl Rate {
    /// Returns the time from one to the next where they come evenly.
    pub fn interval(self) -> Duration {
        self.period / self.count.max(1)
    }
}

impl FromStr for Rate {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let fault = "a rate is a number and a time, such as \"10/s\", \"600/m\", \"5000/h\" or \"20000/d\"";
        let (count, unit) = text.split_once('/').ok_or(fault)?;
        let period = PERIODS.iter().find(|(name, _)| *name == unit).ok_or(fault)?.1;
        match count.parse() {
            Ok(count) if count > 0 && count <= 1_000_000 => Ok(Self { count, period }),
            _ => Err(fault),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = PERIODS.iter().find(|(_, period)| *period == self.period).map_or("s", |(name, _)| name);
        write!(f, "{}/{unit}", self.count)
    }
}

/// The operator's rules, and behind them those for large providers if `providers` says so.
pub(super) fn read(file: &Section<'_>, route_names: &[&str], providers: bool) -> Vec<ShapingRule> {
    let mut rules = rules(file, Some(route_names));
    if providers {
        let own: BTreeSet<_> = rules.iter().map(|rule| rule.name.clone()).collect();
        rules.extend(provider_rules().unwrap_or_default().into_iter().filter(|rule| !own.contains(&rule.name)));
    }
    rules
}

/// The rules for large providers.
fn provider_rules() -> Result<Vec<ShapingRule>, ConfigErrors> {
    Reader::new(PROVIDERS, "providers.toml", Path::new(""), &|_| None).read(|file| Some(rules(file, None)))
}

fn rules(file: &Section<'_>, route_names: Option<&[&str]>) -> Vec<ShapingRule> {
    let mut names = BTreeSet::new();
    file.sections("shaping", |section, number| {
        section.rename(format!("shaping rule {number}"));
        let name = section.required("name", |value| {
            let name: Arc<str> = value.text()?.into();
            if !is_name(&name) {
                return Err("a name has 1 to 64 letters, digits, \"-\", \"_\" and \".\"".to_owned());
            }
            section.rename(format!("shaping rule \"{name}\""));
            if names.insert(Arc::clone(&name)) { Ok(name) } else { Err("another rule has this name".to_owned()) }
        });
        let domains = section.list("domains", Value::parsed::<HostPattern>);
        let mx = section.list("mx", Value::parsed::<HostPattern>);
        let route = section.optional("route", |value| {
            let route = value.text()?;
            if route_names.is_none_or(|names| names.contains(&route)) { Ok(route.into()) } else { Err(format!("no route \"{route}\"")) }
        });
        let rule = ShapingRule {
            name: name.unwrap_or_default(),
            shared: section.or("shared", !(domains.is_empty() && mx.is_empty()), Value::boolean),
            domains,
            mx,
            route,
            connections: section.optional("connections", Value::count),
            messages_per_connection: section.optional("messages_per_connection", Value::count),
            recipients_per_transaction: section.optional("recipients_per_transaction", Value::count),
            rate: section.optional("rate", Value::parsed::<Rate>),
            burst: section.or("burst", 1, Value::count),
            retry: section.list("retry", Value::duration),
            give_up: section.optional("give_up", Value::duration),
            slow_down: section.or("slow_down", true, Value::boolean),
        };
        (!rule.name.is_empty()).then_some(rule)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn patterns_match_whole_labels() {
        let below: HostPattern = "*.Google.com".parse().unwrap();
        for (name, expected) in [
            ("aspmx.l.google.com", true),
            ("ASPMX.L.GOOGLE.COM.", true),
            ("google.com", false),
            ("notgoogle.com", false),
            (".google.com", false),
            ("", false),
            ("müller.google.com", true),
        ] {
            assert_eq!(below.matches(name), expected, "{name}");
        }
        let exact: HostPattern = "müller.example".parse().unwrap();
        assert!(exact.matches("xn--mller-kva.example") && !exact.matches("a.xn--mller-kva.example"));
        assert_eq!(exact.to_string(), "xn--mller-kva.example");
        assert!("*".parse::<HostPattern>().is_err() && "a b".parse::<HostPattern>().is_err());
    }

    #[test]
    fn rates_have_a_unit() {
        let rate: Rate = "600/m".parse().unwrap();
        assert_eq!((rate.interval(), rate.to_string()), (Duration::from_millis(100), "600/m".to_owned()));
        for wrong in ["600", "0/m", "/m", "-1/m", "1/week", "9999999/s", "1/"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_rules_for_providers_load() {
        let rules = provider_rules().unwrap();
        assert!(rules.iter().any(|rule| rule.mx.iter().any(|mx| mx.matches("gmail-smtp-in.l.google.com"))));
        assert!(rules.iter().all(|rule| rule.shared && rule.connections.is_some()));
    }
}
