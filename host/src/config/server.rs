//! `[server]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use super::IpNetwork;
use super::document::{Fault, Section, Value};
use super::route::nameserver;
use crate::mail::domain::Domain;

/// `[server]`: who we are.
#[derive(Clone, Debug)]
pub struct Server {
    /// `hostname`: EHLO name, domain of Message-IDs that we make.
    pub hostname: Domain,
    /// `data`: folder for spool, index, compiled plugins and keys.
    pub data: PathBuf,
    /// `public_url`: base of tracking and unsubscribe links, without query or fragment. A path loses the slash at its end; where there
    /// is none, [`url::Url`] writes `/`.
    pub public_url: Url,
    /// `user`: whom root becomes once sockets are bound; by name or number. Not given: he stays root.
    pub user: Option<String>,
    /// `group`: of it; default the user's own.
    pub group: Option<String>,
    /// `nameservers`: whom to ask; default those of the system. A route may have its own.
    pub nameservers: Vec<SocketAddr>,
    /// `drain_time`: how long sessions and attempts may go on after SIGTERM. Default 30 s.
    pub drain_time: Duration,
    /// `trusted_proxies`: whose `X-Forwarded-Proto` and `X-Forwarded-For` count. Default none.
    pub trusted_proxies: Vec<IpNetwork>,
    /// `submissions`: messages in work at one moment, over SMTP and REST together; more are told to come back. Default 4096, which is more than the
    /// listeners let in by default.
    pub submissions: u32,
}

pub(super) fn read(section: &Section<'_>) -> Option<Server> {
    let hostname = section.required("hostname", Value::parsed);
    let data = section.required("data", Value::path);
    let public_url = section.required("public_url", public_url);
    let drain_time = section.or("drain_time", Duration::from_secs(30), Value::duration_from_zero);
    let trusted_proxies = section.list("trusted_proxies", Value::parsed);
    let submissions = section.or("submissions", 4096, Value::count);
    let nameservers = section.list("nameservers", nameserver);
    let name = |value: &Value<'_>| {
        let name = value.text()?;
        if name.is_empty() || name.contains('\0') { Err("must be a name".to_owned()) } else { Ok(name.to_owned()) }
    };
    let user = section.optional("user", name);
    let group = section
        .optional("group", |value| if section.has("user") { name(value) } else { Err("is for \"user\", which is not there".to_owned()) });
    let (hostname, data, public_url) = (hostname?, data?, public_url?);
    Some(Server { hostname, data, public_url, user, group, nameservers, drain_time, trusted_proxies, submissions })
}

fn public_url(value: &Value<'_>) -> Result<Url, Fault> {
    let mut url = Url::parse(value.text()?).map_err(|error| format!("must be a URL such as \"https://t.example.com\": {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with \"https://\" or \"http://\"".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err("must be a scheme, a host and perhaps a path, nothing else".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    if url.scheme() == "http" && !is_loopback(&url) {
        value.warn("has no https: links in mail can be read on the way, and one-click unsubscribing (RFC 8058) is not offered");
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
