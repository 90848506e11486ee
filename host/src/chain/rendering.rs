//! Carries a plan out for one recipient.
//!
//! First the slots are filled in, then the plugins run that are left. A plugin in its stage `recipient` gets values where it asks for slots;
//! one that runs in its stage `submit` gets tokens as it always does, and they are filled in when it is done.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Map;

use super::options::remove_service_fields;
use super::size::Sizes;
use super::trace::Trace;
use super::{ChainRegistry, Chains, Plan, PlannedStep};
use crate::config::OnError;
use crate::event::DIGEST_DIGITS;
use crate::link::LinkSigner;
use crate::mail::address::EmailAddress;
use crate::mail::content::{Composition, Draft, TooLarge};
use crate::mail::enhanced_status::EnhancedStatus;
use crate::mail::envelope::{ForwardPath, ReversePath};
use crate::mail::header::raw_fields::raw_values;
use crate::mail::message_id::CopyId;
use crate::mail::refusal::Refusal;
use crate::mail::slot::{Nonce, Slot};
use crate::mail::tag::Tag;
use crate::plugin::Stage;
use crate::plugin::lease::{Circumstances, CopyFacts, Lease, Occasion, merged_variables};
use crate::plugin::letter::Letter;
use crate::plugin::verdict::{Failure, Verdict};
use crate::submission::permission::{check_from, check_reverse_path};
use crate::submission::sender_domain::SenderDomains;

/// Renders copies. Cloning is cheap.
#[derive(Clone)]
pub struct Renderer {
    chains: ChainRegistry,
    links: LinkSigner,
    /// Whose domains From may be of; `None` is that nobody looks.
    domains: Option<SenderDomains>,
}

/// A copy as it is sent.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The message, with CRLF line ends.
    pub content: Bytes,
    /// The reverse-path, where a plugin changed it.
    pub reverse_path: Option<ReversePath>,
    /// Tags, as the plugins left them.
    pub tags: Vec<Tag>,
    /// Which plugin holds the copy, and why: it is sent once an operator has released it.
    pub held: Option<(String, String)>,
}

/// Why there is nothing to send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A plugin refuses the copy, or From is none that the login may use.
    #[error("{code} {enhanced} {text}")]
    Rejected {
        /// 5yz.
        code: u16,
        /// Of the same class.
        enhanced: EnhancedStatus,
        /// What the plugin says, or we.
        text: String,
    },
    /// A plugin refuses the copy for now.
    #[error("{code} {enhanced} {text}")]
    Deferred {
        /// 4yz.
        code: u16,
        /// Of the same class.
        enhanced: EnhancedStatus,
        /// What the plugin says.
        text: String,
    },
    /// A plugin takes the copy off the way.
    #[error("discarded: {reason}")]
    Discarded {
        /// What it says.
        reason: String,
    },
    /// A plugin holds the copy for an operator: for those who only look at it.
    #[error("held: {reason}")]
    Held {
        /// What it says.
        reason: String,
    },
    /// A plugin failed.
    #[error("plugin \"{plugin}\" failed")]
    Failed {
        /// Which.
        plugin: String,
        /// Its `on_error` says reject.
        permanent: bool,
    },
    /// The recipient's values make the copy larger than it may be.
    #[error("the copy has more than {limit} octets")]
    TooLarge {
        /// `delivery.rendered_size`.
        limit: u64,
    },
}

/// Who gets a copy.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// Which copy.
    pub copy: CopyId,
    /// Where it goes.
    pub address: &'a EmailAddress,
    /// His own data as one JSON object, or "".
    pub variables: &'a str,
}

impl Renderer {
    /// Returns what signs the links.
    pub fn links(&self) -> &LinkSigner {
        &self.links
    }

    /// Renders by the chains of `chains`, with links of `links`.
    pub fn new(chains: ChainRegistry, links: LinkSigner) -> Self {
        Self { chains, links, domains: None }
    }

    /// Checks From of copies that are made for each recipient against sender domains too.
    #[must_use]
    pub fn with_sender_domains(self, domains: SenderDomains) -> Self {
        Self { domains: Some(domains), ..self }
    }

    /// Renders by other chains.
    #[must_use]
    pub fn with_chains(&self, chains: ChainRegistry) -> Self {
        Self { chains, ..self.clone() }
    }

    /// Returns what the links in copies begin with.
    pub fn public_url(&self) -> &str {
        self.links.base()
    }

    /// Checks that copies are not larger than they may be. Only those that come near are filled in for it.
    ///
    /// # Errors
    /// [`RenderError::TooLarge`] of the first that is.
    pub(crate) fn check_sizes<'a>(
        &self,
        plan: &Plan,
        body: &Bytes,
        recipients: impl Iterator<Item = (CopyId, &'a EmailAddress, String)>,
    ) -> Result<(), RenderError> {
        if plan.slots.is_empty() {
            return Ok(());
        }
        let Some(composition) = Composition::decode(body.clone()) else { return Ok(()) };
        let limit = self.chains.current().rendered_size();
        let sizes = Sizes::of(plan, &composition, &self.links);
        for (copy, address, variables) in recipients {
            let at_most = sizes.at_most(address, plan.variables.len().saturating_add(variables.len()));
            if u64::try_from(at_most).map_or(true, |octets| octets > limit) {
                let facts = facts(plan, Recipient { copy, address, variables: &variables });
                fill(&composition, &plan.nonce, &plan.slots, &facts, &self.links, limit)?;
            }
        }
        Ok(())
    }

    /// Renders `plan` for one recipient; `body` is an encoded [`Composition`]. What the plugins did is told to `trace`.
    ///
    /// The same octets come out at every attempt, as long as the plugins are the same. A copy that a plugin holds is rendered all the same.
    pub async fn render(&self, plan: &Plan, body: Bytes, recipient: Recipient<'_>, trace: &mut Trace) -> Result<Rendered, RenderError> {
        // The store has checked its sums: what cannot be read now may be readable by the version that wrote it.
        let composition = Composition::decode(body).ok_or_else(|| RenderError::Failed { plugin: String::new(), permanent: false })?;
        let chains = self.chains.current();
        let facts = facts(plan, recipient);
        let content = fill(&composition, &plan.nonce, &plan.slots, &facts, &self.links, chains.rendered_size())?;
        if plan.steps.is_empty() {
            self.check_senders(plan, &content)?;
            return Ok(Rendered { content, reverse_path: None, tags: Vec::new(), held: None });
        }
        let mut run = CopyRun {
            letter: Letter::new(
                Draft::new(content.clone()),
                plan.reverse_path.clone(),
                vec![ForwardPath::new(recipient.address.clone())],
                plan.tags.clone(),
                plan.nonce,
            ),
            circumstances: Arc::new(Circumstances {
                id: plan.message,
                login: Arc::clone(&plan.login),
                received: plan.received,
                context: plan.context.clone(),
                variables: String::new(),
                original: content,
                recipient_limit: 1,
                links: self.links.clone(),
                deliver_before: None,
                effects: trace.effects.clone(),
            }),
            facts: Arc::new(facts),
            chains: &chains,
            trace,
            held: None,
        };
        for step in &plan.steps {
            if run.step(step).await?.is_break() {
                break;
            }
        }
        run.fill_slots()?;
        let CopyRun { mut letter, held, .. } = run;
        remove_service_fields(&mut letter.draft);
        let reverse_path = (letter.reverse_path != plan.reverse_path).then_some(letter.reverse_path);
        let content = finish(letter.draft);
        self.check_senders(plan, &content)?;
        if let Some(reverse_path) = &reverse_path {
            check_reverse_path(&plan.senders, reverse_path).map_err(|refusal| not_allowed(&refusal))?;
        }
        Ok(Rendered { content, reverse_path, tags: letter.tags, held })
    }

    /// Checks From of a finished copy: it is as values and plugins have left it, and not as the intake saw it.
    fn check_senders(&self, plan: &Plan, content: &[u8]) -> Result<(), RenderError> {
        let from = || raw_values(content, "From");
        if !plan.senders.is_empty() {
            check_from(&plan.senders, from()).map_err(|refusal| not_allowed(&refusal))?;
        }
        let made = self.domains.as_ref().filter(|_| !plan.is_plain());
        made.map_or(Ok(()), |domains| domains.check(&plan.login, from())).map_err(|refusal| not_allowed(&refusal))
    }
}

fn not_allowed(refusal: &Refusal) -> RenderError {
    RenderError::Rejected { code: 550, enhanced: EnhancedStatus::new(5, 7, 1), text: refusal.to_string() }
}

fn facts(plan: &Plan, recipient: Recipient<'_>) -> CopyFacts {
    CopyFacts {
        copy: recipient.copy,
        address: recipient.address.clone(),
        variables: if plan.needs_variables() { merged_variables(&plan.variables, recipient.variables) } else { Map::new() },
    }
}

/// Puts a recipient's values in the place of slots.
pub(super) fn fill(
    composition: &Composition,
    nonce: &Nonce,
    slots: &[Slot],
    facts: &CopyFacts,
    links: &LinkSigner,
    limit: u64,
) -> Result<Bytes, RenderError> {
    let octets = usize::try_from(limit).unwrap_or(usize::MAX);
    composition.fill_within(octets, nonce, slots, &mut |slot| facts.value(slot, links)).map_err(|TooLarge| RenderError::TooLarge { limit })
}

/// Returns the octets of a draft without slots.
pub(crate) fn finish(draft: Draft) -> Bytes {
    if !draft.is_edited() {
        return draft.original().clone();
    }
    draft.into_composition(None).fill(&[0; 11], &[], &mut |_| String::new())
}

/// Returns a digest as events have it.
fn shortened(digest: Option<&str>) -> String {
    digest.map(|digest| digest.chars().take(DIGEST_DIGITS).collect()).unwrap_or_default()
}

/// One copy on its way through the rest of a chain.
struct CopyRun<'a> {
    letter: Letter,
    circumstances: Arc<Circumstances>,
    facts: Arc<CopyFacts>,
    chains: &'a Chains,
    trace: &'a mut Trace,
    held: Option<(String, String)>,
}

impl CopyRun<'_> {
    async fn step(&mut self, step: &PlannedStep) -> Result<std::ops::ControlFlow<()>, RenderError> {
        use std::ops::ControlFlow;
        let Some((plugin, is_planned)) = self.chains.version(step).await else {
            self.trace.fail(&step.plugin, Failure::Missing);
            return Err(RenderError::Failed { plugin: step.plugin.to_string(), permanent: false });
        };
        if !is_planned {
            // A copy by another version is better than none; whoever looks for the reason finds it with the message.
            self.trace.fail(
                &step.plugin,
                Failure::OtherVersion { wanted: shortened(step.digest.as_deref()), ran: shortened(Some(plugin.digest())) },
            );
        }
        let (stage, direct_slots) = if step.per_recipient {
            // What the plugins before it asked for must be there for it to see.
            self.fill_slots()?;
            (Stage::Recipient, true)
        } else {
            (Stage::Submit, false)
        };
        let lease = Lease {
            letter: self.letter.clone(),
            circumstances: Arc::clone(&self.circumstances),
            occasion: Occasion::Copy(Arc::clone(&self.facts)),
            direct_slots,
        };
        let call = plugin.process(stage, lease, &step.config).await;
        let before = self.letter.draft.clone();
        if let Some(edited) = call.edited {
            self.letter = edited;
        }
        self.trace.record(call.run, &before, &self.letter.draft);
        match call.result {
            Ok(Verdict::Next) => Ok(ControlFlow::Continue(())),
            Ok(Verdict::Accept) => Ok(ControlFlow::Break(())),
            Ok(Verdict::Reject(reply)) => Err(RenderError::Rejected { code: reply.code, enhanced: reply.enhanced, text: reply.text }),
            Ok(Verdict::Defer(reply)) => Err(RenderError::Deferred { code: reply.code, enhanced: reply.enhanced, text: reply.text }),
            Ok(Verdict::Discard(reason)) => Err(RenderError::Discarded { reason }),
            Ok(Verdict::Hold(reason)) => {
                self.held.get_or_insert((plugin.name().to_string(), reason));
                Ok(ControlFlow::Continue(()))
            }
            Err(failure) => {
                self.trace.fail(plugin.name(), failure);
                let failed = |permanent| RenderError::Failed { plugin: plugin.name().to_string(), permanent };
                match plugin.on_error() {
                    OnError::Skip => Ok(ControlFlow::Continue(())),
                    OnError::Defer => Err(failed(false)),
                    OnError::Reject => Err(failed(true)),
                }
            }
        }
    }

    /// Puts the values in the place of the tokens that are in the letter.
    fn fill_slots(&mut self) -> Result<(), RenderError> {
        if self.letter.slots().as_slice().is_empty() {
            return Ok(());
        }
        let slots = self.letter.slots().clone();
        let composition = self.letter.draft.clone().into_composition(Some(slots.nonce()));
        let limit = self.chains.rendered_size();
        let filled = fill(&composition, slots.nonce(), slots.as_slice(), &self.facts, &self.circumstances.links, limit)?;
        self.letter.draft = Draft::new(filled);
        self.letter.clear_slots();
        Ok(())
    }
}
