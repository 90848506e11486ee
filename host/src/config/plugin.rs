//! `[plugins.NAME]` and `[plugin_runtime]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::document::{Section, Value};
use super::suggestion::did_you_mean;
use super::unit::ByteSize;
use super::{Grants, grant, trust};

/// `[plugins.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// `source`.
    pub source: PluginSource,
    /// `limits`.
    pub limits: PluginLimits,
    /// `on_error`.
    pub on_error: OnError,
    /// `allow`.
    pub allow: Grants,
    /// `sha256`: the only component that is taken; none given is any.
    pub sha256: Option<[u8; 32]>,
    /// `refusals`.
    pub refusals: Refusals,
}

/// Where the component is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginSource {
    /// In this binary, under this name.
    BuiltIn(Arc<str>),
    /// In a file.
    File(PathBuf),
}

/// What one call of a plugin may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// `time`: default 250 ms.
    pub time: Duration,
    /// `memory`: default 64 MiB.
    pub memory: ByteSize,
    /// `output`: octets that the message may have after the call. Default: twice the server's `smtp.message_size`.
    pub output: ByteSize,
}

/// What happens to a message when a plugin fails on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// `defer`: the client hears 4xx; at delivery the copy is tried again.
    #[default]
    Defer,
    /// `reject`: the client hears 5xx; at delivery the copy bounces.
    Reject,
    /// `skip`: the message goes on as it was before the plugin.
    Skip,
}

/// What it means that a plugin refuses a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refusals {
    /// `policy`: the message is rejected.
    #[default]
    Policy,
    /// `spam`: the message is spam, and shows as that.
    Spam,
}

/// `[plugin_runtime]`: what all plugins share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginRuntime {
    /// `instances`: plugins running at one moment; more calls wait. Default 100.
    pub instances: u32,
    /// `cache`: whether compiled plugins are kept below `data`. Default true.
    pub cache: bool,
    /// `warm_slots`: free slots of the pool that keep memory. Default: 16 for each processor, at least 32 and at most 256.
    pub warm_slots: u32,
    /// `kept_memory`: what each of them keeps, where the kernel can tell which pages were touched. Default 4 MiB.
    pub kept_memory: ByteSize,
    /// What one call may do, whatever the plugin.
    pub calls: CallLimits,
    /// What all calls of one login together may do.
    pub logins: LoginShares,
    /// `watch`: whether a plugin is loaded again when its file changes. Default true.
    pub watch: bool,
    /// `watch_interval`: how often its file is looked at; a change counts once it has stayed the same for so long. Default 1 s.
    pub watch_interval: Duration,
    /// `old_versions`: versions that only queued mail still needs, and that are kept loaded. Default 8.
    pub old_versions: u32,
    /// `shadow_memory`: octets of messages that wait for shadows; what is above it is not shown to them. Default 64 MiB.
    pub shadow_memory: ByteSize,
    /// How plugins are told what became of messages.
    pub events: EventTelling,
}

/// How plugins are told of events: keys of `[plugin_runtime]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTelling {
    /// `event_batch`: events in one call. Default 100.
    pub batch: u32,
    /// `event_gather`: how long more events are waited for before a call. Default 200 ms.
    pub gather: Duration,
    /// `event_tries`: calls in which a plugin may fail on the same events before they are given up. Default 12.
    pub tries: u32,
    /// `event_retry`: the pause behind the first failure; each one after it is twice as long. Default 5 s.
    pub retry: Duration,
}

/// Limits of `[plugin_runtime]` that hold for each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// `log_lines`: lines that are kept; more are counted. Default 100.
    pub log_lines: u32,
    /// `log_line_length`: characters of a line. Default 1000.
    pub log_line_length: u32,
    /// `slots`: of one message. Default 10,000.
    pub slots: u32,
    /// `tags`: of one message. Default 100.
    pub tags: u32,
    /// `edits`: of one call. Default 100,000.
    pub edits: u32,
    /// `kv_calls`: of one call. Default 100.
    pub kv_calls: u32,
    /// `http_calls`: of one call. Default 10.
    pub http_calls: u32,
    /// `http_time`: of one request. Default 5 s.
    pub http_time: Duration,
    /// `http_size`: octets of a request, and of an answer. Default 1 MiB.
    pub http_size: ByteSize,
    /// `wait_time`: all that one call may wait for services. Default 15 s.
    pub wait_time: Duration,
}

/// Limits of `[plugin_runtime]` that hold for all calls of one login, so that none is in another's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginShares {
    /// `login_instances`: of `instances`, how many one login may have at one moment. Default: a quarter of them.
    pub instances: u32,
    /// `login_log_lines`: lines that all its plugins may log in a minute. Default 100,000.
    pub log_lines: u32,
    /// `kv_keys`: of one plugin's table. Default 10,000.
    pub kv_keys: u32,
    /// `kv_size`: octets of keys and values of one plugin's table. Default 4 MiB.
    pub kv_size: ByteSize,
    /// `http_at_once`: requests under way. Default 10.
    pub http_at_once: u32,
}

/// Plugins that the binary brings along; they need no entry.
pub const FIRST_PARTY: [&str; 5] = ["inline-css", "list-unsubscribe", "tags", "template", "tracking"];

const TIME: Duration = Duration::from_millis(250);
const MEMORY: ByteSize = ByteSize::mib(64);

/// Warm slots for each processor. The pool is divided among them, and each division keeps its share.
const WARM_SLOTS_PER_PROCESSOR: usize = 16;
/// Processors that the pool is divided among, at most.
const POOL_DIVISIONS: usize = 16;
/// Warm slots of the smallest machine.
const LEAST_WARM_SLOTS: usize = 32;

/// A component without any code takes this much: its stack and one page of data.
const LEAST_MEMORY: ByteSize = ByteSize::mib(1);

/// Reads all plugins and adds those of [`FIRST_PARTY`] that have no entry.
///
/// `output` is the default of `limits.output`; `templates` and `routes` are the names that grants may refer to.
pub(super) fn read(file: &Section<'_>, output: ByteSize, templates: grant::Templates<'_>, routes: &[&str]) -> BTreeMap<Arc<str>, Plugin> {
    let built_in = FIRST_PARTY.iter().map(|name| {
        let limits = PluginLimits { time: TIME, memory: MEMORY, output };
        let source = PluginSource::BuiltIn(Arc::from(*name));
        (
            Arc::from(*name),
            Plugin { source, limits, on_error: OnError::default(), allow: Grants::default(), sha256: None, refusals: Refusals::default() },
        )
    });
    let named =
        file.named("plugins", "plugin", |name, value| value.section(|section| plugin(section, name, output, templates, routes)).flatten());
    built_in.chain(named.map(|(name, plugin)| (Arc::from(name), plugin))).collect()
}

fn plugin(section: &Section<'_>, name: &str, output: ByteSize, templates: grant::Templates<'_>, routes: &[&str]) -> Option<Plugin> {
    let written = section.has("source");
    let source = section.optional("source", Value::readable_file).map(PluginSource::File);
    let source = match FIRST_PARTY.iter().find(|built_in| **built_in == name) {
        Some(built_in) if !written => Some(PluginSource::BuiltIn(Arc::from(*built_in))),
        Some(_) => source,
        None => {
            if !written {
                section.report(&format!("\"source\" is missing{}", did_you_mean(name, FIRST_PARTY)));
            }
            source
        }
    };
    let limits = section.table("limits", |limits| PluginLimits {
        time: limits.or("time", TIME, Value::duration),
        memory: limits.or("memory", MEMORY, |value| {
            let memory = value.size()?;
            if memory < LEAST_MEMORY { Err(format!("must be at least {LEAST_MEMORY}")) } else { Ok(memory) }
        }),
        output: limits.or("output", output, Value::size),
    });
    let allow = section.table("allow", |allow| grant::read(allow, &templates, routes));
    let on_error = section.or("on_error", OnError::default(), |value| {
        value.choice(&[("defer", OnError::Defer), ("reject", OnError::Reject), ("skip", OnError::Skip)])
    });
    let sha256 = section.optional("sha256", trust::digest);
    let refusals =
        section.or("refusals", Refusals::default(), |value| value.choice(&[("policy", Refusals::Policy), ("spam", Refusals::Spam)]));
    Some(Plugin { source: source?, limits, on_error, allow, sha256, refusals })
}

pub(super) fn runtime(section: &Section<'_>) -> PluginRuntime {
    let usual = PluginRuntime::default();
    // The pool reserves address space for each: some gigabytes times this must fit.
    let instances = section.or("instances", usual.instances, |value| value.number(1..=10_000));
    PluginRuntime {
        instances,
        cache: section.or("cache", usual.cache, Value::boolean),
        warm_slots: section.or("warm_slots", usual.warm_slots, |value| value.number(0..=10_000)),
        kept_memory: section.or("kept_memory", usual.kept_memory, Value::size),
        calls: CallLimits {
            log_lines: section.or("log_lines", usual.calls.log_lines, Value::count),
            log_line_length: section.or("log_line_length", usual.calls.log_line_length, Value::count),
            slots: section.or("slots", usual.calls.slots, Value::count),
            tags: section.or("tags", usual.calls.tags, Value::count),
            edits: section.or("edits", usual.calls.edits, Value::count),
            kv_calls: section.or("kv_calls", usual.calls.kv_calls, Value::count),
            http_calls: section.or("http_calls", usual.calls.http_calls, Value::count),
            http_time: section.or("http_time", usual.calls.http_time, Value::duration),
            wait_time: section.or("wait_time", usual.calls.wait_time, Value::duration),
            http_size: section.or("http_size", usual.calls.http_size, |value| value.size_within(&(ByteSize(1)..=ByteSize::mib(64)))),
        },
        logins: LoginShares {
            instances: section.or("login_instances", (instances / 4).max(1), |value| value.number(1..=10_000)),
            log_lines: section.or("login_log_lines", usual.logins.log_lines, Value::count),
            kv_keys: section.or("kv_keys", usual.logins.kv_keys, Value::count),
            kv_size: section.or("kv_size", usual.logins.kv_size, |value| value.size_within(&(ByteSize(1)..=ByteSize::mib(32)))),
            http_at_once: section.or("http_at_once", usual.logins.http_at_once, Value::count),
        },
        watch: section.or("watch", usual.watch, Value::boolean),
        watch_interval: section.or("watch_interval", usual.watch_interval, Value::duration),
        old_versions: section.or("old_versions", usual.old_versions, |value| value.number(1..=1_000)),
        shadow_memory: section.or("shadow_memory", usual.shadow_memory, Value::size),
        events: EventTelling {
            batch: section.or("event_batch", usual.events.batch, |value| value.number(1..=1_000)),
            gather: section.or("event_gather", usual.events.gather, Value::duration),
            tries: section.or("event_tries", usual.events.tries, |value| value.number(1..=100)),
            retry: section.or("event_retry", usual.events.retry, Value::duration),
        },
    }
}

impl Default for PluginRuntime {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let warm_slots = (WARM_SLOTS_PER_PROCESSOR * processors.min(POOL_DIVISIONS)).max(LEAST_WARM_SLOTS);
        Self {
            instances: 100,
            cache: true,
            warm_slots: u32::try_from(warm_slots).unwrap_or(u32::MAX),
            kept_memory: ByteSize::mib(4),
            calls: CallLimits::default(),
            logins: LoginShares::default(),
            watch: true,
            watch_interval: Duration::from_secs(1),
            old_versions: 8,
            shadow_memory: ByteSize::mib(64),
            events: EventTelling::default(),
        }
    }
}

impl Default for EventTelling {
    fn default() -> Self {
        Self { batch: 100, gather: Duration::from_millis(200), tries: 12, retry: Duration::from_secs(5) }
    }
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            log_lines: 100,
            log_line_length: 1_000,
            slots: 10_000,
            tags: 100,
            edits: 100_000,
            kv_calls: 100,
            http_calls: 10,
            http_time: Duration::from_secs(5),
            http_size: ByteSize::mib(1),
            wait_time: Duration::from_secs(15),
        }
    }
}

impl Default for LoginShares {
    fn default() -> Self {
        Self { instances: 25, log_lines: 100_000, kv_keys: 10_000, kv_size: ByteSize::mib(4), http_at_once: 10 }
    }
}
