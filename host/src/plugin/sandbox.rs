//! One call of a plugin: a fresh instance, its limits, and what came of it.
//!
//! Nothing crosses from one call to the next: store and instance are made for the call and dropped after it.

mod memory;
mod meter;
mod pace;
mod trap;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{InstancePre, Resource};
use wasmtime::{Store, UpdateDeadline};

use crate::clock::Timestamp;
use crate::config::{CallLimits, Grants, PluginLimits};
use crate::plugin::binding::{
    EventExport, Exports, RcptExport, RecipientExport, SubmitExport, WitAnswer, WitDescription, WitEvent, WitFailure, WitTransaction,
    WitVerdict,
};
use crate::plugin::engine::Engine;
use crate::plugin::lease::{Lease, Lent};
use crate::plugin::service::desk::{Desk, Effects};
use crate::plugin::verdict::{Failure, printable};
use crate::plugin::wasi::Wasi;
use memory::Memory;
use meter::Metered;
use pace::Pace;

/// Octets that one call of a host function may hand over beyond what the plugin's memory holds: for names and lists.
const HANDED_OVER: u64 = 1 << 20;
/// The most, whatever the memory: larger than any message.
const MOST_HANDED_OVER: u64 = 128 << 20;

/// The message as a plugin holds it. There is one for a call, and it is in [`State`].
#[derive(Debug)]
pub struct MessageHandle;

/// What a store knows about the call that it was made for.
pub struct State {
    pub(super) lent: Option<Lent>,
    pub(super) random: Option<blake3::OutputReader>,
    pub(super) log: Log,
    pub(super) wasi: Wasi,
    pub(super) now: Timestamp,
    pub(super) desk: Desk,
    pub(super) pace: Arc<Pace>,
    memory: Memory,
    out_of_time: bool,
}

/// Lines of a plugin.
#[derive(Debug)]
pub(super) struct Log {
    lines: Vec<String>,
    dropped: u64,
    limits: CallLimits,
}

/// What is asked of a plugin.
pub(super) enum Question<'a> {
    /// Nothing: for measuring what an instance costs that is made and dropped.
    Nothing,
    Describe(&'a Exports),
    Submit(&'a SubmitExport, &'a str),
    Wanted(&'a RecipientExport, &'a str),
    Recipient(&'a RecipientExport, &'a str),
    Rcpt(&'a RcptExport, &'a str, WitTransaction, &'a str),
    Events(&'a EventExport, &'a [WitEvent], &'a str),
}

/// What it answers.
pub(super) enum Answer {
    /// Or which of its exports does not have the types that the contract wants.
    Description(Result<WitDescription, String>),
    Verdict(Result<WitVerdict, WitFailure>),
    Wanted(Result<bool, WitFailure>),
    Rcpt(Result<WitAnswer, WitFailure>),
    Handled(Result<(), WitFailure>),
}

/// What a call cost and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Time in which the plugin, or the host on its behalf, was at work.
    pub time: Duration,
    /// Most memory it had, in octets.
    pub memory: u64,
    /// Instructions that ran, where the engine counts them.
    pub fuel: Option<u64>,
    /// Header fields added, changed or removed.
    pub headers_changed: Vec<String>,
    /// Parts of the body changed.
    pub parts_changed: u32,
    /// Lines it logged, and one more that counts those that were dropped.
    pub log: Vec<String>,
}

/// Everything that comes back from a call.
pub(super) struct Outcome {
    pub(super) answer: Result<Answer, Failure>,
    pub(super) lease: Option<Lease>,
    /// The message is as it was, but for what was read of it.
    pub(super) is_untouched: bool,
    pub(super) report: Report,
}

/// A plugin ready to be instantiated, as far as a call needs it.
#[derive(Clone, Copy)]
pub(super) struct Callee<'a> {
    pub(super) engine: &'a Engine,
    pub(super) instance: &'a InstancePre<State>,
    pub(super) limits: PluginLimits,
    pub(super) name: &'a Arc<str>,
    pub(super) grants: &'a Arc<Grants>,
}

/// For whom a call is made, and when.
pub(super) struct Setting {
    pub(super) login: Arc<str>,
    pub(super) now: Timestamp,
    pub(super) random: Option<blake3::OutputReader>,
    pub(super) effects: Effects,
}

impl Setting {
    /// Where a plugin says who it is: for nobody, at no time.
    pub(super) fn of_description() -> Self {
        Self { login: "".into(), now: Timestamp::default(), random: None, effects: Effects::Repeatable }
    }
}

impl Callee<'_> {
    /// Calls the plugin in a fresh instance, when there is a free slot for it.
    pub(super) async fn call(self, question: Question<'_>, lease: Option<Lease>, setting: Setting) -> Outcome {
        let Setting { login, now, random, effects } = setting;
        let services = self.engine.services();
        let share = services.shares().of(&login);
        let _slot = self.engine.slot(&share).await;
        let pace = Arc::new(Pace::new(self.engine.clock().clone(), services.turns().clone(), Arc::clone(&login)));
        pace.begin().await;
        let calls = *self.engine.calls();
        let state = State {
            lent: lease.map(|lease| Lent::new(lease, self.limits.output.0, calls)),
            random,
            log: Log { lines: Vec::new(), dropped: 0, limits: calls },
            wasi: Wasi::new(now),
            now,
            desk: Desk {
                plugin: Arc::clone(self.name),
                login,
                grants: Arc::clone(self.grants),
                services: Arc::clone(services),
                effects,
                share,
                asked_tables: 0,
                asked_http: 0,
                waited: Duration::ZERO,
                waits_since: Duration::ZERO,
            },
            memory: Memory::new(self.limits.memory.0),
            pace: Arc::clone(&pace),
            out_of_time: false,
        };
        let mut store = Store::new(self.engine.wasm(), state);
        store.limiter(|state| &mut state.memory);
        // What a host function is given is copied before the function sees it. A plugin has no more than its memory to give; what names the
        // same octets again and again would have.
        let handed_over = self.limits.memory.0.saturating_add(HANDED_OVER).min(MOST_HANDED_OVER);
        store.set_hostcall_fuel(usize::try_from(handed_over).unwrap_or(usize::MAX));
        if self.engine.counts_fuel() {
            // Fails only where the engine counts nothing.
            let _ = store.set_fuel(u64::MAX);
        }
        let limit = self.limits.time;
        store.epoch_deadline_callback(move |mut context| {
            let state = context.data_mut();
            if state.pace.meter.spent() > limit {
                state.out_of_time = true;
                return Ok(UpdateDeadline::Interrupt);
            }
            let pace = Arc::clone(&state.pace);
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(async move { pace.give_way().await })))
        });
        store.set_epoch_deadline(1);
        let asked = Metered::new(&pace.meter, pin!(ask(&mut store, self.instance, question))).await;
        let fuel = if self.engine.counts_fuel() { store.get_fuel().ok().map(|left| u64::MAX - left) } else { None };
        let mut outcome = self.conclude(asked, store.into_data());
        outcome.report.fuel = fuel;
        outcome
    }

    fn conclude(self, asked: wasmtime::Result<Answer>, mut state: State) -> Outcome {
        state.wasi.finish(&mut state.log);
        let too_large = state.lent.as_ref().is_some_and(Lent::is_too_large);
        let answer = match asked {
            Ok(_) if too_large => Err(Failure::OutputTooLarge { limit: self.limits.output.0 }),
            Ok(answer) => Ok(answer),
            Err(_) if state.out_of_time => Err(Failure::OutOfTime { limit: self.limits.time }),
            Err(_) if state.memory.was_refused() => Err(Failure::OutOfMemory { limit: self.limits.memory.0 }),
            Err(error) => Err(Failure::Trapped(trap::text(&error))),
        };
        let mut report =
            Report { time: state.pace.meter.spent(), memory: state.memory.peak(), log: state.log.finish(), ..Report::default() };
        let is_untouched = state.lent.as_ref().is_some_and(Lent::is_untouched);
        let lease = state.lent.map(|lent| {
            let (lease, headers, parts) = lent.end();
            report.headers_changed = headers;
            report.parts_changed = parts;
            lease
        });
        Outcome { answer, lease, is_untouched, report }
    }
}

async fn ask(store: &mut Store<State>, instance: &InstancePre<State>, question: Question<'_>) -> wasmtime::Result<Answer> {
    let instance = instance.instantiate_async(&mut *store).await?;
    // There is one message in a call, so that its number does not matter.
    let message = || Resource::<MessageHandle>::new_own(0);
    match question {
        Question::Nothing => Ok(Answer::Handled(Ok(()))),
        Question::Describe(exports) => {
            let export = match exports.check(&mut *store, &instance) {
                Ok(export) => export,
                Err(error) => return Ok(Answer::Description(Err(printable(&format!("{error:#}"), trap::LENGTH)))),
            };
            export.call_describe(store).await.map(|description| Answer::Description(Ok(description)))
        }
        Question::Submit(export, config) => {
            let export = export.load(&mut *store, &instance)?;
            export.call_process(store, message(), config).await.map(Answer::Verdict)
        }
        Question::Wanted(export, config) => {
            let export = export.load(&mut *store, &instance)?;
            export.call_wanted(store, message(), config).await.map(Answer::Wanted)
        }
        Question::Recipient(export, config) => {
            let export = export.load(&mut *store, &instance)?;
            export.call_process(store, message(), config).await.map(Answer::Verdict)
        }
        Question::Rcpt(export, path, transaction, config) => {
            let export = export.load(&mut *store, &instance)?;
            export.call_check(store, path, &transaction, config).await.map(Answer::Rcpt)
        }
        Question::Events(export, events, config) => {
            let export = export.load(&mut *store, &instance)?;
            export.call_handle(store, events, config).await.map(Answer::Handled)
        }
    }
}

impl State {
    /// Traps where a plugin says who it is: no function of the host may be called there.
    pub(super) fn in_stage(&self) -> wasmtime::Result<()> {
        if self.random.is_some() { Ok(()) } else { Err(wasmtime::format_err!("a host function was called where none may be")) }
    }

    /// Returns the message, while one is lent.
    pub(super) fn lent(&mut self) -> wasmtime::Result<&mut Lent> {
        self.lent.as_mut().ok_or_else(|| wasmtime::format_err!("the message was used where none was lent"))
    }
}

impl Log {
    /// Takes a line, or counts it.
    pub(super) fn push(&mut self, level: &str, text: &str) {
        let [lines, length] =
            [self.limits.log_lines, self.limits.log_line_length].map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if self.lines.len() >= lines {
            self.dropped += 1;
            return;
        }
        let end = text.char_indices().nth(length).map_or(text.len(), |(end, _)| end);
        let text = text.get(..end).unwrap_or(text);
        self.lines.push(format!("{level}: {}", printable(text, end)));
    }

    /// Counts a line that is not kept.
    pub(super) fn drop_line(&mut self) {
        self.dropped += 1;
    }

    fn finish(mut self) -> Vec<String> {
        if self.dropped > 0 {
            self.lines.push(format!("{} more lines were dropped", self.dropped));
        }
        self.lines
    }
}

/// Returns a stream of octets that is the same for the same message, recipient and plugin.
pub(super) fn random_stream(message: &[u8], recipient: Option<&str>, plugin: &str) -> blake3::OutputReader {
    let mut hasher = blake3::Hasher::new_derive_key("tubepost plugin random 0.1");
    hasher.update(message);
    for text in [plugin, recipient.unwrap_or_default()] {
        hasher.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize_xof()
}
