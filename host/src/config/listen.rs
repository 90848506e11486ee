//! `[[listen]]`.

use std::net::SocketAddr;

use super::document::{Fault, Section, Value};

/// `[[listen]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// `kind`.
    pub kind: ListenerKind,
    /// `address`: port 0 takes a free one.
    pub address: SocketAddr,
    /// `tls`.
    pub tls: ListenerTls,
    /// `require_tls`: whether AUTH and mail take TLS. Not given: except from loopback. Of SMTP alone.
    pub require_tls: Option<bool>,
    /// `proxy_protocol`: connections begin with a header of the PROXY protocol, from `server.trusted_proxies` alone. Default false.
    pub proxy_protocol: bool,
}

/// What is spoken on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// `smtp`: message submission (RFC 6409).
    Smtp,
    /// `mx`: mail from other servers for domains of our own (RFC 5321).
    Mx,
    /// `http`: REST, public links, dashboard, metrics.
    Http,
}

/// How a socket is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerTls {
    /// `starttls`: offered; AUTH and mail only after it where that is required.
    StartTls,
    /// `implicit`: TLS from the first octet.
    Implicit,
    /// `none`: for loopback and trusted proxies.
    None,
}

/// Reads all listeners. `has_tls` is whether there is a `[tls]`, `has_proxies` whether there are `trusted_proxies`.
pub(super) fn read(file: &Section<'_>, has_tls: bool, has_proxies: bool) -> Vec<Listener> {
    let mut taken: Vec<SocketAddr> = Vec::new();
    file.sections("listen", |section, _| {
        let kind = section.required("kind", kind);
        let address = section.required("address", address);
        let tls = section.required("tls", tls);
        let require_tls = section.optional("require_tls", |value| require_tls(value, kind, address, tls));
        let proxy_protocol = section.or("proxy_protocol", false, |value| {
            let wanted = value.boolean()?;
            if wanted && !has_proxies { Err("nobody may speak it: server.trusted_proxies names none".to_owned()) } else { Ok(wanted) }
        });
        let listener = Listener { kind: kind?, address: address?, tls: tls?, require_tls, proxy_protocol };
        for fault in faults(&listener, has_tls) {
            section.report(&fault);
        }
        // Port 0 is a free port, a different one each time.
        if listener.address.port() != 0 && taken.contains(&listener.address) {
            section.report(&format!("another listener has address {}", listener.address));
        }
        taken.push(listener.address);
        Some(listener)
    })
}

fn faults(listener: &Listener, has_tls: bool) -> Vec<String> {
    let mut faults = Vec::new();
    match listener.tls {
        ListenerTls::StartTls | ListenerTls::Implicit if !has_tls => {
            faults.push("tls needs a certificate: there is no [tls] section".to_owned());
        }
        ListenerTls::StartTls if listener.kind == ListenerKind::Http => {
            faults.push("tls = \"starttls\" is for smtp and mx; http has \"implicit\" and \"none\"".to_owned());
        }
        ListenerTls::Implicit if listener.kind == ListenerKind::Mx => {
            faults.push("tls = \"implicit\" is for smtp and http: mail servers know STARTTLS alone (RFC 3207)".to_owned());
        }
        ListenerTls::None if listener.kind == ListenerKind::Smtp && listener.require_tls.unwrap_or(!is_loopback(&listener.address)) => {
            faults.push(if listener.require_tls.is_some() {
                "require_tls = true with tls = \"none\": nobody could send mail".to_owned()
            } else {
                format!("tls = \"none\" would show passwords on the network: {} is not a loopback address", listener.address)
            });
        }
        ListenerTls::StartTls | ListenerTls::Implicit | ListenerTls::None => {}
    }
    faults
}

/// Reads `require_tls`, and says what it means to do without.
fn require_tls(
    value: &Value<'_>,
    kind: Option<ListenerKind>,
    address: Option<SocketAddr>,
    tls: Option<ListenerTls>,
) -> Result<bool, Fault> {
    let required = value.boolean()?;
    if kind.is_some_and(|kind| kind != ListenerKind::Smtp) {
        return Err("is for smtp".to_owned());
    }
    let is_open = address.is_some_and(|address| !is_loopback(&address)) && tls != Some(ListenerTls::Implicit);
    if !required && is_open {
        value.warn("passwords and mail may cross the network in the clear");
    }
    Ok(required)
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn kind(value: &Value<'_>) -> Result<ListenerKind, Fault> {
    value.choice(&[("smtp", ListenerKind::Smtp), ("http", ListenerKind::Http), ("mx", ListenerKind::Mx)])
}

fn address(value: &Value<'_>) -> Result<SocketAddr, Fault> {
    value.text()?.parse().map_err(|_| "must be an address and a port, such as \"127.0.0.1:587\" or \"[::]:587\"".to_owned())
}

fn tls(value: &Value<'_>) -> Result<ListenerTls, Fault> {
    value.choice(&[("starttls", ListenerTls::StartTls), ("implicit", ListenerTls::Implicit), ("none", ListenerTls::None)])
}
