//! A table that outlives calls and restarts: one for each plugin and login. Granted by `allow.kv`.
//!
//! ```
//! use std::time::Duration;
//! use tubepost_plugin_sdk::{Failure, kv};
//! # let _host = tubepost_plugin_sdk::testing::Host::new();
//!
//! // At most 100 messages an hour to one address.
//! fn one_more(address: &str) -> Result<bool, Failure> {
//!     Ok(kv::increment_for(address, 1, Duration::from_hours(1))? <= 100)
//! }
//!
//! assert_eq!(one_more("ann@example.com"), Ok(true));
//! kv::set("greeting", "hello")?;
//! assert_eq!(kv::get_text("greeting")?.as_deref(), Some("hello"));
//! kv::delete("greeting")?;
//! assert_eq!(kv::get("greeting")?, None);
//! # Ok::<(), Failure>(())
//! ```
//!
//! What is written is on disk when the function returns, whatever the verdict. Keys have 1 to 256 octets, values at most 64 KiB. In the stage
//! `recipient`, which must give the same at every attempt, the table is denied. A [`enum@Error`] becomes a [`Failure`] with `?`: a table that is
//! full or away is transient, the rest is a mistake in the configuration or the plugin.

use std::{fmt, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

#[cfg(target_arch = "wasm32")]
use crate::bindings::imports::tubepost::mail::kv as backend;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::table as backend;
use crate::{Failure, bindings::imports::tubepost::mail::kv as wire};

/// Why the table did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Not in this stage, or more calls than one call of a plugin may make.
    Denied(String),
    /// Key or value is not as they must be, or the value is no number.
    Invalid(String),
    /// The table of this login has as many keys, or octets, as it may.
    Full,
    /// The store cannot take or give it now.
    Unavailable(String),
}

/// The value of a key.
///
/// # Errors
/// See [`enum@Error`].
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    Ok(backend::get(key)?)
}

/// The value of a key, as text.
///
/// # Errors
/// [`Error::Invalid`] where it is no UTF-8; else see [`enum@Error`].
pub fn get_text(key: &str) -> Result<Option<String>, Error> {
    let text = |octets| String::from_utf8(octets).map_err(|_| Error::Invalid(format!("the value of {key:?} is no text")));
    get(key)?.map(text).transpose()
}

/// The value of a key, as [`set_json`] wrote it.
///
/// # Errors
/// [`Error::Invalid`] where it is something else; else see [`enum@Error`].
pub fn get_json<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Error> {
    let parse = |octets: Vec<u8>| serde_json::from_slice(&octets).map_err(|error| Error::Invalid(format!("the value of {key:?}: {error}")));
    get(key)?.map(parse).transpose()
}

/// Sets a value that stays until it is deleted.
///
/// # Errors
/// See [`enum@Error`].
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
    Ok(backend::set(key, value.as_ref(), None)?)
}

/// Sets a value that is gone after a time.
///
/// # Errors
/// See [`enum@Error`].
pub fn set_for(key: &str, value: impl AsRef<[u8]>, time: Duration) -> Result<(), Error> {
    Ok(backend::set(key, value.as_ref(), Some(seconds(time)))?)
}

/// Sets a value, as JSON.
///
/// ```
/// # use tubepost_plugin_sdk::{Failure, kv};
/// # let _host = tubepost_plugin_sdk::testing::Host::new();
/// kv::set_json("seen", &vec![1, 2])?;
/// assert_eq!(kv::get_json::<Vec<u32>>("seen")?, Some(vec![1, 2]));
/// # Ok::<(), Failure>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] where it cannot be JSON; else see [`enum@Error`].
pub fn set_json<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<(), Error> {
    set(key, json(value)?)
}

/// Sets a value, as JSON, that is gone after a time.
///
/// # Errors
/// [`Error::Invalid`] where it cannot be JSON; else see [`enum@Error`].
pub fn set_json_for<T: Serialize + ?Sized>(key: &str, value: &T, time: Duration) -> Result<(), Error> {
    set_for(key, json(value)?, time)
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Invalid(error.to_string()))
}

/// Removes a key; one that is not there is removed already.
///
/// # Errors
/// See [`enum@Error`].
pub fn delete(key: &str) -> Result<(), Error> {
    Ok(backend::delete(key)?)
}

/// Adds to a number, which is 0 where there is none, and returns the sum: never the same one to two callers.
///
/// # Errors
/// [`Error::Invalid`] where the value is no number; else see [`enum@Error`].
pub fn increment(key: &str, by: i64) -> Result<i64, Error> {
    Ok(backend::increment(key, by, None)?)
}

/// Adds to a number that is gone a time after its first increment: a counter of a window.
///
/// # Errors
/// [`Error::Invalid`] where the value is no number; else see [`enum@Error`].
pub fn increment_for(key: &str, by: i64, window: Duration) -> Result<i64, Error> {
    Ok(backend::increment(key, by, Some(seconds(window)))?)
}

/// The table counts whole seconds: a part of one is one.
fn seconds(time: Duration) -> u32 {
    let whole = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
    u32::try_from(whole.max(1)).unwrap_or(u32::MAX)
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(reason) => write!(formatter, "the table is denied: {reason}"),
            Self::Invalid(reason) => write!(formatter, "the table does not take this: {reason}"),
            Self::Full => formatter.write_str("the table is full"),
            Self::Unavailable(reason) => write!(formatter, "the table is away: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<wire::Error> for Error {
    fn from(error: wire::Error) -> Self {
        match error {
            wire::Error::Denied(reason) => Self::Denied(reason),
            wire::Error::Invalid(reason) => Self::Invalid(reason),
            wire::Error::Full => Self::Full,
            wire::Error::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Full | Error::Unavailable(_) => Self::transient(error),
            Error::Denied(_) => Self::config(error),
            Error::Invalid(_) => Self::permanent(error),
        }
    }
}
