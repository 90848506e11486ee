//! Stored messages through other chains than those in force: what would be another, and how. Nothing is sent, stored or counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Archive;
use super::trace::{copy_result, difference, result};
use crate::chain::ChainRegistry;
use crate::chain::loading::{self, Before};
use crate::config::{Config, PluginSource, PluginTrust};
use crate::intake::Intake;
use crate::intake::dry_run::{Content, DryCopy, DryResult, DryRun};
use crate::mail::message_id::MessageId;
use crate::plugin::engine::Engine;
use crate::plugin::loading::Purpose;
use crate::submission::login::Login;

/// Messages found with one search.
const PAGE: usize = 200;
/// Messages of one replay, whatever limit is asked for.
pub const MOST_MESSAGES: usize = 1_000_000;
/// Copies of one message whose differences are told.
const MOST_COPIES: usize = 5;

/// The configuration in force, which a reload replaces.
pub type CurrentConfig = Arc<RwLock<Arc<Config>>>;

/// Makes chains that are not in force.
pub struct Workshop {
    /// Runs plugins.
    pub engine: Arc<Engine>,
    /// What is in force.
    pub config: CurrentConfig,
    /// Reads another configuration.
    pub read: fn(&Path) -> Result<Config, String>,
    /// Held by the replay that runs: there is one at a time.
    pub turn: Arc<Semaphore>,
}

/// What is to be different.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// All messages go through this chain.
    pub chain: Option<String>,
    /// This plugin is the one in that file.
    pub plugin: Option<(String, PathBuf)>,
    /// Everything is as in this configuration.
    pub config: Option<PathBuf>,
}

/// Other chains, ready to run.
pub struct Replay {
    intake: Intake,
    chain: Option<Arc<str>>,
    /// Those of another configuration.
    logins: Option<BTreeMap<Arc<str>, Arc<Login>>>,
    _turn: OwnedSemaphorePermit,
}

/// What would become of one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Which.
    pub message: MessageId,
    /// Whose.
    pub login: String,
    /// Its subject.
    pub subject: String,
    /// What would be different: `verdict`, `envelope`, `tags`, `copies`.
    pub different: Vec<String>,
    /// What comes of it now, in a line.
    pub before: String,
    /// What would come of it, in a line.
    pub after: String,
    /// Copies that would be others; the first few.
    pub copies: Vec<ComparedCopy>,
}

/// A copy that would be another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedCopy {
    /// Whose.
    pub address: String,
    /// What comes of it now, in a line.
    pub before: String,
    /// What would come of it, in a line.
    pub after: String,
    /// The message now and then, decoded, as a unified difference, where that was asked for.
    pub difference: String,
}

impl Archive {
    /// Loads what is to be different.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub async fn prepare_replay(&self, change: &Change) -> Result<Replay, String> {
        let workshop = self.workshop.as_ref().ok_or("this server tries nothing out")?;
        let turn = Arc::clone(&workshop.turn).try_acquire_owned().map_err(|_| "another replay is running: there is one at a time")?;
        let current = Arc::clone(&workshop.config.read());
        let mut config = match &change.config {
            None => Config::clone(&current),
            Some(path) => {
                let (path, read) = (path.clone(), workshop.read);
                tokio::task::spawn_blocking(move || read(&path)).await.map_err(|error| error.to_string())??
            }
        };
        if let Some((name, file)) = &change.plugin {
            let plugin = config.plugins.get_mut(&**name).ok_or_else(|| format!("the configuration has no plugin {name:?}"))?;
            plugin.source = PluginSource::File(file.clone());
            // It is not for mail yet: whoever may ask this may run it.
            plugin.sha256 = None;
            config.plugin_trust = PluginTrust::default();
        }
        let before = self.intake.chains().current();
        // Of another configuration the files count as they are now, else what is in force.
        let loaded = change.config.is_none().then_some(Before { config: &current, chains: &before });
        let chains = loading::load(&config, &workshop.engine, loaded, Purpose::Rehearsal)
            .await
            .map_err(|flaws| flaws.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        let chain = change.chain.as_ref().map(|name| {
            let known = config.chains.keys().find(|known| ***known == **name).cloned();
            known.ok_or_else(|| format!("the configuration has no chain {name:?}"))
        });
        let logins = change.config.as_ref().map(|_| {
            let logins = config.logins.into_iter().map(|login| (Arc::clone(&login.name), Arc::new(login)));
            logins.collect()
        });
        Ok(Replay { intake: self.intake.rehearsing(ChainRegistry::new(chains)), chain: chain.transpose()?, logins, _turn: turn })
    }

    /// Returns the ids of the first `limit` messages that a search finds, newest first.
    ///
    /// # Errors
    /// The query makes no sense, or the index fails.
    pub async fn ids(&self, query: &str, limit: usize) -> Result<Vec<MessageId>, String> {
        let limit = limit.min(MOST_MESSAGES);
        let mut ids = Vec::new();
        while ids.len() < limit {
            let wanted = PAGE.min(limit - ids.len());
            let page = self.search(query, ids.len(), wanted).await.map_err(|error| error.to_string())?;
            let count = page.messages.len();
            ids.extend(page.messages.into_iter().map(|summary| summary.message));
            if count < wanted {
                break;
            }
        }
        // What comes in meanwhile pushes others to the next page.
        let mut seen = std::collections::BTreeSet::new();
        ids.retain(|id| seen.insert(*id));
        Ok(ids)
    }

    /// Runs one message through the chain in force and through the other one.
    ///
    /// # Errors
    /// Why that cannot be done, for people.
    pub async fn compare(&self, replay: &Replay, id: MessageId, with_difference: bool) -> Result<Compared, String> {
        let found = self.spool.message(id).await.map_err(|error| error.to_string())?;
        let (entry, body, original) = found.ok_or("it is not kept any more")?;
        let summary = self.summary(id).await.map_err(|error| error.to_string())?;
        let (login, subject) = (entry.login.to_string(), entry.subject.clone());
        let now = self.resubmission(entry.clone(), body.clone(), original.clone(), summary.as_ref(), None)?;
        let mut of_change = match &replay.logins {
            None => Arc::clone(&now.login),
            Some(logins) => logins.get(&*login).cloned().ok_or_else(|| format!("the other configuration has no login {login:?}"))?,
        };
        if let Some(chain) = &replay.chain {
            of_change = Arc::new(Login { chain: Some(Arc::clone(chain)), ..Login::clone(&of_change) });
        }
        let then = self.resubmission(entry, body, original, summary.as_ref(), Some(of_change))?;
        let before = self.intake.rehearsing(self.intake.chains().clone()).dry_run(now, Content::Stored).await;
        if let DryResult::Refused(refusal) = &before.result {
            // It was taken once: what keeps it from being taken now would hide all differences.
            return Err(format!("it would be refused as things stand: {refusal}"));
        }
        let after = replay.intake.dry_run(then, Content::Stored).await;
        let compare = move || compare(&before, &after, with_difference);
        let (different, results, copies) = tokio::task::spawn_blocking(compare).await.map_err(|error| error.to_string())?;
        let [before, after] = results;
        Ok(Compared { message: id, login, subject, different, before, after, copies })
    }
}

type Differences = (Vec<String>, [String; 2], Vec<ComparedCopy>);

/// Compares what comes of a message: what its client hears, who gets it, its tags, and each copy to the octet.
fn compare(before: &DryRun, after: &DryRun, with_difference: bool) -> Differences {
    let mut different = Vec::new();
    let mut copies = Vec::new();
    let results = [before, after].map(|run| result(&run.result));
    // How many get it is part of the envelope.
    let verdict = |run: &DryRun, text: &String| match &run.result {
        DryResult::Kept { held: None, .. } => None,
        DryResult::Kept { .. } | DryResult::Discarded { .. } | DryResult::Refused(_) => Some(text.clone()),
    };
    let [now, then] = &results;
    if verdict(before, now) != verdict(after, then) {
        different.push("verdict");
    }
    if let (
        DryResult::Kept { reverse_path, tags, copies: now, .. },
        DryResult::Kept { reverse_path: path_then, tags: tags_then, copies: then, .. },
    ) = (&before.result, &after.result)
    {
        if reverse_path != path_then || !now.iter().map(|copy| &copy.address).eq(then.iter().map(|copy| &copy.address)) {
            different.push("envelope");
        }
        if tags != tags_then {
            different.push("tags");
        }
        let others: Vec<(&DryCopy, &DryCopy)> = now
            .iter()
            .enumerate()
            .filter_map(|(place, copy)| {
                let same = |other: &&DryCopy| other.address == copy.address;
                let there = then.get(place).filter(same).or_else(|| then.iter().find(same));
                there.map(|other| (copy, other))
            })
            .filter(|(copy, other)| copy.content != other.content)
            .collect();
        if !others.is_empty() {
            different.push("copies");
        }
        copies.extend(others.into_iter().take(MOST_COPIES).map(|(copy, other)| ComparedCopy {
            address: copy.address.to_string(),
            before: copy_result(copy),
            after: copy_result(other),
            difference: match (&copy.content, &other.content) {
                (Some(Ok(now)), Some(Ok(then))) if with_difference => difference(now, then),
                _ => String::new(),
            },
        }));
    }
    (different.into_iter().map(str::to_owned).collect(), results, copies)
}
