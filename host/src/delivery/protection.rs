//! How a connection to one host is protected: by what the route, the message and the recipient's domain ask for.

use tokio_rustls::TlsConnector;

use super::failure::Failure;
use super::mx::Host;
use super::route::TlsPolicy;
use crate::smtp::client::Security;

/// What a connection must do about TLS.
#[derive(Clone)]
pub(super) struct Protection {
    pub(super) security: Security,
    pub(super) connector: Option<TlsConnector>,
    /// For events: `none`, `opportunistic`, `required`.
    pub(super) policy: &'static str,
}

/// What asks for protection.
pub(super) struct Guard<'a> {
    /// TLS of the route.
    pub(super) floor: &'a TlsPolicy,
}

impl Guard<'_> {
    /// Returns how a connection to `host` is protected.
    #[expect(clippy::unused_async, reason = "some policies are asked of DNS")]
    pub(super) async fn protection(&self, _host: &Host, _port: u16) -> Result<Protection, Failure> {
        Ok(match self.floor {
            TlsPolicy::Required(connector) => {
                Protection { security: Security::Required, connector: Some(connector.clone()), policy: "required" }
            }
            TlsPolicy::Opportunistic(connector) => {
                Protection { security: Security::Opportunistic, connector: Some(connector.clone()), policy: "opportunistic" }
            }
            TlsPolicy::None => Protection { security: Security::None, connector: None, policy: "none" },
        })
    }
}
