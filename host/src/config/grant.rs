//! `[plugins.NAME] allow`: what a plugin may reach beyond the message that it is given. What is not named is denied.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;

use super::document::{Fault, Section, Value, is_name};
use super::template::Template;
use super::unit::Secret;

/// Grants to one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one key of the configuration")]
pub struct Grants {
    /// `http`: where it may ask.
    pub http: Vec<Origin>,
    /// `kv`: whether it has a table.
    pub kv: bool,
    /// `metrics`: whether it has counters of its own.
    pub metrics: bool,
    /// `links`: whether it may make links that come back to it.
    pub links: bool,
    /// `secrets`, by name.
    pub secrets: BTreeMap<Arc<str>, Secret>,
    /// `templates`, by their names in `[templates]`.
    pub templates: BTreeMap<Arc<str>, Arc<Template>>,
    /// `routes`: names of `[routes]` over which it may send mail.
    pub routes: Vec<Arc<str>>,
    /// Everything is as good as granted, because nothing that is asked for counts.
    rehearsal: bool,
}

impl Grants {
    /// What a plugin gets that is only tried out: it loads whatever it asks for.
    pub fn of_rehearsal() -> Self {
        Self { kv: true, metrics: true, links: true, rehearsal: true, ..Self::default() }
    }

    /// Whether an interface of the contract may be imported; `None` for one that takes no grant.
    pub fn interface(&self, name: &str) -> Option<bool> {
        let granted = match name {
            "kv" => self.kv,
            "metrics" => self.metrics,
            "http-client" => !self.http.is_empty(),
            "secrets" => !self.secrets.is_empty(),
            "templates" => !self.templates.is_empty(),
            _ => return None,
        };
        Some(granted || self.rehearsal)
    }

    /// Whether mail may be sent over a route.
    pub fn route(&self, name: &str) -> bool {
        self.rehearsal || self.routes.iter().any(|granted| **granted == *name)
    }
}

/// A scheme, a host and a port that may be asked, and below which path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Url);

impl Origin {
    /// Reads an absolute http or https URL. What stands in it beyond the path is refused, as it would promise more than it does.
    ///
    /// # Errors
    /// What is wrong with it, as a phrase.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or("must be an address such as \"https://api.example.com/\"")?;
        let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        if bare { Ok(Self(url)) } else { Err("must have a scheme, a host, and perhaps a port and a path, and nothing else".to_owned()) }
    }

    /// Whether `url` is one of those that are meant: same scheme, host and port, and a path that is, or is below, that of the origin.
    pub fn covers(&self, url: &Url) -> bool {
        let same =
            self.0.scheme() == url.scheme() && self.0.host() == url.host() && self.0.port_or_known_default() == url.port_or_known_default();
        let path = self.0.path();
        // A server may take these for separators, and a way up behind them for one.
        let hidden = |url: &str| ["%2f", "%5c", "%00"].iter().any(|code| url.to_ascii_lowercase().contains(code));
        if path != "/" && hidden(url.path()) {
            return false;
        }
        let below = url.path().strip_prefix(path).is_some_and(|rest| rest.is_empty() || path.ends_with('/') || rest.starts_with('/'));
        same && below
    }

    /// Whether the host is written as an address: who grants a private one by its number means it.
    pub fn is_address(&self) -> bool {
        matches!(self.0.host(), Some(url::Host::Ipv4(_) | url::Host::Ipv6(_)))
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// Reads `allow`. References are checked against the names that are written in the file.
pub(super) fn read(allow: &Section<'_>, templates: &Templates<'_>, routes: &[&str]) -> Grants {
    Grants {
        http: allow.list("http", |value| Origin::parse(value.text()?)),
        kv: allow.or("kv", false, Value::boolean),
        metrics: allow.or("metrics", false, Value::boolean),
        links: allow.or("links", false, Value::boolean),
        secrets: allow
            .named("secrets", "secret", |_, value| value.secret().map_err(|fault| value.report(&fault)).ok())
            .map(|(name, secret)| (Arc::from(name), secret))
            .collect(),
        templates: allow
            .list("templates", |value| known(value, "template", templates.names))
            .into_iter()
            // One that is written and not there has an error of its own.
            .filter_map(|name| templates.read.get(&name).map(|template| (name, Arc::clone(template))))
            .collect(),
        routes: allow.list("routes", |value| known(value, "route", routes)),
        rehearsal: false,
    }
}

/// The templates of the file.
#[derive(Clone, Copy)]
pub(super) struct Templates<'a> {
    /// Names that are written.
    pub(super) names: &'a [&'a str],
    /// Those of them that could be read.
    pub(super) read: &'a BTreeMap<Arc<str>, Arc<Template>>,
}

fn known(value: &Value<'_>, what: &str, names: &[&str]) -> Result<Arc<str>, Fault> {
    let name = value.text()?;
    if names.contains(&name) && is_name(name) {
        return Ok(Arc::from(name));
    }
    Err(format!("no {what} \"{name}\"{}", super::suggestion::did_you_mean(name, names.iter().copied())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn an_origin_covers_what_is_below_it_and_nothing_else() {
        let covers = |origin: &str, url: &str| Origin::parse(origin).unwrap().covers(&Url::parse(url).unwrap());
        for (origin, url) in [
            ("https://api.example.com", "https://api.example.com/v1?a=b"),
            ("https://api.example.com/", "HTTPS://API.example.com:443/"),
            ("https://api.example.com/v1", "https://api.example.com/v1/x"),
            ("https://api.example.com/v1/", "https://api.example.com/v1/"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/x"),
            ("http://127.0.0.1:8080", "http://2130706433:8080/x"),
        ] {
            assert!(covers(origin, url), "{origin} {url}");
        }
        for (origin, url) in [
            ("https://api.example.com", "http://api.example.com/"),
            ("https://api.example.com", "https://api.example.com:8443/"),
            ("https://api.example.com", "https://api.example.com.evil.example/"),
            ("https://api.example.com", "https://evil.example/https://api.example.com/"),
            ("https://api.example.com/v1/", "https://api.example.com/v1/..%2fadmin"),
            ("https://api.example.com/v1/", "https://api.example.com/v1/..%5Cadmin"),
            ("https://api.example.com/v1", "https://api.example.com/v10"),
            ("https://api.example.com/v1", "https://api.example.com/v1/../v2"),
            ("https://api.example.com/v1", "https://api.example.com/v1/%2e%2e/v2"),
        ] {
            assert!(!covers(origin, url), "{origin} {url}");
        }
        assert!(!covers("https://api.example.com", "https://api.example.com@evil.example/"));
    }

    #[test]
    fn an_origin_promises_no_more_than_it_does() {
        for text in ["", "api.example.com", "ftp://a/", "https://u@a/", "https://a/?q", "https://a/#f", "https://"] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }
}
