//! Logins whose mail waits because they have all the connections that they may have, as of the last look at the store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// The dispatcher writes it; each worker asks it between two transactions, which costs no lock while nobody waits.
#[derive(Debug, Default)]
pub(super) struct Crowded {
    any: AtomicBool,
    logins: Mutex<BTreeSet<Arc<str>>>,
}

impl Crowded {
    pub(super) fn add(&self, login: &Arc<str>) {
        let mut logins = self.logins.lock();
        logins.insert(Arc::clone(login));
        self.any.store(true, Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        let mut logins = self.logins.lock();
        logins.clear();
        self.any.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    pub(super) fn contains(&self, login: &str) -> bool {
        !self.is_empty() && self.logins.lock().contains(login)
    }

    /// Asks something of all of them.
    pub(super) fn with<T>(&self, ask: impl FnOnce(&BTreeSet<Arc<str>>) -> T) -> T {
        ask(&self.logins.lock())
    }
}
