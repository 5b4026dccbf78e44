//! Deletes that are open: their rows are passed over until compaction has taken them out.

use std::sync::Arc;

use bonghwa_block::{Removal, Removals, ScanRequest};
use bonghwa_protocol::v1;

use crate::view::View;

/// What must be passed over in those blocks and tails that may hold deleted rows.
pub(crate) struct Deleted {
    deletes: Vec<(u64, Removal)>,
    pub(crate) removals: Removals,
}

impl Deleted {
    /// Of the open deletes in view.
    pub(crate) fn new(view: &View) -> Self {
        let deletes: Vec<_> = view.deletes.iter().map(|d| (d.id, Removal::of_delete(d))).collect();
        let removals = deletes.iter().map(|(_, removal)| removal.clone()).collect();
        Deleted { deletes, removals: Removals::new(view.signal, removals) }
    }

    /// Whether some of these rows may be deleted, where deletes up to an id have been
    /// carried out on them.
    pub(crate) fn may_hold(&self, rows: &v1::TenantRows, carried_out: u64) -> bool {
        self.deletes.iter().any(|(id, removal)| *id > carried_out && removal.may_match(rows))
    }

    /// Whether some row in view may be deleted.
    pub(crate) fn any(&self, view: &View) -> bool {
        view.blocks.iter().any(|block| self.may_hold(block.rows(), block.block().deletes_through))
            || view.tails.iter().any(|tail| self.may_hold(&tail.rows, 0))
    }

    /// A request that also gives what tells deleted rows from others.
    pub(crate) fn request(&self, request: &ScanRequest) -> Arc<ScanRequest> {
        let columns = request.columns.iter().chain(self.removals.columns()).cloned().collect();
        Arc::new(ScanRequest { columns, ..request.clone() })
    }
}

impl std::fmt::Debug for Deleted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Deleted({} deletes)", self.deletes.len())
    }
}
