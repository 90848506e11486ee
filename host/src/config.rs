//! The configuration: TOML in, checked values out.
//!
//! The types here are what the rest of the program sees: complete, consistent, defaults filled in. How they are written in the
//! file is private to the submodules. Every error names file, line, column and key, and all errors are reported at once.

mod access;
mod acme;
mod administrator;
mod authentication;
mod chain;
mod dashboard;
mod delivery;
mod dkim;
mod document;
mod domains;
mod error;
mod grant;
mod http;
mod inbound;
mod listen;
mod login;
mod mx;
mod network;
mod plugin;
mod queue;
mod returns;
mod route;
mod search;
pub mod secret;
mod sender_rule;
mod server;
mod shaping;
mod smtp;
mod source;
mod store;
pub(crate) mod suggestion;
mod template;
mod tls;
mod tls_level;
mod tls_reports;
mod tls_rule;
mod trust;
pub mod unit;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

pub use access::{Access, Closed, LoginDialect};
pub use acme::{Acme, AcmeChallenge};
pub use administrator::Administrator;
pub use authentication::Authentication;
pub use chain::{Chain, ChainStep, Shadow, Share, When};
pub use dashboard::Dashboard;
pub use delivery::{Delivery, Dns};
pub use dkim::Dkim;
use document::{Reader, Section};
pub use domains::{DnsServer, Domains, UnverifiedSenders};
pub use error::{ConfigError, ConfigErrors};
pub use grant::{Grants, Origin};
pub use http::Http;
pub use inbound::{DmarcPolicy, INBOUND, Inbound, InboundAction, LocalPattern};
pub use listen::{Listener, ListenerKind, ListenerTls};
pub use login::{BounceManagement, Bounces, Login, LoginLimits, SenderPattern, Suppress, Treatment};
pub use mx::Mx;
pub use network::{IpNetwork, NetworkError};
pub use plugin::{
    CallLimits, EventTelling, FIRST_PARTY, LoginShares, OnError, Plugin, PluginLimits, PluginRuntime, PluginSource, Refusals,
};
pub use queue::Queue;
pub use returns::Returns;
pub use route::{MxRoute, Route, SmartHostRoute};
pub use search::Search;
pub use secret::Environment;
pub use sender_rule::{SenderRule, SenderRuleError, SenderRuleKind};
pub use server::Server;
pub use shaping::{HostPattern, Rate, ShapingRule};
pub use smtp::Smtp;
pub use source::{Member, Source, SourceRule, Sources, WarmUp, day, next_day};
pub use store::Store;
pub use template::Template;
pub use tls::{NamedCertificate, Tls, WATCH_INTERVAL};
pub use tls_level::TlsLevel;
pub use tls_reports::{TLS_REPORTER, TlsReports};
pub use tls_rule::TlsRule;
pub use trust::{PluginTrust, TrustedKey};
use unit::ByteSize;

/// `http.json_values` where nobody says otherwise.
pub const JSON_VALUES: u32 = 100_000;

/// Octets of a configuration file; more is surely another file, or one without end.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// Reads the configuration in the file at `path`, and the files that it names. `environment` answers `${NAME}`.
///
/// # Errors
/// All that is wrong with it, at once. Nothing was started or changed.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Config, ConfigErrors> {
    let file_name = path.display().to_string();
    let mut text = String::new();
    let length = File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_string(&mut text));
    let fault = match length {
        Ok(length) if length as u64 <= LARGEST_FILE => {
            return parse(&text, &file_name, path.parent().unwrap_or(Path::new("")), environment);
        }
        Ok(_) => "cannot be read: it has more than 16 MiB".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    Err(ConfigErrors::new(vec![ConfigError { file: file_name, place: None, message: fault }]))
}

/// Reads a configuration from `text`; errors call it `file_name`, and the paths in it are relative to `base`.
///
/// # Errors
/// As for [`load`].
pub fn parse(text: &str, file_name: &str, base: &Path, environment: Environment<'_>) -> Result<Config, ConfigErrors> {
    Reader::new(text, file_name, base, environment).read(read)
}

fn read(file: &Section<'_>) -> Option<Config> {
    let server = file.section("server", server::read);
    let store = file.section("store", store::read);
    let smtp = file.section("smtp", smtp::read);
    let authentication = file.section("authentication", authentication::read);
    let administrators = administrator::read(file);
    let http = file.section("http", |section| http::read(section, smtp.message_size));
    // References are checked against the names that are written, so that an entry with an error is not also said to be missing.
    let (chain_names, route_names) = (file.names("chains"), file.names("routes"));
    let plugin_names: Vec<&str> = file.names("plugins").into_iter().chain(FIRST_PARTY).collect();
    let has_certificate = file.has("tls") || file.has("acme");
    let listeners = listen::read(file, has_certificate, server.as_ref().is_some_and(|server| !server.trusted_proxies.is_empty()));
    let tls = file.section("tls", tls::read);
    let certificates = tls::named(file, has_certificate);
    let acme = file.section("acme", acme::read);
    if file.has("tls") && file.has("acme") {
        file.report("[tls] and [acme] exclude each other: one says where the certificate is, the other fetches one");
    }
    let twice_message_size = ByteSize(smtp.message_size.0.saturating_mul(2));
    let template_names = file.names("templates");
    let templates = template::read(file);
    let plugins = plugin::read(file, twice_message_size, grant::Templates { names: &template_names, read: &templates }, &route_names);
    let plugin_runtime = file.section("plugin_runtime", plugin::runtime);
    let plugin_trust = file.section("plugin_trust", trust::read);
    let chains = chain::read(file, &plugin_names);
    let returns = file.section("bounces", returns::read);
    let logins = login::read(file, &chain_names, &route_names, &smtp, &returns);
    let routes = route::read(file);
    let sources = source::read(file, &route_names);
    let mx = file.section("mx", |section| mx::read(section, &smtp, &route_names));
    let inbound = inbound::read(file, &mx, &route_names);
    let dkim = dkim::read(file);
    let domains = file.section("domains", domains::read);
    let dns_server = file.section("dns_server", |section| domains::read_server(section, domains.zone.is_some()));
    let mut delivery = file.section("delivery", |section| delivery::read(section, twice_message_size));
    delivery.shaping = shaping::read(file, &route_names, delivery.provider_limits);
    delivery.tls_rules = tls_rule::read(file, &routes);
    delivery.tls_reports = file.section("tls_reports", tls_reports::read);
    let queue = file.section("queue", queue::read);
    let search = file.section("search", search::read);
    let dashboard = file.section("dashboard", dashboard::read);
    for (key, what) in [("listen", "no [[listen]]: mail has no way in"), ("logins", "no [[logins]]: nobody could send")] {
        if !file.has(key) {
            file.report(what);
        }
    }
    let server = server?;
    let warnings = file.take_warnings();
    Some(Config {
        warnings,
        server,
        store,
        listeners,
        tls,
        certificates,
        acme,
        plugins,
        templates,
        plugin_runtime,
        plugin_trust,
        chains,
        logins,
        routes,
        sources,
        dkim,
        domains,
        dns_server,
        delivery,
        smtp,
        mx,
        inbound,
        authentication,
        administrators,
        returns,
        http,
        queue,
        search,
        dashboard,
    })
}

/// Reads a login that is not in the file, with the keys of one that is.
///
/// # Errors
/// What is wrong with it, one sentence each.
pub fn login(keys: &serde_json::Map<String, serde_json::Value>, config: &Config) -> Result<Login, Vec<String>> {
    let text = login::document(keys);
    let chains: Vec<&str> = config.chains.keys().map(AsRef::as_ref).collect();
    let routes: Vec<&str> = config.routes.keys().map(AsRef::as_ref).collect();
    let reader = Reader::new(&text, "", Path::new(""), &|_| None);
    let read = reader.read(|file| login::read(file, &chains, &routes, &config.smtp, &config.returns).pop());
    read.map_err(|errors| errors.iter().map(|error| error.message.clone()).collect())
}

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is allowed and does not do what one might think; for the operator to read.
    pub warnings: Vec<ConfigError>,
    /// `[server]`.
    pub server: Server,
    /// `[store]`.
    pub store: Store,
    /// `[[listen]]`.
    pub listeners: Vec<Listener>,
    /// `[tls]`.
    pub tls: Option<Tls>,
    /// `[[certificates]]`.
    pub certificates: Vec<NamedCertificate>,
    /// `[acme]`.
    pub acme: Option<Acme>,
    /// `[plugins.NAME]`, first-party plugins included.
    pub plugins: BTreeMap<Arc<str>, Plugin>,
    /// `[templates.NAME]`.
    pub templates: BTreeMap<Arc<str>, Arc<Template>>,
    /// `[plugin_runtime]`.
    pub plugin_runtime: PluginRuntime,
    /// `[plugin_trust]`.
    pub plugin_trust: PluginTrust,
    /// `[chains]`.
    pub chains: BTreeMap<Arc<str>, Chain>,
    /// `[[logins]]`.
    pub logins: Vec<Login>,
    /// `[routes.NAME]`.
    pub routes: BTreeMap<Arc<str>, Route>,
    /// `[sources.NAME]`, `[pools]`, `[[source_rules]]`.
    pub sources: Sources,
    /// `[[dkim]]`.
    pub dkim: Vec<Dkim>,
    /// `[domains]`.
    pub domains: Domains,
    /// `[dns_server]`.
    pub dns_server: Option<DnsServer>,
    /// `[delivery]`.
    pub delivery: Delivery,
    /// `[smtp]`.
    pub smtp: Smtp,
    /// `[mx]`.
    pub mx: Mx,
    /// `[[inbound]]`.
    pub inbound: Vec<Inbound>,
    /// `[authentication]`.
    pub authentication: Authentication,
    /// `[[administrators]]`.
    pub administrators: Vec<Administrator>,
    /// `[bounces]`.
    pub returns: Returns,
    /// `[http]`.
    pub http: Http,
    /// `[queue]`.
    pub queue: Queue,
    /// `[search]`.
    pub search: Search,
    /// `[dashboard]`.
    pub dashboard: Dashboard,
}
