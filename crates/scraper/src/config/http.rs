//! How targets and discovery services are called.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_yaml_ng::Value;

use super::read;
use super::values::{Text, flag};

/// The keys of [`HttpOptions`], which stand beside those of a job or of a discovery.
pub(super) const KEYS: &[&str] = &[
    "basic_auth",
    "authorization",
    "bearer_token",
    "bearer_token_file",
    "oauth2",
    "tls_config",
    "follow_redirects",
    "enable_http2",
    "proxy_url",
    "no_proxy",
    "proxy_from_environment",
    "proxy_connect_header",
    "http_headers",
];

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub Text);

impl Secret {
    /// None.
    pub const NONE: Secret = Secret(Text(String::new()));
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// How requests are made.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpOptions {
    /// User and password.
    pub basic_auth: Option<BasicAuth>,
    /// Any other scheme, `Bearer` by default.
    pub authorization: Option<Authorization>,
    /// The older way to give a bearer token.
    pub bearer_token: Option<Secret>,
    /// The older way to name the file that has it.
    pub bearer_token_file: Option<PathBuf>,
    /// TLS.
    pub tls_config: TlsOptions,
    /// Whether redirects are followed.
    #[serde(deserialize_with = "flag")]
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be spoken over TLS.
    #[serde(deserialize_with = "flag")]
    pub enable_http2: bool,
    /// URL of a proxy.
    pub proxy_url: Option<String>,
    /// Hosts that are reached without it, separated by commas.
    pub no_proxy: Option<String>,
    /// Whether the environment's proxy is used.
    #[serde(deserialize_with = "flag")]
    pub proxy_from_environment: bool,
    /// More headers.
    pub http_headers: BTreeMap<String, HeaderValues>,
    /// Not supported.
    pub(crate) oauth2: Option<Value>,
    /// Not supported.
    pub(crate) proxy_connect_header: Option<Value>,
}

/// User and password.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    pub username: Text,
    /// A file with the user's name.
    pub username_file: Option<PathBuf>,
    /// The password.
    pub password: Secret,
    /// A file with the password; read for every request.
    pub password_file: Option<PathBuf>,
}

/// The header `Authorization`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authorization {
    /// The scheme; none: `Bearer`.
    #[serde(rename = "type")]
    pub scheme: Option<String>,
    /// What follows it.
    pub credentials: Secret,
    /// A file with it; read for every request.
    pub credentials_file: Option<PathBuf>,
}

/// TLS towards a server.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsOptions {
    /// Authorities (PEM); none: the system's.
    pub ca: Option<Text>,
    /// A file with them.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate chain (PEM).
    pub cert: Option<Text>,
    /// A file with it.
    pub cert_file: Option<PathBuf>,
    /// Its private key (PEM).
    pub key: Option<Secret>,
    /// A file with it.
    pub key_file: Option<PathBuf>,
    /// The name that the server's certificate must bear; none: the host's. The server is asked for the host's name
    /// (SNI) nevertheless: one that serves several names by it has to be called by the right one.
    pub server_name: Option<String>,
    /// Whether any certificate will do.
    #[serde(deserialize_with = "flag")]
    pub insecure_skip_verify: bool,
    /// `TLS12` or `TLS13`.
    pub min_version: Option<TlsVersion>,
    /// `TLS12` or `TLS13`.
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS. The older ones are not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsVersion {
    /// Asks for 1.2, the oldest that is spoken.
    TLS10,
    /// Asks for 1.2, the oldest that is spoken.
    TLS11,
    /// 1.2.
    TLS12,
    /// 1.3.
    TLS13,
}

/// The values of one header.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderValues {
    /// As they are.
    pub values: Vec<Text>,
    /// The same, never shown.
    pub secrets: Vec<Secret>,
    /// Files that hold one each; read for every request.
    pub files: Vec<PathBuf>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            basic_auth: None,
            authorization: None,
            bearer_token: None,
            bearer_token_file: None,
            tls_config: TlsOptions::default(),
            follow_redirects: true,
            enable_http2: true,
            proxy_url: None,
            no_proxy: None,
            proxy_from_environment: false,
            http_headers: BTreeMap::new(),
            oauth2: None,
            proxy_connect_header: None,
        }
    }
}

impl TlsOptions {
    /// Whether no file is to be read for it.
    pub(crate) fn is_inline(&self) -> bool {
        self.ca_file.is_none() && self.cert_file.is_none() && self.key_file.is_none()
    }
}

impl HttpOptions {
    /// Takes them out of the section that they stand in; paths are relative to the file's directory.
    pub(super) fn take(section: &mut Value, path: &str, dir: &Path) -> Result<Self, String> {
        let mut options: HttpOptions = read::read(read::take(section, KEYS), path)?;
        options.check().map_err(|(key, message)| format!("`{}`: {message}", read::join(path, key)))?;
        options.resolve(dir);
        Ok(options)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.oauth2.is_some() {
            let message = "OAuth 2 is not supported: let a proxy or a sidecar fetch tokens into a file, and name it in \
                           authorization.credentials_file";
            return Err(("oauth2", message.into()));
        }
        if self.proxy_connect_header.is_some() {
            return Err(("proxy_connect_header", "headers towards a proxy are not supported: leave it out".into()));
        }
        let ways = [
            self.basic_auth.is_some(),
            self.authorization.is_some(),
            self.bearer_token.is_some(),
            self.bearer_token_file.is_some(),
        ];
        if ways.into_iter().filter(|given| *given).count() > 1 {
            let message = "at most one of basic_auth, authorization, bearer_token and bearer_token_file may be given";
            return Err(("authorization", message.into()));
        }
        if let Some(auth) = &self.basic_auth {
            if !auth.username.0.is_empty() && auth.username_file.is_some() {
                return Err(("basic_auth.username_file", "username is given too: leave one out".into()));
            }
            if !auth.password.0.0.is_empty() && auth.password_file.is_some() {
                return Err(("basic_auth.password_file", "password is given too: leave one out".into()));
            }
        }
        if let Some(authorization) = &self.authorization {
            if !authorization.credentials.0.0.is_empty() && authorization.credentials_file.is_some() {
                return Err(("authorization.credentials_file", "credentials are given too: leave one out".into()));
            }
            if authorization.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic")) {
                return Err(("authorization.type", "it is Basic: use basic_auth".into()));
            }
        }
        self.check_tls()
    }

    fn check_tls(&self) -> Result<(), (&'static str, String)> {
        let tls = &self.tls_config;
        for (key, both) in [
            ("tls_config.ca_file", tls.ca.is_some() && tls.ca_file.is_some()),
            ("tls_config.cert_file", tls.cert.is_some() && tls.cert_file.is_some()),
            ("tls_config.key_file", tls.key.is_some() && tls.key_file.is_some()),
        ] {
            if both {
                return Err((key, "it is given inline too: leave one out".into()));
            }
        }
        let (cert, key) = (tls.cert.is_some() || tls.cert_file.is_some(), tls.key.is_some() || tls.key_file.is_some());
        if cert != key {
            return Err(("tls_config", "a certificate needs its key, and a key its certificate: give both".into()));
        }
        if tls.min_version.zip(tls.max_version).is_some_and(|(min, max)| min > max) {
            return Err(("tls_config.min_version", "it is above max_version".into()));
        }
        if let Some(url) = self.proxy_url.as_ref().filter(|url| url::Url::parse(url).is_err()) {
            return Err(("proxy_url", format!("{url:?} is no URL")));
        }
        if self.proxy_from_environment && (self.proxy_url.is_some() || self.no_proxy.is_some()) {
            return Err(("proxy_from_environment", "proxy_url or no_proxy is given too: leave one out".into()));
        }
        Ok(())
    }

    fn resolve(&mut self, dir: &Path) {
        let tls = &mut self.tls_config;
        let mut files = vec![&mut self.bearer_token_file, &mut tls.ca_file, &mut tls.cert_file, &mut tls.key_file];
        if let Some(auth) = &mut self.basic_auth {
            files.extend([&mut auth.username_file, &mut auth.password_file]);
        }
        if let Some(authorization) = &mut self.authorization {
            files.push(&mut authorization.credentials_file);
        }
        let headers = self.http_headers.values_mut().flat_map(|header| &mut header.files);
        for file in files.into_iter().flatten().chain(headers) {
            *file = dir.join(&*file);
        }
    }
}
