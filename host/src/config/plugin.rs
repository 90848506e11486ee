//! `[plugins.NAME]` and `[plugin_runtime]`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::document::{Section, Value};
use super::suggestion::did_you_mean;
use super::unit::ByteSize;
use super::{CallLimits, EventTelling, Grants, LoginShares, OnError, Plugin, PluginLimits, PluginRuntime, PluginSource, grant, trust};

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
        (Arc::from(*name), Plugin { source, limits, on_error: OnError::default(), allow: Grants::default(), sha256: None })
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
    Some(Plugin { source: source?, limits, on_error, allow, sha256 })
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
