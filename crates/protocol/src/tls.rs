//! Mutual TLS between nodes: each shows a certificate of the cluster's own authority, as a server
//! and as a client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

/// How long a caller may take to show its certificate.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Where a node's certificates lie, all PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// This node's certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities whose certificates are believed.
    pub ca: PathBuf,
    /// The name that other nodes' certificates must bear; `None`: the host they are reached by.
    pub server_name: Option<String>,
}

/// A file of TLS that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("tls.{field}: {}: {message}", .path.display())]
pub struct TlsError {
    /// The configuration's key.
    field: &'static str,
    /// The file.
    path: PathBuf,
    /// What is wrong with it.
    message: String,
}

/// TLS towards other nodes.
#[derive(Clone, Debug)]
pub struct ClientTls(ClientTlsConfig);

/// TLS of a listener that refuses callers without a certificate.
#[derive(Clone, Debug)]
pub struct ServerTls(ServerTlsConfig);

impl TlsFiles {
    /// Both ends, from the files as they are now.
    pub fn load(&self) -> Result<(ServerTls, ClientTls), TlsError> {
        let (cert, key, ca) = (pem("cert", &self.cert)?, pem("key", &self.key)?, pem("ca", &self.ca)?);
        let identity = Identity::from_pem(cert, key);
        let authority = Certificate::from_pem(ca);
        let server =
            ServerTlsConfig::new().identity(identity.clone()).client_ca_root(authority.clone()).timeout(HANDSHAKE);
        let mut client = ClientTlsConfig::new().identity(identity).ca_certificate(authority);
        if let Some(name) = &self.server_name {
            client = client.domain_name(name.clone());
        }
        Ok((ServerTls(server), ClientTls(client)))
    }
}

impl ClientTls {
    pub(crate) fn config(&self) -> ClientTlsConfig {
        self.0.clone()
    }
}

impl ServerTls {
    /// For tonic's server.
    pub fn config(&self) -> ServerTlsConfig {
        self.0.clone()
    }
}

fn pem(field: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let wrong = |message: String| TlsError { field, path: path.to_owned(), message };
    let bytes = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    if !bytes.windows(11).any(|w| w == b"-----BEGIN ") {
        return Err(wrong("it holds no PEM block: give a PEM file".into()));
    }
    Ok(bytes)
}
