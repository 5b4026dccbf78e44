//! TLS as a configuration asks for it.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::config::{Text, TlsOptions, TlsVersion};

/// The texts of certificates and keys, wherever they lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    ca: Option<Vec<u8>>,
    cert: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl Files {
    /// Reads them. It blocks.
    pub fn read(options: &TlsOptions) -> Result<Self, String> {
        let read = |given: Option<&Text>, file: &Option<PathBuf>| match (given, file) {
            (Some(text), _) => Ok(Some(text.0.clone().into_bytes())),
            (None, Some(file)) => {
                std::fs::read(file).map(Some).map_err(|e| format!("tls_config: {}: {e}", file.display()))
            }
            (None, None) => Ok(None),
        };
        Ok(Files {
            ca: read(options.ca.as_ref(), &options.ca_file)?,
            cert: read(options.cert.as_ref(), &options.cert_file)?,
            key: read(options.key.as_ref().map(|secret| &secret.0), &options.key_file)?,
        })
    }
}

/// The client's side of TLS.
pub(crate) fn config(options: &TlsOptions, files: &Files, http2: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: Vec<&'static rustls::SupportedProtocolVersion> =
        [(TlsVersion::TLS12, &rustls::version::TLS12), (TlsVersion::TLS13, &rustls::version::TLS13)]
            .into_iter()
            .filter(|(version, _)| options.min_version.is_none_or(|min| *version >= min))
            .filter(|(version, _)| options.max_version.is_none_or(|max| *version <= max))
            .map(|(_, version)| version)
            .collect();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| format!("tls_config: TLS 1.2 and 1.3 are spoken, and neither is allowed: {error}"))?;
    let verifier = verifier(options, files, provider)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("tls_config.key: {error}"))?;
            builder
                .with_client_auth_cert(certificates(cert, "cert")?, key)
                .map_err(|e| format!("tls_config.cert: {e}"))?
        }
        _ => builder.with_no_client_auth(),
    };
    let protocols: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

fn certificates(pem: &[u8], key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err(format!("tls_config.{key}: it holds no certificate in PEM")),
        Ok(all) => Ok(all),
        Err(error) => Err(format!("tls_config.{key}: {error}")),
    }
}

fn verifier(
    options: &TlsOptions,
    files: &Files,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    if options.insecure_skip_verify {
        return Ok(Arc::new(Anyone { provider }));
    }
    let mut roots = RootCertStore::empty();
    match &files.ca {
        Some(ca) => {
            for certificate in certificates(ca, "ca")? {
                roots.add(certificate).map_err(|error| format!("tls_config.ca: {error}"))?;
            }
        }
        None => {
            // Some of the system's may be of a kind that is not known here.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        // A machine without authorities still calls targets without TLS.
        return Ok(Arc::new(Nobody { provider }));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = verifier.build().map_err(|error| format!("tls_config: {error}"))?;
    match &options.server_name {
        None => Ok(verifier),
        Some(name) => {
            let name = ServerName::try_from(name.clone())
                .map_err(|_| format!("tls_config.server_name: {name:?} is no name of a server"))?;
            Ok(Arc::new(Named { verifier, name }))
        }
    }
}

/// Takes certificates of another name than the host's.
#[derive(Debug)]
struct Named {
    verifier: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

/// Takes any certificate.
#[derive(Debug)]
struct Anyone {
    provider: Arc<CryptoProvider>,
}

/// Takes none.
#[derive(Debug)]
struct Nobody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier.verify_server_cert(end_entity, intermediates, &self.name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// What two verifiers without authorities share.
macro_rules! signatures {
    ($verifier:ty, $verdict:expr) => {
        impl ServerCertVerifier for $verifier {
            fn verify_server_cert(
                &self,
                _: &CertificateDer<'_>,
                _: &[CertificateDer<'_>],
                _: &ServerName<'_>,
                _: &[u8],
                _: UnixTime,
            ) -> Result<ServerCertVerified, rustls::Error> {
                $verdict
            }

            fn verify_tls12_signature(
                &self,
                message: &[u8],
                cert: &CertificateDer<'_>,
                signature: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, rustls::Error> {
                let known = &self.provider.signature_verification_algorithms;
                rustls::crypto::verify_tls12_signature(message, cert, signature, known)
            }

            fn verify_tls13_signature(
                &self,
                message: &[u8],
                cert: &CertificateDer<'_>,
                signature: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, rustls::Error> {
                let known = &self.provider.signature_verification_algorithms;
                rustls::crypto::verify_tls13_signature(message, cert, signature, known)
            }

            fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
                self.provider.signature_verification_algorithms.supported_schemes()
            }
        }
    };
}

signatures!(Anyone, Ok(ServerCertVerified::assertion()));
signatures!(
    Nobody,
    Err(rustls::Error::General(
        "the system has no certificates of authorities: name some in tls_config.ca_file".into()
    ))
);
