//! RocksDB as the disk of a store: a column family per group.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{BoundColumnFamily, Options, ReadOptions, WriteBatch, WriteOptions};

use crate::disk::{Disk, DiskError};
use crate::rocks::{Db, STATE_FAMILY};

pub(crate) struct RocksDisk {
    pub db: Arc<Db>,
    pub path: PathBuf,
    /// Of a new group's family.
    pub group_options: Options,
}

impl From<rocksdb::Error> for DiskError {
    fn from(error: rocksdb::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl RocksDisk {
    fn family(&self, name: &str) -> Result<Arc<BoundColumnFamily<'_>>, DiskError> {
        self.db.cf_handle(name).ok_or(DiskError::NoFamily)
    }

    fn states(&self) -> Result<Arc<BoundColumnFamily<'_>>, DiskError> {
        let gone = || DiskError::Failed("the column family of states is gone".to_owned());
        self.db.cf_handle(STATE_FAMILY).ok_or_else(gone)
    }
}

impl Disk for RocksDisk {
    fn families(&self) -> Result<Vec<String>, DiskError> {
        let mut names = Db::list_cf(&Options::default(), &self.path)?;
        names.retain(|name| name != STATE_FAMILY);
        names.sort();
        Ok(names)
    }

    fn has_family(&self, family: &str) -> bool {
        self.db.cf_handle(family).is_some()
    }

    fn create_family(&self, family: &str) -> Result<(), DiskError> {
        Ok(self.db.create_cf(family, &self.group_options)?)
    }

    fn drop_family(&self, family: &str) -> Result<(), DiskError> {
        if self.has_family(family) && family != STATE_FAMILY {
            self.db.drop_cf(family)?;
        }
        Ok(())
    }

    fn state(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        Ok(self.db.get_cf(&self.states()?, key)?.map(Bytes::from))
    }

    fn delete_states(&self, keys: &[Vec<u8>]) -> Result<(), DiskError> {
        let states = self.states()?;
        let mut batch = WriteBatch::default();
        keys.iter().for_each(|key| batch.delete_cf(&states, key));
        let mut options = WriteOptions::default();
        options.set_sync(true);
        Ok(self.db.write_opt(batch, &options)?)
    }

    fn first_key(&self, family: &str, position: u64) -> Result<Option<Vec<u8>>, DiskError> {
        let mut iter = self.db.raw_iterator_cf(&self.family(family)?);
        iter.seek(position.to_be_bytes());
        let key = iter.key().map(<[u8]>::to_vec);
        iter.status()?;
        Ok(key)
    }

    fn last(&self, family: &str) -> Result<Option<(Vec<u8>, Bytes)>, DiskError> {
        let mut iter = self.db.raw_iterator_cf(&self.family(family)?);
        iter.seek_to_last();
        let last = iter.item().map(|(key, value)| (key.to_vec(), Bytes::copy_from_slice(value)));
        iter.status()?;
        Ok(last)
    }

    fn scan(
        &self,
        family: &str,
        start: u64,
        end: u64,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DiskError> {
        let family = self.family(family)?;
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end.to_be_bytes().to_vec());
        options.fill_cache(false);
        let mut iter = self.db.raw_iterator_cf_opt(&family, options);
        iter.seek(start.to_be_bytes());
        while let Some((key, value)) = iter.item() {
            if !visit(key, value) {
                break;
            }
            iter.next();
        }
        Ok(iter.status()?)
    }
}
