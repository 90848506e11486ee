//! How a connection to one host is protected: by what the route, the message and the recipient's domain ask for.
//!
//! | asked for by | means |
//! |---|---|
//! | the message: `REQUIRETLS` (RFC 8689) | TLS with a valid certificate; by MX only to hosts that an MTA-STS policy names; else 5.7.30, or 4.7.5 where that is unknown |
//! | the message: `TLS-Required: No` | policies of the recipient's domain are passed over; that of the route is not |
//! | the recipient's domain: MTA-STS, mode `enforce` (RFC 8461) | TLS with a valid certificate, to hosts that it names; else a deferral |
//! | the route: `tls` | as it says: the least that is done |

use tokio_rustls::TlsConnector;

use super::failure::Failure;
use super::mta_sts::Mode;
use super::mx::Host;
use super::policies::Standing;
use super::route::TlsPolicy;
use crate::smtp::client::Security;
use crate::spool::entry::TransportSecurity;

/// What a connection must do about TLS.
#[derive(Clone)]
pub(super) struct Protection {
    pub(super) security: Security,
    pub(super) connector: Option<TlsConnector>,
    /// For events: `none`, `opportunistic`, `required`, `mta-sts`, `requiretls`.
    pub(super) policy: &'static str,
}

/// What asks for protection.
pub(super) struct Guard<'a> {
    /// TLS of the route.
    pub(super) floor: &'a TlsPolicy,
    /// Takes only valid certificates; `None` where there is no certification authority to trust.
    pub(super) verifying: Option<&'a TlsConnector>,
    /// What the message asks for.
    pub(super) transport: TransportSecurity,
    /// The MTA-STS policy of the recipient's domain.
    pub(super) policy: Standing,
    /// Hosts are found by MX records, which anybody on the way may have made.
    pub(super) by_mx: bool,
}

impl Guard<'_> {
    /// Returns how a connection to `host` is protected.
    ///
    /// # Errors
    /// It gets no such mail.
    pub(super) fn protection(&self, host: &Host) -> Result<Protection, Failure> {
        let named = match &self.policy {
            Standing::Policy(policy) => Some((policy, policy.names(&host.to_text()))),
            Standing::None | Standing::Unknown => None,
        };
        match (self.transport, named) {
            (TransportSecurity::Required, named) => {
                if self.by_mx && !named.is_some_and(|(_, is_named)| is_named) {
                    if matches!(self.policy, Standing::Unknown) {
                        let text = "the message requires TLS on all of its way (REQUIRETLS), and the MTA-STS policy of the domain cannot be found out now";
                        return Err(Failure::transient((7, 5), text));
                    }
                    let text = "the message requires TLS on all of its way (REQUIRETLS), and no MTA-STS policy vouches for this host";
                    return Err(Failure::permanent((7, 30), text));
                }
                let connector =
                    self.verifying.ok_or_else(|| Failure::transient((3, 5), "there are no certification authorities to trust"))?;
                Ok(Protection { security: Security::Required, connector: Some(connector.clone()), policy: "requiretls" })
            }
            (TransportSecurity::AsConfigured, Some((policy, is_named))) if policy.mode == Mode::Enforce => {
                if !is_named {
                    return Err(Failure::transient((7, 5), "the MTA-STS policy of the domain does not name this host"));
                }
                let connector =
                    self.verifying.ok_or_else(|| Failure::transient((3, 5), "there are no certification authorities to trust"))?;
                Ok(Protection { security: Security::Required, connector: Some(connector.clone()), policy: "mta-sts" })
            }
            (TransportSecurity::AsConfigured | TransportSecurity::Optional, _) => Ok(self.of_route()),
        }
    }

    fn of_route(&self) -> Protection {
        match self.floor {
            TlsPolicy::Required(connector) => {
                Protection { security: Security::Required, connector: Some(connector.clone()), policy: "required" }
            }
            TlsPolicy::Opportunistic(connector) => {
                Protection { security: Security::Opportunistic, connector: Some(connector.clone()), policy: "opportunistic" }
            }
            TlsPolicy::None => Protection { security: Security::None, connector: None, policy: "none" },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::sync::Arc;

    use super::*;
    use crate::delivery::mta_sts::Policy;

    fn policy(mode: &str) -> Standing {
        if mode == "unknown" {
            return Standing::Unknown;
        }
        let text = format!("version: STSv1\nmode: {mode}\nmx: good.example\nmax_age: 86400\n");
        Standing::Policy(Arc::new(Policy::parse(text.as_bytes()).unwrap()))
    }

    fn asked(transport: TransportSecurity, policy: Standing, by_mx: bool, host: &str) -> String {
        let connector = crate::network::tls::opportunistic().unwrap();
        let floor = TlsPolicy::Opportunistic(connector.clone());
        let guard = Guard { floor: &floor, verifying: Some(&connector), transport, policy, by_mx };
        match guard.protection(&Host::Name(host.to_owned())) {
            Ok(protection) => protection.policy.to_owned(),
            Err(failure) => failure.status.to_string(),
        }
    }

    #[test]
    fn the_strictest_that_counts_wins() {
        use TransportSecurity::{AsConfigured, Optional, Required};
        for (transport, mode, by_mx, host, expected) in [
            (AsConfigured, None, true, "good.example", "opportunistic"),
            (AsConfigured, Some("enforce"), true, "good.example", "mta-sts"),
            (AsConfigured, Some("enforce"), true, "bad.example", "4.7.5"),
            (AsConfigured, Some("testing"), true, "bad.example", "opportunistic"),
            (Optional, Some("enforce"), true, "bad.example", "opportunistic"),
            (Required, None, true, "good.example", "5.7.30"),
            (Required, Some("unknown"), true, "good.example", "4.7.5"),
            (AsConfigured, Some("unknown"), true, "good.example", "opportunistic"),
            (Required, Some("testing"), true, "good.example", "requiretls"),
            (Required, Some("enforce"), true, "bad.example", "5.7.30"),
            (Required, None, false, "smart.example", "requiretls"),
        ] {
            let asked = asked(transport, mode.map_or(Standing::None, policy), by_mx, host);
            assert_eq!(asked, expected, "{transport:?} {mode:?} {host}");
        }
    }
}
