//! Why mail to somebody goes as it does: what holds for one recipient at this moment, and what became of the last mails to his domain.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::filter::{Filter, Grouping};
use super::summary::GroupSummary;
use super::{Archive, ArchiveError};
use crate::clock::Timestamp;
use crate::delivery::view::{Asked, DestinationView};
use crate::event::search::State;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;
use crate::mail::message_id::{CopyId, MessageId};
use crate::spool::selector::{Selected, Selector, ascii};
use crate::spool::suspension::Suspension;
use crate::submission::login::Login;
use crate::suppression::entry::{Entry as Listed, Sender};

/// Copies in a queue that are counted.
const MOST_COUNTED: usize = 10_000;
/// Outcomes that are told.
const OUTCOMES: usize = 10;
/// The newest messages in which they are looked for.
const SEARCHED: usize = 50;
/// Routes that are told where no login is named.
const MOST_WAYS: usize = 20;
/// Logins that are named for each.
const MOST_LOGINS: usize = 10;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// To whom mail goes.
    pub address: EmailAddress,
    /// Whose mail; `None` is everybody's.
    pub login: Option<String>,
    /// The domain of its reverse-path, where it matters.
    pub sender: Option<Domain>,
}

/// Why it cannot be said.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// There is no such login.
    #[error("there is no login {0:?}")]
    NoLogin(String),
    /// The store failed, or too many ask.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// What holds for one recipient.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Who.
    pub address: String,
    /// His domain, in A-labels.
    pub domain: String,
    /// What suppression list and allow list say of him.
    pub lists: Vec<serde_json::Value>,
    /// The ways that mail to him takes: one where a login is named.
    pub ways: Vec<Way>,
    /// What became of the newest mails to his domain, the latest first.
    pub recent: Vec<Outcome>,
}

/// One way of mail.
#[derive(Clone, Debug, Serialize)]
pub struct Way {
    /// Whose mail takes it; the first of them.
    pub logins: Vec<String>,
    /// The route.
    pub route: String,
    /// Why mail of this login is not sent to him; only where a login is named.
    pub suppressed: Option<serde_json::Value>,
    /// Where it goes; absent where there is no such route any more.
    pub destination: Option<DestinationView>,
    /// What is suspended of it.
    pub suspensions: Vec<Suspension>,
    /// What waits in its queue for his domain.
    pub waiting: Option<Waiting>,
}

/// What waits on one way.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// How much, until when, and why.
    #[serde(flatten)]
    pub summary: GroupSummary,
    /// There is more than was counted.
    pub cut: bool,
}

/// What became of one copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// When.
    pub at: Timestamp,
    /// Which copy.
    pub id: String,
    /// Whose.
    pub login: String,
    /// To whom.
    pub recipient: String,
    /// How it stands.
    pub state: State,
    /// Attempts so far.
    pub attempts: u32,
    /// What the next hop said, or what went wrong.
    pub reply: String,
}

impl Archive {
    /// Says what holds for mail to somebody at this moment.
    ///
    /// # Errors
    /// If there is no such login, the store fails, or too many ask.
    pub async fn explain(&self, question: &Question) -> Result<Explanation, ExplainError> {
        let Question { address, login, sender } = question;
        let domain = ascii(address.domain());
        let known = |name: &str| self.logins.by_name(name).ok_or_else(|| ExplainError::NoLogin(name.to_owned()));
        let named = login.as_deref().map(known).transpose()?;
        let standing = self.suppressions().standing(address).await.map_err(ArchiveError::from)?;
        let is_visible = |entry: &&Listed| {
            named.as_ref().is_none_or(|login| entry.scope.includes(&Sender { login: &login.name, domain: sender.as_ref() }))
        };
        let lists = standing.entries().iter().filter(is_visible).map(Listed::to_json).collect();
        let mut ways = Vec::new();
        for (route, logins) in self.routes(named.as_ref()) {
            let suppressed = named
                .as_ref()
                .and_then(|login| standing.block(&Sender { login: &login.name, domain: sender.as_ref() }).map(Listed::to_json));
            ways.push(self.way(address, sender.as_ref(), &route, logins, named.as_deref(), suppressed).await?);
        }
        let recent = self.outcomes(&domain, login.as_deref()).await?;
        Ok(Explanation { address: address.to_string(), domain, lists, ways, recent })
    }

    /// The routes of all logins, or that of one, with the names of the logins.
    fn routes(&self, login: Option<&Arc<Login>>) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
        if let Some(login) = login {
            return BTreeMap::from([(Arc::clone(&login.route), vec![Arc::clone(&login.name)])]);
        }
        let mut routes: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        let mut logins = self.logins.all();
        logins.sort_by(|one, other| one.name.cmp(&other.name));
        for login in logins {
            if routes.len() >= MOST_WAYS && !routes.contains_key(&login.route) {
                continue;
            }
            let logins = routes.entry(Arc::clone(&login.route)).or_default();
            if logins.len() < MOST_LOGINS {
                logins.push(Arc::clone(&login.name));
            }
        }
        routes
    }

    async fn way(
        &self,
        address: &EmailAddress,
        sender: Option<&Domain>,
        route: &str,
        logins: Vec<Arc<str>>,
        login: Option<&Login>,
        suppressed: Option<serde_json::Value>,
    ) -> Result<Way, ArchiveError> {
        let domain = address.domain();
        // Without a login none of the rules for sources matches that names one.
        let name = login.map_or("", |login| &login.name);
        let destination = match &self.delivery {
            Some(delivery) => delivery.explain(Asked { route, login: name, sender, domain }).await,
            None => None,
        };
        let waiting = match &destination {
            Some(destination) => Some(self.waiting(&destination.queue, domain, login).await?),
            None => None,
        };
        Ok(Way {
            logins: logins.iter().map(ToString::to_string).collect(),
            route: route.to_owned(),
            suppressed,
            destination,
            suspensions: self.suspensions_of(route, domain, login),
            waiting,
        })
    }

    /// What waits in a queue for a domain.
    async fn waiting(&self, queue: &str, domain: &Domain, login: Option<&Login>) -> Result<Waiting, ArchiveError> {
        let selector = Selector {
            // An address literal is no pattern: then the queue says enough, or all that waits there is counted.
            domain: ascii(domain).parse().ok(),
            login: login.map(|login| login.name.to_string()),
            ..Selector::default()
        };
        let filter = Filter { queue: Some(queue.to_owned()), selector, ..Filter::default() };
        let found = self.summed_up(&filter, Grouping::Queue, 0, MOST_COUNTED).await?;
        Ok(Waiting { summary: found.total, cut: found.cut })
    }

    /// Suspensions that mean mail on this way, or some of it.
    fn suspensions_of(&self, route: &str, domain: &Domain, login: Option<&Login>) -> Vec<Suspension> {
        let domain = ascii(domain);
        let selected = Selected { route, domain: &domain, message: MessageId::from_bytes([0; 16]), entry: None };
        let means = |suspension: &Suspension| {
            let own = suspension.selector.login.as_deref();
            let is_of_login = own.is_none_or(|own| login.is_none_or(|login| *login.name == *own));
            let place = Selector { login: None, tag: None, message: None, ..suspension.selector.clone() };
            is_of_login && place.matches(selected)
        };
        self.suspensions().into_iter().filter(means).collect()
    }

    /// What became of the newest mails to a domain.
    async fn outcomes(&self, domain: &str, login: Option<&str>) -> Result<Vec<Outcome>, ArchiveError> {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', ""));
        let of_login = login.map_or_else(String::new, |login| format!(" login:{}", quoted(login)));
        let query = format!("to:{}{of_login}", quoted(domain));
        let found = self.search(&query, 0, SEARCHED).await?;
        let mut outcomes = Vec::new();
        for summary in &found.messages {
            for (recipient, copy) in &summary.copies {
                let Some(address) = summary.address(*recipient) else { continue };
                let is_there =
                    address.rsplit_once('@').and_then(|(_, own)| Domain::parse(own).ok()).is_some_and(|own| ascii(&own) == domain);
                if is_there {
                    outcomes.push(Outcome {
                        at: copy.at,
                        id: CopyId { message: summary.message, recipient: *recipient }.to_string(),
                        login: summary.login.clone(),
                        recipient: address.to_owned(),
                        state: copy.state,
                        attempts: copy.attempts,
                        reply: copy.reply.clone(),
                    });
                }
            }
        }
        outcomes.sort_by_key(|outcome| std::cmp::Reverse(outcome.at));
        outcomes.truncate(OUTCOMES);
        Ok(outcomes)
    }
}
