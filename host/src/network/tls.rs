//! TLS towards others: whom to believe.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Why TLS cannot be set up for a route.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// The system has no certification authorities.
    #[error("the system has no certification authorities to trust: install them (ca-certificates), or name a file with `ca`")]
    NoRoots,
    /// rustls does not take what it is given.
    #[error("TLS: {0}")]
    Rustls(#[from] Error),
}

/// Takes certificates that are valid for the host's name: of the authorities in `ca`, or of those that the system trusts.
pub fn verifying(ca: Option<&Path>) -> Result<TlsConnector, TlsError> {
    connector(verifier(ca)?)
}

/// Takes what `verifier` takes.
pub fn connector(verifier: Arc<dyn ServerCertVerifier>) -> Result<TlsConnector, TlsError> {
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let config = config.dangerous().with_custom_certificate_verifier(verifier);
    Ok(TlsConnector::from(Arc::new(config.with_no_client_auth())))
}

/// Knows certificates that are valid for a host's name: of the authorities in `ca`, or of those that the system trusts.
pub fn verifier(ca: Option<&Path>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        let file = |reason: String| TlsError::File { path: path.display().to_string(), reason };
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| file(error.to_string()))? {
            roots.add(certificate.map_err(|error| file(error.to_string()))?)?;
        }
        if roots.is_empty() {
            return Err(file("no certificate in it".to_owned()));
        }
    } else {
        // Single certificates that cannot be read are the system's business; that none can is ours.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    Ok(verifier.map_err(|error| Error::General(error.to_string()))?)
}

/// Takes any certificate: against those who only listen (RFC 7435).
pub fn opportunistic() -> Result<TlsConnector, TlsError> {
    judging(Arc::new(|_, _, _| Ok(())))
}

/// Says whether to believe the certificate of a host, which comes with others, at a time.
pub type Judge = Arc<dyn Fn(&CertificateDer<'_>, &[CertificateDer<'_>], UnixTime) -> Result<(), Error> + Send + Sync>;

/// Takes the certificates that `judge` takes.
pub fn judging(judge: Judge) -> Result<TlsConnector, TlsError> {
    connector(Arc::new(Judging { judge, provider: provider() }))
}

/// The cryptography that is used everywhere.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Believes what it is told to, but not every signature: the handshake itself stays sound.
struct Judging {
    judge: Judge,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Judging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judging")
    }
}

impl ServerCertVerifier for Judging {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        (self.judge)(end_entity, intermediates, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
