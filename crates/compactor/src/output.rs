//! The new blocks of a job: written one after another, uploaded as they end. The last one
//! says how many there are, so it is ended only when there is surely none to follow.

use bonghwa_block::{BlockOrigin, Chunk, EncodedBlock, MergeOptions, MergeWriter, WindowRows};
use bonghwa_cluster::seam;
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1;

use crate::retention::Rule;
use crate::{CompactorError, Storage};

/// What all new blocks of a job have in common.
pub(crate) struct Outputs<'a> {
    pub storage: &'a Storage,
    pub signal: Signal,
    pub level: u32,
    /// With no ordinal yet.
    pub origin: v1::Origin,
    pub deletes_through: u64,
    pub now: i64,
    /// The last one, which may or may not be followed by another.
    pub open: Option<Open>,
    /// Those uploaded, as the catalog is to have them.
    pub blocks: Vec<v1::Block>,
    /// Paths to which an upload began.
    pub paths: Vec<String>,
}

/// A block that is being written.
pub(crate) struct Open {
    writer: MergeWriter,
    tenant: TenantId,
    start: i64,
    rules: Vec<Rule>,
}

impl Outputs<'_> {
    /// Begins a block, which ends the one before.
    pub async fn begin(
        &mut self,
        tenant: &TenantId,
        rules: &[Rule],
        start: i64,
        rows: &WindowRows,
        options: &MergeOptions,
    ) -> Result<(), CompactorError> {
        self.end(false).await?;
        let writer = MergeWriter::new(tenant.clone(), rows, options)?;
        self.open = Some(Open { writer, tenant: tenant.clone(), start, rules: rules.to_vec() });
        Ok(())
    }

    /// Adds a chunk to the block that is open. Bytes of it so far.
    pub async fn write(&mut self, chunk: Chunk) -> Result<usize, CompactorError> {
        let Some(mut open) = self.open.take() else {
            return Err(CompactorError::Stopped { path: "no block".into() });
        };
        let written = seam::blocking(move || {
            let result = open.writer.write(chunk);
            (open, result)
        });
        let stopped = || CompactorError::Stopped { path: format!("a block of {}", self.signal) };
        let (open, result) = written.await.ok_or_else(stopped)?;
        result?;
        let bytes = open.writer.bytes();
        self.open = Some(open);
        Ok(bytes)
    }

    /// Ends the block that is open, if one is, and uploads it.
    pub async fn end(&mut self, last: bool) -> Result<(), CompactorError> {
        let Some(Open { writer, tenant, start, rules }) = self.open.take() else { return Ok(()) };
        let ordinal = self.blocks.len() as u32;
        let origin = v1::Origin { ordinal, blocks: if last { ordinal + 1 } else { 0 }, ..self.origin.clone() };
        let path = self.path(&tenant, start, ordinal);
        let carried_out = |rule: &&Rule| writer.max_time() <= rule.removal(self.now).max_time;
        let of = BlockOrigin {
            path: path.clone(),
            level: self.level,
            deletes_through: self.deletes_through,
            retention_rules: rules.iter().filter(carried_out).map(|rule| rule.fingerprint).collect(),
            origin,
        };
        let encoded = seam::blocking(move || writer.finish(of)).await;
        let stopped = || CompactorError::Stopped { path: path.clone() };
        let EncodedBlock { block, bytes } = encoded.ok_or_else(stopped)??;
        self.paths.push(path.clone());
        self.storage.put(&path, bytes).await?;
        self.blocks.push(block);
        Ok(())
    }

    fn path(&self, tenant: &TenantId, start: i64, ordinal: u32) -> String {
        // A tenant's name may have characters that object stores do not take as they are.
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
        let tenant: String = tenant.as_str().chars().map(plain).collect();
        let (signal, level, seconds) = (self.signal, self.level, start.div_euclid(1_000_000_000));
        format!("{signal}/l{level}/{tenant}/{seconds}-{:016x}-{ordinal:04}.parquet", self.origin.compaction)
    }
}
