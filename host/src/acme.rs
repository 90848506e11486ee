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

/// The longest time between two looks at certificate and configuration: a changed one counts that soon.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// The longest wait after failures; while there is a certificate, a part of what it has left to live.
const LONGEST_RETRY: Duration = Duration::from_hours(24);
/// What is written before the certificate: from which authority it is.
const ORIGIN: &str = "# from ";
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
    /// The directory of the authority, where that was written down.
    directory: Option<String>,
}

impl Fetched {
    /// Reads key and chain from one text.
    fn from_pem(pem: &[u8]) -> Result<Self> {
        let first = pem.split(|octet| *octet == b'\n').next().and_then(|line| str::from_utf8(line).ok());
        let directory = first.and_then(|line| line.strip_prefix(ORIGIN)).map(|directory| directory.trim().to_owned());
        let key = PrivateKeyDer::from_pem_slice(pem).context("no key")?;
        let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().context("no certificate")?;
        let (_, leaf) = X509Certificate::from_der(chain.first().context("no certificate")?).context("the certificate cannot be read")?;
        let time = |seconds: i64| Timestamp::from_millis(u64::try_from(seconds).unwrap_or_default().saturating_mul(1000));
        let (begins, ends) = (time(leaf.validity().not_before.timestamp()), time(leaf.validity().not_after.timestamp()));
        let alternatives = leaf.subject_alternative_name().context("the certificate cannot be read")?;
        let names = alternatives.iter().flat_map(|extension| &extension.value.general_names);
        let names = names.filter_map(|name| if let GeneralName::DNSName(name) = name { Some(name.to_ascii_lowercase()) } else { None });
        let names = names.collect();
        Ok(Self { chain, key, begins, ends, names, directory })
    }

    /// When it is to be renewed.
    fn renewal(&self, acme: &Acme, domains: &[String]) -> Timestamp {
        let is_of_another = self.directory.as_ref().is_some_and(|directory| directory != acme.directory.as_str());
        if is_of_another || domains.iter().any(|domain| !self.names.contains(domain)) {
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
        let (mut failures, mut unwritten): (u32, Option<String>) = (0, None);
        loop {
            let config = Arc::clone(&self.config.read());
            let mut pause = match &config.acme {
                None => LONGEST_PAUSE,
                Some(acme) => match shutdown.run_until_cancelled(self.look(&config, acme, &mut unwritten)).await {
                    None => return,
                    Some(Ok(pause)) => {
                        failures = 0;
                        pause.min(LONGEST_PAUSE)
                    }
                    Some(Err(error)) => {
                        let ends = read(&config.server.data).ok().flatten().map(|fetched| fetched.ends);
                        // To write what there is already takes nobody's patience.
                        let pause = if unwritten.is_some() { acme.retry } else { retry(acme, failures, self.clock.now(), ends) };
                        failures = failures.saturating_add(1);
                        warn!(next_try_s = pause.as_secs(), "no certificate from {}: {error:#}", acme.directory);
                        pause
                    }
                },
            };
            // Who has changed the configuration has mended what was wrong, perhaps: that is not left waiting.
            while !pause.is_zero() && Arc::ptr_eq(&config, &self.config.read()) {
                let part = pause.min(LONGEST_PAUSE);
                if shutdown.run_until_cancelled(tokio::time::sleep(part)).await.is_none() {
                    return;
                }
                pause -= part;
            }
            if !Arc::ptr_eq(&config, &self.config.read()) {
                failures = 0;
            }
        }
    }

    /// Fetches a certificate if it is time; returns how long there is nothing to do. One that is in use and could not be written stays in `unwritten`.
    async fn look(&self, config: &Config, acme: &Acme, unwritten: &mut Option<String>) -> Result<Duration> {
        let data = &config.server.data;
        let domains = domains(acme, &config.server.hostname);
        let now = self.clock.now();
        let kept = unwritten.as_ref().map(|pem| Fetched::from_pem(pem.as_bytes())).transpose();
        if let Some(fetched) = kept.ok().flatten().or_else(|| read(data).ok().flatten()) {
            let renewal = fetched.renewal(acme, &domains);
            if now < renewal {
                write_what_is_not(data, unwritten)?;
                return Ok(renewal.since(now));
            }
        }
        let fetching = fetching::Fetching { acme, domains: &domains, folder: &folder(data)?, keeper: self };
        let fetched = tokio::time::timeout(PATIENCE, fetching.run()).await;
        self.challenges.clear();
        self.certificate.clear_challenges();
        let pem = format!("{ORIGIN}{}\n{}", acme.directory, fetched.context("it takes too long")??);
        let fetched = Fetched::from_pem(pem.as_bytes())?;
        ensure!(now < fetched.ends, "the certificate has ended already: is the clock right?");
        let renewal = fetched.renewal(acme, &domains);
        ensure!(renewal > now, "the certificate is not for {}", domains.join(", "));
        // First of all in use: an authority gives only so many of them.
        self.certificate.replace(fetched.chain, fetched.key)?;
        info!(names = domains.join(", "), "a new certificate is in use");
        *unwritten = Some(pem);
        write_what_is_not(data, unwritten)?;
        Ok(renewal.since(now))
    }
}

/// How long to wait after so many failures before this one: not so long that a certificate which ends meanwhile is not tried for a few times more.
fn retry(acme: &Acme, failures: u32, now: Timestamp, ends: Option<Timestamp>) -> Duration {
    let pause = acme.retry.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_RETRY);
    let left = ends.filter(|ends| *ends > now).map(|ends| ends.since(now));
    left.map_or(pause, |left| pause.min(left / 4).max(acme.retry.min(LONGEST_RETRY)))
}

/// Writes a certificate that is in use and on no disk. It is not fetched again for that: an authority gives only so many.
fn write_what_is_not(data: &Path, unwritten: &mut Option<String>) -> Result<()> {
    if let Some(pem) = unwritten {
        write(data, pem.as_bytes()).context("the certificate is in use, and cannot be written: it is lost at a restart")?;
        *unwritten = None;
    }
    Ok(())
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
