//! `[sources.NAME]`, `[pools]`, `[[source_rules]]`: the addresses from which mail leaves, and which mail leaves from which.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use toml::de::DeValue;

use super::document::{Fault, Section, Value};
use super::suggestion::did_you_mean;
use crate::clock::Timestamp;
use crate::mail::domain::Domain;

/// Days of a warm-up plan.
const PLAN_DAYS: usize = 366;
/// Milliseconds of a day.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// An address of ours, or one of each family, from which connections are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `address`, where it is an IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// `address`, where it is an IPv6 address.
    pub v6: Option<Ipv6Addr>,
    /// `hostname`: EHLO name in A-labels, to which the address should lead back. Default `server.hostname`.
    pub hostname: Option<Arc<str>>,
    /// `warm_up`.
    pub warm_up: Option<WarmUp>,
}

impl Source {
    /// Returns the address with which `peer` can be reached.
    pub fn address_for(&self, peer: IpAddr) -> Option<IpAddr> {
        match peer {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }
}

/// How many messages an address that nobody knows yet may send, day by day (UTC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmUp {
    /// `start`: the first day, in days since 1970-01-01.
    pub start: u64,
    /// `plan`: recipients of the first day, the second, …; after the last there is no limit.
    pub plan: Vec<u32>,
}

impl WarmUp {
    /// Returns how many recipients the day of `now` has; `None` once the plan is over. Before it begins there are none.
    pub fn limit(&self, now: Timestamp) -> Option<u32> {
        let Some(day) = day(now).checked_sub(self.start) else { return Some(0) };
        usize::try_from(day).ok().and_then(|day| self.plan.get(day)).copied()
    }
}

/// Returns the day of `now`, in days since 1970-01-01.
pub fn day(now: Timestamp) -> u64 {
    now.as_millis() / DAY
}

/// Returns when the day after that of `now` begins.
pub fn next_day(now: Timestamp) -> Timestamp {
    Timestamp::from_millis((day(now) + 1).saturating_mul(DAY))
}

/// A member of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// `source`.
    pub source: Arc<str>,
    /// `weight`: its share of the connections, compared with the others. Default 1.
    pub weight: u32,
}

/// One of `[[source_rules]]`: what is not named fits always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRule {
    /// `login`.
    pub login: Option<Arc<str>>,
    /// `sender`: the domain of the reverse-path.
    pub sender: Option<Domain>,
    /// `route`.
    pub route: Option<Arc<str>>,
    /// `source`: a source or a pool.
    pub source: Arc<str>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// `[sources.NAME]`.
    pub sources: BTreeMap<Arc<str>, Source>,
    /// `[pools]`.
    pub pools: BTreeMap<Arc<str>, Vec<Member>>,
    /// `[[source_rules]]`, in order.
    pub rules: Vec<SourceRule>,
}

impl Sources {
    /// Returns the source or pool from which mail leaves: that of the first rule that fits; `None` where the system chooses.
    pub fn choose(&self, login: &str, sender: Option<&Domain>, route: &str) -> Option<&Arc<str>> {
        let fits = |rule: &&SourceRule| {
            rule.login.as_ref().is_none_or(|wanted| **wanted == *login)
                && rule.route.as_ref().is_none_or(|wanted| **wanted == *route)
                && rule.sender.as_ref().is_none_or(|wanted| sender == Some(wanted))
        };
        self.rules.iter().find(fits).map(|rule| &rule.source)
    }

    /// Returns the members of a pool, or the one source of this name; nothing where there is neither.
    pub fn members(&self, name: &str) -> Vec<Member> {
        match self.sources.get_key_value(name) {
            Some((source, _)) => vec![Member { source: source.clone(), weight: 1 }],
            None => self.pools.get(name).cloned().unwrap_or_default(),
        }
    }
}

pub(super) fn read(file: &Section<'_>, routes: &[&str]) -> Sources {
    let (source_names, pool_names) = (file.names("sources"), file.names("pools"));
    let sources = file.named("sources", "source", |_, value| value.section(source).flatten());
    let sources = sources.map(|(name, source)| (Arc::from(name), source)).collect();
    let pools = file.named("pools", "pool", |name, value| {
        if source_names.contains(&name) {
            value.report("a source has this name: rules could mean either");
        }
        let members = value.elements().map_err(|fault| value.report(&fault)).ok()?;
        if members.is_empty() {
            value.report("must have at least one member");
        }
        let members = members.iter().filter_map(|element| element.section(|section| member(section, &source_names)).flatten());
        Some(members.collect())
    });
    let pools = pools.map(|(name, members)| (Arc::from(name), members)).collect();
    let targets: Vec<&str> = source_names.iter().chain(&pool_names).copied().collect();
    let rules = file.sections("source_rules", |section, number| {
        section.rename(format!("source rule {number}"));
        let text = |value: &Value<'_>| value.text().map(Arc::from);
        let login = section.optional("login", text);
        let sender = section.optional("sender", Value::parsed);
        let route = section.optional("route", |value| reference(value, "route", routes));
        let source = section.required("source", |value| reference(value, "source or pool", &targets));
        Some(SourceRule { login, sender, route, source: source? })
    });
    Sources { sources, pools, rules }
}

fn reference(value: &Value<'_>, kind: &str, names: &[&str]) -> Result<Arc<str>, Fault> {
    let name = value.text()?;
    if names.contains(&name) {
        return Ok(name.into());
    }
    Err(format!("no {kind} \"{name}\"{}", did_you_mean(name, names.iter().copied())))
}

fn source(section: &Section<'_>) -> Option<Source> {
    let addresses = section.required("address", |value| {
        let values = if value.raw().as_array().is_some() { value.elements()? } else { vec![value.clone()] };
        values.iter().map(address).collect::<Result<Vec<_>, _>>()
    })?;
    let v4 = addresses.iter().filter_map(|address| if let IpAddr::V4(v4) = address { Some(*v4) } else { None });
    let v6 = addresses.iter().filter_map(|address| if let IpAddr::V6(v6) = address { Some(*v6) } else { None });
    let (v4, v6): (Vec<_>, Vec<_>) = (v4.collect(), v6.collect());
    if addresses.is_empty() || v4.len() > 1 || v6.len() > 1 {
        section.report("\"address\" is one address, or one of each family");
    }
    let hostname = section.optional("hostname", |value| value.parsed::<Domain>().map(|name| name.to_ascii().into()));
    let warm_up = section.optional("warm_up", |value| Ok(value.section(warm_up).flatten())).flatten();
    Some(Source { v4: v4.first().copied(), v6: v6.first().copied(), hostname, warm_up })
}

fn address(value: &Value<'_>) -> Result<IpAddr, Fault> {
    let address: IpAddr = value.text()?.parse().map_err(|_| "must be an address, such as \"192.0.2.10\"".to_owned())?;
    if address.is_unspecified() || address.is_multicast() { Err("must be an address of this machine".to_owned()) } else { Ok(address) }
}

fn warm_up(section: &Section<'_>) -> Option<WarmUp> {
    let start = section.required("start", date);
    let plan = section.list("plan", |value| value.number(1..=u32::MAX));
    if plan.is_empty() || plan.len() > PLAN_DAYS {
        section.report("\"plan\" has the recipients of each day, for 1 to 366 days");
    }
    Some(WarmUp { start: start?, plan })
}

/// Reads a date, in days since 1970-01-01.
fn date(value: &Value<'_>) -> Result<u64, Fault> {
    let fault = || "must be a date without quotes, such as 2026-12-01".to_owned();
    let DeValue::Datetime(datetime) = value.raw() else { return Err(fault()) };
    let date = datetime.date.filter(|date| date.year >= 1970 && datetime.time.is_none()).ok_or_else(fault)?;
    // Days before a date of the Gregorian calendar, in years that begin in March.
    let (year, month) = if date.month > 2 { (date.year, date.month - 3) } else { (date.year - 1, date.month + 9) };
    let year = u64::from(year);
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * u64::from(month) + 2) / 5 + u64::from(date.day);
    days.checked_sub(719_469).ok_or_else(fault)
}

fn member(section: &Section<'_>, sources: &[&str]) -> Option<Member> {
    let source = section.required("source", |value| reference(value, "source", sources));
    let weight = section.or("weight", 1, |value| value.number(1..=1_000_000));
    Some(Member { source: source?, weight })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::path::Path;

    use super::*;

    const REST: &str = "[server]\nhostname = \"mail.example.com\"\ndata = \"/tmp/x\"\npublic_url = \"https://t.example.com\"\n\
        [[listen]]\nkind = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n[chains]\nplain = []\n\
        [[logins]]\nname = \"news\"\ntoken = \"sha256:0000000000000000000000000000000000000000000000000000000000000001\"\n\
        chain = \"plain\"\nroute = \"direct\"\n[routes.direct]\nkind = \"mx\"\n";

    fn read(text: &str) -> Result<Sources, String> {
        let config = crate::config::parse(&format!("{REST}{text}"), "tubepost.toml", Path::new(""), &|_| None);
        config.map(|config| config.sources).map_err(|errors| errors.to_string())
    }

    #[test]
    fn the_first_rule_that_fits_chooses() {
        let sources = read(
            "[sources.a]\naddress = \"192.0.2.1\"\nhostname = \"out1.example.com\"\n\
             [sources.b]\naddress = [\"192.0.2.2\", \"2001:db8::2\"]\nwarm_up = { start = 2026-12-01, plan = [50, 100] }\n\
             [pools]\nboth = [{ source = \"a\", weight = 3 }, { source = \"b\" }]\n\
             [[source_rules]]\nsender = \"b.example\"\nsource = \"b\"\n\
             [[source_rules]]\nlogin = \"news\"\nroute = \"direct\"\nsource = \"both\"\n",
        )
        .unwrap();
        let domain = Domain::parse("b.example").unwrap();
        assert_eq!(sources.choose("other", Some(&domain), "up").map(|name| &**name), Some("b"));
        assert_eq!(sources.choose("news", None, "direct").map(|name| &**name), Some("both"));
        assert_eq!(sources.choose("news", None, "up"), None);
        assert_eq!(sources.members("both").len(), 2);
        assert_eq!(sources.members("a").len(), 1);
        assert!(sources.members("nothing").is_empty());
        let warm_up = sources.sources.get("b").unwrap().warm_up.as_ref().unwrap();
        // 2026-12-01 begins at 1796083200.
        let first = 1_796_083_200_000;
        for (at, limit) in
            [(first - 1, Some(0)), (first, Some(50)), (first + DAY - 1, Some(50)), (first + DAY, Some(100)), (first + 2 * DAY, None)]
        {
            assert_eq!(warm_up.limit(Timestamp::from_millis(at)), limit, "{at}");
        }
        assert_eq!(next_day(Timestamp::from_millis(first + 5)), Timestamp::from_millis(first + DAY));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("[sources.a]\naddress = \"nowhere\"\n", "source \"a\": address: must be an address, such as \"192.0.2.10\""),
            ("[sources.a]\naddress = [\"192.0.2.1\", \"192.0.2.2\"]\n", "\"address\" is one address, or one of each family"),
            ("[sources.a]\naddress = \"192.0.2.1\"\nwarm_up = { start = \"soon\", plan = [1] }\n", "must be a date without quotes"),
            ("[pools]\nx = [{ source = \"a\" }]\n", "no source \"a\""),
            ("[[source_rules]]\nsource = \"a\"\n", "no source or pool \"a\""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
