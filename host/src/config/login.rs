//! `[[logins]]`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::document::{Fault, Section, Value};
use super::domains::UnverifiedSenders;
use super::inbound::INBOUND;
use super::secret::{parse_token_hash, token_digest};
use super::suggestion::did_you_mean;
use super::tls_reports::TLS_REPORTER;
use super::{Access, Returns, Smtp, access};
use serde::{Deserialize, Serialize};
use url::Url;

use super::unit::{ByteSize, Secret};
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;

/// `[[logins]]`.
#[derive(Clone)]
pub struct Login {
    /// `name`: unique; in events, metrics and the dashboard.
    pub name: Arc<str>,
    /// `username`, unique.
    pub username: Option<String>,
    /// `password`: argon2id hash in PHC form.
    pub password: Option<Secret>,
    /// `token`: `sha256:` and 64 hexadecimal digits.
    pub token: Option<[u8; 32]>,
    /// `senders`: none given is any.
    pub senders: Vec<SenderPattern>,
    /// `chain`; none given is no plugins.
    pub chain: Option<Arc<str>>,
    /// `route`.
    pub route: Arc<str>,
    /// `limits`.
    pub limits: LoginLimits,
    /// `bounces`.
    pub bounces: Bounces,
    /// `suppress`: what puts an address on the suppression list of the login by itself.
    pub suppress: Vec<Suppress>,
    /// `bounce_management`: what is done with mail that comes back, beside that it is understood; none given is that it goes to the envelope's sender.
    pub bounce_management: Option<BounceManagement>,
    /// `unverified_senders`; none given is what `[domains]` says.
    pub unverified_senders: Option<UnverifiedSenders>,
    /// How it may be used.
    pub access: Access,
    /// `rebuild`, `priority`, `limits.priority` and `suppressed`.
    pub treatment: Treatment,
}

/// How a login's messages are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// `rebuild`: header fields that are not known are dropped, and the Message-ID is ours. Default false.
    pub rebuild: bool,
    /// `priority`, from -9 to 9 (RFC 6710): of messages that ask for none. Default 0.
    pub priority: i8,
    /// `limits.priority`: the highest that a message may ask for. Default: that of `priority`.
    pub highest_priority: i8,
    /// `suppressed`: whether recipients on a suppression list are refused when they are named (`"refuse"`); else their copies are dropped (`"drop"`). Default
    /// `"drop"`.
    pub refuses_suppressed: bool,
}

impl Login {
    /// The login that mail from other servers comes in under: it has no password, and `limits` hold for each message.
    pub fn inbound(limits: LoginLimits) -> Self {
        Self {
            name: INBOUND.into(),
            username: None,
            password: None,
            token: None,
            senders: Vec::new(),
            chain: None,
            route: INBOUND.into(),
            limits,
            bounces: Bounces::Return,
            treatment: Treatment::default(),
            suppress: Vec::new(),
            bounce_management: None,
            access: Access::default(),
            unverified_senders: None,
        }
    }
}

impl fmt::Debug for Login {
    /// Shows no secret, hashes included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            username,
            password,
            token,
            senders,
            chain,
            route,
            limits,
            bounces,
            bounce_management,
            suppress,
            unverified_senders,
            treatment,
            access,
        } = self;
        f.debug_struct("Login")
            .field("name", name)
            .field("username", username)
            .field("password", password)
            .field("token", &token.as_ref().map(|_| "redacted"))
            .field("senders", senders)
            .field("chain", chain)
            .field("route", route)
            .field("limits", limits)
            .field("bounces", bounces)
            .field("treatment", treatment)
            .field("suppress", suppress)
            .field("bounce_management", bounce_management)
            .field("access", access)
            .field("unverified_senders", unverified_senders)
            .finish()
    }
}

/// Whom a login may send as. The spool keeps these: a change is one of its format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SenderPattern {
    /// `user@example.com`.
    Address(EmailAddress),
    /// `*@example.com`.
    Domain(Domain),
    /// `*@*.example.com`: any domain below.
    Subdomains(Domain),
}

impl fmt::Display for SenderPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Domain(domain) => write!(f, "*@{domain}"),
            Self::Subdomains(domain) => write!(f, "*@*.{domain}"),
        }
    }
}

/// `limits` of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginLimits {
    /// `messages_per_hour`; none given is no limit.
    pub messages_per_hour: Option<u32>,
    /// `recipients_per_message`. Default: that of `[smtp]`.
    pub recipients_per_message: u32,
    /// `message_size`. Default: that of `[smtp]`.
    pub message_size: ByteSize,
}

/// Where bounces of a login's mail go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bounces {
    /// `return`: to the envelope's sender.
    #[default]
    Return,
    /// `track`: to us. They are understood, and go on to the envelope's sender.
    Track,
}

/// What puts an address on the suppression list of a login by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suppress {
    /// `bounce`: mail to it came back for good.
    Bounce,
    /// `spam`: its owner complained.
    Spam,
    /// `unsubscribe`: its owner wants no more.
    Unsubscribe,
}

impl Suppress {
    /// All of them, which is the default.
    pub const ALL: [Self; 3] = [Self::Bounce, Self::Spam, Self::Unsubscribe];
}

/// What is done with mail that comes back of tracked mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BounceManagement {
    /// `"ignore"`: nothing.
    Ignore,
    /// `{ forward = … }`: it goes to this address.
    Forward(EmailAddress),
    /// `{ callback = … }`: a call tells of it.
    Callback(Url),
}

/// What logins may refer to, and what no two of them may share.
struct Known<'a> {
    chains: &'a [&'a str],
    routes: &'a [&'a str],
    logins: BTreeSet<Arc<str>>,
    usernames: BTreeSet<String>,
    tokens: BTreeSet<[u8; 32]>,
}

/// Reads all logins; what they do not limit is limited as `smtp` says.
pub(super) fn read(file: &Section<'_>, chains: &[&str], routes: &[&str], smtp: &Smtp, returns: &Returns) -> Vec<Login> {
    let mut known = Known { chains, routes, logins: BTreeSet::new(), usernames: BTreeSet::new(), tokens: BTreeSet::new() };
    file.sections("logins", |section, number| {
        section.rename(format!("login {number}"));
        login(section, &mut known, smtp, returns)
    })
}

fn login(section: &Section<'_>, known: &mut Known<'_>, smtp: &Smtp, returns: &Returns) -> Option<Login> {
    let name = section.required("name", |value| {
        let name: Arc<str> = value.text()?.into();
        if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
            return Err("must have 1 to 128 printable octets".to_owned());
        }
        if *name == *INBOUND {
            return Err("is the name of mail that comes in from outside".to_owned());
        }
        if *name == *TLS_REPORTER {
            return Err("is the name of reports on TLS that are sent from here".to_owned());
        }
        section.rename(format!("login \"{name}\""));
        if known.logins.insert(Arc::clone(&name)) { Ok(name) } else { Err("another login has this name".to_owned()) }
    });
    let username = section.optional("username", |value| {
        let username = value.text()?;
        if username.is_empty() || username.len() > 255 || username.chars().any(char::is_control) {
            return Err("must have 1 to 255 printable octets".to_owned());
        }
        if known.usernames.insert(username.to_owned()) {
            Ok(username.to_owned())
        } else {
            Err("another login has this user name".to_owned())
        }
    });
    let password = section.optional("password", Value::password_hash);
    let token = section.optional("token", |value| {
        let secret = value.secret()?;
        let hash =
            parse_token_hash(secret.expose()).ok_or("must be \"sha256:\" and the 64 hexadecimal digits of the token's SHA-256 hash")?;
        if hash == token_digest("") {
            return Err("is the hash of nothing: whoever gave no token would be let in".to_owned());
        }
        if known.tokens.insert(hash) { Ok(hash) } else { Err("another login has this token".to_owned()) }
    });
    check_credentials(section);
    let senders = section.list("senders", |value| sender_pattern(value.text()?));
    let chain = section.optional("chain", |value| Ok((value.clone(), value.text()?)));
    let chain = chain.and_then(|(value, chain)| reference(&value, "chain", chain, known.chains));
    let route = section.required("route", |value| Ok((value.clone(), value.text()?)));
    let route = route.and_then(|(value, route)| reference(&value, "route", route, known.routes));
    let rebuild = section.or("rebuild", false, Value::boolean);
    let priority = section.or("priority", 0, priority);
    let (limits, highest_priority) = section.table("limits", |section| (limits(section, smtp), highest_priority(section, priority)));
    let refuses_suppressed = section.or("suppressed", false, |value| value.choice(&[("drop", false), ("refuse", true)]));
    let treatment = Treatment { rebuild, priority, highest_priority, refuses_suppressed };
    let bounces = section.or("bounces", Bounces::default(), |value| {
        let bounces = value.choice(&[("return", Bounces::Return), ("track", Bounces::Track)])?;
        if bounces == Bounces::Track && returns.domain.is_none() {
            value.warn("[bounces] has no domain for them to come back to: they go to the envelope's sender, as with \"return\"");
        }
        Ok(bounces)
    });
    let bounce_management = section.optional("bounce_management", bounce_management);
    let access = access::read(section);
    let suppress = section.list("suppress", |value| {
        value.choice(&[("bounce", Suppress::Bounce), ("spam", Suppress::Spam), ("unsubscribe", Suppress::Unsubscribe)])
    });
    // An empty list is an answer too: nothing does.
    let suppress = if section.has("suppress") { suppress } else { Suppress::ALL.to_vec() };
    let unverified_senders = section.optional("unverified_senders", UnverifiedSenders::read);
    Some(Login {
        name: name?,
        username,
        password,
        token,
        senders,
        chain,
        route: route?,
        limits,
        bounces,
        bounce_management,
        suppress,
        access,
        treatment,
        unverified_senders,
    })
}

fn bounce_management(value: &Value<'_>) -> Result<BounceManagement, Fault> {
    const FORMS: &str = "must be \"ignore\", { forward = \"user@example.com\" } or { callback = \"https://example.com/…\" }";
    if let Ok(text) = value.text() {
        return if text == "ignore" { Ok(BounceManagement::Ignore) } else { Err(FORMS.to_owned()) };
    }
    let read = value.section(|section| {
        let forward = section.optional("forward", Value::parsed).map(BounceManagement::Forward);
        let callback = section.optional("callback", callback).map(BounceManagement::Callback);
        match (section.has("forward"), section.has("callback")) {
            (true, false) => forward,
            (false, true) => callback,
            (true, true) | (false, false) => {
                section.report(FORMS);
                None
            }
        }
    });
    // What is wrong with a table was said where it is.
    read.ok_or_else(|| FORMS.to_owned())?.ok_or_else(|| FORMS.to_owned())
}

fn callback(value: &Value<'_>) -> Result<Url, Fault> {
    let url = Url::parse(value.text()?).map_err(|error| format!("must be a URL such as \"https://example.com/bounces\": {error}"))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err("must begin with \"https://\" or \"http://\"".to_owned())
    }
}

/// Writes a login as it would stand in the file.
pub(super) fn document(keys: &serde_json::Map<String, serde_json::Value>) -> String {
    let mut text = "[[logins]]\n".to_owned();
    for (key, value) in keys {
        push_json(&mut text, &serde_json::Value::from(key.as_str()));
        text.push_str(" = ");
        push_json(&mut text, value);
        text.push('\n');
    }
    text
}

/// Writes a value of JSON as TOML has it; `null`, which TOML has not, as a text that no key takes.
fn push_json(text: &mut String, value: &serde_json::Value) {
    use serde_json::Value as Json;
    match value {
        Json::Array(elements) => {
            text.push('[');
            for element in elements {
                push_json(text, element);
                text.push(',');
            }
            text.push(']');
        }
        Json::Object(keys) => {
            text.push('{');
            for (number, (key, value)) in keys.iter().enumerate() {
                text.push_str(if number == 0 { "" } else { "," });
                push_json(text, &Json::from(key.as_str()));
                text.push('=');
                push_json(text, value);
            }
            text.push('}');
        }
        // A text of JSON is one of TOML, but for one character.
        Json::String(_) => text.push_str(&value.to_string().replace('\u{7f}', "\\u007f")),
        Json::Null => text.push_str("\"\""),
        Json::Bool(_) | Json::Number(_) => text.push_str(&value.to_string()),
    }
}

/// Reports a login that nobody can use, whatever the values are.
fn check_credentials(section: &Section<'_>) {
    match (section.has("username"), section.has("password"), section.has("token")) {
        (true, false, _) => section.report("\"username\" needs a \"password\""),
        (false, true, _) => section.report("\"password\" needs a \"username\""),
        (false, false, false) => section.report("needs \"username\" and \"password\", or \"token\", or all three"),
        (true, true, _) | (false, false, true) => {}
    }
}

pub(super) fn reference(value: &Value<'_>, kind: &str, name: &str, names: &[&str]) -> Option<Arc<str>> {
    if names.contains(&name) {
        return Some(Arc::from(name));
    }
    value.report_section(&format!("no {kind} \"{name}\"{}", did_you_mean(name, names.iter().copied())));
    None
}

fn sender_pattern(text: &str) -> Result<SenderPattern, Fault> {
    let fault = |error: &dyn fmt::Display| {
        format!("\"{text}\": {error}; a sender is \"user@example.com\", \"*@example.com\" or \"*@*.example.com\"")
    };
    if let Some(domain) = text.strip_prefix("*@*.") {
        return Domain::parse(domain).map(SenderPattern::Subdomains).map_err(|error| fault(&error));
    }
    if let Some(domain) = text.strip_prefix("*@") {
        return Domain::parse(domain).map(SenderPattern::Domain).map_err(|error| fault(&error));
    }
    // A star is a letter like others in RFC 5322, but nobody who writes one here means it.
    if text.contains('*') {
        return Err(fault(&"a star stands for a whole name"));
    }
    EmailAddress::parse(text).map(SenderPattern::Address).map_err(|error| fault(&error))
}

/// A priority of RFC 6710.
fn priority(value: &Value<'_>) -> Result<i8, Fault> {
    value.number(-9..=9)
}

fn highest_priority(section: &Section<'_>, default: i8) -> i8 {
    section.or("priority", default, |value| {
        let highest = priority(value)?;
        if highest < default { Err(format!("is less than priority, which is {default}")) } else { Ok(highest) }
    })
}

/// Reads `limits`. What the server takes from nobody cannot be allowed to one login: `[smtp]` has to allow it first.
fn limits(section: &Section<'_>, smtp: &Smtp) -> LoginLimits {
    LoginLimits {
        messages_per_hour: section.optional("messages_per_hour", Value::count),
        recipients_per_message: section.or("recipients_per_message", smtp.recipients, |value| {
            let count = value.count()?;
            if count > smtp.recipients { Err(format!("is more than smtp.recipients, which is {}", smtp.recipients)) } else { Ok(count) }
        }),
        message_size: section.or("message_size", smtp.message_size, |value| {
            let size = value.size()?;
            if size > smtp.message_size {
                return Err(format!("is more than smtp.message_size, which is {}", smtp.message_size));
            }
            Ok(size)
        }),
    }
}
