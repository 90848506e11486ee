//! Secrets that the operator gives this plugin by name, in `allow.secrets`.
//!
//! ```
//! use tubepost_plugin_sdk::{Failure, secrets, testing::Host};
//! let _host = Host::new().secret("token", "s3cret");
//! assert_eq!(secrets::require("token")?, "s3cret");
//! assert_eq!(secrets::get("other"), None);
//! assert!(matches!(secrets::require("other"), Err(Failure::Config(_))));
//! # Ok::<(), Failure>(())
//! ```
//!
//! They are in no configuration that a trace shows; a plugin that logs one undoes that.

use crate::Failure;

/// A secret, if the operator gave one of this name.
pub fn get(name: &str) -> Option<String> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::imports::tubepost::mail::secrets::get(name);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::host(|host| host.secrets.get(name).cloned())
}

/// A secret that the plugin cannot do without.
///
/// # Errors
/// [`Failure::Config`] where the operator gave none of this name.
pub fn require(name: &str) -> Result<String, Failure> {
    get(name).ok_or_else(|| Failure::config(format!("there is no secret {name:?}: `allow.secrets` of the plugin must give it")))
}
