//! Forward-paths that plugins, and the suppression list, have a word on, before there is a message (SMTP), or before the chain sees one (everything else).

use std::borrow::Cow;
use std::sync::Arc;

use tracing::warn;

use super::composing::context;
use super::{Intake, Parts, REASON, cut};
use crate::chain::Chain;
use crate::chain::trace::Trace;
use crate::event::{Event, EventKind};
use crate::mail::address::EmailAddress;
use crate::mail::envelope::ReversePath;
use crate::mail::message_id::MessageId;
use crate::mail::refusal::Refusal;
use crate::plugin::Stage;
use crate::plugin::forward_path::Transaction;
use crate::plugin::service::desk::Effects;
use crate::submission::login::Login;
use crate::submission::{CheckedPaths, Options, Received, Submission};
use crate::suppression::entry::Sender;

/// A transaction in which a client names forward-paths one by one, and plugins have a word on them.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// The id of the message that may come of it.
    pub id: MessageId,
    /// Who.
    pub login: Arc<Login>,
    /// When and how.
    pub received: Received,
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// What plugins said so far.
    pub checked: CheckedPaths,
    /// The first refusal.
    pub refusal: Option<Refusal>,
}

impl Intake {
    /// Whether anybody has a word on forward-paths of the login: plugins of its chain, or the suppression list.
    pub fn asks_about_paths(&self, login: &Login) -> bool {
        login.treatment.refuses_suppressed || self.0.path_chain(login).is_some()
    }

    /// Asks the login's plugins, and then the suppression list, about a forward-path, of which `accepted` were taken before it. Returns the address to
    /// take.
    ///
    /// # Errors
    /// It is refused; the transaction may go on with others.
    pub async fn check_path(&self, inquiry: &mut Inquiry, path: &EmailAddress, accepted: u32) -> Result<EmailAddress, Refusal> {
        let parts = &self.0;
        let answer = parts.ask_about_path(inquiry, path, accepted).await;
        if let Err(refusal) = &answer {
            parts.metrics.path_refused(refusal.class());
            inquiry.refusal.get_or_insert_with(|| naming(refusal.clone(), path));
        }
        answer
    }

    /// Writes down that a transaction in which forward-paths were refused has brought no message.
    pub async fn record_refused_paths(&self, inquiry: Inquiry) {
        let parts = &self.0;
        let Some(refusal) = inquiry.refusal else { return };
        let event = |kind| Event {
            at: parts.clock.now(),
            message: inquiry.id,
            login: Arc::clone(&inquiry.login.name),
            recipient: None,
            address: None,
            tags: Vec::new(),
            kind,
        };
        let failures = inquiry.checked.failures().into_iter();
        let mut events: Vec<_> = failures.map(|(plugin, failure)| event(EventKind::PluginFailed { plugin, failure })).collect();
        events.push(event(EventKind::Rejected {
            reason: cut(refusal.to_string(), REASON),
            temporary: refusal.is_temporary(),
            plugins: inquiry.checked.into_runs(),
        }));
        if let Err(error) = parts.recorder.record(events).await {
            warn!(message.id = %inquiry.id, %error, "a refusal could not be recorded");
        }
    }
}

impl Parts {
    async fn ask_about_path(&self, inquiry: &mut Inquiry, path: &EmailAddress, accepted: u32) -> Result<EmailAddress, Refusal> {
        // Another configuration may be in force by now.
        let Some(chain) = self.path_chain(&inquiry.login) else {
            return self.not_suppressed(&inquiry.login, &inquiry.reverse_path, path.clone()).await;
        };
        let within = Transaction {
            login: Arc::clone(&inquiry.login.name),
            reverse_path: inquiry.reverse_path.to_string(),
            accepted,
            context: context(&inquiry.login, &inquiry.received, &Options::default(), self.renderer.public_url()),
            now: self.clock.now(),
            effects: Effects::Live,
        };
        let address = chain.check_path(path, &within, &mut inquiry.checked).await?;
        self.not_suppressed(&inquiry.login, &inquiry.reverse_path, address).await
    }

    /// Returns an address to which the login's mail goes.
    ///
    /// # Errors
    /// It is on a suppression list, and the login wants that refused; others hear of it in the event log.
    async fn not_suppressed(&self, login: &Login, reverse_path: &ReversePath, address: EmailAddress) -> Result<EmailAddress, Refusal> {
        if !login.treatment.refuses_suppressed {
            return Ok(address);
        }
        let standing = self.suppressions.standing(&address).await.map_err(|error| {
            warn!(%error, "the suppression list cannot be asked");
            Refusal::StorageFailed
        })?;
        let sender = Sender { login: &login.name, domain: reverse_path.mailbox().map(EmailAddress::domain) };
        match standing.block(&sender) {
            Some(entry) => Err(Refusal::Suppressed { address: address.to_string(), reason: entry.note.source.word() }),
            None => Ok(address),
        }
    }

    /// The login's chain, where a plugin of it has a word on forward-paths.
    fn path_chain(&self, login: &Login) -> Option<Arc<Chain>> {
        let chains = self.chains.current();
        chains.chain(login.chain.as_deref()?).filter(|chain| chain.has(Stage::Rcpt)).map(Arc::clone)
    }

    /// Asks about all forward-paths of a submission that has not been asked about, and returns it with those that are to be taken.
    ///
    /// # Errors
    /// One is refused: there is no taking the others, as the caller would not learn of it.
    pub(super) async fn with_checked_paths<'a>(
        &self,
        submission: &'a Submission,
        effects: Effects,
        trace: &mut Trace,
    ) -> Result<Cow<'a, Submission>, Refusal> {
        if let Some(checked) = &submission.checked {
            trace.paths = checked.clone();
            return Ok(Cow::Borrowed(submission));
        }
        let login = &submission.login;
        let chain = self.path_chain(login);
        if chain.is_none() && !login.treatment.refuses_suppressed {
            return Ok(Cow::Borrowed(submission));
        }
        let counts = matches!(effects, Effects::Live);
        let mut within = Transaction {
            login: Arc::clone(&login.name),
            reverse_path: submission.envelope.reverse_path.to_string(),
            accepted: 0,
            context: context(login, &submission.received, &submission.options, self.renderer.public_url()),
            now: submission.received.at,
            effects,
        };
        let mut changed = submission.clone();
        changed.envelope.forward_paths.clear();
        changed.options.recipient_variables.clear();
        let only = submission.envelope.forward_paths.len() == 1;
        for (place, path) in (0..).zip(&submission.envelope.forward_paths) {
            let asked = match &chain {
                Some(chain) => chain.check_path(&path.address, &within, &mut trace.paths).await,
                None => Ok(path.address.clone()),
            };
            let answer = match asked {
                Ok(address) => self.not_suppressed(login, &submission.envelope.reverse_path, address).await,
                Err(refusal) => Err(refusal),
            };
            let address = answer.map_err(|refusal| {
                if counts {
                    self.metrics.path_refused(refusal.class());
                }
                if only { refusal } else { naming(refusal, &path.address) }
            })?;
            let path = path.clone().led_to(address);
            let data = submission.options.recipient_variables.get(&place);
            // Two that were led to the same place are one, unless one of them has data of its own.
            let known =
                changed.envelope.forward_paths.iter().position(|known| known.address == path.address && known.notify == path.notify);
            let has_data = |place: usize| u32::try_from(place).is_ok_and(|place| changed.options.recipient_variables.contains_key(&place));
            if data.is_none() && known.is_some_and(|place| !has_data(place)) {
                continue;
            }
            changed.envelope.smtputf8 |= !path.address.is_ascii();
            if let Some(data) = data {
                changed.options.recipient_variables.insert(within.accepted, data.clone());
            }
            changed.envelope.forward_paths.push(path);
            within.accepted = within.accepted.saturating_add(1);
        }
        Ok(Cow::Owned(changed))
    }
}

/// Says of which forward-path a plugin speaks: who handed over several cannot tell.
fn naming(mut refusal: Refusal, path: &EmailAddress) -> Refusal {
    if let Refusal::Plugin { text, .. } = &mut refusal {
        text.insert_str(0, &format!("{path}: "));
    }
    refusal
}

#[cfg(test)]
mod tests;
