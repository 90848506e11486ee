//! Mail servers of Debian: how each is set up, as a next hop and as a client.

mod exim;
mod opensmtpd;
mod postfix;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use tubepost_tests::certificate::Certificate;

use crate::root::{Root, Running};

/// User name at the servers, where they ask for one.
pub(crate) const USER: &str = "tubepost";
/// The password that goes with it.
pub(crate) const SECRET: &str = "let.me-in";
/// Octets that the servers take of one message.
pub(crate) const SIZE_LIMIT: usize = 200_000;

/// A server of Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Postfix,
    Exim,
    OpenSmtpd,
}

/// What a server is to be.
pub(crate) struct Role<'a> {
    /// Where it listens.
    pub(crate) port: u16,
    /// Where everything goes.
    pub(crate) next: Next<'a>,
    /// Folder of the scenario, outside.
    pub(crate) scenario: &'a Path,
}

/// Where a server sends everything.
pub(crate) enum Next<'a> {
    /// In the clear, without a login.
    Sink(SocketAddr),
    /// To us.
    Submission { port: u16, tls: Tls, mechanism: Option<&'a str>, user: &'a str, password: &'a str },
}

/// TLS of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    None,
    Upgraded,
    Implicit,
}

impl Tls {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Upgraded => "starttls",
            Self::Implicit => "implicit",
        }
    }
}

impl System {
    pub(crate) const ALL: [Self; 3] = [Self::Postfix, Self::Exim, Self::OpenSmtpd];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postfix => "Postfix",
            Self::Exim => "Exim",
            Self::OpenSmtpd => "OpenSMTPD",
        }
    }

    /// What has to be installed.
    pub(crate) fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Postfix => &["postfix", "libsasl2-modules", "sasl2-bin"],
            Self::Exim => &["exim4-daemon-heavy"],
            Self::OpenSmtpd => &["opensmtpd"],
        }
    }

    /// Whether it can be told which mechanism of AUTH to use.
    pub(crate) fn knows(self, mechanism: &str) -> bool {
        match self {
            Self::Postfix => matches!(mechanism, "PLAIN" | "LOGIN" | "SCRAM-SHA-256"),
            Self::Exim => matches!(mechanism, "PLAIN" | "LOGIN"),
            // It takes what it likes best.
            Self::OpenSmtpd => mechanism == "PLAIN",
        }
    }

    /// What it has to say.
    pub(crate) fn log(self, root: &Root, scenario: &Path) -> String {
        let log = match self {
            Self::Postfix => root.shell("cat /var/log/postfix.log").ok(),
            Self::Exim => root.shell("cat /var/log/exim4/mainlog").ok(),
            Self::OpenSmtpd => std::fs::read_to_string(scenario.join("opensmtpd.log")).ok(),
        };
        let log = log.unwrap_or_default();
        let start = log.lines().count().saturating_sub(20);
        log.lines().skip(start).collect::<Vec<_>>().join("\n")
    }

    /// Starts it, in a root of its own.
    pub(crate) fn start(self, root: &Root, role: &Role<'_>) -> Result<Running> {
        match self {
            Self::Postfix => postfix::start(root, role),
            Self::Exim => exim::start(root, role),
            Self::OpenSmtpd => opensmtpd::start(root, role),
        }
    }
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The certificate of the servers, with an RSA key: not all of them can use another.
pub(crate) fn peer_certificate() -> Result<Certificate> {
    Certificate::with_key(include_str!("../blackbox/keys/rsa.pem"))
}
