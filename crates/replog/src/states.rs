//! RocksDB, which holds what a node's groups keep beside their entries: families, votes, trim points,
//! snapshots. Little, and rarely written.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, DBWithThreadMode, LogLevel,
    MultiThreaded, Options,
};

use crate::Error;

pub(crate) type Db = DBWithThreadMode<MultiThreaded>;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Opens the database, and the column families that it has.
pub(crate) fn open(path: &Path) -> Result<Db, Error> {
    let place = path.display().to_string();
    std::fs::create_dir_all(path).map_err(|e| Error::storage(&place, e))?;
    let options = options();
    let names = if path.join("CURRENT").exists() {
        Db::list_cf(&options, path).map_err(|e| Error::storage(&place, e))?
    } else {
        vec![rocksdb::DEFAULT_COLUMN_FAMILY_NAME.to_owned()]
    };
    let families = names.into_iter().map(|name| ColumnFamilyDescriptor::new(name, options.clone()));
    Db::open_cf_descriptors(&options, path, families).map_err(|e| {
        match ["lock file", "lock hold"].iter().any(|said| e.as_ref().contains(said)) {
            true => Error::InUse { place },
            false => Error::storage(&place, e),
        }
    })
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    // A torn last write is expected after a crash and was never acknowledged.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_recycle_log_file_num(1);
    options.set_max_total_wal_size(16 * MIB as u64);
    options.set_max_open_files(64);
    options.set_avoid_unnecessary_blocking_io(true);
    options.set_manifest_preallocation_size(64 * KIB);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(4 * MIB);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(4 * MIB);
    options.set_arena_block_size(64 * KIB);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(MIB));
    options.set_block_based_table_factory(&table);
    options
}
