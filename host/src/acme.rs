//! Certificates that are fetched and renewed by themselves (ACME, RFC 8555).
//!
//! Until there is one, listeners show one of their own making, which nobody trusts, so that the challenges can be answered and mail from this machine
//! goes on. What was fetched is in `acme/certificate.pem` below the data folder, key and chain in one file, so that they are never of two different times.

mod fetching;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parking_lot::RwLock;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::clock::{Clock, Timestamp};
use crate::config::{Acme, Config};
use crate::http::challenge::Challenges;
use crate::listener::tls::Certificate;
use crate::mail::domain::Domain;

/// The longest time between two looks at the certificate: a changed configuration counts that soon.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// The longest wait after failures.
const LONGEST_RETRY: Duration = Duration::from_hours(24);
/// How long fetching may take in all.
const PATIENCE: Duration = Duration::from_mins(10);

/// What keeps the certificate fresh.
pub struct Keeper {
    /// The configuration in force.
    pub config: Arc<RwLock<Arc<Config>>>,
    /// What the listeners show.
    pub certificate: Certificate,
    /// What is answered over HTTP.
    pub challenges: Challenges,
    /// Tells when it is time.
    pub clock: Clock,
}

/// A certificate as it was fetched.
struct Fetched {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    begins: Timestamp,
    ends: Timestamp,
    names: Vec<String>,
}

impl Fetched {
    /// Reads key and chain from one text.
    fn from_pem(pem: &[u8]) -> Result<Self> {
        let key = PrivateKeyDer::from_pem_slice(pem).context("no key")?;
        let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().context("no certificate")?;
        let (_, leaf) = X509Certificate::from_der(chain.first().context("no certificate")?).context("the certificate cannot be read")?;
        let time = |seconds: i64| Timestamp::from_millis(u64::try_from(seconds).unwrap_or_default().saturating_mul(1000));
        let (begins, ends) = (time(leaf.validity().not_before.timestamp()), time(leaf.validity().not_after.timestamp()));
        let alternatives = leaf.subject_alternative_name().context("the certificate cannot be read")?;
        let names = alternatives.iter().flat_map(|extension| &extension.value.general_names);
        let names = names.filter_map(|name| if let GeneralName::DNSName(name) = name { Some(name.to_ascii_lowercase()) } else { None });
        let names = names.collect();
        Ok(Self { chain, key, begins, ends, names })
    }

    /// When it is to be renewed.
    fn renewal(&self, acme: &Acme, domains: &[String]) -> Timestamp {
        if domains.iter().any(|domain| !self.names.contains(domain)) {
            return self.begins;
        }
        let life = self.ends.since(self.begins);
        self.begins.plus(life.saturating_sub(acme.renew_before.min(life / 3)))
    }
}

/// Returns the certificate that was fetched before, or one that nobody trusts.
///
/// # Errors
/// If none can be made.
pub fn at_hand(config: &Config) -> Result<Certificate> {
    match read(&config.server.data) {
        Ok(Some(fetched)) => return Ok(Certificate::of(fetched.chain, fetched.key)?),
        Ok(None) => {}
        Err(error) => warn!("the certificate that was fetched is of no use, another one is fetched: {error:#}"),
    }
    let made = rcgen::generate_simple_self_signed([config.server.hostname.to_ascii()])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(|error| anyhow::anyhow!(error))?;
    Ok(Certificate::of(vec![made.cert.der().clone()], key)?)
}

impl Keeper {
    /// Fetches and renews until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut failures: u32 = 0;
        loop {
            let config = Arc::clone(&self.config.read());
            let pause = match &config.acme {
                None => LONGEST_PAUSE,
                Some(acme) => match shutdown.run_until_cancelled(self.look(&config, acme)).await {
                    None => return,
                    Some(Ok(pause)) => {
                        failures = 0;
                        pause.min(LONGEST_PAUSE)
                    }
                    Some(Err(error)) => {
                        let pause = acme.retry.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_RETRY);
                        failures = failures.saturating_add(1);
                        warn!(next_try_s = pause.as_secs(), "no certificate from {}: {error:#}", acme.directory);
                        pause
                    }
                },
            };
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Fetches a certificate if it is time; returns how long there is nothing to do.
    async fn look(&self, config: &Config, acme: &Acme) -> Result<Duration> {
        let data = &config.server.data;
        let domains = domains(acme, &config.server.hostname);
        let now = self.clock.now();
        if let Some(fetched) = read(data).ok().flatten() {
            let renewal = fetched.renewal(acme, &domains);
            if now < renewal {
                return Ok(renewal.since(now));
            }
        }
        let fetching = fetching::Fetching { acme, domains: &domains, folder: &folder(data)?, keeper: self };
        let fetched = tokio::time::timeout(PATIENCE, fetching.run()).await;
        self.challenges.clear();
        self.certificate.clear_challenges();
        let pem = fetched.context("it takes too long")??;
        let fetched = Fetched::from_pem(pem.as_bytes())?;
        ensure!(now < fetched.ends, "the certificate has ended already: is the clock right?");
        let renewal = fetched.renewal(acme, &domains);
        ensure!(renewal > now, "the certificate is not for {}", domains.join(", "));
        // First of all in use: an authority gives only so many of them.
        self.certificate.replace(fetched.chain, fetched.key)?;
        write(data, pem.as_bytes()).context("the certificate is in use, and cannot be written: it is lost at a restart")?;
        info!(names = domains.join(", "), "a new certificate is in use");
        Ok(renewal.since(now))
    }
}

fn domains(acme: &Acme, hostname: &Domain) -> Vec<String> {
    let configured = acme.domains.iter().map(Domain::to_ascii);
    let mut names: Vec<String> = if acme.domains.is_empty() { vec![hostname.to_ascii()] } else { configured.collect() };
    for name in &mut names {
        name.make_ascii_lowercase();
    }
    names
}

/// The folder of everything that is fetched, for its user alone.
fn folder(data: &Path) -> io::Result<PathBuf> {
    let folder = data.join("acme");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}

fn read(data: &Path) -> Result<Option<Fetched>> {
    match fs::read(data.join("acme/certificate.pem")) {
        Ok(pem) => Fetched::from_pem(&pem).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write(data: &Path, pem: &[u8]) -> io::Result<()> {
    write_private(&folder(data)?.join("certificate.pem"), pem)
}

/// Writes beside and renames, so that a crash leaves the old content or the new one.
fn write_private(path: &Path, octets: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
