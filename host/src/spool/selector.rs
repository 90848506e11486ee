//! Which mail is meant of all that waits: by its route, the recipient's domain, its login, a tag, its message.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use crate::config::HostPattern;
use crate::mail::domain::Domain;
use crate::mail::message_id::MessageId;
use crate::mail::tag::Tag;

/// Which mail is meant: all that is given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selector {
    /// Name of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Domains of recipients: a name, or `*.` and a name for all below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<HostPattern>,
    /// Whose mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// A tag of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// One message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
}

/// What of a copy a selector looks at.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'a> {
    /// The route that it takes.
    pub route: &'a str,
    /// The recipient's domain, in A-labels.
    pub domain: &'a str,
    /// Its message.
    pub message: MessageId,
    /// What is known of its message; without it no login and no tag matches.
    pub entry: Option<&'a Entry>,
}

impl Selector {
    /// Whether it means everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether nothing of a message has to be known to tell: it is about whole queues, or domains.
    pub fn is_of_places(&self) -> bool {
        self.login.is_none() && self.tag.is_none() && self.message.is_none()
    }

    /// Whether what is known of a message must be read to tell.
    pub fn needs_entry(&self) -> bool {
        self.login.is_some() || self.tag.is_some()
    }

    /// Whether a copy is meant.
    pub fn matches(&self, copy: Selected<'_>) -> bool {
        self.matches_place(copy.route, Some(copy.domain))
            && self.message.is_none_or(|message| message == copy.message)
            && self.login.as_deref().is_none_or(|login| copy.entry.is_some_and(|entry| *entry.login == *login))
            && self.tag.as_ref().is_none_or(|tag| copy.entry.is_some_and(|entry| entry.tags.contains(tag)))
    }

    /// Whether route and domain (in A-labels) are meant, whatever else is given. Without a domain, none that is given matches.
    pub fn matches_place(&self, route: &str, domain: Option<&str>) -> bool {
        self.route.as_deref().is_none_or(|own| own == route)
            && self.domain.as_ref().is_none_or(|own| domain.is_some_and(|domain| own.matches(domain)))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("route", self.route.clone()),
            ("domain", self.domain.as_ref().map(ToString::to_string)),
            ("login", self.login.clone()),
            ("tag", self.tag.as_ref().map(ToString::to_string)),
            ("message", self.message.map(|message| message.to_string())),
        ];
        let parts: Vec<String> = parts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?))).collect();
        f.write_str(if parts.is_empty() { "everything" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// Returns a domain as selectors look at it.
pub fn ascii(domain: &Domain) -> String {
    domain.to_ascii().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn selected(route: &'static str, domain: &'static str) -> Selected<'static> {
        Selected { route, domain, message: MessageId::from_bytes([1; 16]), entry: None }
    }

    #[test]
    fn all_that_is_given_must_match() {
        let domain = |text: &str| Some(text.parse::<HostPattern>().unwrap());
        let (route, one) = (Some("direct".to_owned()), MessageId::from_bytes([1; 16]));
        for (selector, expected) in [
            (Selector::default(), true),
            (Selector { route: route.clone(), ..Selector::default() }, true),
            (Selector { route: Some("up".to_owned()), ..Selector::default() }, false),
            (Selector { domain: domain("B.example"), ..Selector::default() }, true),
            (Selector { domain: domain("*.example"), ..Selector::default() }, true),
            (Selector { domain: domain("*.b.example"), ..Selector::default() }, false),
            (Selector { route, domain: domain("c.example"), ..Selector::default() }, false),
            (Selector { message: Some(one), ..Selector::default() }, true),
            (Selector { message: Some(MessageId::from_bytes([2; 16])), ..Selector::default() }, false),
            // Nothing is known of the message.
            (Selector { login: Some("news".to_owned()), ..Selector::default() }, false),
            (Selector { tag: Some(Tag::parse("spring").unwrap()), ..Selector::default() }, false),
        ] {
            assert_eq!(selector.matches(selected("direct", "b.example")), expected, "{selector}");
        }
    }

    #[test]
    fn a_selector_is_written_and_read() {
        let selector =
            Selector { domain: Some("*.müller.example".parse().unwrap()), tag: Some(Tag::parse("a").unwrap()), ..Selector::default() };
        assert_eq!(selector.to_string(), "domain *.xn--mller-kva.example, tag a");
        let json = serde_json::to_string(&selector).unwrap();
        assert_eq!(json, r#"{"domain":"*.xn--mller-kva.example","tag":"a"}"#);
        assert_eq!(serde_json::from_str::<Selector>(&json).unwrap(), selector);
        assert!(serde_json::from_str::<Selector>(r#"{"domain":"*"}"#).is_err());
        assert_eq!(Selector::default().to_string(), "everything");
    }
}
