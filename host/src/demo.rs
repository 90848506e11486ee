//! The demonstration: a whole Tubepost on loopback, real mail through each of its doors, and what the plugins did to it.
//!
//! Everything lives in one folder that is removed at the end; all mail is captured, none leaves the machine.

mod client;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::app::opening::Opened;
use crate::app::{App, Signals};
use crate::clock::{Clock, Entropy};
use crate::config::secret::{hash_password, hash_token, new_token};
use crate::event::{EventKind, PluginRun};
use crate::mail::message_id::MessageId;

/// The letter that is sent through both logins.
const NEWSLETTER: &[u8] = include_bytes!("demo/newsletter.eml");
/// How long a letter may take through the pipeline before something is wrong.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the demonstration sent.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Through which door, in words.
    pub way: String,
    /// Its id.
    pub message: MessageId,
    /// What each plugin did.
    pub plugins: Vec<PluginRun>,
}

/// A running demonstration.
pub struct Demo {
    app: App,
    folder: Folder,
    password: String,
    token: String,
    signals: Signals,
}

impl Demo {
    /// Starts a server with a throw-away certificate, two SMTP logins with different chains, and an API token. From then on signals are caught.
    ///
    /// # Errors
    /// If it cannot bind to loopback, or compile the plugins.
    pub async fn start(clock: Clock, entropy: Entropy) -> Result<Self> {
        let folder = Folder::new(&entropy)?;
        let (password, token) = (new_token(&entropy), new_token(&entropy));
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        std::fs::write(folder.0.join("cert.pem"), certificate.cert.pem())?;
        std::fs::write(folder.0.join("key.pem"), certificate.signing_key.serialize_pem())?;
        // The links in the mail lead to the server, so its port must be known before it is bound.
        let http = free_address().await?;
        let path = folder.0.join("tubepost.toml");
        std::fs::write(&path, configuration(http, &hash_password(&password, &entropy), &hash_token(&token)))?;
        let config = crate::config::load(&path, &|_| None).map_err(|errors| anyhow::anyhow!("{errors}"))?;
        let opened = Opened::new(&config)?;
        let app = App::start(config, opened, Some(path), (clock, entropy), true).await?;
        let signals = Signals::catch()?;
        Ok(Self { app, folder, password, token, signals })
    }

    /// Sends the newsletter through each SMTP login, and a letter by REST; returns what became of them.
    ///
    /// # Errors
    /// If a letter is refused or does not arrive, or if the process is asked to end meanwhile.
    pub async fn send(&mut self) -> Result<Vec<Shown>> {
        let Self { app, password, token, signals, .. } = self;
        let letters = Letters { app, password, token };
        tokio::select! {
            sent = letters.send() => sent,
            () = signals.end() => bail!("interrupted"),
        }
    }

    /// Returns the address of the dashboard.
    pub fn dashboard(&self) -> String {
        self.app.bound("http").map(|address| format!("http://{address}/dashboard")).unwrap_or_default()
    }

    /// Returns where and with which secrets somebody can send mail of his own: `(smtp, password, token)`.
    pub fn doors(&self) -> (Option<SocketAddr>, &str, &str) {
        (self.app.bound("smtp"), &self.password, &self.token)
    }

    /// Goes on until the process is asked to end, or was since the start.
    ///
    /// # Errors
    /// If the server does not end in good order.
    pub async fn run(self) -> Result<()> {
        self.app.run_until_signalled(self.signals).await?;
        drop(self.folder);
        Ok(())
    }

    /// Ends at once, in good order.
    ///
    /// # Errors
    /// If the server does not end in good order.
    pub async fn stop(self) -> Result<()> {
        self.app.stop().await?;
        drop(self.folder);
        Ok(())
    }
}

/// Sends the letters of the demonstration.
struct Letters<'a> {
    app: &'a App,
    password: &'a str,
    token: &'a str,
}

impl Letters<'_> {
    async fn send(&self) -> Result<Vec<Shown>> {
        let smtp = self.app.bound("smtp").context("an SMTP listener")?;
        let http = self.app.bound("http").context("an HTTP listener")?;
        let mut sent = Vec::new();
        for login in ["newsletter", "receipts"] {
            let id = client::submit(smtp, (login, self.password), "news@herald.example", "ann@reader.example", NEWSLETTER).await?;
            sent.push((format!("SMTP, login {login:?}"), id));
        }
        let call = json!({
            "recipients": { "ben@reader.example": { "name": "Ben", "berths": ["A4", "A5"] } },
            "from": "The Harbour Office <office@herald.example>",
            "subject": "Your berths, {$name}",
            "html": "<style>h1 { color: #1d3f5e }</style><h1>Good morning, {$name}</h1><p>Your berths: {foreach $berth in $berths}<b>{$berth}</b> {/foreach}</p>\
                     <p><a href=\"https://herald.example/berths\">The plan of the harbour</a></p>",
            "text": "Good morning, {$name}. Your berths: {foreach $berth in $berths}{$berth} {/foreach}",
            "tags": ["berths"],
            "inlinecss": true,
        });
        let answer = client::post(http, &format!("/v1/send?access_token={}", self.token), &call).await?;
        let id = answer.as_object().and_then(|ids| ids.keys().next()).context("the answer names an id")?;
        sent.push(("REST, POST /v1/send".to_owned(), id.parse()?));
        let mut shown = Vec::new();
        for (way, message) in sent {
            let plugins = tokio::time::timeout(PATIENCE, self.arrived(message))
                .await
                .with_context(|| format!("{way}: the letter did not arrive"))??;
            shown.push(Shown { way, message, plugins });
        }
        Ok(shown)
    }

    /// Waits until a message is captured; returns what the plugins did to it.
    async fn arrived(&self, message: MessageId) -> Result<Vec<PluginRun>> {
        loop {
            let appended = self.app.archive().spool().store().events_appended();
            let view = self.app.archive().message(message).await?;
            let events = view.map(|view| view.events).unwrap_or_default();
            if events.iter().any(|event| matches!(event.kind, EventKind::Delivered { .. })) {
                let accepted = events.into_iter().find_map(|event| {
                    let EventKind::Accepted { plugins, .. } = event.kind else { return None };
                    Some(plugins)
                });
                return Ok(accepted.unwrap_or_default());
            }
            appended.await;
        }
    }
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(entropy: &Entropy) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let folder = std::env::temp_dir().join(format!("tubepost-demo-{:016x}", u64::from_be_bytes(entropy.array())));
        std::fs::DirBuilder::new().mode(0o700).create(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays behind in the system's temporary folder.
        let _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}

async fn free_address() -> Result<SocketAddr> {
    // 8025 is easy to remember; where it is taken, any other.
    for port in [8025, 0] {
        if let Ok(listener) = tokio::net::TcpListener::bind(("127.0.0.1", port)).await {
            return Ok(listener.local_addr()?);
        }
    }
    anyhow::bail!("no free port on loopback")
}

fn configuration(http: SocketAddr, password: &str, token: &str) -> String {
    format!(
        r#"# What `tubepost demo` runs. All mail is captured.
[server]
hostname = "mail.herald.example"
data = "data"
public_url = "http://{http}"

[tls]
certificate = "cert.pem"
key = "key.pem"

[[listen]]
kind = "smtp"
address = "127.0.0.1:0"
tls = "starttls"

[[listen]]
kind = "http"
address = "{http}"
tls = "none"

[chains]
newsletter = [
  "tags",
  "template",
  "inline-css",
  {{ use = "tracking", clicks = true, opens = true, prevent_scam = true }},
  "list-unsubscribe",
]
receipts = [ "tags", {{ use = "template", when = "requested" }}, {{ use = "inline-css", when = "requested" }} ]

[[logins]]
name = "newsletter"
username = "newsletter"
password = "{password}"
chain = "newsletter"
route = "sandbox"

[[logins]]
name = "receipts"
username = "receipts"
password = "{password}"
chain = "receipts"
route = "sandbox"

[[logins]]
name = "api"
token = "{token}"
chain = "receipts"
route = "sandbox"

[routes.sandbox]
kind = "capture"
"#
    )
}
