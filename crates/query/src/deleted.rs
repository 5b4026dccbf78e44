//! Deletes that are open: their rows are passed over until compaction has taken them out. They lie in blocks that the
//! catalog had when the delete was made: what came later, or lies in a tail, is no row of it.

use std::sync::Arc;

use bonghwa_block::{Removal, Removals, ScanRequest};
use bonghwa_model::Signal;
use bonghwa_protocol::v1;

use crate::view::View;

/// What must be passed over in those blocks that may hold deleted rows.
pub(crate) struct Deleted {
    deletes: Vec<(Arc<v1::Delete>, Removal)>,
    pub(crate) removals: Removals,
}

impl Deleted {
    /// By these open deletes of a tenant's rows of a signal.
    pub(crate) fn new(signal: Signal, deletes: impl IntoIterator<Item = Arc<v1::Delete>>) -> Self {
        let with_removal = |delete: Arc<v1::Delete>| {
            let removal = Removal::of_delete(&delete);
            (delete, removal)
        };
        let deletes: Vec<_> = deletes.into_iter().map(with_removal).collect();
        let removals = deletes.iter().map(|(_, removal)| removal.clone()).collect();
        Deleted { deletes, removals: Removals::new(signal, removals) }
    }

    /// The deletes.
    pub(crate) fn deletes(&self) -> impl Iterator<Item = &v1::Delete> {
        self.deletes.iter().map(|(delete, _)| &**delete)
    }

    /// Whether some of these rows may be deleted, where deletes up to an id have been
    /// carried out on them.
    pub(crate) fn may_hold(&self, rows: &v1::TenantRows, carried_out: u64) -> bool {
        self.deletes.iter().any(|(delete, removal)| delete.id > carried_out && removal.may_match(rows))
    }

    /// Whether some row in view may be deleted.
    pub(crate) fn any(&self, view: &View) -> bool {
        view.blocks.iter().any(|block| self.may_hold(block.rows(), block.block().deletes_through))
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
