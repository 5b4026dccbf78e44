//! `bonghwa block inspect`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

/// Prints what a block says of itself.
pub async fn inspect(file: &Path) -> Result<()> {
    let file = file.canonicalize().with_context(|| format!("reading {}", file.display()))?;
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new());
    let path = object_store::path::Path::from_absolute_path(&file)?;
    let inspection = bonghwa_block::inspect(&store, path.as_ref()).await?;
    println!("{}", serde_json::to_string_pretty(&inspection)?);
    Ok(())
}
