//! Templates of the operator's configuration (`[templates.NAME]`), those that `allow.templates` names.
//!
//! ```
//! use tubepost_plugin_sdk::{Failure, templates::{self, Template}, testing::Host};
//! let _host = Host::new().template("footer", Template { text: Some("-- \nExample Ltd".into()), ..Template::default() });
//! assert_eq!(templates::require("footer")?.text.as_deref(), Some("-- \nExample Ltd"));
//! assert_eq!(templates::find("welcome"), None);
//! # Ok::<(), Failure>(())
//! ```

use crate::Failure;

/// A template: what of a message it gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    /// The field Subject.
    pub subject: Option<String>,
    /// The text.
    pub text: Option<String>,
    /// The HTML.
    pub html: Option<String>,
}

/// A template, if there is one of this name for this plugin.
pub fn find(name: &str) -> Option<Template> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::imports::tubepost::mail::templates::find(name).map(|template| Template {
        subject: template.subject,
        text: template.text,
        html: template.html,
    });
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::host(|host| host.templates.get(name).cloned())
}

/// A template that the plugin cannot do without.
///
/// # Errors
/// [`Failure::Config`] where there is none of this name.
pub fn require(name: &str) -> Result<Template, Failure> {
    find(name).ok_or_else(|| Failure::config(format!("there is no template {name:?}: `allow.templates` of the plugin must name it")))
}
