//! The object store that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bonghwa_ingester::BlockStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use crate::config::Config;

/// Whether an object store's URL can be understood.
pub fn check_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|e| format!("{text:?} is no URL: {e}"))?;
    match url.scheme() {
        "file" | "memory" => Ok(()),
        "s3" if url.host_str().is_some() => Ok(()),
        "s3" => Err(format!("{text:?} names no bucket: write s3://bucket/prefix")),
        other => Err(format!("{text:?} has the scheme {other:?}: this build writes to file://, s3:// and memory://")),
    }
}

/// Opens the store; a local directory is created.
pub fn open(config: &Config) -> Result<BlockStore> {
    let url = Url::parse(&config.object_store_url())?;
    match url.scheme() {
        "memory" => Ok(BlockStore { store: Arc::new(InMemory::new()), local_root: None }),
        "file" => {
            let Ok(root) = url.to_file_path() else { bail!("object_store: {url} is no path on this machine") };
            std::fs::create_dir_all(&root).with_context(|| format!("creating {}", root.display()))?;
            let store = LocalFileSystem::new_with_prefix(&root)?;
            Ok(BlockStore { store: Arc::new(store), local_root: Some(root) })
        }
        _ => {
            let store = s3(config, &url).context("object_store")?;
            let prefix = url.path().trim_matches('/');
            let store: Arc<dyn ObjectStore> =
                if prefix.is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) };
            Ok(BlockStore { store, local_root: None })
        }
    }
}

fn s3(config: &Config, url: &Url) -> Result<object_store::aws::AmazonS3> {
    let s3 = &config.s3;
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(url.host_str().unwrap_or_default());
    if !s3.endpoint.is_empty() {
        builder = builder.with_endpoint(&s3.endpoint).with_allow_http(s3.endpoint.starts_with("http://"));
    }
    for (value, set) in [
        (&s3.region, AmazonS3Builder::with_region as fn(AmazonS3Builder, String) -> AmazonS3Builder),
        (&s3.access_key_id, AmazonS3Builder::with_access_key_id),
        (&s3.secret_access_key, AmazonS3Builder::with_secret_access_key),
    ] {
        if !value.is_empty() {
            builder = set(builder, value.clone());
        }
    }
    // A flush is tried again by its loop: the client's own tries only bridge a hiccup.
    let retry = RetryConfig { max_retries: 3, retry_timeout: Duration::from_secs(15), ..RetryConfig::default() };
    let client = ClientOptions::new()
        .with_allow_http(s3.endpoint.starts_with("http://"))
        .with_timeout(Duration::from_secs(20))
        .with_connect_timeout(Duration::from_secs(3));
    Ok(builder.with_retry(retry).with_client_options(client).build()?)
}
