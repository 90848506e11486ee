//! The contract of `wit/` and our own words: types are converted here, and no generated type goes further than this folder.

mod message;
mod service;

use wasmtime::Store;
use wasmtime::component::{HasSelf, Instance, InstancePre, Linker};

use crate::plugin::sandbox::State;
use crate::plugin::verdict::{Failure, Reply, TEXT_LENGTH, Verdict, printable};

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit/0.1.0",
        world: "everything",
        imports: {
            "tubepost:mail/kv": async | trappable,
            "tubepost:mail/http-client": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: { "tubepost:mail/message.message": crate::plugin::sandbox::MessageHandle },
    });
}

use generated::exports::tubepost::mail::{
    event as wit_event, plugin as wit_plugin, rcpt as wit_rcpt, recipient as wit_recipient, submit as wit_submit,
};
use generated::tubepost::mail::{
    clock as wit_clock, http_client as wit_http, kv as wit_kv, log as wit_log, message as wit_message, metrics as wit_metrics,
    random as wit_random, secrets as wit_secrets, templates as wit_templates, types as wit_types,
};

pub(super) use wit_event::{Event as WitEvent, GuestIndices as EventExport, Kind as WitKind};
pub(super) use wit_plugin::Description as WitDescription;
use wit_plugin::GuestIndices as PluginExport;
pub(super) use wit_rcpt::{Answer as WitAnswer, GuestIndices as RcptExport, Transaction as WitTransaction};
pub(super) use wit_recipient::GuestIndices as RecipientExport;
pub(super) use wit_submit::GuestIndices as SubmitExport;
pub(super) use wit_types::{Failure as WitFailure, Verdict as WitVerdict};

/// Name of our package, without a version.
pub const PACKAGE: &str = "tubepost:mail";
/// Version of the contract that this host offers.
pub const VERSION: &str = "0.1.0";
/// What the versions begin with that are compatible with ours.
pub const COMPATIBLE: &str = "0.1.";
/// Interfaces that a plugin may import.
pub const OFFERED: [&str; 10] = ["types", "message", "log", "random", "clock", "metrics", "kv", "http-client", "secrets", "templates"];

/// Octets that `random` gives at a time.
const RANDOM_LENGTH: u32 = 4_096;

/// Puts what we offer in a linker.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    generated::Everything::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

/// Interfaces that a plugin may export.
const EXPORTED: [&str; 5] = ["plugin", "submit", "recipient", "rcpt", "event"];

/// What a component exports, by any number of 0.1.x.
pub(super) struct Exports {
    plugin: PluginExport,
    pub(super) submit: Option<SubmitExport>,
    pub(super) recipient: Option<RecipientExport>,
    pub(super) rcpt: Option<RcptExport>,
    pub(super) event: Option<EventExport>,
}

impl Exports {
    /// Looks the exports up once, so that calls need not.
    ///
    /// # Errors
    /// One that there must be is missing, or one that is there cannot be used: a stage that never ran would not be missed.
    pub(super) fn of(instance: &InstancePre<State>) -> Result<Self, String> {
        let component_type = instance.component().component_type();
        let mut exported = [false; EXPORTED.len()];
        for (name, _) in component_type.exports(instance.engine()) {
            let (interface, version) = name.split_once('@').unwrap_or((name, ""));
            let Some(interface) = interface.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/')) else { continue };
            match EXPORTED.iter().zip(&mut exported).find(|(known, _)| **known == interface) {
                Some((_, exported)) if version.starts_with(COMPATIBLE) => *exported = true,
                _ => return Err(format!("it exports {}, which this version does not know", printable(name, TEXT_LENGTH))),
            }
        }
        let [plugin, submit, recipient, rcpt, event] = exported;
        let unusable = |interface: &str, error: &wasmtime::Error| format!("its {PACKAGE}/{interface} cannot be used: {error:#}");
        if !plugin {
            return Err(format!("it does not export {PACKAGE}/plugin"));
        }
        if ![submit, recipient, rcpt, event].contains(&true) {
            return Err(format!("it exports no stage: {PACKAGE}/submit, {PACKAGE}/recipient, {PACKAGE}/rcpt or {PACKAGE}/event"));
        }
        Ok(Self {
            plugin: PluginExport::new(instance).map_err(|error| unusable("plugin", &error))?,
            submit: submit.then(|| SubmitExport::new(instance)).transpose().map_err(|error| unusable("submit", &error))?,
            recipient: recipient.then(|| RecipientExport::new(instance)).transpose().map_err(|error| unusable("recipient", &error))?,
            rcpt: rcpt.then(|| RcptExport::new(instance)).transpose().map_err(|error| unusable("rcpt", &error))?,
            event: event.then(|| EventExport::new(instance)).transpose().map_err(|error| unusable("event", &error))?,
        })
    }

    /// Checks the signatures of all that is exported, in an instance; returns what answers who the plugin is.
    pub(super) fn check(&self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<wit_plugin::Guest> {
        if let Some(export) = &self.submit {
            export.load(&mut *store, instance)?;
        }
        if let Some(export) = &self.recipient {
            export.load(&mut *store, instance)?;
        }
        if let Some(export) = &self.rcpt {
            export.load(&mut *store, instance)?;
        }
        if let Some(export) = &self.event {
            export.load(&mut *store, instance)?;
        }
        self.plugin.load(&mut *store, instance)
    }
}

impl From<WitVerdict> for Verdict {
    fn from(verdict: WitVerdict) -> Self {
        match verdict {
            WitVerdict::Next => Self::Next,
            WitVerdict::Accept => Self::Accept,
            WitVerdict::Reject(reply) => Self::Reject(Reply::rejection(reply.code, reply.enhanced.as_deref(), &reply.text)),
            WitVerdict::Defer(reply) => Self::Defer(Reply::deferral(reply.code, reply.enhanced.as_deref(), &reply.text)),
            WitVerdict::Discard(reason) => Self::Discard(printable(&reason, TEXT_LENGTH)),
            WitVerdict::Hold(reason) => Self::Hold(printable(&reason, TEXT_LENGTH)),
        }
    }
}

impl From<WitFailure> for Failure {
    fn from(failure: WitFailure) -> Self {
        match failure {
            WitFailure::Transient(text) => Self::Transient(printable(&text, TEXT_LENGTH)),
            WitFailure::Permanent(text) => Self::Permanent(printable(&text, TEXT_LENGTH)),
            WitFailure::Config(text) => Self::Config(printable(&text, TEXT_LENGTH)),
        }
    }
}

impl wit_types::Host for State {}

impl wit_log::Host for State {
    fn log(&mut self, level: wit_log::Level, text: String) -> wasmtime::Result<()> {
        self.in_stage()?;
        let level = match level {
            wit_log::Level::Debug => "debug",
            wit_log::Level::Info => "info",
            wit_log::Level::Warn => "warn",
            wit_log::Level::Error => "error",
        };
        if self.desk.may_log() {
            self.log.push(level, &text);
        } else {
            self.log.drop_line();
        }
        Ok(())
    }
}

impl wit_random::Host for State {
    fn get(&mut self, length: u32) -> wasmtime::Result<Vec<u8>> {
        let random = self.random.as_mut().ok_or_else(|| wasmtime::format_err!("random octets were asked for outside of a message"))?;
        let mut octets = vec![0; usize::try_from(length.min(RANDOM_LENGTH)).unwrap_or_default()];
        random.fill(&mut octets);
        Ok(octets)
    }
}
