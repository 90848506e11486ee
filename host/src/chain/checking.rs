//! A forward-path on its way through a chain, while the client is still talking.

use super::Chain;
use crate::config::OnError;
use crate::mail::address::EmailAddress;
use crate::mail::refusal::Refusal;
use crate::plugin::Stage;
use crate::plugin::forward_path::{PathAnswer, PathCall, Transaction};
use crate::submission::CheckedPaths;

impl Chain {
    /// Asks the plugins about a forward-path, in their order, up to the first that refuses it; each sees the address as those before it left it. Returns
    /// the address that is to be taken. What they said is added to `checked`.
    ///
    /// # Errors
    /// A plugin refuses the forward-path, or fails and may not be passed over.
    pub async fn check_path(&self, path: &EmailAddress, within: &Transaction, checked: &mut CheckedPaths) -> Result<EmailAddress, Refusal> {
        let mut path = path.clone();
        for standing in self.standing(Stage::Rcpt) {
            let plugin = &standing.plugin;
            let PathCall { result, run } = plugin.check_path(&path, within, &standing.config).await;
            checked.record(run);
            let name = || plugin.name().to_string();
            match result {
                Ok(PathAnswer::Accept) => {}
                Ok(PathAnswer::Rewrite(address)) => path = address,
                Ok(PathAnswer::Reject(reply) | PathAnswer::Defer(reply)) => {
                    return Err(Refusal::Plugin { plugin: name(), code: reply.code, enhanced: reply.enhanced, text: reply.text });
                }
                Err(_) => match plugin.on_error() {
                    OnError::Skip => {}
                    OnError::Defer => return Err(Refusal::PluginFailed { plugin: name(), permanent: false }),
                    OnError::Reject => return Err(Refusal::PluginFailed { plugin: name(), permanent: true }),
                },
            }
        }
        Ok(path)
    }
}
