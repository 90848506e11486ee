//! Plugins that want more of WASI than there is, most of them through the adapter for preview1, as compilers make them.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use crate::config::OnError;
use crate::plugin::test_guest::{Guest, LIMITS, engine, try_load};
use crate::plugin::tests::submit;
use crate::plugin::verdict::{Failure, Verdict};
use crate::plugin::{Call, Plugin};

const PREVIEW_1: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;

const NEXT: &str = "(call $verdict (i32.const 0))";

/// A plugin that does `body`, made with the adapter for preview1.
fn guest(body: &str) -> Guest {
    Guest::new("test").importing(PREVIEW_1, &[]).submit(body)
}

async fn call(guest: Guest) -> Call {
    submit(&guest.load(&engine()).await).await
}

/// Runs the body with a limit that ends what does not end.
async fn endless(guest: Guest) -> Call {
    let limits = crate::config::PluginLimits { time: Duration::from_millis(100), ..LIMITS };
    let plugin: Plugin = guest.load_with(&engine(), limits, OnError::Defer).await;
    let call = submit(&plugin).await;
    assert_eq!(call.result, Err(Failure::OutOfTime { limit: limits.time }));
    call
}

fn trapped(call: &Call) -> &str {
    let Err(Failure::Trapped(text)) = &call.result else { panic!("{:?}", call.result) };
    text
}

/// Prints a text to a stream, from memory at 512.
fn print(guest: &mut Guest, stream: u32, text: &str) -> String {
    let text = guest.text(text);
    let (at, length) = text.split_once(") (").unwrap();
    format!(
        "(i32.store (i32.const 512) {at})) (i32.store (i32.const 516) ({length})
        (drop (call $fd_write (i32.const {stream}) (i32.const 512) (i32.const 1) (i32.const 520)))"
    )
}

#[tokio::test]
async fn what_is_printed_is_logged_by_the_line() {
    let mut guest = guest("");
    let prints: Vec<_> = [(1, "one\ntw"), (2, "careful\r\n"), (1, "o\n\nthr"), (1, "ee")]
        .map(|(stream, text)| print(&mut guest, stream, text))
        .into_iter()
        .collect();
    let call = call(guest.submit(format!("{} {NEXT}", prints.join(" ")))).await;
    assert_eq!(call.result, Ok(Verdict::Next));
    assert_eq!(call.run.log, ["info: one", "warn: careful", "info: two", "info: ", "info: three"]);
}

#[tokio::test]
async fn printing_for_ever_fills_no_memory_and_ends() {
    let mut lines = guest("");
    let print_line = print(&mut lines, 1, "again\n");
    let call = endless(lines.submit(format!("(loop $again {print_line} (br $again)) (unreachable)"))).await;
    assert_eq!(call.run.log.len(), 101);
    assert!(call.run.log.last().is_some_and(|line| line.ends_with("more lines were dropped")));

    let mut one_line = guest("");
    let print_word = print(&mut one_line, 2, &"word".repeat(100));
    let call = endless(one_line.submit(format!("(loop $again {print_word} (br $again)) (unreachable)"))).await;
    assert_eq!(call.run.log.iter().map(String::len).collect::<Vec<_>>(), ["warn: ".len() + 1_000]);
}

#[tokio::test]
async fn leaving_in_the_middle_is_a_failure() {
    for (code, word) in [(0, "success"), (1, "failure")] {
        let call = call(guest(&format!("(call $exit (i32.const {code})) {NEXT}"))).await;
        assert!(trapped(&call).starts_with(&format!("it called exit ({word}) in place of answering")), "{:?}", call.result);
    }
}

#[tokio::test]
async fn there_are_no_files_and_nothing_to_read() {
    let mut guest = guest("");
    let path = guest.text("etc/passwd");
    // Errno 8 is "bad file descriptor": no folder was opened for it, and none can be found.
    let call = call(guest.submit(format!(
        "(if (i32.ne (call $fd_prestat_get (i32.const 3) (i32.const 512)) (i32.const 8)) (then (unreachable)))
        (if (i32.eqz (call $path_open (i32.const 3) (i32.const 0) {path} (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0)
          (i32.const 512))) (then (unreachable)))
        (i32.store (i32.const 512) (i32.const 1024)) (i32.store (i32.const 516) (i32.const 100)) (i32.store (i32.const 520) (i32.const 7))
        (if (call $fd_read (i32.const 0) (i32.const 512) (i32.const 1) (i32.const 520)) (then (unreachable)))
        (if (i32.load (i32.const 520)) (then (unreachable)))
        {NEXT}"
    )))
    .await;
    assert_eq!(call.result, Ok(Verdict::Next));
}

#[tokio::test]
async fn there_are_no_arguments_and_no_environment() {
    let none = |function: &str| {
        format!(
            "(i64.store (i32.const 512) (i64.const -1)) (drop (call ${function} (i32.const 512) (i32.const 516)))
            (if (i64.ne (i64.load (i32.const 512)) (i64.const 0)) (then (unreachable)))"
        )
    };
    let call = call(guest(&format!("{} {} {NEXT}", none("environ"), none("args")))).await;
    assert_eq!(call.result, Ok(Verdict::Next));
}

/// A subscription at 600 to one clock, for so many nanoseconds.
fn sleep(nanoseconds: u64) -> String {
    format!(
        "(i32.store8 (i32.const 608) (i32.const 0)) (i32.store (i32.const 616) (i32.const 1)) (i64.store (i32.const 624) (i64.const {nanoseconds}))
        (i32.store16 (i32.const 640) (i32.const 0))
        (drop (call $poll (i32.const 600) (i32.const 700) (i32.const 1) (i32.const 520)))"
    )
}

#[tokio::test]
async fn time_is_the_messages_and_sleep_takes_none() {
    let is = |clock: u32, nanoseconds: u64| {
        format!(
            "(drop (call $clock (i32.const {clock}) (i64.const 1) (i32.const 512)))
            (if (i64.ne (i64.load (i32.const 512)) (i64.const {nanoseconds})) (then (unreachable)))"
        )
    };
    // Received 1 s after 1970; both clocks.
    let year = 31_536_000_000_000_000;
    let body = [is(0, 1_000_000_000), is(1, 1_000_000_000), sleep(year), is(0, year + 1_000_000_000), is(1, year + 1_000_000_000)];
    let slept = call(guest(&format!("{} {NEXT}", body.join("")))).await;
    assert_eq!(slept.result, Ok(Verdict::Next));
    let asleep = call(guest(&format!("(loop $again {} (br $again)) (unreachable)", sleep(i64::MAX.cast_unsigned())))).await;
    assert!(trapped(&asleep).starts_with("it asked WASI for more than 10000 handles"), "{:?}", asleep.result);
}

#[tokio::test]
async fn random_octets_are_those_of_the_message() {
    // Eight letters, made of eight octets.
    let body = "(drop (call $random_get (i32.const 512) (i32.const 8)))
        (i64.store (i32.const 512) (i64.add (i64.and (i64.load (i32.const 512)) (i64.const 0x0f0f0f0f0f0f0f0f)) (i64.const 0x6161616161616161)))
        (call $log (i32.const 1) (i32.const 512) (i32.const 8))";
    let plugin = guest(&format!("{body} {body} {NEXT}")).load(&engine()).await;
    let first = submit(&plugin).await.run.log;
    assert_eq!(first, submit(&plugin).await.run.log);
    assert_ne!(first.first(), first.last());
    // Languages ask for octets before they do anything, also where there is no message.
    let describing = guest(NEXT).describe("(drop (call $random_get (i32.const 512) (i32.const 8)))");
    assert!(try_load(&engine(), "test", &describing.component()).await.is_ok());
}

const IO: &str = "package wasi:io@0.2.3; interface poll { resource pollable { block: func(); } }";
const CLOCKS: &str = "package wasi:clocks@0.2.3; interface monotonic-clock { use wasi:io/poll@0.2.3.{pollable};
    type duration = u64; subscribe-duration: func(when: duration) -> pollable; }";
const SOCKETS: &str = "package wasi:sockets@0.2.3;
    interface network { resource network; enum ip-address-family { ipv4, ipv6 } enum error-code { unknown, access-denied, not-supported,
      invalid-argument, out-of-memory, timeout, concurrency-conflict, not-in-progress, would-block, invalid-state, new-socket-limit,
      address-not-bindable, address-in-use, remote-unreachable, connection-refused, connection-reset, connection-aborted, datagram-too-large,
      name-unresolvable, temporary-resolver-failure, permanent-resolver-failure } }
    interface tcp { use network.{error-code}; resource tcp-socket { finish-bind: func() -> result<_, error-code>; } }
    interface instance-network { use network.{network}; instance-network: func() -> network; }
    interface tcp-create-socket { use network.{error-code, ip-address-family}; use tcp.{tcp-socket};
      create-tcp-socket: func(address-family: ip-address-family) -> result<tcp-socket, error-code>; }
    interface ip-name-lookup { use network.{network, error-code}; resource resolve-address-stream;
      resolve-addresses: func(network: borrow<network>, name: string) -> result<resolve-address-stream, error-code>; }";

/// The packages, and a world with these interfaces of them.
fn packages(packages: &[&str], imports: &[&str]) -> Vec<String> {
    let imports: Vec<_> = imports.iter().map(|import| format!("import wasi:{import};")).collect();
    let world = format!("package test:test; world plugin {{ include tubepost:mail/submit-plugin@0.1.0; {} }}", imports.join(" "));
    packages.iter().map(|package| (*package).to_owned()).chain([world]).collect()
}

#[tokio::test]
async fn nobody_is_reached_over_the_network() {
    let imports = r#"
        (import "wasi:sockets/instance-network@0.2.3" "instance-network" (func $network (result i32)))
        (import "wasi:sockets/tcp-create-socket@0.2.3" "create-tcp-socket" (func $socket (param i32 i32)))
        (import "wasi:sockets/tcp@0.2.3" "[method]tcp-socket.finish-bind" (func $bind (param i32 i32)))
        (import "wasi:sockets/ip-name-lookup@0.2.3" "resolve-addresses" (func $resolve (param i32 i32 i32 i32)))"#;
    let interfaces = ["instance-network", "tcp", "tcp-create-socket", "ip-name-lookup"].map(|name| format!("sockets/{name}@0.2.3"));
    let packages = packages(&[IO, SOCKETS], &interfaces.each_ref().map(String::as_str));
    let with = |mut guest: Guest| {
        let name = guest.text("example.com");
        // A result that is an error (1), and the error "access-denied" (1).
        let is_denied = "(if (i32.ne (i32.load8_u (i32.const 512)) (i32.const 1)) (then (unreachable)))
            (if (i32.ne (i32.load8_u (i32.const 516)) (i32.const 1)) (then (unreachable)))";
        guest.submit(format!(
            "(call $socket (i32.const 0) (i32.const 512)) {is_denied}
            (call $resolve (call $network) {name} (i32.const 512)) {is_denied} {NEXT}"
        ))
    };
    let call_made = call(with(Guest::new("test").importing(imports, &packages))).await;
    assert_eq!(call_made.result, Ok(Verdict::Next));
    // A handle that it never got.
    let forged = Guest::new("test").importing(imports, &packages).submit(format!("(call $bind (i32.const 5) (i32.const 512)) {NEXT}"));
    trapped(&call(forged).await);
}

#[tokio::test]
async fn handles_come_to_an_end() {
    let import = r#"(import "wasi:clocks/monotonic-clock@0.2.3" "subscribe-duration" (func $subscribe (param i64) (result i32)))"#;
    let packages = packages(&[IO, CLOCKS], &["clocks/monotonic-clock@0.2.3"]);
    let guest = Guest::new("test").importing(import, &packages);
    let call = call(guest.submit("(loop $again (drop (call $subscribe (i64.const 1))) (br $again)) (unreachable)")).await;
    assert!(trapped(&call).starts_with("it asked WASI for more than 10000 handles"), "{:?}", call.result);
}

#[tokio::test]
async fn what_is_not_offered_is_named() {
    for (package, import) in [
        ("package wasi:http@0.2.3; interface types { get: func(); }", "http/types@0.2.3"),
        ("package wasi:cli@0.3.0; interface types { get: func(); }", "cli/types@0.3.0"),
        ("package wasi:cli@0.2.0-rc-2023-12-05; interface types { get: func(); }", "cli/types@0.2.0-rc-2023-12-05"),
    ] {
        let wat = format!(r#"(import "wasi:{import}" "get" (func $get))"#);
        let guest = Guest::new("test").importing(&wat, &packages(&[package], &[import]));
        let error = try_load(&engine(), "test", &guest.component()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("it needs wasi:{import}, which this version does not offer"));
    }
}
