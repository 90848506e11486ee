//! The types of WASI that our functions take and give, and what stands behind its handles.

use wasmtime::component::{ComponentType, Lift, Lower, Resource};

/// `wasi:io/error.error`. None is ever made.
pub(super) struct IoError;
/// `wasi:io/poll.pollable`, by [`Pollable`](super::clock::Pollable).
pub(super) struct Waiting;
/// `wasi:io/streams.input-stream`. There is standard input, which is at its end.
pub(super) struct Input;
/// `wasi:io/streams.output-stream`, by [`Stream`](super::output::Stream).
pub(super) struct Printer;
/// `wasi:sockets/network.network`, on which nothing is allowed.
pub(super) struct Network;
/// What nobody can get hold of: files, sockets, terminals.
pub(super) struct Nothing;

/// `wasi:io/streams.stream-error`.
#[derive(ComponentType, Lower)]
#[component(variant)]
#[expect(dead_code, reason = "the type is what WASI says; no operation of ours fails")]
pub(super) enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

/// `wasi:sockets/network.error-code`; the answer is always the second.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "the type is what WASI says, and we say one thing")]
pub(super) enum SocketError {
    #[component(name = "unknown")]
    Unknown,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "not-supported")]
    NotSupported,
    #[component(name = "invalid-argument")]
    InvalidArgument,
    #[component(name = "out-of-memory")]
    OutOfMemory,
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "concurrency-conflict")]
    ConcurrencyConflict,
    #[component(name = "not-in-progress")]
    NotInProgress,
    #[component(name = "would-block")]
    WouldBlock,
    #[component(name = "invalid-state")]
    InvalidState,
    #[component(name = "new-socket-limit")]
    NewSocketLimit,
    #[component(name = "address-not-bindable")]
    AddressNotBindable,
    #[component(name = "address-in-use")]
    AddressInUse,
    #[component(name = "remote-unreachable")]
    RemoteUnreachable,
    #[component(name = "connection-refused")]
    ConnectionRefused,
    #[component(name = "connection-reset")]
    ConnectionReset,
    #[component(name = "connection-aborted")]
    ConnectionAborted,
    #[component(name = "datagram-too-large")]
    DatagramTooLarge,
    #[component(name = "name-unresolvable")]
    NameUnresolvable,
    #[component(name = "temporary-resolver-failure")]
    TemporaryResolverFailure,
    #[component(name = "permanent-resolver-failure")]
    PermanentResolverFailure,
}

/// `wasi:sockets/network.ip-address-family`.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "it is taken and not looked at")]
pub(super) enum AddressFamily {
    #[component(name = "ipv4")]
    Ipv4,
    #[component(name = "ipv6")]
    Ipv6,
}

/// `wasi:clocks/wall-clock.datetime`.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(super) struct Datetime {
    #[component(name = "seconds")]
    pub(super) seconds: u64,
    #[component(name = "nanoseconds")]
    pub(super) nanoseconds: u32,
}
