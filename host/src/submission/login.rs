//! Logins: who may hand over mail, and how we know him.

use std::sync::Arc;

use crate::config;

/// A login as the configuration has it.
pub type Login = config::Login;

/// Why somebody is not let in. The client hears the same for all: which part was wrong is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// No such user, or the wrong secret.
    #[error("wrong user name or password")]
    Wrong,
    /// More checks at once than we do; come back.
    #[error("too many logins at once")]
    Busy,
}

/// All logins. Cloning is cheap.
#[derive(Clone)]
pub struct Logins(Arc<[Arc<Login>]>);

impl Logins {
    /// Makes the set of `logins`.
    pub fn new(logins: Vec<Login>) -> Self {
        Self(logins.into_iter().map(Arc::new).collect())
    }
    /// Checks user name and password (SMTP AUTH, turboSMTP's authuser and authpass). A token as both user name and password counts too.
    ///
    /// The hash is computed on a thread where that may take long; results are remembered, bounded, under a key of this process.
    pub async fn by_password(&self, username: &str, password: &str) -> Result<Arc<Login>, LoginError> {
        let _ = (username, password);
        todo!()
    }
    /// Checks an API token, in constant time.
    pub fn by_token(&self, token: &str) -> Result<Arc<Login>, LoginError> {
        let _ = token;
        todo!()
    }
    /// Returns a login by its name in the configuration.
    pub fn by_name(&self, name: &str) -> Option<Arc<Login>> {
        self.0.iter().find(|login| &*login.name == name).cloned()
    }
}
