//! What a chain costs for each message: an instance that does nothing, five plugins that add a header field, the embedded plugins on a newsletter
//! of 50 KB, and a copy of that newsletter at delivery.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use divan::Bencher;
use tokio::runtime::Runtime;
use tubepost::chain::processing::{Kept, Processed};
use tubepost::chain::trace::Trace;
use tubepost::chain::{Chain, Chains};
use tubepost::clock::{Clock, Timestamp};
use tubepost::config::unit::ByteSize;
use tubepost::config::{self, ChainStep, OnError, PluginLimits, PluginSource, PluginTrust, When};
use tubepost::link::LinkSigner;
use tubepost::mail::address::EmailAddress;
use tubepost::mail::content::Draft;
use tubepost::mail::envelope::{ForwardPath, ReversePath};
use tubepost::mail::message_id::MessageId;
use tubepost::plugin::built_in;
use tubepost::plugin::engine::{Engine, EngineOptions};
use tubepost::plugin::lease::Circumstances;
use tubepost::plugin::letter::Letter;
use tubepost::plugin::loading::{Plugins, Purpose, load_all};
use tubepost::plugin::service::desk::Effects;
use tubepost::submission::Options;
use tubepost::telemetry::metric::Metrics;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

fn main() {
    divan::main();
}

const WIT: &str = include_str!("../../wit/0.1.0/mail.wit");

/// A plugin of a few instructions; with `$edit` it adds a field first.
const MODULE: &str = r#"(module
    (import "tubepost:mail/message@0.1.0" "[method]message.add-header" (func $add (param i32 i32 i32 i32 i32 i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "X-Bench") (data (i32.const 80) "0.1.0")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "tubepost:mail/plugin@0.1.0#describe") (result i32)
      (i32.store (i32.const 128) (i32.const 64)) (i32.store (i32.const 132) (i32.const 7))
      (i32.store (i32.const 136) (i32.const 80)) (i32.store (i32.const 140) (i32.const 5))
      (i32.const 128))
    (func (export "tubepost:mail/submit@0.1.0#process") (param $message i32) (param i32 i32) (result i32) $edit (i32.const 16)))"#;

const EDIT: &str =
    "(call $add (local.get $message) (i32.const 64) (i32.const 7) (i32.const 80) (i32.const 5) (i32.const 1) (i32.const 256))";

fn component(edit: &str) -> Vec<u8> {
    let mut module = wat::parse_str(MODULE.replace("$edit", edit)).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("mail.wit", WIT).unwrap();
    let world = resolve.select_world(&[package], Some("submit-plugin")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

struct Setup {
    runtime: Runtime,
    chain: Arc<Chain>,
    content: Bytes,
    _folder: tempfile::TempDir,
}

impl Setup {
    fn new(plugins: &[(&str, PluginSource)], content: Bytes, folder: tempfile::TempDir) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let engine = Arc::new(Engine::new(EngineOptions::new(Clock::system(), Metrics::new())).unwrap());
        let limits = PluginLimits { time: Duration::from_secs(5), memory: ByteSize(64 << 20), output: ByteSize(10 << 20) };
        let configured = plugins
            .iter()
            .map(|(name, source)| {
                let source = source.clone();
                let allow = config::Grants::default();
                (
                    (*name).into(),
                    config::Plugin { source, limits, on_error: OnError::Defer, allow, sha256: None, refusals: config::Refusals::default() },
                )
            })
            .collect();
        let steps = plugins
            .iter()
            .map(|(name, _)| ChainStep {
                plugin: (*name).into(),
                when: When::Always,
                locked: false,
                share: None,
                shadow: None,
                options: serde_json::Map::new(),
                place: String::new(),
            })
            .collect();
        let loaded =
            runtime.block_on(load_all(&engine, &configured, &PluginTrust::default(), &Plugins::new(), Purpose::Rehearsal)).unwrap();
        let chains = Chains::build(&BTreeMap::from([("bench".into(), config::Chain { steps })]), loaded, 100 << 20).unwrap();
        let chain = Arc::clone(chains.chain("bench").unwrap());
        Self { runtime, chain, content, _folder: folder }
    }

    /// A chain of `count` small plugins.
    fn small(count: usize, edit: &str) -> Self {
        const NAMES: [&str; 5] = ["one", "two", "three", "four", "five"];
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("plugin.wasm");
        std::fs::write(&path, component(edit)).unwrap();
        let plugins: Vec<_> = NAMES.iter().take(count).map(|name| (*name, PluginSource::File(path.clone()))).collect();
        Self::new(&plugins, newsletter(2), folder)
    }

    /// The embedded plugins, in the order of the documentation.
    fn full() -> Option<Self> {
        built_in::component("tags")?;
        let names = ["tags", "template", "inline-css", "tracking", "list-unsubscribe"];
        let plugins: Vec<_> = names.iter().map(|name| (*name, PluginSource::BuiltIn((*name).into()))).collect();
        Some(Self::new(&plugins, newsletter(50), tempfile::tempdir().unwrap()))
    }

    fn process(&self) -> Kept {
        let recipients = vec![ForwardPath::new(EmailAddress::parse("reader@example.org").unwrap())];
        let letter = Letter::new(Draft::new(self.content.clone()), ReversePath::Null, recipients, Vec::new(), [7; 11]);
        let circumstances = Arc::new(Circumstances {
            login: "bench".into(),
            deliver_before: None,
            id: MessageId::from_bytes([1; 16]),
            received: Timestamp::from_millis(1_700_000_000_000),
            context: Vec::new(),
            variables: String::new(),
            original: self.content.clone(),
            recipient_limit: 100,
            links: LinkSigner::new([0; 32], "https://t.example.com".to_owned()),
            effects: Effects::Live,
        });
        let (mut trace, options) = (Trace::default(), Options::default());
        match self.runtime.block_on(self.chain.process(letter, &circumstances, &options, &mut trace)).unwrap() {
            Processed::Kept(kept) => *kept,
            Processed::Discarded { plugin, reason } => panic!("{plugin}: {reason}"),
        }
    }
}

/// A newsletter with a style block and a link in each row, of so many KB.
fn newsletter(kilobytes: usize) -> Bytes {
    let mut html = String::from(
        "<html><head><style>td { color: #333; padding: 8px } a { color: #06c } .title { font-size: 20px }</style></head><body><table>",
    );
    let mut row = 0;
    while html.len() < kilobytes << 10 {
        row += 1;
        write!(
            html,
            "<tr><td class=\"title\">Item {row}</td></tr>\r\n<tr><td>Some words about it, as newsletters have them, neither short nor long. <a \
             href=\"https://example.com/item/{row}?from=newsletter\">Read more</a></td></tr>\r\n"
        )
        .unwrap();
    }
    html.push_str("</table></body></html>\r\n");
    let header = "From: News <news@example.com>\r\nTo: reader@example.org\r\nSubject: News\r\nX-MailPace-Tags: news, weekly\r\n\
                  MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n";
    format!("{header}{html}").into()
}

#[divan::bench]
fn fresh_instance_that_does_nothing(bencher: Bencher<'_, '_>) {
    let setup = Setup::small(1, "");
    bencher.bench_local(|| setup.process());
}

#[divan::bench]
fn five_plugins_that_add_a_field(bencher: Bencher<'_, '_>) {
    let setup = Setup::small(5, EDIT);
    bencher.bench_local(|| setup.process());
}

#[divan::bench]
fn embedded_plugins_on_50_kb(bencher: Bencher<'_, '_>) {
    if let Some(setup) = Setup::full() {
        bencher.bench_local(|| setup.process());
    }
}

#[divan::bench]
fn one_copy_of_50_kb(bencher: Bencher<'_, '_>) {
    let Some(setup) = Setup::full() else { return };
    let kept = setup.process();
    let slots = kept.letter.slots().clone();
    let composition = kept.letter.draft.into_composition(Some(slots.nonce()));
    bencher
        .bench_local(|| composition.fill(slots.nonce(), slots.as_slice(), &mut |_| "https://t.example.com/t/abcdefghijklmnop".to_owned()));
}
