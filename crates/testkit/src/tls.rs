//! Certificates of an authority that a test makes up, and clients that show them or do not.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// An authority whose certificates hold on loopback.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    name: &'static str,
}

/// PEM files, as a node takes them.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority that is believed.
    pub ca: PathBuf,
}

impl Authority {
    /// A new one.
    pub fn new(name: &'static str) -> Result<Self> {
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Ok(Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?, name })
    }

    /// Files in `dir` with a new certificate of this authority, and with `believed` as the one that
    /// others' certificates must come from.
    pub fn issue(&self, dir: &Path, believed: &Authority) -> Result<Files> {
        let mut params = CertificateParams::new(vec![Ipv4Addr::LOCALHOST.to_string(), "localhost".into()])?;
        params.distinguished_name.push(DnType::CommonName, format!("a node of {}", self.name));
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        let file = |name: &str, pem: String| -> Result<PathBuf> {
            let path = dir.join(format!("{} for {}.{name}", self.name, believed.name));
            std::fs::write(&path, pem)?;
            Ok(path)
        };
        Ok(Files {
            cert: file("crt", cert.pem())?,
            key: file("key", key.serialize_pem())?,
            ca: file("ca", believed.issuer.pem())?,
        })
    }
}

impl Files {
    /// The flags that give them to a node.
    pub fn flags(&self) -> Vec<String> {
        [("--tls-cert", &self.cert), ("--tls-key", &self.key), ("--tls-ca", &self.ca)]
            .into_iter()
            .flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()])
            .collect()
    }

    /// Connects to `address` (HOST:PORT), believing these files' authority; with or without showing
    /// their certificate. A server that refuses it may say so only to the first request.
    pub async fn connect(&self, address: &str, shows: bool) -> Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca)?)?;
        let config = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match shows {
            true => config.with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&self.cert)?],
                PrivateKeyDer::from_pem_file(&self.key)?,
            )?,
            false => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (host, _) = address.rsplit_once(':').context("HOST:PORT")?;
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TcpStream::connect(address).await?;
        Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    }
}
