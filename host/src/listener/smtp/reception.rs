//! Whom the sessions ask: who may come in, and what becomes of a message.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Login;
use crate::intake::Intake;
use crate::intake::forward_paths::Inquiry;
use crate::mail::address::EmailAddress;
use crate::mail::refusal::Refusal;
use crate::smtp::extension::Mechanisms;
use crate::smtp::scram::Verifier;
use crate::smtp::server::{Credentials, Proof};
use crate::spool::receipt::Receipt;
use crate::submission::Submission;
use crate::submission::login::{Door, LoginError, Logins};
use crate::submission::permission;
use crate::telemetry::metric::Ingress;

/// Answers to a session's questions. The sockets are tested with one that needs no spool and no passwords.
pub trait Reception: Send + Sync + 'static {
    /// As what the mail of these sessions is counted.
    const INGRESS: Ingress = Ingress::Smtp;

    /// Whom a client is taken for who does not log in; `None` where he must.
    fn guest(&self) -> Option<Arc<Login>> {
        None
    }
    /// Returns the mechanisms that clients can use beside PLAIN and LOGIN.
    fn mechanisms(&self) -> Mechanisms {
        Mechanisms::default()
    }
    /// Returns what SCRAM proves the password of a user against.
    fn verifier(&self, _username: &str, _peer: IpAddr) -> Result<Verifier, LoginError> {
        Err(LoginError::Wrong)
    }
    /// Checks what a client at `peer` shows.
    fn authenticate(&self, proof: &Proof, peer: IpAddr) -> impl Future<Output = Result<Arc<Login>, LoginError>> + Send;
    /// Returns the login as it is now; `None` where it was removed, or may not be used from `peer` any more.
    fn current(&self, login: &Arc<Login>, peer: IpAddr) -> Option<Arc<Login>>;
    /// Whether a login may send as `address`.
    fn may_send_as(&self, login: &Login, address: &EmailAddress) -> bool;
    /// Whether anybody has a word on the forward-paths of a login.
    fn asks_about_paths(&self, login: &Login) -> bool;
    /// Asks about a forward-path, of which `accepted` were taken before it; returns the address to take.
    fn check_path(
        &self,
        inquiry: &mut Inquiry,
        path: &EmailAddress,
        accepted: u32,
    ) -> impl Future<Output = Result<EmailAddress, Refusal>> + Send;
    /// Hears of a transaction in which forward-paths were refused and no message came.
    fn paths_refused(&self, inquiry: Inquiry) -> impl Future<Output = ()> + Send;
    /// Takes a message: when this returns a receipt, it is on disk.
    fn submit(&self, submission: Submission) -> impl Future<Output = Result<Receipt, Refusal>> + Send;
}

/// Logins and intake of this server.
pub struct FrontDesk {
    logins: Logins,
    intake: Intake,
}

impl FrontDesk {
    /// Asks these.
    pub fn new(logins: Logins, intake: Intake) -> Self {
        Self { logins, intake }
    }
}

impl Reception for FrontDesk {
    fn mechanisms(&self) -> Mechanisms {
        self.logins.mechanisms()
    }

    fn verifier(&self, username: &str, peer: IpAddr) -> Result<Verifier, LoginError> {
        self.logins.verifier(username, peer)
    }

    async fn authenticate(&self, proof: &Proof, peer: IpAddr) -> Result<Arc<Login>, LoginError> {
        match proof {
            Proof::Password(Credentials { username, password }) => self.logins.by_password(username, password, peer, Door::Smtp).await,
            Proof::Token { username, token } => self.logins.by_bearer(username, token, peer),
            Proof::Scram { username, stored_key } => self.logins.by_proof(username, *stored_key, peer),
        }
    }

    fn current(&self, login: &Arc<Login>, peer: IpAddr) -> Option<Arc<Login>> {
        self.logins.current(login, peer)
    }

    fn may_send_as(&self, login: &Login, address: &EmailAddress) -> bool {
        permission::may_send_as(login, address)
    }

    fn asks_about_paths(&self, login: &Login) -> bool {
        self.intake.asks_about_paths(login)
    }

    async fn check_path(&self, inquiry: &mut Inquiry, path: &EmailAddress, accepted: u32) -> Result<EmailAddress, Refusal> {
        self.intake.check_path(inquiry, path, accepted).await
    }

    async fn paths_refused(&self, inquiry: Inquiry) {
        self.intake.record_refused_paths(inquiry).await;
    }

    async fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        self.intake.submit(submission).await
    }
}
