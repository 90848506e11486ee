//! `[authentication]`.

use std::time::Duration;

use super::document::{Section, Value};

/// `[authentication]`: limits of logins, over SMTP and REST together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// `failures`: wrong passwords from one address after which no more are checked. Default 20.
    pub failures: u32,
    /// `network_failures`: the same from one network, which is 256 addresses of IPv4 or a /48 of IPv6. Default 200.
    pub network_failures: u32,
    /// `user_failures`: wrong passwords for one user name, after which it is let in only from networks from which it was before. Default 50.
    pub user_failures: u32,
    /// `period`: how long they count. Default 10 min.
    pub period: Duration,
    /// `addresses`: of how many addresses failures are known; the oldest are forgotten. Default 10,000.
    pub addresses: u32,
    /// `logins`: how many may be made while the server runs, beside those in the file. Default 10,000.
    pub logins: u32,
    /// `waiting`: checks that wait for one that runs, of which there is one for each processor. At some 30 ms for one, the last waits about as long as a
    /// client is patient. Default 256.
    pub waiting: u32,
    /// `remembered`: passwords that were right and need no check for a while. Default 1024.
    pub remembered: u32,
}

pub(super) fn read(section: &Section<'_>) -> Authentication {
    Authentication {
        failures: section.or("failures", 20, Value::count),
        network_failures: section.or("network_failures", 200, Value::count),
        user_failures: section.or("user_failures", 50, Value::count),
        period: section.or("period", Duration::from_mins(10), Value::duration),
        addresses: section.or("addresses", 10_000, Value::count),
        logins: section.or("logins", 10_000, Value::count),
        waiting: section.or("waiting", 256, Value::count),
        remembered: section.or("remembered", 1024, Value::count),
    }
}
