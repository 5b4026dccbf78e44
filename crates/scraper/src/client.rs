//! HTTP towards targets and discovery services, as a configuration's credentials, TLS and proxy say.

use std::path::Path;
use std::time::Duration;

use bonghwa_cluster::seam::{self, Instant};
use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, header};
use parking_lot::Mutex;

use crate::config::HttpOptions;
use crate::tls;

/// How long a connection that nobody uses is kept: longer than most intervals.
const IDLE: Duration = Duration::from_secs(300);
/// How often the files of TLS are looked at again.
const LOOK: Duration = Duration::from_secs(30);
/// How many redirects are followed.
const REDIRECTS: usize = 10;
/// Who asks.
const USER_AGENT: &str = concat!("Bonghwa/", env!("CARGO_PKG_VERSION"));

/// A client of its own for each job and discovery.
pub(crate) struct Client {
    options: HttpOptions,
    built: Mutex<Option<Built>>,
}

struct Built {
    client: reqwest::Client,
    /// Certificates and keys that it was made with.
    files: tls::Files,
    looked: Instant,
}

impl Client {
    /// With these options. Files are read when they are needed.
    pub fn new(options: HttpOptions) -> Self {
        Client { options, built: Mutex::new(None) }
    }

    /// Asks a URL. The answer's body is still to be read.
    pub async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<reqwest::Response, String> {
        let mut request = self.client().await?.get(url).header(header::USER_AGENT, USER_AGENT);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in self.own_headers().await? {
            request = request.header(name, value);
        }
        request.send().await.map_err(|error| describe(&error))
    }

    async fn client(&self) -> Result<reqwest::Client, String> {
        if let Some(built) = &*self.built.lock()
            && (self.options.tls_config.is_inline() || built.looked.elapsed() < LOOK)
        {
            return Ok(built.client.clone());
        }
        let options = self.options.tls_config.clone();
        let files = seam::blocking(move || tls::Files::read(&options)).await.ok_or("the process stops")??;
        let looked = seam::now();
        let mut built = self.built.lock();
        // Another request may have been quicker: its connections are used.
        if let Some(built) = built.as_mut().filter(|built| built.files == files) {
            built.looked = looked;
            return Ok(built.client.clone());
        }
        let client = self.build(&files)?;
        *built = Some(Built { client: client.clone(), files, looked });
        Ok(client)
    }

    fn build(&self, files: &tls::Files) -> Result<reqwest::Client, String> {
        let options = &self.options;
        let redirects = match options.follow_redirects {
            true => reqwest::redirect::Policy::limited(REDIRECTS),
            false => reqwest::redirect::Policy::none(),
        };
        let mut builder = reqwest::Client::builder()
            .use_preconfigured_tls(tls::config(&options.tls_config, files, options.enable_http2)?)
            .redirect(redirects)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .tcp_nodelay(true);
        if let Some(url) = &options.proxy_url {
            let proxy = reqwest::Proxy::all(url).map_err(|error| format!("proxy_url: {error}"))?;
            let direct = options.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
            builder = builder.proxy(proxy.no_proxy(direct));
        } else if !options.proxy_from_environment {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| describe(&error))
    }

    /// Credentials and the configuration's headers.
    async fn own_headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        let mut headers = Vec::new();
        if let Some(authorization) = self.authorization().await? {
            headers.push((header::AUTHORIZATION, secret(&authorization)?));
        }
        for (name, values) in &self.options.http_headers {
            let name = HeaderName::try_from(name).map_err(|_| format!("http_headers: {name:?} is no header's name"))?;
            for value in values.values.iter().chain(values.secrets.iter().map(|secret| &secret.0)) {
                headers.push((name.clone(), secret(&value.0)?));
            }
            for file in &values.files {
                headers.push((name.clone(), secret(&text(file).await?)?));
            }
        }
        Ok(headers)
    }

    async fn authorization(&self) -> Result<Option<String>, String> {
        let options = &self.options;
        if let Some(auth) = &options.basic_auth {
            let user = match &auth.username_file {
                Some(file) => text(file).await?,
                None => auth.username.0.clone(),
            };
            let password = match &auth.password_file {
                Some(file) => text(file).await?,
                None => auth.password.0.0.clone(),
            };
            use base64::Engine as _;
            let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            return Ok(Some(format!("Basic {encoded}")));
        }
        let (scheme, given, file) = match (&options.authorization, &options.bearer_token, &options.bearer_token_file) {
            (Some(authorization), _, _) => {
                let scheme = authorization.scheme.as_deref().unwrap_or("Bearer");
                (scheme, &authorization.credentials, authorization.credentials_file.as_deref())
            }
            (None, Some(token), _) => ("Bearer", token, None),
            (None, None, Some(file)) => ("Bearer", &crate::config::Secret::NONE, Some(file.as_path())),
            (None, None, None) => return Ok(None),
        };
        let credentials = match file {
            Some(file) => text(file).await?,
            None => given.0.0.clone(),
        };
        Ok(Some(if credentials.is_empty() { scheme.to_owned() } else { format!("{scheme} {credentials}") }))
    }
}

/// Reads a body of at most so many bytes.
pub(crate) async fn read_all(mut answer: reqwest::Response, most: u64) -> Result<Bytes, String> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| describe(&error))? {
        if (body.len() + chunk.len()) as u64 > most {
            return Err(format!("its answer has more than {most} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// An error with its causes, of which the last says most. URLs are left out: they may hold secrets.
pub(crate) fn describe(error: &reqwest::Error) -> String {
    let mut said = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.ends_with(&text) {
            if !said.is_empty() {
                said.push_str(": ");
            }
            said.push_str(&text);
        }
        cause = error.source();
    }
    if said.is_empty() { error.to_string() } else { said }
}

async fn text(file: &Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(file).await;
    text.map(|text| text.trim().to_owned()).map_err(|error| format!("{}: {error}", file.display()))
}

fn secret(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| "a credential or header has a character that HTTP cannot carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
