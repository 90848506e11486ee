//! The queues, and the order in which their rows are handed out.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::{Index, QueueNumber};
use crate::clock::Timestamp;
use crate::mail::message_id::{CopyId, MessageId};
use crate::store::QueueName;

/// Place of a row in the order in which rows are handed out. The id is kept as octets: as a number it would be aligned to 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReadyKey {
    pub(super) queue: QueueNumber,
    pub(super) due: Timestamp,
    pub(super) message: [u8; 16],
    pub(super) recipient: u32,
}

impl ReadyKey {
    pub(super) fn new(queue: QueueNumber, due: Timestamp, copy: CopyId) -> Self {
        Self { queue, due, message: copy.message.to_bytes(), recipient: copy.recipient }
    }

    pub(super) fn copy(&self) -> CopyId {
        CopyId { message: MessageId::from_bytes(self.message), recipient: self.recipient }
    }
}

pub(super) struct Queue {
    pub(super) name: QueueName,
    /// Rows in it, leased ones included.
    pub(super) rows: u64,
    /// When its first row that is not leased is due.
    pub(super) head: Option<Timestamp>,
}

impl Index {
    pub(super) fn queue_number(&mut self, name: &QueueName) -> QueueNumber {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let queue = Some(Queue { name: Arc::clone(name), rows: 0, head: None });
        let number = if let Some(number) = self.free_queues.pop() {
            if let Some(place) = self.queues.get_mut(number.0.get() as usize - 1) {
                *place = queue;
            }
            number
        } else {
            self.queues.push(queue);
            let count = u32::try_from(self.queues.len()).ok().and_then(NonZeroU32::new);
            QueueNumber(count.expect("each queue has a row in memory: fewer than 2^32"))
        };
        self.names.insert(Arc::clone(name), number);
        number
    }

    pub(super) fn queue(&self, number: QueueNumber) -> Option<&Queue> {
        self.queues.get(number.0.get() as usize - 1).and_then(Option::as_ref)
    }

    pub(super) fn queue_mut(&mut self, number: QueueNumber) -> Option<&mut Queue> {
        self.queues.get_mut(number.0.get() as usize - 1).and_then(Option::as_mut)
    }

    pub(super) fn make_ready(&mut self, queue: QueueNumber, due: Timestamp, copy: CopyId) {
        if self.ready.insert(ReadyKey::new(queue, due, copy)) {
            *self.dues.entry(due).or_default() += 1;
            if self.queue(queue).is_some_and(|queue| queue.head.is_none_or(|head| due < head)) {
                self.update_head(queue);
            }
        }
    }

    pub(super) fn unready(&mut self, queue: QueueNumber, due: Timestamp, copy: CopyId) {
        if self.ready.remove(&ReadyKey::new(queue, due, copy)) {
            if let Some(count) = self.dues.get_mut(&due) {
                *count -= 1;
                if *count == 0 {
                    self.dues.remove(&due);
                }
            }
            if self.queue(queue).is_some_and(|queue| queue.head == Some(due)) {
                self.update_head(queue);
            }
        }
    }

    pub(super) fn update_head(&mut self, number: QueueNumber) {
        let first = ReadyKey { queue: number, due: Timestamp::default(), message: [0; 16], recipient: 0 };
        let head = self.ready.range(first..).next().filter(|key| key.queue == number).map(|key| key.due);
        let Some(queue) = self.queue_mut(number) else { return };
        let old = std::mem::replace(&mut queue.head, head);
        if old != head {
            if let Some(old) = old {
                self.heads.remove(&(old, number));
            }
            if let Some(head) = head {
                self.heads.insert((head, number));
            }
        }
    }
}
