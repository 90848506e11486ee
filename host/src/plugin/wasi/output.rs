//! What a plugin prints: lines of its log.

use crate::plugin::sandbox::Log;

/// Octets of a line that are kept while it has no end: more than a line of the log has room for.
const LINE: usize = 16 << 10;

/// Where it prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// The lines that are not ended yet.
#[derive(Debug, Default)]
pub(super) struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Stream {
    pub(super) fn from_rep(rep: u32) -> Self {
        if rep == Self::Stdout.rep() { Self::Stdout } else { Self::Stderr }
    }

    pub(super) fn rep(self) -> u32 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }

    fn level(self) -> &'static str {
        match self {
            Self::Stdout => "info",
            Self::Stderr => "warn",
        }
    }
}

impl Output {
    /// Logs the lines that end in `octets`, and keeps what is left for later.
    /// Where the login may not log, a line is counted.
    pub(super) fn write(&mut self, stream: Stream, octets: &[u8], log: &mut Log, may_log: &dyn Fn() -> bool) {
        let pending = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        for piece in octets.split_inclusive(|octet| *octet == b'\n') {
            let line = piece.strip_suffix(b"\n");
            let text = line.unwrap_or(piece);
            let room = LINE.saturating_sub(pending.len()).min(text.len());
            pending.extend_from_slice(text.get(..room).unwrap_or_default());
            if line.is_some() && may_log() {
                push(stream, pending, log);
            } else if line.is_some() {
                pending.clear();
                log.drop_line();
            }
        }
    }

    /// Logs what has no end.
    pub(super) fn finish(&mut self, log: &mut Log) {
        for (stream, pending) in [(Stream::Stdout, &mut self.stdout), (Stream::Stderr, &mut self.stderr)] {
            if !pending.is_empty() {
                push(stream, pending, log);
            }
        }
    }
}

fn push(stream: Stream, line: &mut Vec<u8>, log: &mut Log) {
    let text = line.strip_suffix(b"\r").unwrap_or(line);
    log.push(stream.level(), &String::from_utf8_lossy(text));
    line.clear();
}
