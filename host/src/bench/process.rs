//! What processes used: processor time and memory, from `/proc` (Linux).

use std::fs;
use std::time::Duration;

/// What a process and its descendants have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// User and system time together, of children that have ended too.
    pub processor: Duration,
    /// The most memory that was resident, in octets; summed over processes, shared pages counted in each.
    pub peak_memory: u64,
}

/// Clock ticks in a second: the kernel's `USER_HZ`, 100 on every architecture that we run on.
const TICKS_PER_SECOND: u64 = 100;

impl Used {
    /// Looks at `process` and everything below it.
    pub fn by_tree(process: u32) -> Self {
        let parents: Vec<(u32, u32)> = processes().filter_map(|id| Some((id, stat(id)?.parent))).collect();
        let mut tree = vec![process];
        let mut looked_at = 0;
        while let Some(parent) = tree.get(looked_at).copied() {
            tree.extend(parents.iter().filter(|(_, above)| *above == parent).map(|(id, _)| *id));
            looked_at += 1;
        }
        tree.into_iter().fold(Self::default(), |sum, id| sum.plus(Self::of(id)))
    }

    /// Returns the octets that are resident in one process now.
    pub fn resident(process: u32) -> u64 {
        of_status(process, "VmRSS:")
    }

    fn of(process: u32) -> Self {
        Self { processor: stat(process).map(|stat| stat.processor).unwrap_or_default(), peak_memory: of_status(process, "VmHWM:") }
    }

    fn plus(self, other: Self) -> Self {
        Self { processor: self.processor + other.processor, peak_memory: self.peak_memory + other.peak_memory }
    }

    /// Returns what was used since `earlier`; the memory is that of now.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self { processor: self.processor.saturating_sub(earlier.processor), peak_memory: self.peak_memory }
    }
}

/// Octets that `/proc/PROCESS/status` says; 0 where it says nothing.
fn of_status(process: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes: u64 = value.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    kilobytes * 1024
}

struct Stat {
    parent: u32,
    processor: Duration,
}

fn stat(process: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// `pid (name) state ppid … utime stime cutime cstime …`: the name may hold anything, also parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, processor: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND) })
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn stat_is_read_behind_the_name() {
        let stat = parse_stat("42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 10 5 20 0 1 0").unwrap();
        assert_eq!((stat.parent, stat.processor), (7, Duration::from_millis(2150)));
    }
}
