//! A plugin meets the [corpus](super::corpus): what is asked of it, and who fell short.
//!
//! The rule: on every message of the corpus, for every recipient, and twice over,
//!
//! 1. a plugin answers: it does not trap, and keeps to its time, memory and output;
//! 2. its answer is a verdict of any kind. A failure is an answer only where it is *permanent* and the message is broken, as the corpus says which are:
//!    there is nothing to wait for in a sandbox without network (*transient*), and the options are right (*config*);
//! 3. the same message gives the same verdict, the same log and the same octets;
//! 4. what goes on is still the message: it has a header if it had one, it has a body if it had one, and of the leaves that are neither text nor HTML no
//!    more are changed or gone than the plugin has said to the host that it changes.
//!
//! In the stages `rcpt` and `event` there is no message: a plugin is asked about the recipients of each sample, and told of events whose texts are what
//! stands in it. There it must answer; a failure of its own is an answer, as nobody can be asked in the sandbox.

mod stages;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::corpus::Sample;
use super::running::{Report, Trial, TrialError, TrialRecipient, Workbench};
use crate::mail::address::EmailAddress;
use crate::mail::content::Draft;
use crate::mail::envelope::ReversePath;
use crate::plugin::verdict::Failure;

/// How a plugin did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examination {
    /// Messages that it met.
    pub messages: usize,
    /// Messages of which it said, rightly, that they are broken.
    pub declined: usize,
    /// Messages that did not go on, by the word of its verdict.
    pub stopped: BTreeMap<String, usize>,
    /// Where it fell short.
    pub findings: Vec<Finding>,
    /// The message that took longest in one call, and how long.
    pub slowest: Option<(String, Duration)>,
    /// The message that took the most memory, and how many octets.
    pub hungriest: Option<(String, u64)>,
}

/// A message on which the plugin fell short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the sample.
    pub sample: String,
    /// What is wrong.
    pub problem: String,
}

/// Runs a plugin on all samples.
///
/// # Errors
/// The options are not the plugin's.
pub async fn examine(bench: &Workbench, options: &Map<String, Value>, samples: &[Sample]) -> Result<Examination, TrialError> {
    let mut examination = Examination::default();
    let config = serde_json::to_string(options).unwrap_or_default();
    for sample in samples {
        let trial = trial(sample, options);
        let report = bench.run(&trial).await?;
        let problem = match judge(sample, &report) {
            Some(problem) => Some(problem),
            None => (bench.run(&trial).await? != report).then(|| "a second run on the same message did something else".to_owned()),
        };
        examination.note(sample, &report, problem);
        let problem = stages::examine(bench.plugin(), &config, sample).await;
        examination.findings.extend(problem.map(|problem| Finding { sample: sample.name.clone(), problem }));
    }
    Ok(examination)
}

/// Returns the trial of one sample. Its line ends stay as they are.
pub fn trial(sample: &Sample, options: &Map<String, Value>) -> Trial {
    let recipients = sample.recipients.iter().filter_map(|(address, variables)| {
        // A test sees to it that all of them are addresses.
        Some(TrialRecipient { address: EmailAddress::parse(address).ok()?, variables: variables.clone() })
    });
    Trial {
        content: sample.octets.clone(),
        options: options.clone(),
        variables: sample.variables.clone(),
        reverse_path: ReversePath::Null,
        recipients: recipients.collect(),
    }
}

impl Examination {
    fn note(&mut self, sample: &Sample, report: &Report, problem: Option<String>) {
        self.messages += 1;
        for call in report.all_calls() {
            let time = Duration::from_micros(call.run.micros);
            if self.slowest.as_ref().is_none_or(|(_, most)| time > *most) {
                self.slowest = Some((sample.name.clone(), time));
            }
            if self.hungriest.as_ref().is_none_or(|(_, most)| call.run.memory > *most) {
                self.hungriest = Some((sample.name.clone(), call.run.memory));
            }
        }
        let stopped = report.calls.iter().find_map(|call| call.result.as_ref().ok()?.as_ref().filter(|verdict| !verdict.keeps_edits()));
        if let Some(problem) = problem {
            self.findings.push(Finding { sample: sample.name.clone(), problem });
        } else if report.failure().is_some() {
            self.declined += 1;
        } else if let Some(verdict) = stopped {
            *self.stopped.entry(verdict.word().to_owned()).or_default() += 1;
        }
    }
}

/// Returns what is wrong with what a plugin did to a sample.
fn judge(sample: &Sample, report: &Report) -> Option<String> {
    let failures = report.all_calls().filter_map(|call| Some((call, call.result.as_ref().err()?)));
    let wrong = failures.into_iter().find(|(_, failure)| sample.is_sound || !matches!(failure, Failure::Permanent(_)));
    if let Some((call, failure)) = wrong {
        let but = if matches!(failure, Failure::Permanent(_)) { ", but the message is sound" } else { "" };
        let said = call.run.log.last().map(|line| format!(" (last line of its log: {line})")).unwrap_or_default();
        return Some(format!("{}: {failure}{but}{said}", call.run.stage));
    }
    let once: u32 = report.calls.iter().map(|call| call.run.parts_changed).sum();
    report.copies.iter().find_map(|copy| {
        let changed = once + copy.calls.iter().map(|call| call.run.parts_changed).sum::<u32>();
        let problem = lost(&report.before, copy.after.as_ref()?, changed)?;
        Some(format!("the copy of {}: {problem}", copy.address))
    })
}

/// Returns what is missing in a message that went on, where `changed` parts were changed on purpose.
fn lost(before: &Bytes, after: &Bytes, changed: u32) -> Option<String> {
    if before == after {
        return None;
    }
    let [old, new] = [before, after].map(|octets| Draft::new(octets.clone()));
    if new.header_names().is_empty() && !old.header_names().is_empty() {
        return Some("its header is gone".to_owned());
    }
    let [old, new] = [old, new].map(Leaves::of);
    if old.octets > 0 && new.octets == 0 && changed == 0 {
        return Some("its body is gone".to_owned());
    }
    let missing = old.others.iter().filter(|(content, count)| new.others.get(*content).is_none_or(|there| there < count)).count();
    (missing > usize::try_from(changed).unwrap_or(usize::MAX))
        .then(|| format!("{missing} attachments are changed or gone, and only {changed} parts were edited"))
}

/// What is in a message, decoded.
struct Leaves {
    /// Octets of all of them.
    octets: u64,
    /// Leaves that are neither text nor HTML, and how often each is there.
    others: BTreeMap<Digest, usize>,
}

/// Stands for the content of a leaf.
type Digest = [u8; 32];

impl Leaves {
    fn of(mut draft: Draft) -> Self {
        let mut leaves = Self { octets: 0, others: BTreeMap::new() };
        for part in draft.parts() {
            let Ok(content) = draft.read_part(part.id, 0, u32::MAX) else { continue };
            leaves.octets += part.size;
            if !part.content_type.starts_with("text/") {
                *leaves.others.entry(*blake3::hash(&content).as_bytes()).or_default() += 1;
            }
        }
        leaves
    }
}

#[cfg(test)]
mod tests;
