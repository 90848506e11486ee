//! `[dashboard]`.

use std::time::Duration;

use super::document::{Section, Value};
use super::unit::Secret;

/// `[dashboard]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dashboard {
    /// `password`: argon2id hash; without it the dashboard is closed, except in demonstration mode.
    pub password: Option<Secret>,
    /// `session_time`: how long a login lasts. Default 12 h.
    pub session_time: Duration,
}

pub(super) fn read(section: &Section<'_>) -> Dashboard {
    Dashboard {
        password: section.optional("password", Value::password_hash),
        session_time: section.or("session_time", Duration::from_hours(12), Value::duration),
    }
}
