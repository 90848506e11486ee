//! Copies whose recipients are on a suppression list by now: they are taken out before anybody connects for them.

use std::sync::Arc;

use super::destination::Job;
use super::hub::Hub;
use super::outcome::Verdict;
use crate::mail::address::EmailAddress;
use crate::spool::Leased;
use crate::spool::entry::Entry;
use crate::store::StoreError;
use crate::suppression::Standing;
use crate::suppression::entry::Sender;
use crate::suppression::reader::is_exempt;

/// A job, parted.
pub(super) struct Sifted {
    /// What is to be sent, if anything is.
    pub(super) job: Option<Job>,
    /// What is not.
    pub(super) stopped: Option<Stopped>,
}

/// Copies that are not sent.
pub(super) struct Stopped {
    /// Their message.
    pub(super) entry: Arc<Entry>,
    /// With the entry of a list that stops each.
    pub(super) copies: Vec<(Leased, Verdict)>,
}

/// Parts a job. What is known of the message is read only where a list knows one of its recipients.
pub(super) async fn sift(hub: &Hub, job: Job) -> Sifted {
    match part(hub, &job).await {
        Ok(None) => Sifted { job: Some(job), stopped: None },
        Ok(Some((entry, mut blocks))) => {
            let Job { message, copies, until } = job;
            let (mut sent, mut stopped) = (Vec::with_capacity(copies.len()), Vec::new());
            blocks.reverse();
            for leased in copies {
                match blocks.pop().flatten() {
                    Some(verdict) => stopped.push((leased, verdict)),
                    None => sent.push(leased),
                }
            }
            let job = (!sent.is_empty()).then_some(Job { message, copies: sent, until });
            Sifted { job, stopped: Some(Stopped { entry, copies: stopped }) }
        }
        Err(error) => {
            // Whoever opens the message meets the same store, and says it once.
            tracing::debug!(message.id = %job.message, %error, "the suppression list cannot be asked");
            Sifted { job: Some(job), stopped: None }
        }
    }
}

/// Returns the message with a verdict for each copy, in order, where one of them is not to be sent.
async fn part(hub: &Hub, job: &Job) -> Result<Option<(Arc<Entry>, Vec<Option<Verdict>>)>, StoreError> {
    let mut standings: Vec<Standing> = Vec::with_capacity(job.copies.len());
    for leased in &job.copies {
        standings.push(hub.suppressions.standing(&leased.recipient.address).await?);
    }
    if standings.iter().all(Standing::is_empty) {
        return Ok(None);
    }
    let Some(entry) = hub.spool.entry(job.message).await? else { return Ok(None) };
    if is_exempt(&entry) {
        return Ok(None);
    }
    let sender = Sender { login: &entry.login, domain: entry.reverse_path.mailbox().map(EmailAddress::domain) };
    let verdict = |standing: &Standing| standing.block(&sender).cloned().map(|block| Verdict::Suppressed(Box::new(block)));
    let verdicts: Vec<_> = standings.iter().map(verdict).collect();
    Ok(verdicts.iter().any(Option::is_some).then(|| (Arc::new(entry), verdicts)))
}
