//! From the log of earlier releases, whose entries were in RocksDB, a column family per group.

use std::path::Path;

use bytes::Bytes;
use rocksdb::{DEFAULT_COLUMN_FAMILY_NAME, IteratorMode, Options};

use crate::Error;
use crate::disk::Disk;
use crate::segments::{SegmentDisk, Writer};
use crate::states::Db;

/// Bytes of entries that are moved in one write.
const WRITE_BYTES: usize = 4 << 20;

/// Moves all entries into segments. Interrupted, it begins again with the families that are left.
pub(crate) fn migrate(path: &Path, disk: &SegmentDisk, writer: &mut Writer) -> Result<(), Error> {
    let names = Db::list_cf(&Options::default(), path).map_err(|e| Error::storage(&path.display().to_string(), e))?;
    for name in names.into_iter().filter(|name| name != DEFAULT_COLUMN_FAMILY_NAME) {
        move_family(&name, disk, writer).map_err(|e| Error::storage(&name, e))?;
        disk.db.drop_cf(&name).map_err(|e| Error::storage(&name, e))?;
        tracing::info!(group = %name, "moved the log from its column family to segments");
    }
    Ok(())
}

fn move_family(name: &str, disk: &SegmentDisk, writer: &mut Writer) -> Result<(), String> {
    let Some(family) = disk.db.cf_handle(name) else { return Ok(()) };
    if !disk.has_family(name) {
        disk.create_family(name).map_err(|e| e.to_string())?;
    }
    let (mut records, mut bytes) = (Vec::new(), 0);
    for entry in disk.db.iterator_cf(&family, IteratorMode::Start) {
        let (key, record) = entry.map_err(|e| e.to_string())?;
        let position = <[u8; 8]>::try_from(&key[..]).map_err(|_| "a key is no position".to_owned())?;
        bytes += record.len();
        records.push((u64::from_be_bytes(position), Bytes::from(record)));
        if bytes >= WRITE_BYTES {
            writer.import(name, std::mem::take(&mut records))?;
            bytes = 0;
        }
    }
    writer.import(name, records)
}
