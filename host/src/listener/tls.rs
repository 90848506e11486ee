//! TLS of listeners: certificates and keys from files, replaced while the server runs, and chosen by the name that a client asks for (SNI, RFC 6066 §3).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::{self, NamedCertificate};

/// ALPN name by which authorities ask whether a name is ours (RFC 8737 §6.2).
pub const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";

/// Why there is no TLS. Each names the file to look at.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The file holds no certificate.
    #[error("{path} holds no certificate")]
    NoCertificate {
        /// Which.
        path: PathBuf,
    },
    /// The key is of no kind that we know, or of another certificate.
    #[error("the key {key} does not go with the certificate {certificate}")]
    Mismatch {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The library cannot be set up.
    #[error("TLS cannot be set up")]
    SetUp(#[source] rustls::Error),
}

/// Certificates by the names that they are for; of two with the same name, the first counts.
type Named = HashMap<String, Arc<CertifiedKey>>;

/// The certificates that new connections are shown. Clones are the same.
#[derive(Clone)]
pub struct Certificate(Arc<Current>);

struct Current {
    provider: Arc<CryptoProvider>,
    /// For who asks for no name, or for one that no other has.
    key: RwLock<Arc<CertifiedKey>>,
    named: RwLock<Named>,
    /// What is shown to authorities that ask whether a name is ours, by name (RFC 8737).
    challenges: RwLock<BTreeMap<String, Arc<CertifiedKey>>>,
}

impl Certificate {
    /// Loads certificate and key.
    ///
    /// # Errors
    /// Files that are missing, unreadable or no pair.
    pub fn load(files: &config::Tls) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let key = certified_key(&files.certificate, &files.key, &provider)?;
        Ok(Self::with(key, provider))
    }

    /// Takes a certificate, leaf first, and its key as they are.
    ///
    /// # Errors
    /// If they are no pair.
    pub fn of(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(TlsError::SetUp)?;
        Ok(Self::with(key, provider))
    }

    fn with(key: CertifiedKey, provider: Arc<CryptoProvider>) -> Self {
        Self(Arc::new(Current { provider, key: RwLock::new(Arc::new(key)), named: RwLock::default(), challenges: RwLock::default() }))
    }

    /// Shows another certificate to new connections.
    ///
    /// # Errors
    /// If certificate and key are no pair; the one that was there stays in use.
    pub fn replace(&self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<(), TlsError> {
        let key = CertifiedKey::from_der(chain, key, &self.0.provider).map_err(TlsError::SetUp)?;
        *self.0.key.write() = Arc::new(key);
        Ok(())
    }

    /// Shows `certificate` to whoever asks for `name` by the protocol `acme-tls/1`, until [`Certificate::clear_challenges`].
    ///
    /// # Errors
    /// If the key is of no kind that we know.
    pub fn put_challenge(&self, name: &str, certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Result<(), TlsError> {
        // Not checked against each other: the library refuses certificates with the critical extension that this one is all about.
        let key = self.0.provider.key_provider.load_private_key(key).map_err(TlsError::SetUp)?;
        let key = CertifiedKey::new(vec![certificate], key);
        self.0.challenges.write().insert(name.to_owned(), Arc::new(key));
        Ok(())
    }

    /// Answers no challenges any more.
    pub fn clear_challenges(&self) {
        self.0.challenges.write().clear();
    }

    /// Loads all of them again: new connections get the new ones, those that are open keep what they have. The first one stays where `files` is none.
    ///
    /// # Errors
    /// As [`Certificate::load`]; all that were there stay in use.
    pub fn reload(&self, files: Option<&config::Tls>, others: &[NamedCertificate]) -> Result<(), TlsError> {
        let provider = &self.0.provider;
        let key = files.map(|files| certified_key(&files.certificate, &files.key, provider)).transpose()?;
        let mut named = Named::new();
        for NamedCertificate { names, certificate, key } in others {
            let key = Arc::new(certified_key(certificate, key, provider)?);
            let names = if names.is_empty() { names_of(&key) } else { names.clone() };
            for name in names {
                named.entry(name).or_insert_with(|| Arc::clone(&key));
            }
        }
        if let Some(key) = key {
            *self.0.key.write() = Arc::new(key);
        }
        *self.0.named.write() = named;
        Ok(())
    }

    /// Returns what a listener shakes hands with: TLS 1.2 and 1.3, tickets for resumption. `protocols` are offered by ALPN (RFC 7301).
    pub fn server_config(&self, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.0.provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::SetUp)?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::clone(&self.0) as Arc<dyn ResolvesServerCert>);
        config.ticketer = ring::Ticketer::new().map_err(TlsError::SetUp)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

impl Current {
    /// Returns what is for a name itself, or for all names beside it (RFC 6125 §6.4.3: a star stands for one label).
    fn named(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let named = self.named.read();
        let beside = || named.get(&format!("*.{}", name.split_once('.')?.1));
        named.get(name).or_else(beside).cloned()
    }
}

/// Returns a name as certificates are kept under it: some clients ask for it with the dot of an absolute name.
fn asked_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == CHALLENGE_PROTOCOL)) {
            // Whoever speaks that protocol wants nothing else.
            return self.challenges.read().get(&asked_name(hello.server_name()?)).cloned();
        }
        let named = hello.server_name().and_then(|name| self.named(&asked_name(name)));
        Some(named.unwrap_or_else(|| Arc::clone(&self.key.read())))
    }
}

fn certified_key(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(unreadable(certificate))?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(unreadable(certificate))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: certificate.to_owned() });
    }
    let der = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    let mismatch = |source| TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned(), source };
    CertifiedKey::from_der(chain, der, provider).map_err(mismatch)
}

/// Returns the names that a certificate is for; none where it cannot be read.
fn names_of(key: &CertifiedKey) -> Vec<String> {
    let Some(Ok((_, leaf))) = key.cert.first().map(|leaf| X509Certificate::from_der(leaf)) else { return Vec::new() };
    let Ok(Some(alternatives)) = leaf.subject_alternative_name() else { return Vec::new() };
    let names = alternatives.value.general_names.iter();
    names.filter_map(|name| if let GeneralName::DNSName(name) = name { Some(name.to_ascii_lowercase()) } else { None }).collect()
}

#[cfg(test)]
mod tests;
