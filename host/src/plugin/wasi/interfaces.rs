//! The functions of WASI that a plugin can reach.

use std::collections::BTreeSet;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};

use super::clock::Pollable;
use super::output::Stream;
use super::types::{AddressFamily, Datetime, Input, IoError, Network, Nothing, Printer, SocketError, StreamError, Waiting};
use super::{RANDOM_LENGTH, VERSION, fill, print};
use crate::plugin::sandbox::State;

/// Octets that a plugin is told it may print at a time.
const PRINTABLE: u64 = 64 << 10;

/// What was defined: interface and function.
pub(super) type Defined = BTreeSet<(&'static str, String)>;

/// One interface in the making.
struct Interface<'a> {
    name: &'static str,
    instance: LinkerInstance<'a, State>,
    defined: &'a mut Defined,
}

impl Interface<'_> {
    fn function<Parameters, Return>(
        &mut self,
        name: &'static str,
        body: impl Fn(&mut State, Parameters) -> wasmtime::Result<Return> + Send + Sync + 'static,
    ) -> wasmtime::Result<()>
    where
        Parameters: ComponentNamedList + Lift + 'static,
        Return: ComponentNamedList + Lower + 'static,
    {
        self.defined.insert((self.name, name.to_owned()));
        self.instance.func_wrap(name, move |mut store: StoreContextMut<'_, State>, parameters| body(store.data_mut(), parameters))
    }

    fn resource<T: 'static>(&mut self, name: &str) -> wasmtime::Result<()> {
        self.instance.resource(name, ResourceType::host::<T>(), |_, _| Ok(()))
    }
}

/// Puts all of them in a linker.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<Defined> {
    let mut defined = Defined::new();
    let mut define = |name: &'static str, fill: &dyn Fn(&mut Interface<'_>) -> wasmtime::Result<()>| {
        let instance = linker.instance(&format!("wasi:{name}@{VERSION}"))?;
        fill(&mut Interface { name, instance, defined: &mut defined })
    };
    define("io/error", &|it| it.resource::<IoError>("error"))?;
    define("io/poll", &poll)?;
    define("io/streams", &streams)?;
    define("clocks/monotonic-clock", &monotonic_clock)?;
    define("clocks/wall-clock", &wall_clock)?;
    define("random/random", &|it| random(it, "get-random-bytes", "get-random-u64"))?;
    define("random/insecure", &|it| random(it, "get-insecure-random-bytes", "get-insecure-random-u64"))?;
    define("random/insecure-seed", &|it| it.function("insecure-seed", |state, ()| Ok(((number(state), number(state)),))))?;
    define("cli/environment", &environment)?;
    define("cli/exit", &exit)?;
    define("cli/stdin", &|it| it.function("get-stdin", |state, ()| Ok((handle::<Input>(state, 0)?,))))?;
    define("cli/stdout", &|it| it.function("get-stdout", |state, ()| Ok((handle::<Printer>(state, Stream::Stdout.rep())?,))))?;
    define("cli/stderr", &|it| it.function("get-stderr", |state, ()| Ok((handle::<Printer>(state, Stream::Stderr.rep())?,))))?;
    define("cli/terminal-input", &|it| it.resource::<Nothing>("terminal-input"))?;
    define("cli/terminal-output", &|it| it.resource::<Nothing>("terminal-output"))?;
    define("cli/terminal-stdin", &|it| it.function("get-terminal-stdin", none))?;
    define("cli/terminal-stdout", &|it| it.function("get-terminal-stdout", none))?;
    define("cli/terminal-stderr", &|it| it.function("get-terminal-stderr", none))?;
    define("filesystem/types", &|it| {
        it.resource::<Nothing>("descriptor")?;
        it.resource::<Nothing>("directory-entry-stream")
    })?;
    define("filesystem/preopens", &|it| it.function("get-directories", |_, ()| Ok((Vec::<(Resource<Nothing>, String)>::new(),))))?;
    define("sockets/network", &|it| it.resource::<Network>("network"))?;
    define("sockets/instance-network", &|it| it.function("instance-network", |state, ()| Ok((handle::<Network>(state, 0)?,))))?;
    define("sockets/ip-name-lookup", &|it| {
        it.resource::<Nothing>("resolve-address-stream")?;
        it.function("resolve-addresses", |_, (_network, _name): (Resource<Network>, String)| denied())
    })?;
    define("sockets/tcp", &|it| it.resource::<Nothing>("tcp-socket"))?;
    define("sockets/tcp-create-socket", &|it| it.function("create-tcp-socket", |_, (_,): (AddressFamily,)| denied()))?;
    define("sockets/udp", &|it| {
        it.resource::<Nothing>("udp-socket")?;
        it.resource::<Nothing>("incoming-datagram-stream")?;
        it.resource::<Nothing>("outgoing-datagram-stream")
    })?;
    define("sockets/udp-create-socket", &|it| it.function("create-udp-socket", |_, (_,): (AddressFamily,)| denied()))?;
    Ok(defined)
}

fn handle<T: 'static>(state: &mut State, rep: u32) -> wasmtime::Result<Resource<T>> {
    state.wasi.hand_out()?;
    Ok(Resource::new_own(rep))
}

#[expect(clippy::unnecessary_wraps, reason = "a host function may trap")]
fn none(_: &mut State, (): ()) -> wasmtime::Result<(Option<Resource<Nothing>>,)> {
    Ok((None,))
}

#[expect(clippy::unnecessary_wraps, reason = "a host function may trap")]
fn denied() -> wasmtime::Result<(Result<Resource<Nothing>, SocketError>,)> {
    Ok((Err(SocketError::AccessDenied),))
}

fn poll(it: &mut Interface<'_>) -> wasmtime::Result<()> {
    it.resource::<Waiting>("pollable")?;
    it.function("[method]pollable.ready", |state, (waiting,): (Resource<Waiting>,)| {
        Ok((state.wasi.clock.is_ready(Pollable::from_rep(waiting.rep())),))
    })?;
    it.function("[method]pollable.block", |state, (waiting,): (Resource<Waiting>,)| {
        state.wasi.clock.wait(&[Pollable::from_rep(waiting.rep())]);
        Ok(())
    })?;
    it.function("poll", |state, (waiting,): (Vec<Resource<Waiting>>,)| {
        if waiting.is_empty() {
            return Err(wasmtime::format_err!("it waits for nothing at all"));
        }
        let pollables: Vec<_> = waiting.iter().map(|waiting| Pollable::from_rep(waiting.rep())).collect();
        Ok((state.wasi.clock.wait(&pollables),))
    })
}

fn streams(it: &mut Interface<'_>) -> wasmtime::Result<()> {
    it.resource::<Input>("input-stream")?;
    it.resource::<Printer>("output-stream")?;
    for name in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        it.function(name, |_, (_, _): (Resource<Input>, u64)| Ok((Err::<Vec<u8>, _>(StreamError::Closed),)))?;
    }
    for name in ["[method]input-stream.skip", "[method]input-stream.blocking-skip"] {
        it.function(name, |_, (_, _): (Resource<Input>, u64)| Ok((Err::<u64, _>(StreamError::Closed),)))?;
    }
    it.function("[method]input-stream.subscribe", |state, (_,): (Resource<Input>,)| ready(state))?;
    it.function("[method]output-stream.subscribe", |state, (_,): (Resource<Printer>,)| ready(state))?;
    it.function("[method]output-stream.check-write", |_, (_,): (Resource<Printer>,)| Ok((Ok::<_, StreamError>(PRINTABLE),)))?;
    for name in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        it.function(name, |state, (printer, octets): (Resource<Printer>, Vec<u8>)| {
            print(state, Stream::from_rep(printer.rep()), &octets);
            Ok((Ok::<(), StreamError>(()),))
        })?;
    }
    for name in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        it.function(name, |_, (_,): (Resource<Printer>,)| Ok((Ok::<(), StreamError>(()),)))?;
    }
    // Zeros in a log tell nobody anything.
    for name in ["[method]output-stream.write-zeroes", "[method]output-stream.blocking-write-zeroes-and-flush"] {
        it.function(name, |_, (_, _): (Resource<Printer>, u64)| Ok((Ok::<(), StreamError>(()),)))?;
    }
    for name in ["[method]output-stream.splice", "[method]output-stream.blocking-splice"] {
        it.function(name, |_, (_, _, _): (Resource<Printer>, Resource<Input>, u64)| Ok((Err::<u64, _>(StreamError::Closed),)))?;
    }
    Ok(())
}

fn ready(state: &mut State) -> wasmtime::Result<(Resource<Waiting>,)> {
    Ok((handle(state, Pollable::READY.rep())?,))
}

fn monotonic_clock(it: &mut Interface<'_>) -> wasmtime::Result<()> {
    it.function("now", |state, ()| Ok((state.wasi.clock.now(),)))?;
    it.function("resolution", |_, ()| Ok((1_u64,)))?;
    it.function("subscribe-instant", |state, (when,): (u64,)| {
        state.wasi.hand_out()?;
        Ok((Resource::<Waiting>::new_own(state.wasi.clock.at(when).rep()),))
    })?;
    it.function("subscribe-duration", |state, (nanoseconds,): (u64,)| {
        state.wasi.hand_out()?;
        Ok((Resource::<Waiting>::new_own(state.wasi.clock.after(nanoseconds).rep()),))
    })
}

fn wall_clock(it: &mut Interface<'_>) -> wasmtime::Result<()> {
    it.function("now", |state, ()| {
        let (seconds, nanoseconds) = state.wasi.clock.wall();
        Ok((Datetime { seconds, nanoseconds },))
    })?;
    it.function("resolution", |_, ()| Ok((Datetime { seconds: 0, nanoseconds: 1_000_000 },)))
}

fn random(it: &mut Interface<'_>, octets: &'static str, a_number: &'static str) -> wasmtime::Result<()> {
    it.function(octets, |state, (length,): (u64,)| {
        if length > RANDOM_LENGTH {
            return Err(wasmtime::format_err!("it asked WASI for more than {RANDOM_LENGTH} random octets at a time"));
        }
        let mut octets = vec![0; usize::try_from(length).unwrap_or_default()];
        fill(state, &mut octets);
        Ok((octets,))
    })?;
    it.function(a_number, |state, ()| Ok((number(state),)))
}

fn number(state: &mut State) -> u64 {
    let mut octets = [0; 8];
    fill(state, &mut octets);
    u64::from_le_bytes(octets)
}

fn environment(it: &mut Interface<'_>) -> wasmtime::Result<()> {
    it.function("get-environment", |_, ()| Ok((Vec::<(String, String)>::new(),)))?;
    it.function("get-arguments", |_, ()| Ok((Vec::<String>::new(),)))?;
    it.function("initial-cwd", |_, ()| Ok((None::<String>,)))
}

fn exit(it: &mut Interface<'_>) -> wasmtime::Result<()> {
    it.function("exit", |_, (status,): (Result<(), ()>,)| -> wasmtime::Result<()> {
        Err(wasmtime::format_err!("it called exit ({}) in place of answering", if status.is_ok() { "success" } else { "failure" }))
    })?;
    it.function("exit-with-code", |_, (code,): (u8,)| -> wasmtime::Result<()> {
        Err(wasmtime::format_err!("it called exit ({code}) in place of answering"))
    })
}
