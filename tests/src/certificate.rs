//! A throw-away certificate for `localhost`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};

/// A self-signed certificate and its key.
pub struct Certificate {
    leaf: CertificateDer<'static>,
    key: Vec<u8>,
    pem: (String, String),
}

impl Certificate {
    /// Makes one for `localhost` and 127.0.0.1.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn new() -> Result<Self> {
        Self::for_names(&["localhost", "127.0.0.1"])
    }

    /// Makes one for these names.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn for_names(names: &[&str]) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        Ok(Self {
            leaf: made.cert.der().clone(),
            key: made.signing_key.serialize_der(),
            pem: (made.cert.pem(), made.signing_key.serialize_pem()),
        })
    }

    /// Makes one for the same names with a key of one's own, PKCS#8 in PEM: an RSA key, for servers that are at odds with elliptic curves.
    ///
    /// # Errors
    /// If the key is none.
    pub fn with_key(pem: &str) -> Result<Self> {
        let key = rcgen::KeyPair::from_pem(pem)?;
        let made = rcgen::CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?.self_signed(&key)?;
        Ok(Self { leaf: made.der().clone(), key: key.serialize_der(), pem: (made.pem(), pem.to_owned()) })
    }

    /// The certificate and its key, both in PEM, as servers of others take them.
    pub fn files(&self) -> (&[u8], &[u8]) {
        (self.pem.0.as_bytes(), self.pem.1.as_bytes())
    }

    /// Writes `cert.pem` and `key.pem` into `folder`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::write(folder.join("cert.pem"), &self.pem.0)?;
        std::fs::write(folder.join("key.pem"), &self.pem.1)?;
        Ok(())
    }

    /// The certificate in PEM, for those who shall trust it.
    pub fn pem(&self) -> &str {
        &self.pem.0
    }

    /// The SHA-256 of its public key, as TLSA records have it.
    ///
    /// # Errors
    /// If the key is none.
    pub fn key_digest(&self) -> Result<[u8; 32]> {
        use rcgen::PublicKeyData as _;
        let key = rcgen::KeyPair::from_pem(&self.pem.1)?;
        Ok(Sha256::digest(key.subject_public_key_info()).into())
    }

    /// A client that trusts this certificate and no other.
    ///
    /// # Errors
    /// If the certificate is not usable.
    pub fn client(&self) -> Result<Arc<rustls::ClientConfig>> {
        trusting(self.leaf.clone())
    }

    /// A server that shows this certificate.
    ///
    /// # Errors
    /// If the certificate is not usable.
    pub fn server(&self) -> Result<Arc<rustls::ServerConfig>> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.leaf.clone()], key)
            .context("the throw-away certificate")?;
        Ok(Arc::new(config))
    }
}

/// A client that trusts what this certificate has signed, and nothing else.
///
/// # Errors
/// If the certificate is not usable.
pub fn trusting(authority: CertificateDer<'static>) -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
