//! Carries a plan out for one recipient.

use bytes::Bytes;

use super::Plan;
use crate::event::PluginRun;
use crate::mail::address::EmailAddress;
use crate::mail::content::Composition;
use crate::mail::enhanced_status::EnhancedStatus;
use crate::mail::envelope::ReversePath;
use crate::mail::message_id::CopyId;

/// Renders copies. Cloning is cheap.
#[derive(Clone)]
pub struct Renderer {}

/// A copy as it is sent.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The message, with CRLF line ends.
    pub content: Bytes,
    /// The reverse-path, where a plugin changed it.
    pub reverse_path: Option<ReversePath>,
    /// What the plugins did.
    pub runs: Vec<PluginRun>,
}

/// Why there is nothing to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenderError {
    /// A plugin refuses the copy.
    Rejected {
        /// 5yz.
        code: u16,
        /// Of the same class.
        enhanced: EnhancedStatus,
        /// What the plugin says.
        text: String,
    },
    /// A plugin refuses the copy for now.
    Deferred {
        /// 4yz.
        code: u16,
        /// Of the same class.
        enhanced: EnhancedStatus,
        /// What the plugin says.
        text: String,
    },
    /// A plugin takes the copy off the way.
    Discarded {
        /// What it says.
        reason: String,
    },
    /// A plugin holds the copy for an operator.
    Held {
        /// What it says.
        reason: String,
    },
    /// A plugin failed.
    Failed {
        /// Which.
        plugin: String,
        /// Its `on_error` says reject.
        permanent: bool,
    },
}

impl Renderer {
    /// Renders `plan` for one recipient; `body` is an encoded [`Composition`], `variables` one JSON object or "".
    pub async fn render(
        &self,
        plan: &Plan,
        body: Bytes,
        copy: CopyId,
        recipient: &EmailAddress,
        variables: &str,
    ) -> Result<Rendered, RenderError> {
        let _ = (plan, body, copy, recipient, variables, Composition::decode);
        todo!()
    }
}
