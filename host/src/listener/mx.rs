//! What sessions with other mail servers ask: whether a recipient is one of ours, and what becomes of a message.

use std::net::IpAddr;
use std::sync::Arc;

use super::smtp::reception::Reception;
use crate::config::Login;
use crate::inbound::Inbound;
use crate::intake::forward_paths::Inquiry;
use crate::mail::address::EmailAddress;
use crate::mail::refusal::Refusal;
use crate::smtp::server::Proof;
use crate::spool::receipt::Receipt;
use crate::submission::Submission;
use crate::submission::login::LoginError;
use crate::telemetry::metric::Ingress;

/// Answers for our own domains.
pub struct MxDesk(Inbound);

impl MxDesk {
    /// Asks `inbound`.
    pub fn new(inbound: Inbound) -> Self {
        Self(inbound)
    }
}

impl Reception for MxDesk {
    const INGRESS: Ingress = Ingress::Mx;

    fn guest(&self) -> Option<Arc<Login>> {
        Some(self.0.login())
    }

    async fn authenticate(&self, _: &Proof, _: IpAddr) -> Result<Arc<Login>, LoginError> {
        Err(LoginError::Wrong)
    }

    fn current(&self, _: &Arc<Login>, _: IpAddr) -> Option<Arc<Login>> {
        self.guest()
    }

    fn may_send_as(&self, _: &Login, _: &EmailAddress) -> bool {
        true
    }

    fn asks_about_paths(&self, _: &Login) -> bool {
        true
    }

    async fn check_path(&self, inquiry: &mut Inquiry, path: &EmailAddress, accepted: u32) -> Result<EmailAddress, Refusal> {
        self.0.check_recipient(inquiry.received.peer, path, accepted).map(|()| path.clone())
    }

    async fn paths_refused(&self, _: Inquiry) {}

    async fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        self.0.take(submission).await
    }
}
