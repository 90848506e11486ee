//! How a connection to one host is protected: by what the route, the message and the recipient's domain ask for.
//!
//! | asked for by | means |
//! |---|---|
//! | the message: `REQUIRETLS` (RFC 8689) | TLS with a valid certificate; by MX only to hosts that signed records or an MTA-STS policy name; else 5.7.30, or 4.7.5 where that is unknown |
//! | the message: `TLS-Required: No` | policies of the recipient's domain are passed over; those of the operator are not |
//! | the recipient's host: DANE (RFC 7672) | TLS with a certificate that its TLSA records vouch for; else a deferral. MTA-STS does not count then |
//! | the recipient's domain: MTA-STS, mode `enforce` (RFC 8461) | TLS with a valid certificate, to hosts that it names; else a deferral |
//! | the operator: the first of `[[tls_rules]]` that matches, else `tls` of the route | as it says: the least that is done |
//!
//! A certificate that DANE vouches for is as good as a valid one, whoever asks for that.

use parking_lot::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::pki_types::ServerName;

use super::dane::{self, Vouched, Vouching};
use super::failure::Failure;
use super::mta_sts::Mode;
use super::mx::Host;
use super::policies::Standing;
use super::tls_report::{PolicyKind, Seen, result_of};
use crate::config::{TlsLevel, TlsRule};
use crate::dns::Dns;
use crate::network::tls;
use crate::smtp::client::Security;
use crate::spool::entry::TransportSecurity;

use std::sync::Arc;

/// Why a host gets no mail.
const NOT_NAMED: &str = "the MTA-STS policy of the domain does not name this host";

/// What a connection must do about TLS.
#[derive(Clone)]
pub(super) struct Protection {
    pub(super) security: Security,
    pub(super) connector: Option<TlsConnector>,
    /// For events: `none`, `opportunistic`, `encrypted`, `required`, `mta-sts`, `dane`, `requiretls`.
    pub(super) policy: &'static str,
    /// What the host is asked for, where that is not its name.
    pub(super) name: Option<String>,
    /// What is found wrong with the certificate, where it is taken all the same: the domain only wants to hear of it.
    pub(super) observed: Option<Observed>,
}

/// What is wrong with a host by the policy of its domain, in the words of RFC 8460 §4.3, and why.
pub(super) type Observed = Arc<Mutex<Option<(&'static str, String)>>>;

/// What asks for protection.
pub(super) struct Guard<'a> {
    /// The least that the operator wants: by the rule, or by the route.
    pub(super) level: TlsLevel,
    /// Which rule that is.
    pub(super) rule: Option<&'a TlsRule>,
    /// Takes only valid certificates; `None` where there is no certification authority to trust.
    pub(super) verifying: Option<&'a TlsConnector>,
    /// Knows valid certificates, to tell what is wrong with others.
    pub(super) verifier: Option<&'a Arc<dyn ServerCertVerifier>>,
    /// Takes any certificate.
    pub(super) anyone: &'a TlsConnector,
    /// What the message asks for.
    pub(super) transport: TransportSecurity,
    /// The MTA-STS policy of the recipient's domain.
    pub(super) policy: Standing,
    /// Hosts are found by MX records, which anybody on the way may have made.
    pub(super) by_mx: bool,
    /// It is sure that these are the domain's hosts: the MX records are signed, or the configuration names the host.
    pub(super) secure: bool,
    /// The recipient's domain, or the smart host, in A-labels, where TLSA records of its hosts count.
    pub(super) dane: Option<String>,
    /// The recipient's domain, in A-labels, where it may want to hear how TLS goes.
    pub(super) reported: Option<String>,
}

impl Guard<'_> {
    /// The domain for whose hosts TLSA records are to be looked up, if they are.
    fn vouched_domain(&self) -> Option<&str> {
        let counts = self.transport != TransportSecurity::Optional || self.level == TlsLevel::Dane;
        self.dane.as_deref().filter(|_| counts && self.secure)
    }

    /// Finds out what DNS says of the certificates of `host`.
    pub(super) async fn vouching(&self, dns: &dyn Dns, host: &Host, port: u16) -> Vouching {
        match (self.vouched_domain(), host) {
            (Some(domain), Host::Name(name)) => dane::look_up(dns, name, domain, port).await,
            (Some(_), Host::Address(_)) | (None, _) => Vouching::None,
        }
    }

    /// Returns how a connection to `host` is protected, where DNS says that of its certificates.
    ///
    /// # Errors
    /// It gets no such mail.
    pub(super) fn protection(&self, host: &Host, vouching: &Vouching) -> Result<Protection, Failure> {
        if let Some(rule) = self.rule.filter(|rule| !rule.hosts.is_empty())
            && !rule.hosts.iter().any(|pattern| pattern.matches(&host.to_text()))
        {
            return Err(Failure::transient((7, 5), format!("the TLS rule \"{}\" does not name this host", rule.name)));
        }
        let (policy, named) = match &self.policy {
            Standing::Policy { policy, .. } => (Some(policy), policy.names(&host.to_text())),
            Standing::None | Standing::Unknown | Standing::Unfetched(_) => (None, false),
        };
        let is_enforced = policy.is_some_and(|policy| policy.mode == Mode::Enforce) && self.transport == TransportSecurity::AsConfigured;
        let is_required = self.transport == TransportSecurity::Required;
        match vouching {
            Vouching::Failed(failure) => return Err(failure.clone()),
            Vouching::Records(vouched) => return vouched_for(vouched, if is_required { "requiretls" } else { "dane" }),
            Vouching::Unusable | Vouching::None => {}
        }
        // What the operator asks for, no message takes away.
        if self.level == TlsLevel::Dane {
            return Err(no_dane());
        }
        if is_required {
            if self.by_mx && !named && !self.secure {
                return Err(self.not_vouched());
            }
            return self.verified("requiretls");
        }
        if is_enforced {
            if !named {
                return Err(Failure::transient((7, 5), NOT_NAMED));
            }
            return self.verified("mta-sts");
        }
        if *vouching == Vouching::Unusable && self.level < TlsLevel::Encrypted {
            return Ok(Protection {
                security: Security::Required,
                connector: Some(self.anyone.clone()),
                policy: "dane",
                name: None,
                observed: None,
            });
        }
        let mut protection = self.as_configured()?;
        if policy.is_some_and(|policy| policy.mode == Mode::Testing) && protection.policy != "required" {
            self.observe(&mut protection, host, named);
        }
        if let (Standing::Unfetched(why), Some(_)) = (&self.policy, &self.reported) {
            protection.observed = Some(Arc::new(Mutex::new(Some(("sts-policy-fetch-error", why.to_string())))));
        }
        Ok(protection)
    }

    /// Has the certificate looked at without asking for anything.
    fn observe(&self, protection: &mut Protection, host: &Host, named: bool) {
        let (Some(_), Some(verifier), Host::Name(name)) = (&self.reported, self.verifier, host) else { return };
        let observed: Observed = Arc::default();
        if !named {
            *observed.lock() = Some(("validation-failure", NOT_NAMED.to_owned()));
        }
        let Ok(server) = ServerName::try_from(name.clone()) else { return };
        let (verifier, noted) = (Arc::clone(verifier), Arc::clone(&observed));
        let watching = tls::judging(Arc::new(move |leaf, chain, now| {
            if let Err(error) = verifier.verify_server_cert(leaf, chain, &server, &[], now) {
                noted.lock().get_or_insert_with(|| (result_of(&error), error.to_string()));
            }
            Ok(())
        }));
        if let (Some(connector), Ok(watching)) = (&mut protection.connector, watching) {
            *connector = watching;
            protection.observed = Some(observed);
        }
    }

    /// Returns what is in force for `host`, for reports on TLS; `None` where nobody gets one, or the operator wants no TLS.
    pub(super) fn seen(&self, host: &Host, vouching: &Vouching) -> Option<Seen> {
        let domain = self.reported.clone()?;
        let (kind, strings, mx) = match (vouching, &self.policy) {
            (Vouching::Records(vouched), _) => (PolicyKind::Tlsa, vouched.texts().to_vec(), Vec::new()),
            (Vouching::Unusable | Vouching::Failed(_), _) => (PolicyKind::Tlsa, Vec::new(), Vec::new()),
            (Vouching::None, Standing::Policy { policy, .. }) => {
                (PolicyKind::Sts, policy.to_text().lines().map(str::to_owned).collect(), policy.mx.clone())
            }
            (Vouching::None, Standing::Unfetched(_)) => (PolicyKind::Sts, Vec::new(), Vec::new()),
            (Vouching::None, Standing::None | Standing::Unknown) if self.level == TlsLevel::None => return None,
            (Vouching::None, Standing::None | Standing::Unknown) => (PolicyKind::None, Vec::new(), Vec::new()),
        };
        Some(Seen { domain, kind, strings, mx, host: host.to_text() }.bounded())
    }

    /// Returns what is wrong with `host`, where it gets no mail by what its domain says.
    pub(super) fn fault(&self, seen: &Seen, vouching: &Vouching, failure: &Failure) -> Option<(&'static str, String)> {
        match (vouching, &self.policy) {
            (Vouching::Failed(_), _) => (failure.status.subject == 7).then(|| ("dnssec-invalid", failure.text.clone())),
            (_, Standing::Policy { policy, .. }) if policy.mode == Mode::Enforce && !policy.names(&seen.host) => {
                Some(("validation-failure", NOT_NAMED.to_owned()))
            }
            _ => None,
        }
    }

    /// Why a message with REQUIRETLS does not go to a host that anybody may have named.
    fn not_vouched(&self) -> Failure {
        match self.policy {
            Standing::None | Standing::Policy { is_certain: true, .. } => {
                let text = "the message requires TLS on all of its way (REQUIRETLS), and neither DNSSEC nor an MTA-STS policy vouches for this host";
                Failure::permanent((7, 30), text)
            }
            Standing::Unknown | Standing::Unfetched(_) | Standing::Policy { is_certain: false, .. } => {
                let text =
                    "the message requires TLS on all of its way (REQUIRETLS), and the MTA-STS policy of the domain cannot be found out now";
                Failure::transient((7, 5), text)
            }
        }
    }

    fn verified(&self, policy: &'static str) -> Result<Protection, Failure> {
        let connector = self.verifying.ok_or_else(|| Failure::transient((3, 5), "there are no certification authorities to trust"))?;
        Ok(Protection { security: Security::Required, connector: Some(connector.clone()), policy, name: None, observed: None })
    }

    fn as_configured(&self) -> Result<Protection, Failure> {
        let with = |security, connector: &TlsConnector| Protection {
            security,
            connector: Some(connector.clone()),
            policy: self.level.as_str(),
            name: None,
            observed: None,
        };
        match self.level {
            TlsLevel::Dane => Err(no_dane()),
            TlsLevel::Required => self.verified("required"),
            TlsLevel::Encrypted => Ok(with(Security::Required, self.anyone)),
            TlsLevel::Opportunistic => Ok(with(Security::Opportunistic, self.anyone)),
            TlsLevel::None => Ok(Protection { security: Security::None, connector: None, policy: "none", name: None, observed: None }),
        }
    }
}

fn no_dane() -> Failure {
    let text =
        "the configuration asks for DANE, and the host has no TLSA records that can be used, signed as name servers say that are believed";
    Failure::transient((7, 5), text)
}

fn vouched_for(vouched: &Arc<Vouched>, policy: &'static str) -> Result<Protection, Failure> {
    let connector = vouched.connector().map_err(|error| Failure::transient((3, 5), error.to_string()))?;
    let name = Some(vouched.asked_for().to_owned());
    Ok(Protection { security: Security::Required, connector: Some(connector), policy, name, observed: None })
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
        let (mode, is_old) = mode.strip_prefix("old ").map_or((mode, false), |mode| (mode, true));
        let text = format!("version: STSv1\nmode: {mode}\nmx: good.example\nmax_age: 86400\n");
        Standing::Policy { policy: Arc::new(Policy::parse(text.as_bytes()).unwrap()), is_certain: !is_old }
    }

    fn asked(transport: TransportSecurity, policy: Standing, by_mx: bool, host: &str) -> String {
        let connector = tls::opportunistic().unwrap();
        said(&Guard { transport, policy, by_mx, ..guard(TlsLevel::Opportunistic, &connector) }, host, &Vouching::None)
    }

    fn guard(level: TlsLevel, connector: &TlsConnector) -> Guard<'_> {
        Guard {
            level,
            rule: None,
            verifying: Some(connector),
            anyone: connector,
            transport: TransportSecurity::AsConfigured,
            policy: Standing::None,
            by_mx: true,
            secure: false,
            dane: None,
            verifier: None,
            reported: None,
        }
    }

    fn said(guard: &Guard<'_>, host: &str, vouching: &Vouching) -> String {
        match guard.protection(&Host::Name(host.to_owned()), vouching) {
            Ok(protection) => protection.policy.to_owned(),
            Err(failure) => failure.status.to_string(),
        }
    }

    fn records() -> Vouching {
        Vouching::Records(dane::tests::some())
    }

    #[test]
    fn dane_goes_before_all_that_a_domain_says() {
        use TransportSecurity::{AsConfigured, Required};
        let connector = tls::opportunistic().unwrap();
        let failed = || Vouching::Failed(Failure::transient((7, 5), "forged"));
        for (transport, mode, secure, vouching, expected) in [
            (AsConfigured, None, true, records(), "dane"),
            (AsConfigured, Some("enforce"), true, records(), "dane"),
            (AsConfigured, Some("enforce"), true, failed(), "4.7.5"),
            (AsConfigured, None, true, Vouching::Unusable, "dane"),
            (AsConfigured, Some("enforce"), true, Vouching::Unusable, "4.7.5"),
            (AsConfigured, None, true, Vouching::None, "none"),
            (Required, None, true, records(), "requiretls"),
            // Whoever has signed MX records cannot be sent elsewhere.
            (Required, None, true, Vouching::None, "requiretls"),
            (Required, None, false, Vouching::None, "5.7.30"),
        ] {
            let policy = mode.map_or(Standing::None, policy);
            let guard = Guard { transport, policy, secure, ..guard(TlsLevel::None, &connector) };
            assert_eq!(said(&guard, "bad.example", &vouching), expected, "{transport:?} {mode:?} {secure} {vouching:?}");
        }
    }

    #[test]
    fn a_rule_takes_the_place_of_the_route() {
        use TlsLevel::{Dane, Encrypted, None, Opportunistic, Required};
        let connector = tls::opportunistic().unwrap();
        for (tls, hosts, vouching, expected) in [
            (None, "good.example", Vouching::None, "none"),
            (None, "good.example", records(), "dane"),
            (Opportunistic, "good.example", Vouching::None, "opportunistic"),
            (Encrypted, "good.example", Vouching::Unusable, "encrypted"),
            (Required, "*.example", Vouching::None, "required"),
            (Required, "bad.example", Vouching::None, "4.7.5"),
            (Dane, "good.example", Vouching::None, "4.7.5"),
            (Dane, "good.example", Vouching::Unusable, "4.7.5"),
            (Dane, "good.example", records(), "dane"),
        ] {
            let rule = TlsRule { name: "r".into(), domains: Vec::new(), route: Option::None, tls, hosts: vec![hosts.parse().unwrap()] };
            let guard = Guard { rule: Some(&rule), ..guard(tls, &connector) };
            assert_eq!(said(&guard, "good.example", &vouching), expected, "{tls:?} {hosts} {vouching:?}");
        }
        let rule = TlsRule { name: "r".into(), domains: Vec::new(), route: Option::None, tls: Dane, hosts: Vec::new() };
        for (vouching, expected) in [(Vouching::None, "4.7.5"), (Vouching::Unusable, "4.7.5"), (records(), "requiretls")] {
            let transport = TransportSecurity::Required;
            let guard = Guard { rule: Some(&rule), transport, secure: true, ..guard(Dane, &connector) };
            assert_eq!(said(&guard, "good.example", &vouching), expected, "REQUIRETLS {vouching:?}");
        }
        let dane = Some("b.example".to_owned());
        let optional = Guard { transport: TransportSecurity::Optional, secure: true, dane, ..guard(Required, &connector) };
        assert_eq!(optional.vouched_domain(), Option::None);
        assert_eq!(Guard { level: Dane, ..optional }.vouched_domain(), Some("b.example"));
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
            (Required, Some("old enforce"), true, "bad.example", "4.7.5"),
            (Required, Some("old enforce"), true, "good.example", "requiretls"),
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
