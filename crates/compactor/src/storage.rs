//! The object store as the compactor uses it: durable uploads, whole objects in memory,
//! listings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::seam;
use bonghwa_model::Signal;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::CompactorError;

const TIMEOUT: Duration = Duration::from_secs(120);

/// An object store, and where it lies if it is a local directory: `object_store` renames
/// files into place without syncing them, and blocks are deleted on the strength of
/// uploads that have returned.
#[derive(Clone)]
pub struct Storage {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The directory of a `file://` store.
    pub local_root: Option<PathBuf>,
}

impl Storage {
    /// Writes an object. When this returns, it has all its bytes and survives a power cut.
    pub(crate) async fn put(&self, path: &str, bytes: Bytes) -> Result<(), CompactorError> {
        let location = Path::from(path);
        let expected = bytes.len() as u64;
        within(path, self.store.put(&location, bytes.into())).await?;
        let found = within(path, self.store.head(&location)).await?.size;
        if found != expected {
            let source = format!("{found} of {expected} bytes arrived").into();
            let source = object_store::Error::Generic { store: "torn upload", source };
            return Err(CompactorError::Store { path: path.to_owned(), source });
        }
        let Some(root) = self.local_root.clone() else { return Ok(()) };
        let object = path.to_owned();
        match seam::blocking(move || sync(root, &object)).await {
            Some(synced) => synced,
            None => Err(CompactorError::Stopped { path: path.to_owned() }),
        }
    }

    /// Deletes an object; one that is not there is deleted already.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), CompactorError> {
        match within(path, self.store.delete(&Path::from(path))).await {
            Err(CompactorError::Store { source: object_store::Error::NotFound { .. }, .. }) => Ok(()),
            done => done,
        }
    }

    /// A store in memory with copies of these objects.
    pub(crate) async fn fetch(
        &self,
        paths: impl Iterator<Item = &str>,
    ) -> Result<Arc<dyn ObjectStore>, CompactorError> {
        let memory = InMemory::new();
        for path in paths {
            let location = Path::from(path);
            let bytes = within(path, async { self.store.get(&location).await?.bytes().await }).await?;
            within(path, memory.put(&location, bytes.into())).await?;
        }
        Ok(Arc::new(memory))
    }

    /// All objects that may be blocks of a signal.
    pub(crate) async fn list(&self, signal: Signal) -> Result<Vec<ObjectMeta>, CompactorError> {
        let prefix = Path::from(signal.as_str());
        within(signal.as_str(), self.store.list(Some(&prefix)).try_collect()).await
    }
}

async fn within<T>(path: &str, work: impl Future<Output = object_store::Result<T>>) -> Result<T, CompactorError> {
    let done = seam::timeout(TIMEOUT, work).await.unwrap_or_else(|_| {
        let source = format!("it took over {TIMEOUT:?}").into();
        Err(object_store::Error::Generic { store: "timeout", source })
    });
    done.map_err(|source| CompactorError::Store { path: path.to_owned(), source })
}

/// Syncs a file and every folder from it up to the store's root.
fn sync(root: PathBuf, path: &str) -> Result<(), CompactorError> {
    let file = root.join(path);
    let mut at: Option<&std::path::Path> = Some(&file);
    while let Some(here) = at {
        std::fs::File::open(here)
            .and_then(|f| f.sync_all())
            .map_err(|source| CompactorError::Sync { path: here.display().to_string(), source })?;
        if here == root {
            break;
        }
        at = here.parent();
    }
    Ok(())
}
