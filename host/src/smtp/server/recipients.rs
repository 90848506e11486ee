//! The recipients of a transaction, each of them once.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::mail::envelope::ForwardPath;

/// How many are compared one by one; more of them are looked up.
const FEW: usize = 16;

/// Forward-paths in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Recipients {
    paths: Vec<ForwardPath>,
    /// Hashes of all of them, once they are more than a few. Whoever finds two with the same hash makes us compare, and nothing else.
    hashes: BTreeSet<u64>,
}

impl Recipients {
    pub(super) fn count(&self) -> usize {
        self.paths.len()
    }

    /// Whether this recipient is there already, with the same parameters. Clients that read the same list twice mean one copy.
    pub(super) fn contain(&self, path: &ForwardPath) -> bool {
        let may = self.paths.len() <= FEW || self.hashes.contains(&hash(path));
        may && self.paths.contains(path)
    }

    pub(super) fn add(&mut self, path: ForwardPath) {
        if self.paths.len() >= FEW {
            if self.hashes.is_empty() {
                self.hashes.extend(self.paths.iter().map(hash));
            }
            self.hashes.insert(hash(&path));
        }
        self.paths.push(path);
    }

    pub(super) fn into_paths(self) -> Vec<ForwardPath> {
        self.paths
    }
}

fn hash(path: &ForwardPath) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::mail::address::EmailAddress;
    use crate::mail::envelope::Notify;

    #[test]
    fn few_and_many_are_told_apart() {
        let path = |number: usize| ForwardPath::new(EmailAddress::parse(&format!("r{number}@example.com")).unwrap());
        let mut recipients = Recipients::default();
        for number in 0..3 * FEW {
            assert!(!recipients.contain(&path(number)), "{number}");
            recipients.add(path(number));
            for known in 0..=number {
                assert!(recipients.contain(&path(known)), "{known} of {number}");
            }
            assert!(!recipients.contain(&ForwardPath { notify: Some(Notify::NEVER), ..path(number) }));
        }
        assert_eq!((recipients.count(), recipients.into_paths().len()), (3 * FEW, 3 * FEW));
    }
}
