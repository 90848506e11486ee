//! What holds for a destination at a moment, for people who ask why mail goes there as it does.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::DeliveryHandle;
use super::failure::Failure;
use super::hub::Hub;
use super::mx::Host;
use super::outcome::{Judge, Subject, Verdict};
use super::route::{Route, Surroundings};
use super::settings::Settings;
use super::shaping::GroupView;
use super::source::NoSource;
use crate::clock::Timestamp;
use crate::config;
use crate::event::Event;
use crate::mail::domain::Domain;
use crate::mail::enhanced_status::EnhancedStatus;
use crate::spool::entry::Entry;
use crate::spool::queue::{self, Lane};
use crate::spool::{Leased, NewEntry, Settlement};

/// Which mail is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Name of the route that it takes.
    pub route: &'a str,
    /// Whose it is.
    pub login: &'a str,
    /// The domain of its reverse-path, where rules for sources go by that.
    pub sender: Option<&'a Domain>,
    /// Where it goes.
    pub domain: &'a Domain,
}

/// What holds for a destination at a moment.
#[derive(Clone, Debug, Serialize)]
pub struct DestinationView {
    /// Where mail for it waits.
    pub queue: String,
    /// `mx`, `smarthost` or `capture`.
    pub kind: &'static str,
    /// Hosts that take its mail, the preferred ones first.
    pub hosts: Vec<HostView>,
    /// Why no host is known.
    pub no_hosts: Option<String>,
    /// The source or pool from which mail leaves; absent where the system chooses the address.
    pub source: Option<String>,
    /// Its members, with what they may do today.
    pub sources: Vec<SourceView>,
    /// Why mail cannot leave from any of them now.
    pub no_source: Option<String>,
    /// Which of `[[tls_rules]]` says what is done about TLS at least, if it is not the route.
    pub tls_rule: Option<String>,
    /// The `[[shaping]]` rule that holds.
    pub rule: Option<String>,
    /// Transactions on one connection.
    pub messages_per_connection: u32,
    /// Recipients of one transaction.
    pub recipients_per_transaction: u32,
    /// What it shares with others.
    pub group: GroupView,
    /// No host answered the last time.
    pub unreachable: bool,
}

/// A next hop.
#[derive(Clone, Debug, Serialize)]
pub struct HostView {
    /// Its name or address.
    pub name: String,
    /// How the connection is protected: `none`, `opportunistic`, `required`, or the policy that asks for it; absent where it gets no mail.
    pub tls: Option<&'static str>,
    /// Why it gets no mail.
    pub refused: Option<String>,
}

/// An address of ours, or one of each family.
#[derive(Clone, Debug, Serialize)]
pub struct SourceView {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Its share of the connections, compared with the others.
    pub weight: u32,
    /// To how many recipients it may send today; absent without a warm-up plan.
    pub today: Option<u32>,
    /// Mail can leave from it now.
    pub usable: bool,
}

/// What ends copies: settlements, the events that tell it, the reports to senders.
pub type Ended = (Vec<Settlement>, Vec<Event>, Vec<NewEntry>);

impl DeliveryHandle {
    /// Makes what ends copies of one message that nobody else has, as if a next hop had refused them, with a report to its sender. Nothing is written down.
    pub fn bounce(&self, entry: &Entry, copies: Vec<Leased>, reason: &str) -> Ended {
        let hub = &self.hub;
        let settings = hub.settings();
        let route = hub.metrics.delivery().route(&entry.route);
        let judge = Judge {
            settings: &settings,
            metrics: &hub.metrics,
            route: &route,
            entropy: &hub.entropy,
            backoff: &settings.backoff,
            now: hub.clock.now(),
        };
        let text = if reason.is_empty() { "cancelled by the operator".to_owned() } else { format!("cancelled by the operator: {reason}") };
        let verdict = Verdict::Bounced { status: EnhancedStatus::new(5, 7, 1), text, is_reply: false };
        // Of its content the report shows what tells the sender which message it was.
        let content = Bytes::from(format!("Subject: {}\r\n", entry.subject.replace(['\r', '\n'], " ")));
        let subject = Subject { entry, reverse_path: &entry.reverse_path, content: &content, host: "" };
        let settled = judge.settle(&subject, copies.into_iter().map(|leased| (leased, verdict.clone())));
        (settled.settlements, settled.events, settled.follow_up)
    }

    /// Returns what holds for mail at this moment; `None` if there is no such route. DNS is asked where it is not known.
    pub async fn explain(&self, asked: Asked<'_>) -> Option<DestinationView> {
        let hub = &self.hub;
        let settings = hub.settings();
        let kind = settings.kinds.get(asked.route)?;
        let route = settings.routes.get(asked.route)?;
        let source = settings.sources.choose(asked.login, asked.sender, asked.route).cloned();
        let lane = Lane { source: source.clone(), ..Lane::default() };
        let name = queue::name(asked.route, kind, asked.domain, &lane);
        let domain = asked.domain.to_ascii();
        let now = hub.clock.monotonic();
        // The same that a worker does who is about to connect: the rule may go by the hosts.
        hub.shaping.learn(&domain, route.host_names(&domain).await, now);
        let plan = hub.plan(&settings, &name);
        let by_mx = matches!(kind, config::Route::Mx(_));
        let tls_rule = settings.limits.tls_rules.iter().find(|rule| by_mx && rule.matches(asked.route, &domain));
        let around = hub.surroundings(&settings, asked.route, &lane);
        let (hosts, no_hosts) = match hosts(route, &domain, around).await {
            Ok(hosts) => (hosts, None),
            Err(failure) => (Vec::new(), Some(failure.to_string())),
        };
        let (sources, no_source) = source.as_ref().map(|source| sources(hub, &settings, source)).unwrap_or_default();
        Some(DestinationView {
            unreachable: hub.failing.contains(&name, now),
            queue: name.to_string(),
            kind: match kind {
                config::Route::Mx(_) => "mx",
                config::Route::SmartHost(_) => "smarthost",
                config::Route::Capture => "capture",
            },
            hosts,
            no_hosts,
            source: source.map(|source| source.to_string()),
            sources,
            no_source,
            tls_rule: tls_rule.map(|rule| rule.name.to_string()),
            rule: plan.rule.as_ref().map(ToString::to_string),
            messages_per_connection: plan.messages_per_connection,
            recipients_per_transaction: plan.recipients_per_transaction,
            group: hub.shaping.view(&plan, now),
        })
    }
}

/// Finds the hosts, each with what is asked for to protect mail without wishes of its own.
async fn hosts(route: &Route, domain: &str, around: Surroundings<'_>) -> Result<Vec<HostView>, Failure> {
    if matches!(route, Route::Capture) {
        return Ok(Vec::new());
    }
    let view = |(host, asked): (Host, Result<&'static str, Failure>)| {
        let (tls, refused) = asked.map_or_else(|failure| (None, Some(failure.to_string())), |policy| (Some(policy), None));
        HostView { name: host.to_text(), tls, refused }
    };
    Ok(route.protections(Some(domain), around).await?.into_iter().map(view).collect())
}

/// The members of a source or pool, and why none of them can be used.
fn sources(hub: &Hub, settings: &Settings, name: &Arc<str>) -> (Vec<SourceView>, Option<String>) {
    let (usable, reason) = match hub.sources.order(&settings.sources, name, &hub.clock, &hub.entropy) {
        Ok(order) => (order.into_iter().map(|(name, _)| name).collect(), None),
        Err(NoSource::Failed(failure)) => (Vec::new(), Some(failure.to_string())),
        Err(NoSource::Waits { text, until }) => (Vec::new(), Some(format!("{text}; it goes on at {}", until.to_rfc3339()))),
    };
    let view = |member: config::Member, now: Timestamp| {
        let source = settings.sources.sources.get(&member.source)?;
        let addresses = [source.v4.map(|address| address.to_string()), source.v6.map(|address| address.to_string())];
        Some(SourceView {
            name: member.source.to_string(),
            addresses: addresses.into_iter().flatten().collect(),
            weight: member.weight,
            today: source.warm_up.as_ref().and_then(|plan| plan.limit(now)),
            usable: usable.contains(&member.source),
        })
    };
    let now = hub.clock.now();
    (settings.sources.members(name).into_iter().filter_map(|member| view(member, now)).collect(), reason)
}
