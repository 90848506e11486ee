//! `[server]`.

use std::time::Duration;

use url::{Host, Url};

use super::Server;
use super::document::{Fault, Section, Value};

pub(super) fn read(section: &Section<'_>) -> Option<Server> {
    let hostname = section.required("hostname", Value::parsed);
    let data = section.required("data", Value::path);
    let public_url = section.required("public_url", public_url);
    let drain_time = section.or("drain_time", Duration::from_secs(30), Value::duration_from_zero);
    let trusted_proxies = section.list("trusted_proxies", Value::parsed);
    let submissions = section.or("submissions", 4096, Value::count);
    Some(Server { hostname: hostname?, data: data?, public_url: public_url?, drain_time, trusted_proxies, submissions })
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
