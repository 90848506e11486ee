//! Counters and histograms of the plugin's own, shown beside the server's at `/metrics`. Granted by `allow.metrics`.
//!
//! ```
//! use tubepost_plugin_sdk::{metrics, testing::Host};
//! let host = Host::new();
//! metrics::add("links", 3);
//! metrics::observe("html_octets", 2048.0);
//! assert_eq!(host.counter("links"), 3);
//! assert_eq!(host.observed("html_octets"), [2048.0]);
//! ```
//!
//! Names have 1 to 50 lower-case letters, digits and "_", a letter first. A plugin has at most 20 of them for all logins; what is above, or badly
//! named, is counted as dropped.

/// Adds to a counter.
pub fn add(name: &str, value: u64) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::imports::tubepost::mail::metrics::add(name, value);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::host(|host| host.add(name, value));
}

/// Counts a value in a histogram.
pub fn observe(name: &str, value: f64) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::imports::tubepost::mail::metrics::observe(name, value);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::host(|host| host.observe(name, value));
}
