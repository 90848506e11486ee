//! Whom the sessions ask: who may come in, and what becomes of a message.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::config::Login;
use crate::intake::Intake;
use crate::mail::address::EmailAddress;
use crate::mail::refusal::Refusal;
use crate::spool::receipt::Receipt;
use crate::submission::Submission;
use crate::submission::login::{LoginError, Logins};
use crate::submission::permission;
use crate::telemetry::metric::{Authentication, Metrics};

/// Answers to a session's questions. The sockets are tested with one that needs no spool and no passwords.
pub trait Reception: Send + Sync + 'static {
    /// Checks user name and password.
    fn authenticate(&self, username: &str, password: &str) -> impl Future<Output = Result<Arc<Login>, LoginError>> + Send;
    /// Returns the login as it is configured now; `None` where it was removed.
    fn current(&self, login: &Arc<Login>) -> Option<Arc<Login>>;
    /// Whether a login may send as `address`.
    fn may_send_as(&self, login: &Login, address: &EmailAddress) -> bool;
    /// Takes a message: when this returns a receipt, it is on disk.
    fn submit(&self, submission: Submission) -> impl Future<Output = Result<Receipt, Refusal>> + Send;
}

/// Logins and intake, replaced together when the configuration is read again.
pub struct FrontDesk {
    behind: RwLock<(Logins, Intake)>,
    metrics: Metrics,
}

impl FrontDesk {
    /// Asks these.
    pub fn new(logins: Logins, intake: Intake, metrics: Metrics) -> Self {
        Self { behind: RwLock::new((logins, intake)), metrics }
    }

    /// Asks these from now on.
    pub fn reload(&self, logins: Logins, intake: Intake) {
        *self.behind.write() = (logins, intake);
    }
}

impl Reception for FrontDesk {
    async fn authenticate(&self, username: &str, password: &str) -> Result<Arc<Login>, LoginError> {
        let logins = self.behind.read().0.clone();
        let known = logins.by_password(username, password).await;
        self.metrics.authenticated(match &known {
            Ok(_) => Authentication::Succeeded,
            Err(LoginError::Wrong) => Authentication::Failed,
            Err(LoginError::Busy) => Authentication::Busy,
        });
        known
    }

    fn current(&self, login: &Arc<Login>) -> Option<Arc<Login>> {
        self.behind.read().0.by_name(&login.name)
    }

    fn may_send_as(&self, login: &Login, address: &EmailAddress) -> bool {
        permission::may_send_as(login, address)
    }

    async fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        let intake = self.behind.read().1.clone();
        intake.submit(submission).await
    }
}
