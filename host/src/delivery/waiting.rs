//! Queues that have work and wait for what they share with others: a connection, or a moment, of their group. They rest in the store meanwhile, so that
//! looking for work costs nothing for them, and are called one by one when there is something to have: shares in turn.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::store::{DueQueue, QueueName};

/// The name of the group of all that could not be reached the last time. Names of rules and queues have no NUL in them.
pub(super) const FAILING: &str = "\0failing";

/// The name of the group of all that wait for one of all connections.
pub(super) const CONNECTIONS: &str = "\0connections";

/// Returns the name of the group of all that wait because a login has all the connections that it may have.
pub(super) fn of_login(share: &str) -> Arc<str> {
    format!("\0login {share}").into()
}

/// All that wait. Each has a line in the store's memory, of a queue and a share, or had one when it was added: a queue is here for a few shares at most, and
/// for none for longer than until its turn.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    groups: Mutex<BTreeMap<Arc<str>, Group>>,
}

#[derive(Debug, Default)]
struct Group {
    /// Shares that have queues here; the first has its turn.
    turns: VecDeque<Arc<str>>,
    queues: HashMap<Arc<str>, VecDeque<QueueName>>,
    known: HashSet<(Arc<str>, QueueName)>,
}

impl Waiting {
    /// A queue waits from now on, with the queues of a share that has mail in it.
    pub(super) fn add(&self, group: &Arc<str>, queue: &QueueName, share: &Arc<str>) {
        let mut groups = self.groups.lock();
        let group = groups.entry(Arc::clone(group)).or_default();
        if group.known.insert((Arc::clone(share), Arc::clone(queue))) {
            let queues = group.queues.entry(Arc::clone(share)).or_default();
            if queues.is_empty() {
                group.turns.push_back(Arc::clone(share));
            }
            queues.push_back(Arc::clone(queue));
        }
    }

    /// Returns the one whose turn it is, those of `passed` left out.
    pub(super) fn first(&self, group: &str, passed: &BTreeSet<Arc<str>>) -> Option<DueQueue> {
        let groups = self.groups.lock();
        let group = groups.get(group)?;
        let share = group.turns.iter().find(|share| !passed.contains(*share))?;
        Some(DueQueue { queue: group.queues.get(share)?.front().cloned()?, share: Arc::clone(share) })
    }

    /// The first queue of `share` waits no more for that one; the others have their turn before it has another.
    pub(super) fn take(&self, name: &str, share: &str) {
        let mut groups = self.groups.lock();
        let Some(group) = groups.get_mut(name) else { return };
        if let Some(share) = group.turns.iter().position(|other| &**other == share).and_then(|place| group.turns.remove(place))
            && let Some(queues) = group.queues.get_mut(&share)
        {
            if let Some(queue) = queues.pop_front() {
                group.known.remove(&(Arc::clone(&share), queue));
            }
            if queues.is_empty() {
                group.queues.remove(&share);
            } else {
                group.turns.push_back(share);
            }
        }
        if group.turns.is_empty() {
            groups.remove(name);
        }
    }

    /// Groups that something waits for.
    pub(super) fn groups(&self) -> Vec<Arc<str>> {
        self.groups.lock().keys().cloned().collect()
    }

    /// Whether anything waits.
    pub(super) fn is_needed(&self) -> bool {
        !self.groups.lock().is_empty()
    }

    /// Forgets all of it: other rules hold now.
    pub(super) fn clear(&self) {
        self.groups.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_take_turns() {
        let (waiting, group) = (Waiting::default(), Arc::from("provider"));
        for number in 0..1000 {
            waiting.add(&group, &format!("direct/{number}.example").into(), &"many".into());
        }
        for (queue, share) in [("direct/0.example", "many"), ("direct/few.example", "few"), ("direct/900.example", "few")] {
            waiting.add(&group, &queue.into(), &share.into());
        }
        assert_eq!(waiting.groups(), ["provider".into()]);
        let mut order = Vec::new();
        let passed = BTreeSet::from(["many".into()]);
        assert_eq!(waiting.first("provider", &passed).map(|due| due.queue), Some("direct/few.example".into()));
        while let Some(first) = waiting.first("provider", &BTreeSet::new()) {
            waiting.take("provider", &first.share);
            order.push(first.queue);
        }
        assert_eq!(order.len(), 1002, "each waits once with each share");
        for (place, queue) in [(1, "direct/few.example"), (3, "direct/900.example")] {
            assert_eq!(order.iter().position(|name| &**name == queue), Some(place), "{queue}");
        }
        assert_eq!(waiting.groups(), Vec::<Arc<str>>::new());
    }
}
