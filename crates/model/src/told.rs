//! Of which series batches have told, so that those that follow need not.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::batch::{Batch, Group};
use crate::metrics::{MetricBatch, PointKind};
use crate::thin::{Piece, ThinBatch};

/// A row that tells of a series: the number of its batch, and the row there.
type Place = (u32, u32);

const NOWHERE: Place = (u32::MAX, u32::MAX);

/// Where one tenant's series were told of. It keeps those batches alive, as samples that refer to them do.
#[derive(Default)]
pub struct Told {
    tellers: Vec<Arc<Batch>>,
    series: HashMap<[u64; 2], Place, FixedState>,
}

impl Told {
    /// Takes in a batch that came after all others: what is to be kept of it, in the order in which it is to be read.
    /// Where rows of a series have the same time, their order stays.
    pub fn thin(&mut self, batch: &Arc<Batch>) -> Vec<Piece> {
        let Batch::Metrics(metrics) = &**batch else { return vec![batch.clone().into()] };
        let places = self.places(metrics);
        let whole: Vec<u32> = (0..).zip(&places).filter(|(_, place)| **place == NOWHERE).map(|(row, _)| row).collect();
        let samples = places.len() - whole.len();
        if samples == 0 || places.len() != metrics.rows() {
            self.remember(batch);
            return vec![batch.clone().into()];
        }
        let mut pieces = Vec::with_capacity(2);
        if !whole.is_empty() {
            let mut rest = metrics.take(&whole);
            rest.shrink_to_fit();
            let rest = Arc::new(Batch::Metrics(rest));
            self.remember(&rest);
            pieces.push(rest.into());
        }
        pieces.push(Piece::Thin(Arc::new(self.samples(metrics, &places, samples))));
        pieces
    }

    /// Bytes allocated, roughly, without the batches.
    pub fn heap_bytes(&self) -> usize {
        // Of a table an eighth stays free, and each place has a byte of its own.
        self.series.capacity() * (size_of::<([u64; 2], Place)>() + 1) * 8 / 7
            + self.tellers.capacity() * size_of::<Arc<Batch>>()
    }

    /// By row, what tells of its series; nowhere for rows that are to be kept whole.
    fn places(&self, batch: &MetricBatch) -> Vec<Place> {
        let mut places = Vec::with_capacity(batch.series.len());
        let mut same = Same::new(batch);
        // A series of which one row stays whole has none that is thin: all of them would come before it, or after.
        let mut whole: HashSet<[u64; 2], FixedState> = HashSet::default();
        for (number, (group, rows)) in batch.common.group_ranges().enumerate() {
            for row in rows {
                let place = match self.series.get(&batch.series[row]) {
                    None => NOWHERE,
                    Some(place)
                        if is_number(batch, row) && self.tells(*place, batch, row, (number, group), &mut same) =>
                    {
                        *place
                    }
                    Some(_) => {
                        whole.insert(batch.series[row]);
                        NOWHERE
                    }
                };
                places.push(place);
            }
        }
        if !whole.is_empty() {
            let of_whole = batch.series.iter().zip(&mut places).filter(|(series, _)| whole.contains(*series));
            of_whole.for_each(|(_, place)| *place = NOWHERE);
        }
        places
    }

    /// Whether a row tells all of a number of its series but for time, start and value.
    fn tells(
        &self,
        (number, at): Place,
        batch: &MetricBatch,
        row: usize,
        (group_number, group): (usize, Group),
        same: &mut Same,
    ) -> bool {
        let Batch::Metrics(teller) = &*self.tellers[number as usize] else { return false };
        if teller.point_kind[at as usize] != batch.point_kind[row] {
            return false;
        }
        let (metric, mine) = (teller.metric[at as usize], batch.metric[row] as usize);
        if same.metrics[mine] != (number, metric) {
            if teller.metrics[metric as usize] != batch.metrics[mine] {
                return false;
            }
            same.metrics[mine] = (number, metric);
        }
        let owner = teller.common.groups.partition_point(|group| group.end <= at);
        if same.groups[group_number] != (number, owner as u32) {
            let theirs = teller.common.groups[owner];
            let (resources, scopes) = (&teller.common.resources, &teller.common.scopes);
            if resources[theirs.resource as usize] != batch.common.resources[group.resource as usize]
                || scopes[theirs.scope as usize] != batch.common.scopes[group.scope as usize]
            {
                return false;
            }
            same.groups[group_number] = (number, owner as u32);
        }
        true
    }

    /// From now on the numbers in a batch tell of their series.
    fn remember(&mut self, batch: &Arc<Batch>) {
        let Batch::Metrics(metrics) = &**batch else { return };
        let number = self.tellers.len() as u32;
        let mut tells = false;
        for (row, series) in metrics.series.iter().enumerate().filter(|(row, _)| is_number(metrics, *row)) {
            self.series.insert(*series, (number, row as u32));
            tells = true;
        }
        if tells {
            self.tellers.push(batch.clone());
        }
    }

    fn samples(&self, batch: &MetricBatch, places: &[Place], samples: usize) -> ThinBatch {
        let mut thin = ThinBatch::with_capacity(samples);
        let mut numbers: Vec<Option<usize>> = vec![None; self.tellers.len()];
        for (row, (number, at)) in places.iter().enumerate().filter(|(_, place)| **place != NOWHERE) {
            let teller = &mut numbers[*number as usize];
            *teller = teller.or_else(|| thin.add_teller(self.tellers[*number as usize].clone()));
            if let Some(teller) = *teller {
                thin.push((teller, *at as usize), batch, row);
            }
        }
        thin.shrink_to_fit();
        thin
    }
}

/// Whether a point is a value at a time, and nothing more.
fn is_number(batch: &MetricBatch, row: usize) -> bool {
    matches!(PointKind::from_u8(batch.point_kind[row]), Some(PointKind::Int | PointKind::Double))
        && batch.flags[row] == 0
        && batch.buckets[row].is_empty()
        && batch.exemplars[row].is_empty()
        && batch.count[row] == 0
        && batch.sum[row].to_bits() == 0
}

/// What was found to be the same in a teller: neighbours mostly have that in common.
struct Same {
    /// By metric of the batch: a teller, and the metric there.
    metrics: Vec<Place>,
    /// By group of the batch: a teller, and a group there of the same resource and scope.
    groups: Vec<Place>,
}

impl Same {
    fn new(batch: &MetricBatch) -> Self {
        Same { metrics: vec![NOWHERE; batch.metrics.len()], groups: vec![NOWHERE; batch.common.groups.len()] }
    }
}

#[cfg(test)]
mod tests;
