//! `[acme]`: a certificate that is fetched and renewed by itself (RFC 8555).

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::document::{Fault, Section, Value};
use super::tls::authorities;
use super::unit::Secret;
use crate::mail::domain::Domain;

/// Names in one certificate: as many as the large authorities allow.
const MOST_DOMAINS: usize = 100;

/// Where certificates come from where nothing is said.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// `[acme]`.
#[derive(Clone, Debug)]
pub struct Acme {
    /// `directory`: of the authority. Default Let's Encrypt.
    pub directory: Url,
    /// `domains`: names in the certificate. Default `server.hostname`.
    pub domains: Vec<Domain>,
    /// `contact`: an address that the authority may write to.
    pub contact: Option<String>,
    /// `challenge`: how it is shown that the names are ours. Default `http-01`.
    pub challenge: AcmeChallenge,
    /// `ca`: PEM file of authorities that the directory's own certificate is checked against. Default those of the system.
    pub ca: Option<PathBuf>,
    /// `renew_before`: how long before its end a certificate is renewed, at most a third of its life. Default 30 days.
    pub renew_before: Duration,
    /// `retry`: wait after the first failure, doubled after each one up to a day, or up to a quarter of what the certificate has left. Default 10 min.
    pub retry: Duration,
    /// `external_account` and `external_key`: for authorities that know their customers already (RFC 8555 §7.3.4).
    pub external_account: Option<(String, Secret)>,
}

/// How it is shown that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// `http-01`: a file over HTTP on port 80 (RFC 8555 §8.3).
    Http,
    /// `tls-alpn-01`: a certificate over TLS on port 443 (RFC 8737).
    TlsAlpn,
}

/// Reads the section; `None` also where it is not there.
pub(super) fn read(section: &Section<'_>) -> Option<Acme> {
    if !section.is_present() {
        return None;
    }
    let directory = section.optional("directory", directory);
    let domains = section.list("domains", domain);
    if domains.len() > MOST_DOMAINS {
        section.report("domains: a certificate has at most 100 names");
    }
    let agreed = section.required("terms_of_service_agreed", Value::boolean);
    if agreed == Some(false) {
        section.report("terms_of_service_agreed must be true: without it no authority gives certificates");
    }
    let challenges = [("http-01", AcmeChallenge::Http), ("tls-alpn-01", AcmeChallenge::TlsAlpn)];
    let account = section.optional("external_account", |value| value.text().map(str::to_owned));
    let key = section.optional("external_key", Value::secret);
    if section.has("external_account") != section.has("external_key") {
        section.report("\"external_account\" and \"external_key\" go together");
    }
    Some(Acme {
        directory: directory.unwrap_or_else(|| Url::parse(DIRECTORY).expect("the default is a URL")),
        domains,
        contact: section.optional("contact", contact),
        challenge: section.or("challenge", AcmeChallenge::Http, |value| value.choice(&challenges)),
        ca: section.optional("ca", authorities),
        renew_before: section.or("renew_before", Duration::from_hours(30 * 24), Value::duration),
        retry: section.or("retry", Duration::from_mins(10), Value::duration),
        external_account: account.zip(key),
    })
}

fn directory(value: &Value<'_>) -> Result<Url, Fault> {
    let url = Url::parse(value.text()?).map_err(|error| format!("must be a URL: {error}"))?;
    if url.scheme() == "https" { Ok(url) } else { Err("must begin with \"https://\"".to_owned()) }
}

fn domain(value: &Value<'_>) -> Result<Domain, Fault> {
    let text = value.text()?;
    if text.starts_with("*.") {
        return Err("a name with a star takes a challenge over DNS, which is not available in this version".to_owned());
    }
    let domain = Domain::parse(text).map_err(|error| error.to_string())?;
    if domain.literal().is_some() { Err("must be a name, not an address".to_owned()) } else { Ok(domain) }
}

fn contact(value: &Value<'_>) -> Result<String, Fault> {
    let text = value.text()?;
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    crate::mail::address::EmailAddress::parse(address).map_err(|error| format!("must be an address: {error}"))?;
    Ok(format!("mailto:{address}"))
}
