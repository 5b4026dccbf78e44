//! What a leader keeps of metrics: labels once per series, until a flush takes them. From then on the next batch of the
//! series brings them again.

use std::collections::HashMap;

use bonghwa_model::TenantId;
use bonghwa_model::batch::Batch;
use bonghwa_model::thin::Piece;
use bonghwa_model::told::Told;

use super::{Head, Rows};
use crate::memory::Reservation;

/// Rows of a tenant, as the head keeps them.
pub(crate) type Kept = (TenantId, Piece);

/// Entries that tell of series for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    pub epoch: u64,
    /// No entry before this position tells of a series.
    pub since: u64,
}

/// The series of which the entries of a generation have told, by tenant.
#[derive(Default)]
pub(super) struct Known {
    generation: Option<Generation>,
    tenants: HashMap<TenantId, Told>,
    reserved: Option<Reservation>,
}

impl Head {
    /// What is to be kept of an entry's batches, if it becomes part of this generation. Called for one entry after another.
    pub(super) fn thin(&self, generation: Generation, rows: &[Rows]) -> Vec<Kept> {
        let mut known = self.known.lock();
        if known.generation != Some(generation) {
            *known = Known { generation: Some(generation), ..Default::default() };
        }
        let mut kept = Vec::with_capacity(rows.len());
        for (tenant, batch) in rows {
            let pieces = match &**batch {
                Batch::Metrics(_) => known.tenants.entry(tenant.clone()).or_default().thin(batch),
                Batch::Logs(_) | Batch::Traces(_) => vec![batch.clone().into()],
            };
            kept.extend(pieces.into_iter().map(|piece| (tenant.clone(), piece)));
        }
        let bytes = known.tenants.values().map(Told::heap_bytes).sum();
        if known.reserved.as_ref().map_or(0, Reservation::bytes) != bytes {
            known.reserved = Some(self.memory.reserve(bytes));
        }
        kept
    }

    /// Lets go of what is known.
    pub(super) fn forget_known(&self) {
        *self.known.lock() = Known::default();
    }
}
