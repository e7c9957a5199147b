//! TLS: trusted authorities, client certificates, and hosts whose certificates are not verified.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::pinned::PinnedVerifier;
use crate::certs_d::{CertificateError, HostCertificates};
use crate::error::ErrorKind;
use crate::options::ClientOptions;

/// What the connections to a host need.
#[derive(Debug)]
pub(crate) struct TlsMaterial {
    /// Authorities of the system.
    system: Vec<CertificateDer<'static>>,
    /// Authorities that the user or certs.d gives.
    given: Vec<CertificateDer<'static>>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    is_verified: bool,
}

impl TlsMaterial {
    /// Reads the certificates of the system and those of the host.
    pub(crate) fn load(
        options: &ClientOptions,
        host: &HostCertificates,
        is_verified: bool,
    ) -> Result<Self, CertificateError> {
        let (mut system, mut given) = (Vec::new(), Vec::new());
        match options.authority_file.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => given = certificates(path)?,
            None => {
                if let Some(path) = options.locations.authority_files().into_iter().find(|path| path.exists()) {
                    system = certificates(&path)?;
                }
            }
        }
        for path in &host.authorities {
            given.extend(certificates(path)?);
        }
        let client = match &host.client {
            Some((certificate, key)) => {
                let invalid = |error| invalid(key, error);
                let private = PrivateKeyDer::from_pem_file(key).map_err(invalid)?;
                Some((certificates(certificate)?, private))
            }
            None => None,
        };
        Ok(Self { system, given, client, is_verified })
    }

    /// Makes the configuration of the TLS library.
    pub(super) fn config(&self) -> Result<ClientConfig, ErrorKind> {
        let invalid = |error: rustls::Error| ErrorKind::Invalid(format!("TLS cannot be set up: {error}"));
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(invalid)?;
        let builder = match self.verifier(provider)? {
            Some(verifier) => builder.dangerous().with_custom_certificate_verifier(verifier),
            None => builder.with_root_certificates(RootCertStore::empty()),
        };
        match &self.client {
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(invalid),
            None => Ok(builder.with_no_client_auth()),
        }
    }
}

impl TlsMaterial {
    /// Returns what verifies the server's certificate; `None` if no authority is known, so that none is accepted.
    fn verifier(&self, provider: Arc<CryptoProvider>) -> Result<Option<Arc<dyn ServerCertVerifier>>, ErrorKind> {
        if !self.is_verified {
            return Ok(Some(Arc::new(AnyCertificate::new(&provider))));
        }
        let mut roots = RootCertStore::empty();
        // A bundle of a system may have certificates that the library cannot read; the others are still used.
        roots.add_parsable_certificates(self.system.iter().chain(&self.given).cloned());
        if roots.is_empty() {
            return Ok(None);
        }
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let usual = usual.map_err(|error| ErrorKind::Invalid(format!("TLS cannot be set up: {error}")))?;
        Ok(Some(Arc::new(PinnedVerifier { usual, pinned: self.given.clone() })))
    }
}

/// Reads the certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let invalid = |error| invalid(path, error);
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(invalid)?.collect::<Result<_, _>>().map_err(invalid)?;
    if found.is_empty() {
        let reason = "it has no certificate in PEM form".to_owned();
        return Err(CertificateError::Invalid { path: path.to_owned(), reason });
    }
    Ok(found)
}

fn invalid(path: &Path, error: rustls_pki_types::pem::Error) -> CertificateError {
    match error {
        rustls_pki_types::pem::Error::Io(source) => CertificateError::Read { path: path.to_owned(), source },
        other => CertificateError::Invalid { path: path.to_owned(), reason: other.to_string() },
    }
}

/// Accepts every certificate, for hosts that the user calls insecure.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl AnyCertificate {
    fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
