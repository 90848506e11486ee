//! The configuration: TOML in, checked values out.
//!
//! The types here are what the rest of the program sees: complete, consistent, defaults filled in. How they are written in the
//! file is private to the submodules. Every error names file, line, column and key, and all errors are reported at once.

mod authentication;
mod chain;
mod dashboard;
mod delivery;
mod dkim;
mod document;
mod error;
mod grant;
mod http;
mod listen;
mod login;
mod network;
mod plugin;
mod route;
mod search;
pub mod secret;
mod server;
mod smtp;
mod store;
pub(crate) mod suggestion;
mod template;
mod tls;
mod trust;
pub mod unit;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mail::domain::Domain;
pub use chain::{Shadow, Share};
use document::{Reader, Section};
pub use error::{ConfigError, ConfigErrors};
pub use grant::{Grants, Origin};
pub use network::NetworkError;
pub use plugin::{CallLimits, EventTelling, FIRST_PARTY, LoginShares, OnError, Plugin, PluginLimits, PluginRuntime, PluginSource};
pub use secret::Environment;
pub use template::Template;
pub use trust::{PluginTrust, TrustedKey};
use unit::{ByteSize, Secret};

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
    let http = file.section("http", |section| http::read(section, smtp.message_size));
    // References are checked against the names that are written, so that an entry with an error is not also said to be missing.
    let (chain_names, route_names) = (file.names("chains"), file.names("routes"));
    let plugin_names: Vec<&str> = file.names("plugins").into_iter().chain(FIRST_PARTY).collect();
    let listeners = listen::read(file, file.has("tls"));
    let tls = file.section("tls", tls::read);
    let twice_message_size = ByteSize(smtp.message_size.0.saturating_mul(2));
    let template_names = file.names("templates");
    let templates = template::read(file);
    let plugins = plugin::read(file, twice_message_size, grant::Templates { names: &template_names, read: &templates }, &route_names);
    let plugin_runtime = file.section("plugin_runtime", plugin::runtime);
    let plugin_trust = file.section("plugin_trust", trust::read);
    let chains = chain::read(file, &plugin_names);
    let logins = login::read(file, &chain_names, &route_names, &smtp);
    let routes = route::read(file);
    let dkim = dkim::read(file);
    let delivery = file.section("delivery", |section| delivery::read(section, twice_message_size));
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
        plugins,
        templates,
        plugin_runtime,
        plugin_trust,
        chains,
        logins,
        routes,
        dkim,
        delivery,
        smtp,
        authentication,
        http,
        search,
        dashboard,
    })
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
    /// `[[dkim]]`.
    pub dkim: Vec<Dkim>,
    /// `[delivery]`.
    pub delivery: Delivery,
    /// `[smtp]`.
    pub smtp: Smtp,
    /// `[authentication]`.
    pub authentication: Authentication,
    /// `[http]`.
    pub http: Http,
    /// `[search]`.
    pub search: Search,
    /// `[dashboard]`.
    pub dashboard: Dashboard,
}

/// `[server]`: who we are.
#[derive(Clone, Debug)]
pub struct Server {
    /// `hostname`: EHLO name, domain of Message-IDs that we make.
    pub hostname: Domain,
    /// `data`: folder for spool, index, compiled plugins and keys.
    pub data: PathBuf,
    /// `public_url`: base of tracking and unsubscribe links, without query or fragment. A path loses the slash at its end; where there
    /// is none, [`url::Url`] writes `/`.
    pub public_url: url::Url,
    /// `drain_time`: how long sessions and attempts may go on after SIGTERM. Default 30 s.
    pub drain_time: Duration,
    /// `trusted_proxies`: whose `X-Forwarded-Proto` and `X-Forwarded-For` count. Default none.
    pub trusted_proxies: Vec<IpNetwork>,
    /// `submissions`: messages in work at one moment, over SMTP and REST together; more are told to come back. Default 4096, which is more than the
    /// listeners let in by default.
    pub submissions: u32,
}

/// An address range such as `192.0.2.0/24`; a single address is the range that holds it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpNetwork {
    /// Some address in it.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// `segment_size`: octets of a file of the spool, from 64 KiB to 1 GiB. Default 64 MiB.
    pub segment_size: ByteSize,
    /// `retention`: how long messages that are done with, and events, can be looked at. Default 7 days.
    pub retention: Duration,
    /// `archive_size`: octets on disk above which the oldest messages that are done with go before their time. Default 10 GiB.
    pub archive_size: ByteSize,
    /// `cache`: octets of fresh messages kept in memory, so that delivery need not read them back. Default 64 MiB.
    pub cache: ByteSize,
    /// `commit_queue`: submissions that may wait for one sync; more wait outside. Default 4096.
    pub commit_queue: u32,
    /// `reserve`: octets of the disk that are left free: below, mail is answered 452. Default 64 MiB.
    pub reserve: ByteSize,
}

/// `[search]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// `text`: octets of a message's text that can be found. Default 8 KiB.
    pub text: ByteSize,
    /// `gather`: how long events gather before they are indexed: what is sent and delivered within it is written once. Default 500 ms.
    pub gather: Duration,
    /// `rest`: how long indexing rests after work, in times of the work. Default 3: it takes a quarter of one processor at most.
    pub rest: u32,
    /// `memory`: octets in which new entries gather before they are written. Default 15 MB.
    pub memory: ByteSize,
}

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

/// `[tls]`.
#[derive(Clone, Debug)]
pub struct Tls {
    /// `certificate`: PEM file, leaf first.
    pub certificate: PathBuf,
    /// `key`: PEM file.
    pub key: PathBuf,
}

/// An entry of `[chains]`.
#[derive(Clone, Debug)]
pub struct Chain {
    /// In the order in which they run.
    pub steps: Vec<ChainStep>,
}

/// One plugin in a chain.
#[derive(Clone, Debug)]
pub struct ChainStep {
    /// `use`, or the bare name.
    pub plugin: Arc<str>,
    /// `when`.
    pub when: When,
    /// `locked`: the message's own options do not count.
    pub locked: bool,
    /// `percent`: which part of the messages it gets; none given is all.
    pub share: Option<Share>,
    /// `shadow` and `shadow_of`: it runs beside the chain, and its result is only compared.
    pub shadow: Option<Shadow>,
    /// All other keys.
    pub options: serde_json::Map<String, serde_json::Value>,
    /// `file:line:column`, for errors that are found when the plugin is loaded.
    pub place: String,
}

/// When a step runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// `always`, unless the message switches it off.
    #[default]
    Always,
    /// `requested`: only if the message asks for it.
    Requested,
}

/// `[[logins]]`.
#[derive(Clone)]
pub struct Login {
    /// `name`: unique; in events, metrics and the dashboard.
    pub name: Arc<str>,
    /// `username`, unique.
    pub username: Option<String>,
    /// `password`: argon2id hash in PHC form.
    pub password: Option<Secret>,
    /// `token`: `sha256:` and 64 hexadecimal digits.
    pub token: Option<[u8; 32]>,
    /// `senders`: none given is any.
    pub senders: Vec<SenderPattern>,
    /// `chain`; none given is no plugins.
    pub chain: Option<Arc<str>>,
    /// `route`.
    pub route: Arc<str>,
    /// `limits`.
    pub limits: LoginLimits,
    /// `bounces`.
    pub bounces: Bounces,
}

impl fmt::Debug for Login {
    /// Shows no secret, hashes included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, username, password, token, senders, chain, route, limits, bounces } = self;
        f.debug_struct("Login")
            .field("name", name)
            .field("username", username)
            .field("password", password)
            .field("token", &token.as_ref().map(|_| "redacted"))
            .field("senders", senders)
            .field("chain", chain)
            .field("route", route)
            .field("limits", limits)
            .field("bounces", bounces)
            .finish()
    }
}

/// Whom a login may send as. The spool keeps these: a change is one of its format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SenderPattern {
    /// `user@example.com`.
    Address(crate::mail::address::EmailAddress),
    /// `*@example.com`.
    Domain(Domain),
    /// `*@*.example.com`: any domain below.
    Subdomains(Domain),
}

/// `limits` of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginLimits {
    /// `messages_per_hour`; none given is no limit.
    pub messages_per_hour: Option<u32>,
    /// `recipients_per_message`. Default: that of `[smtp]`.
    pub recipients_per_message: u32,
    /// `message_size`. Default: that of `[smtp]`.
    pub message_size: ByteSize,
}

/// Where bounces of a login's mail go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bounces {
    /// `return`: to the envelope's sender.
    #[default]
    Return,
    /// `track`: the same, until bounces can be taken in.
    Track,
}

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
    pub tls: OutgoingTls,
    /// `port`: default 25.
    pub port: u16,
    /// `nameservers`: default those of the system.
    pub nameservers: Vec<SocketAddr>,
    /// `allow_private`: whether mail may go to loopback and private addresses. Default false.
    pub allow_private: bool,
}

/// `kind = "smarthost"`.
#[derive(Clone, Debug)]
pub struct SmartHostRoute {
    /// `host`: name in A-labels, or address without brackets.
    pub host: String,
    /// `port`: default 587.
    pub port: u16,
    /// `tls`: default required.
    pub tls: OutgoingTls,
    /// `implicit_tls`: TLS from the first octet, as on port 465. Default: whether the port is 465.
    pub implicit_tls: bool,
    /// `ca`: PEM file of certification authorities to trust in the place of the system's.
    pub ca: Option<PathBuf>,
    /// `username` and `password`.
    pub credentials: Option<(String, Secret)>,
}

/// TLS on the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutgoingTls {
    /// `required`: with a certificate that is valid for the host.
    Required,
    /// `opportunistic`: where it is offered, whatever the certificate says (RFC 7435).
    Opportunistic,
    /// `none`: never.
    None,
}

/// `[[dkim]]`.
#[derive(Clone, Debug)]
pub struct Dkim {
    /// `domain`: signs mail whose From is in this domain.
    pub domain: Domain,
    /// `selector`.
    pub selector: String,
    /// `key`: PEM, PKCS#8 or PKCS#1 (RSA), PKCS#8 (Ed25519).
    pub key: Secret,
}

/// `[delivery]`.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// `connections`: to all destinations together. Default 500.
    pub connections: u32,
    /// `connections_per_destination`. Default 20.
    pub connections_per_destination: u32,
    /// `messages_per_connection`. Default 1000.
    pub messages_per_connection: u32,
    /// `recipients_per_transaction`: copies with equal content that go together. Default 50.
    pub recipients_per_transaction: u32,
    /// `idle_time`: how long an idle connection is kept. Default 5 s.
    pub idle_time: Duration,
    /// `connect_time`: default 30 s.
    pub connect_time: Duration,
    /// `command_time`: how long a reply may take; the end of data may take twice as long. Default 5 min (RFC 5321 §4.5.3.2).
    pub command_time: Duration,
    /// `retry_first`: wait after the first deferral; doubled for each one after. Default 5 min.
    pub retry_first: Duration,
    /// `retry_longest`: the longest wait. Default 4 h.
    pub retry_longest: Duration,
    /// `give_up`: age at which a copy bounces. Default 5 days (RFC 5321 §4.5.4.1); SMTPeter tries for 1 day, MailPace for 2.
    pub give_up: Duration,
    /// `lease`: time after which work that was taken and not reported is due again; longer than `command_time`. Default 15 min.
    pub lease: Duration,
    /// `failing_connections`: how many of `connections` may be under way to destinations that could not be reached the last time. Default half of
    /// `connections`.
    pub failing_connections: u32,
    /// `dead_time`: how long a host that failed is left alone, at most. Default 30 s.
    pub dead_time: Duration,
    /// `host_tries`: connections that are tried for one copy, to all hosts and addresses together. Default 8.
    pub host_tries: u32,
    /// `outcome_queue`: outcomes of transactions that may wait for the store; read at the start. Default 1024.
    pub outcome_queue: u32,
    /// `returned_size`: octets of a message above which a DSN has its header alone, whatever RET says. Default 64 KiB.
    pub returned_size: ByteSize,
    /// `copy_log`: octets of what plugins log that are kept of one attempt to make a copy. Default 16 KiB.
    pub copy_log: ByteSize,
    /// `rendered_size`: what a copy may have once its slots are filled in. Default twice `smtp.message_size`.
    pub rendered_size: ByteSize,
    /// `dns_*`.
    pub dns: Dns,
}

/// How name servers are asked.
#[derive(Clone, Debug)]
pub struct Dns {
    /// `dns_cache`: answers that each route keeps. Default 16,384.
    pub cache: u32,
    /// `dns_time`: how long a name server may take. Default 5 s.
    pub time: Duration,
    /// `dns_tries`: how often a question is asked. Default 3.
    pub tries: u32,
    /// `dns_negative_time`: the longest time for which it is believed that there is nothing. Default 5 min.
    pub negative_time: Duration,
}

/// `[smtp]`: limits of every SMTP listener.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// `message_size`: default 25 MiB; shown in EHLO.
    pub message_size: ByteSize,
    /// `header_size`: of what is handed in; default 256 KiB.
    pub header_size: ByteSize,
    /// `line_size`: octets of a line of a message. RFC 5322 §2.1.1 has 998, but HTML in one line is common, and refusing it would help nobody: delivery
    /// encodes it again. Default 64 KiB.
    pub line_size: ByteSize,
    /// `memory`: for content that is on its way in, of all sessions together; what is above it hears 452. Default 256 MiB.
    pub memory: ByteSize,
    /// `recipients`: in one message; default 1000.
    pub recipients: u32,
    /// `connections`: on all SMTP listeners; more hear 421. Default 1000.
    pub connections: u32,
    /// `connections_per_address`: default 100.
    pub connections_per_address: u32,
    /// `command_time`: silence after which a session is closed. Default 5 min.
    pub command_time: Duration,
    /// `session_time`: the longest session. Default 1 h.
    pub session_time: Duration,
    /// `errors`: wrong commands after which a session is closed. Default 20.
    pub errors: u32,
    /// `junk_commands`: commands that bring no message any nearer, before each more counts as an error. Default 100.
    pub junk_commands: u32,
    /// `auth_failures`: wrong passwords after which a session is closed. Default 3.
    pub auth_failures: u32,
    /// `messages_per_session`: default 10,000.
    pub messages_per_session: u32,
}

/// `[http]`: limits of every HTTP listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// `connections`: default 1000.
    pub connections: u32,
    /// `connections_per_address`: default 100.
    pub connections_per_address: u32,
    /// `header_time`: how long a request's header may take, and how long a connection may be idle. Default 30 s.
    pub header_time: Duration,
    /// `request_time`: the longest request. Default 60 s.
    pub request_time: Duration,
    /// `body_size`: of a request. Default: 1.5 times `smtp.message_size`, as base64 swells.
    pub body_size: ByteSize,
    /// `json_values`: values that a JSON body may have, elements and members included. Default 100,000.
    pub json_values: u32,
}

/// `[authentication]`: limits of logins, over SMTP and REST together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// `failures`: wrong passwords from one address after which no more are checked. Default 20.
    pub failures: u32,
    /// `period`: how long they count. Default 10 min.
    pub period: Duration,
    /// `addresses`: of how many addresses failures are known; the oldest are forgotten. Default 10,000.
    pub addresses: u32,
    /// `waiting`: checks that wait for one that runs, of which there is one for each processor. At some 30 ms for one, the last waits about as long as a
    /// client is patient. Default 256.
    pub waiting: u32,
    /// `remembered`: passwords that were right and need no check for a while. Default 1024.
    pub remembered: u32,
}

/// `[dashboard]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dashboard {
    /// `password`: argon2id hash; without it the dashboard is closed, except in demonstration mode.
    pub password: Option<Secret>,
    /// `session_time`: how long a login lasts. Default 12 h.
    pub session_time: Duration,
}
