//! DMARC reports that were taken, by day, reporter and domain. What is kept is where each is: the report itself is in the mail that it came in, and goes
//! with it.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Feedback, Parts, ReturnedMail, aside};
use crate::bounce::aggregate::{self, Aggregate};
use crate::bounce::{self, Arrival, Report};
use crate::clock::Timestamp;
use crate::mail::address::EmailAddress;
use crate::mail::content::Composition;
use crate::mail::envelope::ReversePath;
use crate::mail::message_id::MessageId;
use crate::store::{StoreError, ValueChange};

/// Where it is written down which there are.
const TABLE: &str = "dmarc-reports";
/// Octets of a name in a key.
const NAME: usize = 200;
/// Entries that are read at a time.
const PAGE: usize = 500;

/// What a report is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DmarcKey {
    /// The day that it begins in, `yyyy-mm-dd`.
    pub date: String,
    /// The domain of the address of who reports.
    pub from: String,
    /// The domain that it is about.
    pub domain: String,
}

impl DmarcKey {
    fn of(report: &Aggregate) -> Self {
        let name = |text: &str| {
            let text: String = text.chars().filter(|c| c.is_alphanumeric() || "-._".contains(*c)).collect::<String>().to_lowercase();
            text.get(..text.floor_char_boundary(NAME)).unwrap_or_default().to_owned()
        };
        let from = report.email.rsplit_once('@').map_or(report.organisation.as_str(), |(_, domain)| domain);
        let date = report.begin.to_rfc3339();
        Self { date: date.get(..10).unwrap_or_default().to_owned(), from: name(from), domain: name(&report.domain) }
    }

    fn prefix(&self) -> String {
        format!("{}/{}/{}/", self.date, self.from, self.domain)
    }

    fn read(key: &[u8]) -> Option<(Self, MessageId)> {
        let (prefix, id) = key.split_at_checked(key.len().checked_sub(16)?)?;
        let mut words = str::from_utf8(prefix).ok()?.trim_end_matches('/').split('/').map(str::to_owned);
        let read = Self { date: words.next()?, from: words.next()?, domain: words.next()? };
        Some((read, MessageId::from_bytes(id.try_into().ok()?)))
    }
}

impl Parts {
    /// Writes down where a report is; nothing where there are too many, or too many of whom it comes from.
    pub(super) async fn listed(&self, report: &Aggregate, mail: ReturnedMail<'_>) -> Result<Option<ValueChange>, StoreError> {
        let settings = self.settings();
        if self.spool.store().table_usage(TABLE).await?.keys >= u64::from(settings.returns.reports) {
            tracing::warn!(message.id = %mail.id, "there are too many DMARC reports: this one is an event, and not listed");
            return Ok(None);
        }
        if !self.reporters.count(mail.peer, self.clock.monotonic(), settings.returns.reports_per_network) {
            tracing::info!(message.id = %mail.id, peer = %mail.peer, "too many DMARC reports come from there: this one is an event, and not listed");
            return Ok(None);
        }
        let mut key = DmarcKey::of(report).prefix().into_bytes();
        key.extend_from_slice(&mail.id.to_bytes());
        let expires = self.clock.now().plus(settings.retention);
        Ok(Some(ValueChange { table: TABLE.into(), key: key.into(), value: Some(Bytes::from_static(b"1")), expires }))
    }
}

impl Feedback {
    /// Returns which reports there are.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn dmarc_reports(&self) -> Result<BTreeSet<DmarcKey>, StoreError> {
        let (mut keys, mut after) = (BTreeSet::new(), None::<Bytes>);
        loop {
            let now = self.0.clock.now();
            let page = self.0.spool.store().values(TABLE, after.as_deref(), now, PAGE).await?;
            keys.extend(page.iter().filter_map(|(key, _)| Some(DmarcKey::read(key)?.0)));
            match page.last() {
                Some((last, _)) if page.len() == PAGE => after = Some(last.clone()),
                _ => return Ok(keys),
            }
        }
    }

    /// Returns the XML of the report `number`, from 0, of those with one key; `None` where there is none, or its mail is gone.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn dmarc_xml(&self, key: &DmarcKey, number: usize) -> Result<Option<String>, StoreError> {
        let parts = &self.0;
        let prefix = key.prefix();
        let page =
            parts.spool.store().values(TABLE, Some(prefix.as_bytes()), parts.clock.now(), number.saturating_add(1).min(PAGE)).await?;
        let found = page.get(number).filter(|(found, _)| found.starts_with(prefix.as_bytes())).and_then(|(found, _)| DmarcKey::read(found));
        let Some((_, mail)) = found else { return Ok(None) };
        let Some((entry, body, _)) = parts.spool.message(mail).await? else { return Ok(None) };
        let Some(kept) = Composition::decode(body) else { return Ok(None) };
        let content = kept.fill(&entry.plan.nonce, &entry.plan.slots, &mut |_| String::new());
        let limits = parts.limits();
        aside(move || {
            let recipient = EmailAddress::parse("dmarc@localhost").ok()?;
            let arrival = Arrival { recipient: &recipient, reverse_path: &ReversePath::Null, at: Timestamp::from_millis(0) };
            match bounce::read(&content, &arrival) {
                Report::Aggregate(file) => aggregate::expand(&file, limits).ok(),
                Report::Delivery(_) | Report::Complaint(_) | Report::Response(_) | Report::Unrecognised => None,
            }
        })
        .await
    }
}
