//! `[dashboard]`.

use std::time::Duration;

use super::Dashboard;
use super::document::{Section, Value};

pub(super) fn read(section: &Section<'_>) -> Dashboard {
    Dashboard {
        password: section.optional("password", Value::password_hash),
        session_time: section.or("session_time", Duration::from_hours(12), Value::duration),
    }
}
