//! The object store that the configuration names.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bonghwa_ingester::BlockStore;
use bonghwa_model::Signal;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectMeta, ObjectStore, RetryConfig};
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
            create_directory(&root).with_context(|| format!("object_store: creating {}", root.display()))?;
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

/// The objects of a signal.
pub fn objects(store: &dyn ObjectStore, signal: Signal) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
    store.list(Some(&ObjectPath::from(signal.as_str())))
}

/// An object of any signal; none if the store is empty.
pub async fn any_object(store: &dyn ObjectStore) -> object_store::Result<Option<ObjectPath>> {
    for signal in Signal::ALL {
        if let Some(object) = objects(store, signal).try_next().await? {
            return Ok(Some(object.location));
        }
    }
    Ok(None)
}

/// Creates a directory, and those above it that are missing, so that they survive a power cut.
pub fn create_directory(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let missing: Vec<&Path> = path.ancestors().take_while(|directory| !directory.exists()).collect();
    std::fs::create_dir_all(&path)?;
    // A new directory is an entry in the one above it: that is what has to reach the disk.
    missing.into_iter().filter_map(Path::parent).try_for_each(sync)
}

/// Syncs the entries of a directory.
pub fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
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

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    #[tokio::test]
    async fn a_store_says_whether_it_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file://{}/a/b", dir.path().display());
        for object_store in [url, "memory://".into()] {
            let store = open(&Config { object_store, ..Config::default() }).unwrap().store;
            assert_eq!(any_object(store.as_ref()).await.unwrap(), None);
            store.put(&"other/x".into(), "x".into()).await.unwrap();
            assert_eq!(any_object(store.as_ref()).await.unwrap(), None);
            store.put(&"traces/l0/x.parquet".into(), "x".into()).await.unwrap();
            assert_eq!(any_object(store.as_ref()).await.unwrap(), Some("traces/l0/x.parquet".into()));
        }
    }

    #[test]
    fn directories_are_created_where_they_are_missing() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        for _ in 0..2 {
            create_directory(&deep).unwrap();
            assert!(deep.is_dir());
        }
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        create_directory(&file.join("below")).unwrap_err();
    }
}
