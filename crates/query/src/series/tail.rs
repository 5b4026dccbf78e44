//! Reading the series of one tail: which there are, the labels of those that nobody asked for yet, and the samples of
//! those that are wanted.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use bonghwa_block::Column;
use bonghwa_protocol::v1;
use foldhash::fast::FixedState;
use futures::TryStreamExt;

use super::cache::Known;
use super::columns::{self, Columns, Samples, Texts};
use super::gather::Gather;
use super::identity::Identity;
use super::read::{ROWS, Wanted, Within};
use crate::QueryError;
use crate::plan::TablePlan;
use crate::view::Tail;

/// More series are not asked for one by one, but all of them.
const MOST_IDS: usize = 1 << 16;

/// A tail of which something may be wanted.
pub(super) struct TailSeries<'a> {
    pub tail: &'a Tail,
    pub plan: &'a TablePlan,
    pub wanted: &'a Wanted,
    pub within: Within<'a>,
}

impl TailSeries<'_> {
    /// Reads those series that are wanted.
    pub async fn read(&self, gather: &mut Gather<'_>) -> Result<(), QueryError> {
        let ids = self.ids().await?;
        let mut known = gather.cache().series(&ids);
        self.learn(&ids, &mut known, gather).await?;
        let count = ids.len();
        let mut wanted: HashMap<u128, Arc<Identity>, FixedState> = HashMap::default();
        let (mut numbers, mut distributions) = (false, false);
        for (id, identity) in ids.into_iter().zip(known) {
            let Some(identity) = identity.flatten().filter(|identity| gather.wants(identity)) else { continue };
            if self.wanted.wants_samples() || identity.has_bounds() {
                numbers |= identity.is_number();
                distributions |= !identity.is_number();
                wanted.insert(id, identity);
            } else {
                gather.row(&identity, None, &Texts::default(), 0);
            }
        }
        self.within.check(gather)?;
        if wanted.is_empty() {
            return Ok(());
        }
        let lists = if self.wanted.wants_samples() {
            columns::lists(numbers, distributions)
        } else {
            vec![Column::List("buckets")]
        };
        let of: Vec<u128> = if wanted.len() == count { Vec::new() } else { wanted.keys().copied().collect() };
        let columns = std::iter::once(Column::Base("series_id")).chain(lists).collect();
        for batch in self.ask(columns, &of).await? {
            // An answer may have as many series as there are.
            for first in (0..batch.num_rows()).step_by(ROWS) {
                let batch = batch.slice(first, ROWS.min(batch.num_rows() - first));
                let (samples, texts) = (Samples::new(&batch)?, Texts::of_distributions(&batch)?);
                for (row, id) in ids_of(&batch)?.into_iter().enumerate() {
                    if let Some(identity) = wanted.get(&id) {
                        gather.row(identity, samples.as_ref(), &texts, row);
                    }
                }
                self.within.check(gather)?;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// The ids of all series that may be wanted, each once.
    async fn ids(&self) -> Result<Vec<u128>, QueryError> {
        let mut ids = Vec::new();
        for batch in self.ask(vec![Column::Base("series_id")], &[]).await? {
            ids.extend(ids_of(&batch)?);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Reads the labels of series of which nothing is known.
    async fn learn(
        &self,
        ids: &[u128],
        known: &mut [Option<Known>],
        gather: &mut Gather<'_>,
    ) -> Result<(), QueryError> {
        let unknown = ids.iter().zip(&*known).filter(|(_, known)| known.is_none());
        let unknown: Vec<u128> = unknown.map(|(id, _)| *id).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let mut read: HashMap<u128, Known, FixedState> = HashMap::default();
        for batch in self.ask(columns::of_labels().collect(), &unknown).await? {
            let columns = Columns::new(&batch)?;
            for row in 0..columns.rows {
                let id = columns.id(row);
                read.entry(id).or_insert_with(|| gather.read(&columns, row));
            }
            self.within.check(gather)?;
            tokio::task::yield_now().await;
        }
        let kept = gather.cache().keep_series(read.iter().map(|(id, known)| (*id, known.clone())).collect());
        for (known, kept) in read.values_mut().zip(kept) {
            *known = kept;
        }
        for (id, known) in ids.iter().zip(known).filter(|(_, known)| known.is_none()) {
            *known = read.get(id).cloned();
        }
        Ok(())
    }

    /// Asks the leader for columns of series: of these, or of all that may be wanted.
    async fn ask(&self, columns: Vec<Column>, of: &[u128]) -> Result<Vec<RecordBatch>, QueryError> {
        let predicate = &self.plan.request.predicate;
        let of = if of.len() > MOST_IDS { &[] } else { of };
        let request = v1::TailRequest {
            partition: self.tail.partition.clone(),
            tenant: self.plan.request.tenant.as_str().to_owned(),
            watermark: self.tail.watermark,
            through: self.tail.through,
            min_time: predicate.min_time,
            max_time: predicate.max_time,
            services: predicate.services.clone().unwrap_or_default(),
            metric_names: predicate.metric_names.clone().unwrap_or_default(),
            columns: columns.iter().map(Column::to_proto).collect(),
            by_series: true,
            series_ids: of.iter().flat_map(|id| id.to_be_bytes()).collect(),
        };
        let batches = self.tail.leader.tail(request).await?;
        Ok(batches.try_collect().await?)
    }
}

fn ids_of(batch: &RecordBatch) -> Result<Vec<u128>, QueryError> {
    let ids = columns::text(batch, "series_id")?;
    Ok((0..ids.len()).map(|row| columns::parse_id(ids.value(row))).collect())
}
