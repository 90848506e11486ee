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
    /// `starttls`: offered; AUTH and mail only after it, except from loopback.
    StartTls,
    /// `implicit`: TLS from the first octet.
    Implicit,
    /// `none`: for loopback and trusted proxies.
    None,
}

/// Reads all listeners. `has_tls` is whether there is a `[tls]`.
pub(super) fn read(file: &Section<'_>, has_tls: bool) -> Vec<Listener> {
    let mut taken: Vec<SocketAddr> = Vec::new();
    file.sections("listen", |section, _| {
        let kind = section.required("kind", kind);
        let address = section.required("address", address);
        let tls = section.required("tls", tls);
        let listener = Listener { kind: kind?, address: address?, tls: tls? };
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
        ListenerTls::None if listener.kind == ListenerKind::Smtp && !listener.address.ip().to_canonical().is_loopback() => {
            faults.push(format!("tls = \"none\" would show passwords on the network: {} is not a loopback address", listener.address));
        }
        ListenerTls::StartTls | ListenerTls::Implicit | ListenerTls::None => {}
    }
    faults
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
