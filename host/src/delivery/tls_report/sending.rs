//! Sends the reports of days that are over.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::destination::{Destination, destinations};
use super::document::{MEDIA_TYPE, Report};
use super::{DAY, Tally};
use crate::clock::Timestamp;
use crate::config::TLS_REPORTER;
use crate::delivery::hub::Hub;
use crate::delivery::mx::ADDRESSES;
use crate::delivery::route::{MxRoute, Route};
use crate::delivery::settings::Settings;
use crate::dns::{DnsError, RecordKind};
use crate::mail::address::EmailAddress;
use crate::mail::envelope::TransportSecurity;
use crate::mail::message_id::MessageId;
use crate::network::http_client::{Bounds, HttpClient, Outgoing};
use crate::spool::entry::Terms;
use crate::spool::local::LocalMail;
use crate::spool::queue::{self, Lane};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use url::Url;

/// How long after the end of a day its reports are sent at the latest, so that not all the world reports at midnight (RFC 8460 §4.1).
pub(in crate::delivery) const SPREAD: Duration = Duration::from_hours(4);
/// The time between two looks for reports that are due.
pub(in crate::delivery) const ROUND: Duration = Duration::from_mins(10);
/// How long after a failure a report is tried again.
const PAUSE: Duration = Duration::from_hours(1);
/// Octets of what it answers.
const ANSWER: usize = 64 * 1024;

/// Sends what is due, `delay` after the end of its day.
pub(in crate::delivery) async fn round(hub: &Hub, delay: Duration) {
    let settings = hub.settings();
    // Those whose turn did not come in time, or not often enough.
    hub.metrics.delivery().tls_reported(Told::Later.word(), hub.tallies.forget(hub.clock.now()));
    let due = stream::iter(hub.tallies.due(hub.clock.now(), delay));
    let at_once = usize::try_from(settings.limits.tls_reports.at_once).unwrap_or(usize::MAX);
    due.for_each_concurrent(at_once, |(day, domain)| tell(hub, &settings, day, domain)).await;
}

/// Sends what is due of one domain and day.
async fn tell(hub: &Hub, settings: &Settings, day: u64, domain: String) {
    let now = hub.clock.now();
    let Some(mut tally) = hub.tallies.tally(day, &domain).filter(|_| !hub.draining.is_cancelled()) else { return };
    tally.tries += 1;
    match report(hub, settings, &domain, day, &mut tally).await {
        Told::Later if tally.tries < settings.limits.tls_reports.tries => {
            tally.next = now.plus(PAUSE);
            hub.tallies.again(day, domain, tally);
        }
        told @ (Told::Sent | Told::NotWanted | Told::TooMany | Told::Later) => {
            hub.metrics.delivery().tls_reported(told.word(), 1);
            if let Err(error) = hub.tallies.end(day, &domain, &**hub.spool.store(), now).await {
                tracing::debug!("cannot write down that {domain} has its report on TLS, it may get it again after a restart: {error}");
            }
        }
    }
}

/// What came of a report.
enum Told {
    /// All who want it have it.
    Sent,
    /// Nobody wants it.
    NotWanted,
    /// Those who want it get too many.
    TooMany,
    /// It did not work.
    Later,
}

impl Told {
    fn word(&self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::NotWanted => "not_wanted",
            Self::TooMany => "too_many",
            Self::Later => "failed",
        }
    }
}

async fn report(hub: &Hub, settings: &Settings, domain: &str, day: u64, tally: &mut Tally) -> Told {
    let begins = Timestamp::from_millis(day.saturating_mul(DAY));
    let reports = &settings.limits.tls_reports;
    let Some(Route::Mx(route)) = settings.routes.get(&*tally.route) else { return Told::NotWanted };
    let Some(contact) = reports.contact.as_ref().filter(|_| reports.enabled) else { return Told::NotWanted };
    let name = format!("_smtp._tls.{domain}");
    let mut time = pin!(tokio::time::sleep(reports.timeout));
    let texts = tokio::select! {
        biased;
        () = hub.draining.cancelled() => return Told::Later,
        () = &mut time => return Told::Later,
        texts = route.dns.records(&name, RecordKind::Txt) => texts,
    };
    let texts = match texts {
        Ok(texts) => texts,
        Err(DnsError::NoSuchName | DnsError::NoRecords) => return Told::NotWanted,
        Err(DnsError::Unavailable(_)) => return Told::Later,
    };
    let destinations = destinations(&texts);
    if destinations.is_empty() {
        return Told::NotWanted;
    }
    let id = report_id(&settings.name, domain, begins);
    let counted = tally.clone();
    let report = Report {
        id,
        organization: reports.organization.as_deref().unwrap_or(&settings.name),
        contact,
        hostname: &settings.name,
        domain,
        begins,
        ends: Timestamp::from_millis(begins.as_millis().saturating_add(DAY - 1)),
        tally: &counted,
    };
    let Ok(packed) = report.packed() else { return Told::Later };
    let mut fails = false;
    for destination in destinations {
        let (name, receiver) = match &destination {
            Destination::Mail(to) => (to.to_string(), to.to_string()),
            Destination::Web(url) => (url.to_string(), url.host_str().unwrap_or_default().to_owned()),
        };
        if tally.told.contains(&name) {
            continue;
        }
        if !hub.tallies.may_tell(&receiver, (day, domain), reports.per_destination, hub.clock.now()) {
            tracing::info!("the report on TLS towards {domain} is not sent to {receiver}, which gets too many on this day");
            continue;
        }
        let sent = match destination {
            Destination::Mail(to) => mail(hub, settings, &report, &counted.route, &to, &packed).await,
            Destination::Web(_) if time.is_elapsed() => Err(format!("those before {receiver} took too long")),
            Destination::Web(url) => tokio::select! {
                biased;
                () = hub.draining.cancelled() => Err("the server is being stopped".to_owned()),
                () = &mut time => Err(format!("{receiver}, with those before it, takes too long")),
                posted = post(route, url, packed.clone(), reports.timeout) => posted,
            },
        };
        match sent {
            Ok(()) => tally.told.push(name),
            Err(reason) => {
                tracing::info!("the report on TLS towards {domain} cannot be sent: {reason}");
                fails = true;
            }
        }
    }
    match (fails, tally.told.is_empty()) {
        (true, _) => Told::Later,
        (false, true) => Told::TooMany,
        (false, false) => Told::Sent,
    }
}

/// Returns the id of the report on a domain and day: the same however often it is sent, also after a restart, so that whoever gets it twice knows it.
fn report_id(name: &str, domain: &str, begins: Timestamp) -> MessageId {
    let digest = Sha256::digest(format!("{name} {domain} {}", begins.as_millis()));
    let mut octets = [0; 16];
    octets.copy_from_slice(digest.get(..16).unwrap_or(&[0; 16]));
    MessageId::from_bytes(octets)
}

async fn post(route: &MxRoute, url: Url, packed: Bytes, time: Duration) -> Result<(), String> {
    let host = url.host_str().unwrap_or_default().to_owned();
    let addresses = match url.domain() {
        Some(name) => route.dns.addresses(name).await.map_err(|error| format!("{name}: {error}"))?,
        None => Vec::new(),
    };
    let addresses: Vec<_> = addresses.into_iter().take(ADDRESSES).collect();
    let headers = vec![("Content-Type".to_owned(), MEDIA_TYPE.to_owned())];
    let what = Outgoing { method: "POST".to_owned(), url, headers, body: packed };
    let bounds = Bounds { time, size: ANSWER, private: route.allow_private };
    // A report may go where a certificate is not valid (RFC 8460 §3): it says nothing that is secret, and may be about just that.
    let client = HttpClient::new(Some(route.anyone.clone()));
    let answer = client.send_to(what, bounds, &addresses).await.map_err(|error| format!("{host}: {error}"))?;
    if (200..300).contains(&answer.status) { Ok(()) } else { Err(format!("{host} answers {}", answer.status)) }
}

/// Puts the report into the spool: from nobody, so that no report of ours is reported on, and past the policies of the domain, which it may be about.
async fn mail(hub: &Hub, settings: &Settings, report: &Report<'_>, route: &str, to: &EmailAddress, packed: &Bytes) -> Result<(), String> {
    let kind = settings.kinds.get(route).ok_or("there is no such route")?;
    let now = hub.clock.now();
    let id = MessageId::new(now, &hub.entropy);
    let content = report.mail(id, to, packed, now);
    let (login, route): (Arc<str>, Arc<str>) = (TLS_REPORTER.into(), route.into());
    let source = settings.sources.choose(&login, Some(report.contact.domain()), &route).cloned();
    let queue = queue::name(&route, kind, to.domain(), &Lane { source, ..Lane::default() });
    let mail = LocalMail {
        id,
        now,
        login,
        route,
        queue,
        to,
        subject: report.subject(),
        content,
        smtputf8: !to.is_ascii(),
        terms: Terms { transport: TransportSecurity::Optional, ..Terms::default() },
    };
    hub.spool.accept(mail.into_entry()).await.map(drop).map_err(|error| error.to_string())
}
