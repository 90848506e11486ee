//! What a template may use up.

/// Limits of one rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most octets that one part of the message, or one value on the way, may have.
    pub output: usize,
    /// The most turns that all loops of one part take together.
    pub loops: u64,
    /// The most work of one part: octets that are made, and nodes that are looked at.
    pub work: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { output: 10 * 1024 * 1024, loops: 100_000, work: 10_000_000 }
    }
}

/// Why a template makes no text. Both are the template's fault: the same message fails again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The template is not well formed.
    Syntax {
        /// Line of the template, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The template wants more than it may have.
    Limit(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syntax { line, reason } => write!(formatter, "line {line}: {reason}"),
            Self::Limit(what) => formatter.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

/// What is left of the limits while a template is rendered.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    loops: u64,
    work: u64,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, loops: limits.loops, work: limits.work }
    }

    /// Takes one turn of a loop.
    pub(crate) fn turn(&mut self) -> Result<(), Error> {
        let over = || Error::Limit(format!("the loops take more than {} turns", self.limits.loops));
        self.loops = self.loops.checked_sub(1).ok_or_else(over)?;
        self.work(1)
    }

    /// Does work of this amount.
    pub(crate) fn work(&mut self, amount: usize) -> Result<(), Error> {
        let over = || Error::Limit("the template takes too much work".to_owned());
        self.work = self.work.checked_sub(amount as u64).ok_or_else(over)?;
        Ok(())
    }

    /// Makes a text of this many octets; asked before it is made.
    pub(crate) fn text(&mut self, octets: usize) -> Result<(), Error> {
        self.fits(octets)?;
        self.work(octets)
    }

    /// Whether a text may have so many octets.
    pub(crate) fn fits(&self, octets: usize) -> Result<(), Error> {
        if octets > self.limits.output {
            return Err(Error::Limit(format!("the text has more than {} octets", self.limits.output)));
        }
        Ok(())
    }
}
