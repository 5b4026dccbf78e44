//! Blocks into the object store, durably.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::seam;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::IngesterError;

/// An object store, and where it lies if it is a local directory: `object_store`
/// renames files into place without syncing them, and a log is trimmed on the
/// strength of what this returns.
#[derive(Clone)]
pub struct BlockStore {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The directory of a `file://` store. Who created it has synced the directory above it.
    pub local_root: Option<PathBuf>,
}

impl BlockStore {
    /// Deletes an object that nobody will read. One that stays is an orphan, no more.
    pub(crate) async fn delete(&self, path: &str) {
        if let Err(error) = self.store.delete(&Path::from(path)).await {
            tracing::warn!(path, %error, "an object that is not in the catalog stays behind");
        }
    }

    /// Writes an object. When this returns, the object has all its bytes and survives a power cut.
    pub(crate) async fn put(&self, path: &str, bytes: Bytes, timeout: Duration) -> Result<(), IngesterError> {
        let location = Path::from(path);
        let expected = bytes.len() as u64;
        let store_error = |source| IngesterError::Store { path: path.to_owned(), source };
        let timed_out = |what: &'static str| {
            store_error(object_store::Error::Generic {
                store: "timeout",
                source: format!("{what} took over {timeout:?}").into(),
            })
        };
        let put = self.store.put(&location, bytes.into());
        seam::timeout(timeout, put).await.map_err(|_| timed_out("put"))?.map_err(store_error)?;
        let head = seam::timeout(timeout, self.store.head(&location)).await;
        let found = head.map_err(|_| timed_out("head"))?.map_err(store_error)?.size;
        if found != expected {
            let source = format!("{found} of {expected} bytes arrived").into();
            return Err(store_error(object_store::Error::Generic { store: "torn upload", source }));
        }
        if let Some(root) = &self.local_root {
            let (root, path) = (root.clone(), path.to_owned());
            let stopped =
                || IngesterError::Sync { path: path.clone(), source: std::io::Error::other("the process stops") };
            let synced = seam::blocking({
                let path = path.clone();
                move || sync(root, &path)
            });
            synced.await.ok_or_else(stopped)??;
        }
        Ok(())
    }
}

/// Syncs a file and every folder from it up to the store's root, whose own entry is durable
/// since it was opened.
fn sync(root: PathBuf, path: &str) -> Result<(), IngesterError> {
    let file = root.join(path);
    let mut at: Option<&std::path::Path> = Some(&file);
    while let Some(here) = at {
        std::fs::File::open(here)
            .and_then(|f| f.sync_all())
            .map_err(|source| IngesterError::Sync { path: here.display().to_string(), source })?;
        if here == root {
            break;
        }
        at = here.parent();
    }
    Ok(())
}
