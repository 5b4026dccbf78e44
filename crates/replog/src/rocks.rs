//! How RocksDB is set up for logs: sequential keys, values that are compressed already, entries
//! that are mostly trimmed before they would be written to a table.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, DBWithThreadMode, LogLevel,
    MultiThreaded, Options,
};

use crate::{Error, StoreOptions};

pub(crate) type Db = DBWithThreadMode<MultiThreaded>;

/// The family that holds what is not an entry: votes, trim points, snapshots.
pub(crate) const STATE_FAMILY: &str = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Opens the database with all the families it has.
pub(crate) fn open(path: &Path, options: &StoreOptions) -> Result<(Db, Options), Error> {
    let place = path.display().to_string();
    std::fs::create_dir_all(path).map_err(|e| Error::storage(&place, e))?;
    let db_options = database(path, options);
    let group_options = group_family(options);
    let names = if path.join("CURRENT").exists() {
        Db::list_cf(&db_options, path).map_err(|e| Error::storage(&place, e))?
    } else {
        vec![STATE_FAMILY.to_owned()]
    };
    let families = names.into_iter().map(|name| {
        let options = if name == STATE_FAMILY { state_family() } else { group_options.clone() };
        ColumnFamilyDescriptor::new(name, options)
    });
    let db = Db::open_cf_descriptors(&db_options, path, families).map_err(|e| Error::storage(&place, e))?;
    Ok((db, group_options))
}

fn database(path: &Path, options: &StoreOptions) -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    // A torn last write is expected after a crash and was never acknowledged. The stricter modes
    // cannot reuse log files, which saves the file-size updates of each sync.
    db.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    db.set_recycle_log_file_num(4);
    db.set_max_total_wal_size(options.max_wal_bytes);
    db.set_db_write_buffer_size(options.write_buffers_total_bytes);
    db.set_max_background_jobs(2);
    db.set_max_open_files(256);
    db.set_use_direct_io_for_flush_and_compaction(options.direct_io.unwrap_or_else(|| can_direct_io(path)));
    db.set_avoid_unnecessary_blocking_io(true);
    db.set_manifest_preallocation_size(64 * KIB);
    db.set_log_level(LogLevel::Warn);
    db.set_keep_log_file_num(2);
    db.set_max_log_file_size(4 * MIB);
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    db.set_skip_stats_update_on_db_open(true);
    db
}

fn group_family(options: &StoreOptions) -> Options {
    let mut family = Options::default();
    family.set_compression_type(DBCompressionType::None);
    family.set_write_buffer_size(options.write_buffer_bytes);
    family.set_max_write_buffer_number(4);
    // Small blocks, so that an idle group costs kilobytes; large entries get blocks of their own.
    family.set_arena_block_size(128 * KIB);
    // Keys only grow, so tables never overlap: compaction moves them down without rewriting, and
    // from level 1 on `delete_file_in_range` can drop them.
    family.set_level_zero_file_num_compaction_trigger(4);
    family.set_level_zero_slowdown_writes_trigger(32);
    family.set_level_zero_stop_writes_trigger(64);
    family.set_target_file_size_base(options.write_buffer_bytes as u64);
    let mut table = BlockBasedOptions::default();
    table.set_block_size(64 * KIB);
    table.set_block_cache(&Cache::new_lru_cache(4 * MIB));
    family.set_block_based_table_factory(&table);
    family
}

fn state_family() -> Options {
    let mut family = Options::default();
    family.set_compression_type(DBCompressionType::None);
    family.set_write_buffer_size(4 * MIB);
    family.set_arena_block_size(64 * KIB);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(MIB));
    family.set_block_based_table_factory(&table);
    family
}

/// Whether files here can be written past the page cache; a memory file system cannot.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn can_direct_io(path: &Path) -> bool {
    use std::os::unix::fs::OpenOptionsExt;
    const O_DIRECT: i32 = if cfg!(target_arch = "aarch64") { 0x10000 } else { 0x4000 };

    let probe = path.join("direct-io-probe");
    let can =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).custom_flags(O_DIRECT).open(&probe).is_ok();
    // Left behind only where it could not be made.
    let _ = std::fs::remove_file(probe);
    can
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn can_direct_io(_path: &Path) -> bool {
    false
}
