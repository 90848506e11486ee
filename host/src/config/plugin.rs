//! `[plugins.NAME]` and `[plugin_runtime]`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::document::{Fault, Section, Value};
use super::suggestion::did_you_mean;
use super::unit::ByteSize;
use super::{OnError, Plugin, PluginLimits, PluginRuntime, PluginSource};

/// Plugins that the binary brings along; they need no entry.
pub const FIRST_PARTY: [&str; 5] = ["inline-css", "list-unsubscribe", "tags", "template", "tracking"];

const TIME: Duration = Duration::from_millis(250);
const MEMORY: ByteSize = ByteSize::mib(64);

/// A component without any code takes this much: its stack and one page of data.
const LEAST_MEMORY: ByteSize = ByteSize::mib(1);

/// Reads all plugins and adds those of [`FIRST_PARTY`] that have no entry.
///
/// `output` is the default of `limits.output`.
pub(super) fn read(file: &Section<'_>, output: ByteSize) -> BTreeMap<Arc<str>, Plugin> {
    let built_in = FIRST_PARTY.iter().map(|name| {
        let limits = PluginLimits { time: TIME, memory: MEMORY, output };
        (Arc::from(*name), Plugin { source: PluginSource::BuiltIn(Arc::from(*name)), limits, on_error: OnError::default() })
    });
    let named = file.named("plugins", "plugin", |name, value| value.section(|section| plugin(section, name, output)).flatten());
    built_in.chain(named.map(|(name, plugin)| (Arc::from(name), plugin))).collect()
}

fn plugin(section: &Section<'_>, name: &str, output: ByteSize) -> Option<Plugin> {
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
    section.table("allow", |allow| {
        allow.or("http", (), no_http);
        allow.or("kv", (), no_key_value);
    });
    let on_error = section.or("on_error", OnError::default(), |value| {
        value.choice(&[("defer", OnError::Defer), ("reject", OnError::Reject), ("skip", OnError::Skip)])
    });
    Some(Plugin { source: source?, limits, on_error })
}

/// `allow.http` grants nothing: the host offers plugins no HTTP.
fn no_http(value: &Value<'_>) -> Result<(), Fault> {
    for url in value.elements()? {
        url.text()?;
    }
    if !value.elements()?.is_empty() {
        value.warn("plugins cannot make HTTP requests in this version: nothing is granted");
    }
    Ok(())
}

/// `allow.kv` grants nothing: the host offers plugins no table.
fn no_key_value(value: &Value<'_>) -> Result<(), Fault> {
    if value.boolean()? {
        value.warn("plugins cannot keep data in this version: nothing is granted");
    }
    Ok(())
}

pub(super) fn runtime(section: &Section<'_>) -> PluginRuntime {
    PluginRuntime {
        // The pool reserves address space for each: some gigabytes times this must fit.
        instances: section.or("instances", 100, |value| value.number(1..=10_000)),
        cache: section.or("cache", true, Value::boolean),
    }
}
