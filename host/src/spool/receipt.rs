//! The proof that a message is on disk.

use std::sync::Arc;

use crate::mail::address::EmailAddress;
use crate::mail::message_id::MessageId;

/// Proof that a message, or the decision to discard it, is on disk and synced. Only the spool makes one.
#[derive(Clone, Debug)]
pub struct Receipt {
    message: MessageId,
    recipients: Arc<[EmailAddress]>,
}

impl Receipt {
    pub(super) fn new(message: MessageId, recipients: Arc<[EmailAddress]>) -> Self {
        Self { message, recipients }
    }
    /// A receipt for nothing, for tests of those who only pass it on.
    #[cfg(test)]
    pub(crate) fn unfounded(message: MessageId) -> Self {
        Self::new(message, Arc::new([]))
    }

    /// Returns the message's id.
    pub fn message(&self) -> MessageId {
        self.message
    }
    /// Returns the recipients in the order of their copies' numbers: as the plugins left them.
    pub fn recipients(&self) -> &[EmailAddress] {
        &self.recipients
    }
}
