//! TLS of listeners: certificate and key from files, replaced while the server runs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config;

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

/// The certificate that new connections are shown. Clones are the same.
#[derive(Clone)]
pub struct Certificate(Arc<Current>);

struct Current {
    provider: Arc<CryptoProvider>,
    key: RwLock<Arc<CertifiedKey>>,
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
        let key = certified_key(files, &provider)?;
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
        Self(Arc::new(Current { provider, key: RwLock::new(Arc::new(key)), challenges: RwLock::default() }))
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

    /// Loads them again: new connections get the new ones, those that are open keep what they have.
    ///
    /// # Errors
    /// As [`Certificate::load`]; the ones that were there stay in use.
    pub fn reload(&self, files: &config::Tls) -> Result<(), TlsError> {
        let key = Arc::new(certified_key(files, &self.0.provider)?);
        *self.0.key.write() = key;
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

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == CHALLENGE_PROTOCOL)) {
            // Whoever speaks that protocol wants nothing else.
            return self.challenges.read().get(hello.server_name()?).cloned();
        }
        Some(Arc::clone(&self.key.read()))
    }
}

fn certified_key(files: &config::Tls, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let unreadable = |path: &PathBuf| {
        let path = path.clone();
        move |source| TlsError::File { path, source }
    };
    let certificates = CertificateDer::pem_file_iter(&files.certificate).map_err(unreadable(&files.certificate))?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(unreadable(&files.certificate))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: files.certificate.clone() });
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable(&files.key))?;
    CertifiedKey::from_der(certificates, key, provider).map_err(|source| TlsError::Mismatch {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    })
}

#[cfg(test)]
mod tests;
