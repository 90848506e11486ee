//! WASI 0.2 with nothing in it, for plugins of languages whose standard library needs one.
//!
//! There are no files, no network, no environment and no arguments; what a plugin prints is lines of its log, and `exit` ends the call as a trap
//! does. Time is the message's own and moves only when the plugin sleeps, which takes no time; random octets are those of the call. So the same
//! message still gives the same edits. A plugin that imports none of it pays nothing: it is linked for components that do, and a call makes
//! nothing before it is asked for.

mod clock;
mod interfaces;
mod output;
#[cfg(test)]
mod tests;
mod types;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};

use crate::clock::Timestamp;
use crate::plugin::sandbox::{Log, State};
use clock::Clock;
use output::{Output, Stream};

/// Version that we speak; a component may be made for any 0.2.x.
const VERSION: &str = "0.2.12";

/// Interfaces that a plugin may import, as `wasi:NAME`.
const OFFERED: [&str; 27] = [
    "cli/environment",
    "cli/exit",
    "cli/stderr",
    "cli/stdin",
    "cli/stdout",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stderr",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "filesystem/preopens",
    "filesystem/types",
    "io/error",
    "io/poll",
    "io/streams",
    "random/insecure",
    "random/insecure-seed",
    "random/random",
    "sockets/instance-network",
    "sockets/ip-name-lookup",
    "sockets/network",
    "sockets/tcp",
    "sockets/tcp-create-socket",
    "sockets/udp",
    "sockets/udp-create-socket",
];

/// Handles that one call may be given: each takes memory of the host.
const HANDLES: u32 = 10_000;
/// Octets that are given out at a time where the plugin says how many.
const RANDOM_LENGTH: u64 = 1 << 20;

/// What a call knows of its WASI.
pub(super) struct Wasi {
    clock: Clock,
    output: Output,
    handles: u32,
    /// Where there is no message to seed it.
    unseeded: Option<Box<blake3::OutputReader>>,
}

impl Wasi {
    /// An empty WASI whose clocks begin at the time that counts for the call.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { clock: Clock::new(now), output: Output::default(), handles: 0, unseeded: None }
    }

    /// Logs what was printed without a line end.
    pub(super) fn finish(&mut self, log: &mut Log) {
        self.output.finish(log);
    }

    /// Counts a handle that is given to the plugin.
    fn hand_out(&mut self) -> wasmtime::Result<()> {
        self.handles += 1;
        if self.handles > HANDLES { Err(wasmtime::format_err!("it asked WASI for more than {HANDLES} handles")) } else { Ok(()) }
    }
}

/// Fills `octets` from the stream of the call; in a call without a message, from one that is always the same.
fn fill(state: &mut State, octets: &mut [u8]) {
    let unseeded = || Box::new(blake3::Hasher::new_derive_key("tubepost plugin random without a message").finalize_xof());
    match &mut state.random {
        Some(random) => random.fill(octets),
        None => state.wasi.unseeded.get_or_insert_with(unseeded).fill(octets),
    }
}

fn print(state: &mut State, stream: Stream, octets: &[u8]) {
    let desk = &state.desk;
    state.wasi.output.write(stream, octets, &mut state.log, &|| desk.may_log());
}

/// Whether this is the name of an interface of WASI, of any version.
pub(super) fn is_wasi(import: &str) -> bool {
    import.starts_with("wasi:")
}

/// Returns the interface that an import means, where we have it: `wasi:cli/exit@0.2.3` → `cli/exit`.
fn offered(import: &str) -> Option<&'static str> {
    let (interface, version) = import.strip_prefix("wasi:")?.split_once('@')?;
    let patch = version.strip_prefix("0.2.")?;
    let is_release = !patch.is_empty() && patch.bytes().all(|octet| octet.is_ascii_digit());
    OFFERED.into_iter().find(|known| *known == interface && is_release)
}

/// Whether an import is of WASI and can be satisfied.
pub(super) fn offers(import: &str) -> bool {
    offered(import).is_some()
}

/// Puts all that we offer of WASI in a linker for `component`.
///
/// Methods of what nobody can have (files, sockets) are only named where the component imports them; they would trap.
pub(super) fn add_to_linker(linker: &mut Linker<State>, engine: &wasmtime::Engine, component: &Component) -> wasmtime::Result<()> {
    let mut defined = interfaces::add_to_linker(linker)?;
    for (import, item) in component.component_type().imports(engine) {
        let (Some(interface), ComponentItem::ComponentInstance(instance)) = (offered(import), &item.ty) else { continue };
        let mut linked = linker.instance(&format!("wasi:{interface}@{VERSION}"))?;
        for (name, item) in instance.exports(engine) {
            if !matches!(item.ty, ComponentItem::ComponentFunc(_)) || !defined.insert((interface, name.to_owned())) {
                continue;
            }
            let called = format!("wasi:{interface}#{name}");
            linked.func_new(name, move |_, _, _, _| Err(wasmtime::format_err!("{called} is nothing that plugins have")))?;
        }
    }
    Ok(())
}
