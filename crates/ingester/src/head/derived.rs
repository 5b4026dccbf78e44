//! What is derived from a leader's entries when somebody asks: a description, and an index of series. Both are kept
//! and take in what came since, so that a query costs what is new, and what it asks for.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use bonghwa_block::{BlockError, Describer, SeriesIndex, SeriesRequest};
use bonghwa_model::TenantId;
use bonghwa_protocol::v1;
use parking_lot::{Mutex, RwLock};

use super::{Head, TailError};
use crate::memory::Reservation;

/// By tenant, what is derived from the entries of one epoch of a head.
#[derive(Default)]
pub(super) struct Derived {
    epoch: u64,
    tenants: HashMap<TenantId, Arc<OfTenant>>,
}

struct OfTenant {
    epoch: u64,
    described: Mutex<Described>,
    series: RwLock<Indexed>,
}

/// The entries after one position, up to another.
#[derive(Default)]
struct Described {
    after: u64,
    through: u64,
    describer: Describer,
}

#[derive(Default)]
struct Indexed {
    /// Absent until somebody asks.
    index: Option<SeriesIndex>,
    /// Its memory.
    reserved: Option<Reservation>,
}

/// Why series cannot be read.
#[derive(Debug)]
pub(crate) enum SeriesError {
    Tail(TailError),
    Block(BlockError),
}

impl From<TailError> for SeriesError {
    fn from(error: TailError) -> Self {
        SeriesError::Tail(error)
    }
}

impl From<BlockError> for SeriesError {
    fn from(error: BlockError) -> Self {
        SeriesError::Block(error)
    }
}

impl Derived {
    /// Lets everything go that was derived before an epoch.
    pub(super) fn begin(&mut self, epoch: u64) {
        if self.epoch < epoch {
            *self = Derived { epoch, tenants: HashMap::new() };
        }
    }

    /// Everything that was derived.
    fn all(&self) -> Vec<Arc<OfTenant>> {
        self.tenants.values().cloned().collect()
    }
}

impl Head {
    /// What the tenant has beyond a watermark.
    pub(crate) fn describe(&self, tenant: &TenantId, watermark: u64) -> Result<v1::DescribeTailResponse, TailError> {
        let derived = self.derived(tenant);
        let mut described = derived.described.lock();
        if described.after != watermark {
            *described = Described { after: watermark, through: watermark, describer: Describer::default() };
        }
        let kept = self.beyond(tenant, derived.epoch, described.through)?;
        if watermark < kept.after {
            return Err(TailError::Stale);
        }
        kept.pieces.iter().for_each(|(_, piece)| described.describer.add_piece(piece));
        described.through = described.through.max(kept.through);
        let through = described.through;
        let rows = (described.describer.items() > 0).then(|| described.describer.clone().finish(tenant));
        Ok(v1::DescribeTailResponse { through, rows })
    }

    /// The tenant's series.
    pub(crate) fn series(
        &self,
        tenant: &TenantId,
        request: &SeriesRequest<'_>,
    ) -> Result<Vec<RecordBatch>, SeriesError> {
        let derived = self.derived(tenant);
        let (after, through) = request.positions;
        let mut indexed = derived.series.read();
        if indexed.index.as_ref().is_none_or(|index| index.through() < through) {
            drop(indexed);
            self.index(tenant, &derived)?;
            indexed = derived.series.read();
        }
        match &indexed.index {
            Some(index) if index.through() < through => Err(TailError::NotLoaded.into()),
            Some(index) if index.after() <= after => Ok(index.read(request)?),
            // It was let go of since.
            _ => Err(TailError::Stale.into()),
        }
    }

    /// Takes what came since into the index of series.
    fn index(&self, tenant: &TenantId, derived: &OfTenant) -> Result<(), SeriesError> {
        let mut indexed = derived.series.write();
        let mut index = match indexed.index.take() {
            Some(index) => index,
            None => SeriesIndex::new(self.beyond(tenant, derived.epoch, u64::MAX)?.after),
        };
        let kept = self.beyond(tenant, derived.epoch, index.through())?;
        index.forget(kept.after)?;
        for (position, piece) in kept.pieces {
            index.push(position, piece)?;
        }
        index.passed(kept.through);
        indexed.reserved = Some(self.memory.reserve(index.bytes()));
        indexed.index = Some(index);
        Ok(())
    }

    /// Lets go of what was derived of entries up to a position. What is being read keeps it until the next time.
    pub(super) fn forget_derived(&self, through: u64) {
        let all = self.derived.lock().all();
        for derived in all {
            let Some(mut indexed) = derived.series.try_write() else { continue };
            // An index that cannot do that is made anew.
            let index = indexed.index.take().and_then(|mut index| index.forget(through).ok().map(|()| index));
            indexed.reserved = index.as_ref().map(|index| self.memory.reserve(index.bytes()));
            indexed.index = index;
        }
    }

    fn derived(&self, tenant: &TenantId) -> Arc<OfTenant> {
        let epoch = self.state.lock().epoch;
        let mut derived = self.derived.lock();
        derived.begin(epoch);
        let new = || {
            let series = RwLock::default();
            Arc::new(OfTenant { epoch, described: Mutex::default(), series })
        };
        derived.tenants.entry(tenant.clone()).or_insert_with(new).clone()
    }
}
