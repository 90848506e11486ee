//! `[mx]`: limits of the listeners that other mail servers speak to.

use std::time::Duration;

use super::document::{Section, Value};
use super::smtp::{self, Smtp};
use super::unit::ByteSize;
use crate::mail::address::EmailAddress;

/// `[mx]`.
#[derive(Clone, Debug)]
pub struct Mx {
    /// Limits of sessions: `message_size`, `memory`, `recipients`, `connections`, `connections_per_address`, `session_time`, `messages_per_session`, the others
    /// as `[smtp]` has them.
    pub sessions: Smtp,
    /// `messages_per_hour`: from one address; more hear 451. Default 1000.
    pub messages_per_hour: u32,
    /// `unknown_recipients_per_hour`: from one address, after which it hears 451 for every recipient. Default 100.
    pub unknown_recipients_per_hour: u32,
    /// `addresses`: of how many clients we know what they have sent; the oldest are forgotten. Default 10,000.
    pub addresses: u32,
    /// `messages_at_once`: messages in work at one moment; more hear 451. Default 64.
    pub messages_at_once: u32,
    /// `authentication_time`: for SPF, DKIM, DMARC and ARC of one message together. Default 20 s.
    pub authentication_time: Duration,
    /// `signatures`: DKIM and ARC signatures of one message; where there are more, none is looked at. Default 20.
    pub signatures: u32,
    /// `postmaster`: where mail to postmaster and abuse goes; kept where there is none.
    pub postmaster: Option<EmailAddress>,
    /// `route`: how mail is forwarded.
    pub route: Option<std::sync::Arc<str>>,
}

/// Reads `[mx]`; what it does not limit is limited as `smtp` says.
pub(super) fn read(section: &Section<'_>, smtp: &Smtp, routes: &[&str]) -> Mx {
    let sessions = Smtp {
        message_size: section.or("message_size", smtp.message_size, Value::size),
        memory: section.or("memory", ByteSize(smtp.memory.0.min(ByteSize::mib(64).0).max(smtp.message_size.0)), Value::size),
        recipients: section.or("recipients", 100, Value::count),
        connections: section.or("connections", 200, Value::count),
        connections_per_address: section.or("connections_per_address", 20, Value::count),
        session_time: section.or("session_time", Duration::from_mins(30), Value::duration),
        messages_per_session: section.or("messages_per_session", 100, Value::count),
        ..smtp.clone()
    };
    if sessions.memory < sessions.message_size {
        section.report(smtp::TOO_LITTLE_MEMORY);
    }
    let route = section.optional("route", |value| Ok((value.clone(), value.text()?)));
    let route = route.and_then(|(value, route)| super::login::reference(&value, "route", route, routes));
    let postmaster = section.optional("postmaster", Value::parsed);
    if section.has("postmaster") && !section.has("route") {
        section.report("\"postmaster\" needs a \"route\" over which mail goes there");
    }
    Mx {
        sessions,
        messages_per_hour: section.or("messages_per_hour", 1000, Value::count),
        unknown_recipients_per_hour: section.or("unknown_recipients_per_hour", 100, Value::count),
        addresses: section.or("addresses", 10_000, Value::count),
        messages_at_once: section.or("messages_at_once", 64, Value::count),
        authentication_time: section.or("authentication_time", Duration::from_secs(20), Value::duration),
        signatures: section.or("signatures", 20, Value::count),
        postmaster,
        route,
    }
}
