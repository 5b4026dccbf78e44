//! A catalog as the pieces of a snapshot, each small enough for a message.

use bonghwa_protocol::v1;
use prost::Message;

use crate::Catalog;

impl Catalog {
    /// The catalog as a snapshot in one piece.
    pub fn snapshot(&self) -> v1::Snapshot {
        let mut pieces = self.snapshot_pieces(usize::MAX);
        // There is always a first piece, and the first is the last here.
        pieces.next().unwrap_or_default()
    }

    /// The catalog as a snapshot in pieces of about `max_bytes` of blocks each; the
    /// first has all else. Made one by one as they are asked for;
    /// each but the last says that it continues.
    pub fn snapshot_pieces(&self, max_bytes: usize) -> impl Iterator<Item = v1::Snapshot> + Send + use<> {
        let catalog = self.clone();
        let mut after: Option<String> = None;
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let mut piece = v1::Snapshot { version: catalog.version(), ..Default::default() };
            if after.is_none() {
                piece.nodes = catalog.nodes().map(|n| (**n).clone()).collect();
                piece.partitions = catalog.all_partitions().map(|p| (**p).clone()).collect();
                piece.deletes = catalog.deletes().map(|d| (**d).clone()).collect();
                let garbage = catalog.garbage();
                piece.garbage =
                    garbage.map(|(path, removed_at)| v1::Garbage { path: path.to_owned(), removed_at }).collect();
                piece.tenant_limits = catalog
                    .all_tenant_limits()
                    .map(|(tenant, rates)| v1::TenantLimits { tenant: tenant.clone(), rates: Some(*rates) })
                    .collect();
                piece.elected_replicas = catalog.elected_replicas().cloned().collect();
            }
            let mut bytes = 0usize;
            for block in catalog.blocks_after(after.as_deref()) {
                let size = block.encoded_len();
                if !piece.blocks.is_empty() && bytes.saturating_add(size) > max_bytes {
                    piece.continues = true;
                    break;
                }
                bytes = bytes.saturating_add(size);
                piece.blocks.push((**block).clone());
            }
            after = Some(piece.blocks.last().map(|b| b.path.clone()).unwrap_or_default());
            ended = !piece.continues;
            Some(piece)
        })
    }
}
