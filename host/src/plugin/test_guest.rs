//! Plugins for tests, written by hand: they do what no compiler would make of an honest plugin.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::clock::Clock;
use crate::config::unit::ByteSize;
use crate::config::{self, Grants, OnError, PluginLimits, PluginRuntime, PluginSource};
use crate::plugin::Plugin;
use crate::plugin::author::building::componentize;
use crate::plugin::engine::{Engine, EngineOptions};
use crate::plugin::loading::{LoadError, load};
use crate::telemetry::metric::Metrics;

/// Logs the id of each event.
pub(crate) const NOTING: &str = "(block $done (loop $next
    (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
    (local.set $p (i32.add (local.get $events) (i32.mul (local.get $i) (i32.const 72))))
    (call $log (i32.const 1) (i32.load (local.get $p)) (i32.load offset=4 (local.get $p)))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next)))";

/// Adds 1 to the number with a key and returns it; traps where that is not allowed.
const INCREMENT: &str = "(func $increment (param i32 i32) (result i64)
    (call $raw_increment (local.get 0) (local.get 1) (i64.const 1) (i32.const 0) (i32.const 0) (i32.const 512))
    (if (i32.load8_u (i32.const 512)) (then unreachable))
    (i64.load (i32.const 520)))";

const WIT: &str = include_str!("../../../wit/0.1.0/mail.wit");

/// A core module in the making. Function bodies are WAT; `$message`, `$config` and `$config_length` are their parameters.
pub(crate) struct Guest {
    data: String,
    next: usize,
    description: [(usize, usize); 4],
    header_options: Vec<[(usize, usize); 2]>,
    describe: String,
    submit: Option<String>,
    recipient: Option<(String, String)>,
    rcpt: Option<String>,
    event: Option<String>,
    granted: Vec<&'static str>,
    imports: String,
    packages: Vec<String>,
}

impl Guest {
    pub(crate) fn new(name: &str) -> Self {
        let mut guest = Self {
            data: String::new(),
            next: 4096,
            description: [(0, 0); 4],
            header_options: Vec::new(),
            describe: String::new(),
            submit: None,
            recipient: None,
            rcpt: None,
            event: None,
            granted: Vec::new(),
            imports: String::new(),
            packages: Vec::new(),
        };
        guest.description = [guest.place(name), guest.place("1.2.3"), guest.place("A test"), (0, 0)];
        guest
    }

    fn place(&mut self, text: &str) -> (usize, usize) {
        let at = self.next;
        write!(self.data, "(data (i32.const {at}) \"").unwrap();
        for octet in text.bytes() {
            write!(self.data, "\\{octet:02x}").unwrap();
        }
        self.data.push_str("\")\n");
        self.next += text.len() + 1;
        (at, text.len())
    }

    /// Puts a text in memory; returns address and length as two operands.
    pub(crate) fn text(&mut self, text: &str) -> String {
        let (at, length) = self.place(text);
        format!("(i32.const {at}) (i32.const {length})")
    }

    pub(crate) fn schema(mut self, schema: &str) -> Self {
        self.description[3] = self.place(schema);
        self
    }

    pub(crate) fn header_option(mut self, field: &str, option: &str) -> Self {
        let option = [self.place(field), self.place(option)];
        self.header_options.push(option);
        self
    }

    pub(crate) fn describe(mut self, body: impl Into<String>) -> Self {
        self.describe = body.into();
        self
    }

    pub(crate) fn submit(mut self, body: impl Into<String>) -> Self {
        self.submit = Some(body.into());
        self
    }

    pub(crate) fn recipient(mut self, wanted: impl Into<String>, process: impl Into<String>) -> Self {
        self.recipient = Some((wanted.into(), process.into()));
        self
    }

    /// A word on forward-paths; `$path`, `$path_length` and `$accepted` are parameters too. `$verdict` 0 accepts, `$reply` 1 rejects and 2 defers,
    /// `$saying` 3 rewrites.
    pub(crate) fn rcpt(mut self, body: impl Into<String>) -> Self {
        self.rcpt = Some(body.into());
        self
    }

    /// Handles events; `$events` and `$count` are parameters. An event has 72 octets: its id first, its kind at 16, the id of its message at 20.
    /// `$verdict` 0 takes note.
    pub(crate) fn event(mut self, body: impl Into<String>) -> Self {
        self.event = Some(body.into());
        self
    }

    /// Logs the id of each event.
    pub(crate) fn noting(name: &str) -> Self {
        Self::new(name).event(format!("{NOTING} (call $verdict (i32.const 0))"))
    }

    /// Imports an interface that takes a grant: `kv` gives `$increment`.
    pub(crate) fn granted(mut self, interface: &'static str) -> Self {
        self.granted.push(interface);
        self
    }

    /// Imports more than the contract has: WAT for the module, and WIT for it. The last package has a world `plugin`; no package is needed for
    /// what `wasi_snapshot_preview1` has.
    pub(crate) fn importing(mut self, wat: &str, packages: &[String]) -> Self {
        self.imports.push_str(wat);
        self.packages.extend_from_slice(packages);
        self
    }

    /// Adds the field `name: value` and goes on.
    pub(crate) fn adding(name: &str, field: &str, value: &str) -> Self {
        let mut guest = Self::new(name);
        let (field, value) = (guest.text(field), guest.text(value));
        guest.submit(format!("(drop (call $add_header (local.get $message) {field} {value})) (call $verdict (i32.const 0))"))
    }

    /// Adds a field with its options and goes on.
    pub(crate) fn showing_config(name: &str) -> Self {
        let mut guest = Self::new(name);
        let field = guest.text(&format!("X-{name}"));
        guest.submit(format!(
            "(drop (call $add_header (local.get $message) {field} (local.get $config) (local.get $config_length)))
            (call $verdict (i32.const 0))"
        ))
    }

    #[expect(clippy::too_many_lines, reason = "most of it is the module")]
    pub(crate) fn component(mut self) -> Vec<u8> {
        let mut options = String::new();
        let at = self.next.next_multiple_of(4);
        for (number, option) in self.header_options.iter().enumerate() {
            for (place, (address, length)) in option.iter().enumerate() {
                let base = at + number * 16 + place * 8;
                write!(
                    options,
                    "(i32.store (i32.const {base}) (i32.const {address})) (i32.store (i32.const {}) (i32.const {length}))",
                    base + 4
                )
                .unwrap();
            }
        }
        let mut fields = String::new();
        for (place, (address, length)) in self.description.iter().enumerate() {
            let base = 128 + place * 8;
            write!(
                fields,
                "(i32.store (i32.const {base}) (i32.const {address})) (i32.store (i32.const {}) (i32.const {length}))",
                base + 4
            )
            .unwrap();
        }
        write!(
            fields,
            "(i32.store (i32.const 160) (i32.const {at})) (i32.store (i32.const 164) (i32.const {}))",
            self.header_options.len()
        )
        .unwrap();
        let mut exports = String::new();
        let parameters = "(param $message i32) (param $config i32) (param $config_length i32) (result i32) (local $i i32) (local $p i32)";
        if self.submit.is_none() && self.recipient.is_none() && self.rcpt.is_none() && self.event.is_none() {
            self.submit = Some("(call $verdict (i32.const 0))".to_owned());
        }
        if let Some(body) = &self.submit {
            write!(exports, "(func $submit (export \"tubepost:mail/submit@0.1.0#process\") {parameters} {body})").unwrap();
        }
        if let Some((wanted, process)) = &self.recipient {
            write!(exports, "(func (export \"tubepost:mail/recipient@0.1.0#wanted\") {parameters} {wanted})").unwrap();
            write!(exports, "(func (export \"tubepost:mail/recipient@0.1.0#process\") {parameters} {process})").unwrap();
        }
        if let Some(body) = &self.rcpt {
            let parameters = "(param $path i32) (param $path_length i32) (param $reverse i32) (param $reverse_length i32)
                (param $accepted i32) (param $context i32) (param $context_length i32) (param $now i64)
                (param $config i32) (param $config_length i32) (result i32) (local $i i32) (local $p i32)";
            write!(exports, "(func (export \"tubepost:mail/rcpt@0.1.0#check\") {parameters} {body})").unwrap();
        }
        if let Some(body) = &self.event {
            let parameters = "(param $events i32) (param $count i32) (param $config i32) (param $config_length i32) (result i32)
                (local $i i32) (local $p i32) (local $n i64)";
            write!(exports, "(func (export \"tubepost:mail/event@0.1.0#handle\") {parameters} {body})").unwrap();
        }
        let stages = [
            ("submit", self.submit.is_some()),
            ("recipient", self.recipient.is_some()),
            ("rcpt", self.rcpt.is_some()),
            ("event", self.event.is_some()),
        ];
        let mut world = "world test { include host; export plugin;".to_owned();
        for (stage, _) in stages.into_iter().filter(|(_, has)| *has) {
            write!(world, " export {stage};").unwrap();
        }
        let mut imports = std::mem::take(&mut self.imports);
        for interface in &self.granted {
            write!(world, " import {interface};").unwrap();
            imports.push_str(match *interface {
                "kv" => "(import \"tubepost:mail/kv@0.1.0\" \"increment\" (func $raw_increment (param i32 i32 i64 i32 i32 i32)))",
                _ => "",
            });
            if *interface == "kv" {
                exports.push_str(INCREMENT);
            }
        }
        world.push('}');
        let Self { data, describe, packages, .. } = self;
        let wat = format!(
            r#"(module
            (import "tubepost:mail/message@0.1.0" "[method]message.add-header"
              (func $raw_add_header (param i32 i32 i32 i32 i32 i32 i32)))
            (import "tubepost:mail/message@0.1.0" "[method]message.set-html" (func $set_html (param i32 i32 i32 i32)))
            (import "tubepost:mail/message@0.1.0" "[method]message.write-part" (func $write_part (param i32 i32 i32 i32 i32)))
            (import "tubepost:mail/message@0.1.0" "[method]message.add-tag" (func $add_tag (param i32 i32 i32 i32)))
            (import "tubepost:mail/message@0.1.0" "[method]message.add-recipient" (func $add_recipient (param i32 i32 i32 i32)))
            (import "tubepost:mail/message@0.1.0" "[method]message.remove-recipient" (func $remove_recipient (param i32 i32 i32)))
            (import "tubepost:mail/message@0.1.0" "[method]message.slot" (func $slot (param i32 i32 i32 i32 i32 i32 i32)))
            (import "tubepost:mail/message@0.1.0" "[method]message.id" (func $id (param i32 i32)))
            (import "tubepost:mail/message@0.1.0" "[method]message.set-content" (func $set_content (param i32 i32 i32 i32)))
            (import "tubepost:mail/message@0.1.0" "[method]message.read-content" (func $read_content (param i32 i64 i32 i32)))
            (import "tubepost:mail/message@0.1.0" "[method]message.set-route" (func $set_route (param i32 i32 i32 i32)))
            (import "tubepost:mail/message@0.1.0" "[method]message.set-not-before" (func $set_not_before (param i32 i64 i32)))
            (import "tubepost:mail/message@0.1.0" "[method]message.own-link"
              (func $own_link (param i32 i32 i32 i32 i32 i32 i32)))
            (import "tubepost:mail/message@0.1.0" "[resource-drop]message" (func $drop_message (param i32)))
            (import "tubepost:mail/random@0.1.0" "get" (func $random (param i32 i32)))
            (import "tubepost:mail/log@0.1.0" "log" (func $log (param i32 i32 i32)))
            {imports}
            (memory (export "memory") 4)
            (global $heap (mut i32) (i32.const 65536))
            {data}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
              (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
              (global.set $heap (i32.add (local.get $at) (local.get 3)))
              (local.get $at))
            ;; A verdict that says nothing more: 0 next, 1 accept.
            (func $verdict (param i32) (result i32)
              (i32.store8 (i32.const 16) (i32.const 0)) (i32.store8 (i32.const 20) (local.get 0)) (i32.const 16))
            ;; 4 discard, 5 hold, with a text.
            (func $saying (param i32 i32 i32) (result i32)
              (i32.store (i32.const 24) (local.get 1)) (i32.store (i32.const 28) (local.get 2)) (call $verdict (local.get 0)))
            ;; 2 reject, 3 defer: code, enhanced, text.
            (func $reply (param i32 i32 i32 i32 i32 i32) (result i32)
              (i32.store16 (i32.const 24) (local.get 1))
              (i32.store8 (i32.const 28) (i32.ne (local.get 3) (i32.const 0)))
              (i32.store (i32.const 32) (local.get 2)) (i32.store (i32.const 36) (local.get 3))
              (i32.store (i32.const 40) (local.get 4)) (i32.store (i32.const 44) (local.get 5))
              (call $verdict (local.get 0)))
            ;; A failure: 0 transient, 1 permanent, 2 config, with a text.
            (func $failure (param i32 i32 i32) (result i32)
              (i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 20) (local.get 0))
              (i32.store (i32.const 24) (local.get 1)) (i32.store (i32.const 28) (local.get 2)) (i32.const 16))
            ;; The answer of `wanted`.
            (func $answer (param i32) (result i32)
              (i32.store8 (i32.const 16) (i32.const 0)) (i32.store8 (i32.const 20) (local.get 0)) (i32.const 16))
            ;; Adds a field in front; returns 0 where that was allowed.
            (func $add_header (param i32 i32 i32 i32 i32) (result i32)
              (call $raw_add_header (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (i32.const 0) (i32.const 256))
              (i32.load8_u (i32.const 256)))
            (func (export "tubepost:mail/plugin@0.1.0#describe") (result i32) {options} {fields} {describe} (i32.const 128))
            {exports})"#
        );
        let mut module = wat::parse_str(&wat).expect("the WAT is well formed");
        let mut resolve = Resolve::default();
        let mut package = resolve.push_str("mail.wit", &format!("{WIT}\n{world}\n")).unwrap();
        for text in &packages {
            package = resolve.push_str("more.wit", text).unwrap();
        }
        let world = resolve.select_world(&[package], Some(if packages.is_empty() { "test" } else { "plugin" })).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        componentized(&module)
    }
}

pub(crate) fn componentized(module: &[u8]) -> Vec<u8> {
    componentize(module.to_vec()).unwrap()
}

pub(crate) const LIMITS: PluginLimits =
    PluginLimits { time: Duration::from_secs(20), memory: ByteSize(16 << 20), output: ByteSize(1 << 20) };

pub(crate) fn engine() -> Arc<Engine> {
    let runtime = PluginRuntime { instances: 4, ..PluginRuntime::default() };
    Arc::new(Engine::new(EngineOptions { runtime, ..EngineOptions::new(Clock::system(), Metrics::new()) }).unwrap())
}

pub(crate) async fn try_load(engine: &Arc<Engine>, name: &str, octets: &[u8]) -> Result<Plugin, LoadError> {
    try_load_with(engine, name, octets, LIMITS, OnError::Defer).await
}

pub(crate) async fn try_load_with(
    engine: &Arc<Engine>,
    name: &str,
    octets: &[u8],
    limits: PluginLimits,
    on_error: OnError,
) -> Result<Plugin, LoadError> {
    try_load_granted(engine, name, octets, limits, on_error, Grants::default()).await
}

pub(crate) async fn try_load_granted(
    engine: &Arc<Engine>,
    name: &str,
    octets: &[u8],
    limits: PluginLimits,
    on_error: OnError,
    allow: Grants,
) -> Result<Plugin, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin.wasm");
    std::fs::write(&path, octets).unwrap();
    let configured =
        config::Plugin { source: PluginSource::File(path), limits, on_error, allow, sha256: None, refusals: config::Refusals::default() };
    load(engine, &name.into(), &configured).await
}

impl Guest {
    pub(crate) async fn load(self, engine: &Arc<Engine>) -> Plugin {
        self.load_with(engine, LIMITS, OnError::Defer).await
    }

    pub(crate) async fn load_with(self, engine: &Arc<Engine>, limits: PluginLimits, on_error: OnError) -> Plugin {
        let name = "test".to_owned();
        try_load_with(engine, &name, &self.component(), limits, on_error).await.unwrap()
    }
}
