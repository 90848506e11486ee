//! `[routes.NAME]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use super::document::{Fault, Section, Value};
use super::tls::authorities;
use super::tls_level::{self, TlsLevel};
use super::unit::Secret;
use crate::mail::domain::Domain;

/// `[routes.NAME]`.
#[derive(Clone, Debug)]
pub enum Route {
    /// `mx`.
    Mx(MxRoute),
    /// `smarthost`.
    SmartHost(SmartHostRoute),
    /// `capture`: kept and shown, never sent.
    Capture,
}

/// `kind = "mx"`.
#[derive(Clone, Debug)]
pub struct MxRoute {
    /// `tls`: default opportunistic.
    pub tls: TlsLevel,
    /// `port`: default 25.
    pub port: u16,
    /// `nameservers`: default those of `[server]`.
    pub nameservers: Vec<SocketAddr>,
    /// `allow_private`: whether mail may go to loopback and private addresses. Default false.
    pub allow_private: bool,
    /// `ca`: PEM file of certification authorities to trust in the place of the system's.
    pub ca: Option<PathBuf>,
    /// `mta_sts`: whether the MTA-STS policies of recipients' domains count. Default true.
    pub mta_sts: bool,
    /// `mta_sts_port`: where their web servers listen. Default 443; for tests.
    pub mta_sts_port: u16,
    /// `dane`: whether TLSA records of recipients' hosts count, where name servers can be believed. Default true.
    pub dane: bool,
}

impl Default for MxRoute {
    fn default() -> Self {
        Self {
            tls: TlsLevel::Opportunistic,
            port: SMTP_PORT,
            nameservers: Vec::new(),
            allow_private: false,
            ca: None,
            mta_sts: true,
            mta_sts_port: HTTPS_PORT,
            dane: true,
        }
    }
}

/// `kind = "smarthost"`.
#[derive(Clone, Debug)]
pub struct SmartHostRoute {
    /// `host`: name in A-labels, or address without brackets.
    pub host: String,
    /// `port`: default 587.
    pub port: u16,
    /// `tls`: default required.
    pub tls: TlsLevel,
    /// `implicit_tls`: TLS from the first octet, as on port 465. Default: whether the port is 465.
    pub implicit_tls: bool,
    /// `ca`: PEM file of certification authorities to trust in the place of the system's.
    pub ca: Option<PathBuf>,
    /// `username` and `password`.
    pub credentials: Option<(String, Secret)>,
}

/// Where `kind = "mx"` looks when a name server is given without a port.
const DNS_PORT: u16 = 53;

/// Where hosts take mail from each other.
const SMTP_PORT: u16 = 25;

/// Where web servers listen.
const HTTPS_PORT: u16 = 443;

/// The port on which TLS begins at once (RFC 8314 §3.3).
const SUBMISSIONS_PORT: u16 = 465;

enum Kind {
    Mx,
    SmartHost,
    Capture,
}

pub(super) fn read(file: &Section<'_>) -> BTreeMap<Arc<str>, Route> {
    let routes = file.named("routes", "route", |_, value| value.section(route).flatten());
    routes.map(|(name, route)| (Arc::from(name), route)).collect()
}

fn route(section: &Section<'_>) -> Option<Route> {
    let kinds = [("mx", &Kind::Mx), ("smarthost", &Kind::SmartHost), ("capture", &Kind::Capture)];
    let Some(kind) = section.required("kind", |value| value.choice(&kinds)) else {
        section.leave_open();
        return None;
    };
    match kind {
        Kind::Mx => Some(Route::Mx(mx(section))),
        Kind::SmartHost => smart_host(section).map(Route::SmartHost),
        Kind::Capture => Some(Route::Capture),
    }
}

fn mx(section: &Section<'_>) -> MxRoute {
    MxRoute {
        tls: section.or("tls", TlsLevel::Opportunistic, tls_level::read),
        port: section.or("port", SMTP_PORT, port),
        nameservers: section.list("nameservers", nameserver),
        allow_private: section.or("allow_private", false, Value::boolean),
        ca: section.optional("ca", authorities),
        mta_sts: section.or("mta_sts", true, Value::boolean),
        mta_sts_port: section.or("mta_sts_port", HTTPS_PORT, port),
        dane: section.or("dane", true, Value::boolean),
    }
}

fn smart_host(section: &Section<'_>) -> Option<SmartHostRoute> {
    let host = section.required("host", host);
    let port = section.or("port", 587, port);
    let tls = section.or("tls", TlsLevel::Required, tls_level::read);
    let implicit_tls = section.or("implicit_tls", port == SUBMISSIONS_PORT && tls != TlsLevel::None, Value::boolean);
    if implicit_tls && tls == TlsLevel::None {
        section.report("implicit_tls = true and tls = \"none\" exclude each other");
    }
    if tls == TlsLevel::Dane && host.as_ref().is_some_and(|host| host.parse::<IpAddr>().is_ok()) {
        section.report("tls = \"dane\" takes a host with a name: an address has no TLSA records");
    }
    let ca = section.optional("ca", authorities);
    let username = section.optional("username", |value| value.secret().map(|username| username.expose().to_owned()));
    let password = section.optional("password", Value::secret);
    if section.has("username") != section.has("password") {
        section.report("\"username\" and \"password\" go together");
    }
    Some(SmartHostRoute { host: host?, port, tls, implicit_tls, ca, credentials: username.zip(password) })
}

fn port(value: &Value<'_>) -> Result<u16, Fault> {
    value.number(1..=u16::MAX)
}

/// Reads a name or an address; the address may stand in brackets, as in mail, and loses them.
fn host(value: &Value<'_>) -> Result<String, Fault> {
    let text = value.text()?;
    let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = address.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let domain = Domain::parse(text).map_err(|error| format!("must be a name or an address: {error}"))?;
    Ok(domain.literal().map_or_else(|| domain.to_ascii(), |address| address.to_string()))
}

pub(super) fn nameserver(value: &Value<'_>) -> Result<SocketAddr, Fault> {
    let text = value.text()?;
    let with_port = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, DNS_PORT));
    text.parse().or_else(|_| with_port()).map_err(|_| "must be an address, such as \"192.0.2.1\" or \"192.0.2.1:5353\"".to_owned())
}
