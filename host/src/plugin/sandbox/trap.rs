//! What is told about a trap: the reason, the functions of the plugin that it happened in, and, where the component has debug information and the
//! engine looks at it, the author's own line.

use std::fmt::Write;

use wasmtime::{FrameInfo, Trap, WasmBacktrace};

use crate::plugin::verdict::printable;

/// Functions that are named.
const FRAMES: usize = 5;
/// Octets of the text.
pub(super) const LENGTH: usize = 600;
/// What stands in the paths of code that the author did not write: the standard library, packages of a registry, and our SDK.
const FOREIGN: [&str; 5] = ["/rustc/", "/library/", "/registry/src/", "plugin-sdk/src/", "/.cargo/"];

/// Tells what went wrong, and where.
pub(super) fn text(error: &wasmtime::Error) -> String {
    let mut text = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return printable(&text, LENGTH) };
    if let Some((file, line)) = backtrace.frames().iter().find_map(authors_line) {
        // Writing to a String cannot fail.
        let _ = write!(text, " at {file}:{line}");
    }
    let names = backtrace.frames().iter().filter_map(|frame| frame.func_name());
    for (number, name) in names.take(FRAMES).enumerate() {
        let _ = write!(text, "{} {:#}", if number == 0 { " in" } else { " <" }, rustc_demangle::demangle(name));
    }
    printable(&text, LENGTH)
}

/// Returns the innermost place in a frame, functions that were inlined into it among them, that is not of a library.
fn authors_line(frame: &FrameInfo) -> Option<(&str, u32)> {
    let places = frame.symbols().iter().filter_map(|symbol| Some((symbol.file()?, symbol.line().filter(|line| *line > 0)?)));
    places.into_iter().find(|(file, _)| !FOREIGN.iter().any(|part| file.contains(part)))
}
