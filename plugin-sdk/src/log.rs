//! Lines for the operator, kept with the message's trace.
//!
//! At most 100 lines of 1,000 characters per call are kept; more are counted and dropped. What people wrote, such as addresses,
//! subjects and bodies, does not belong here.

pub use crate::bindings::imports::tubepost::mail::log::Level;

/// Writes one line; the macros of this module are shorter.
pub fn write(level: Level, text: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::imports::tubepost::mail::log::log(level, text);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::record(level, text);
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($text:tt)+) => {
        $crate::log::write($crate::log::Level::$level, &::std::format!($($text)+))
    };
}

/// Writes a line that helps to find a fault: `debug!("{count} links")`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($text:tt)+) => { $crate::__log!(Debug, $($text)+) };
}

/// Writes a line about a change that an operator may ask about: `info!("{count} links")`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($text:tt)+) => { $crate::__log!(Info, $($text)+) };
}

/// Writes a line about something that should be put right in the morning: `warn!("the tag {tag:?} is not valid")`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($text:tt)+) => { $crate::__log!(Warn, $($text)+) };
}

/// Writes a line about something that has gone wrong now: `error!("the list is empty")`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($text:tt)+) => { $crate::__log!(Error, $($text)+) };
}

#[doc(inline)]
pub use crate::{__log_debug as debug, __log_error as error, __log_info as info, __log_warn as warn};
