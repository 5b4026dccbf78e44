//! Reading the series of one block: what is kept of its labels tells which rows are wanted, and of those only
//! the samples are read.

use std::sync::Arc;

use arrow_array::Array;
use bonghwa_block::{BlockReader, Column, Numbers, RowRange};
use bonghwa_model::TenantId;
use bonghwa_model::prometheus_names::may_be_called;
use futures::TryStreamExt;

use super::cache::{Known, Names, OfTenant, Rows};
use super::columns::{self, Columns, Samples, Texts};
use super::gather::Gather;
use super::granule::Granule;
use super::identity::Identity;
use super::read::{Wanted, Within};
use crate::QueryError;

/// Granules whose names are looked at together.
const GRANULES_BY_NAME: usize = 256;
/// Granules of which no labels are kept whose labels are read without asking filters.
const FEW_GRANULES: usize = 4;
/// Granules whose rows are looked at together: what a read holds of labels that are not kept.
const GRANULES: usize = 16;
/// Samples between two looks at what was gathered.
const SAMPLES: u64 = 64 * 1024;
/// Rows between two that are wanted that are read with them: to pass over fewer costs more.
const GAP: usize = 16;

/// A block of which some granules are left.
pub(super) struct Block<'a> {
    pub reader: &'a BlockReader,
    pub tenant: &'a TenantId,
    pub wanted: &'a Wanted,
    pub within: Within<'a>,
}

impl Block<'_> {
    /// Reads those series of these granules that are wanted.
    pub async fn read(&self, granules: &[RowRange], gather: &mut Gather<'_>) -> Result<(), QueryError> {
        let path: Arc<str> = self.reader.block().path.as_str().into();
        let named = match self.wanted.metric_names() {
            Some(names) => Some(self.named(&path, granules, &names, gather.cache()).await?),
            None => None,
        };
        let granules = self.filtered(&path, named.as_deref().unwrap_or(granules), gather.cache()).await?;
        for granules in granules.chunks(GRANULES) {
            if self.within.has_enough() {
                break;
            }
            let rows = self.identities(&path, granules, gather).await?;
            self.samples(granules, &rows, gather).await?;
        }
        Ok(())
    }

    /// Those granules that hold metrics which may be called one of these names.
    async fn named(
        &self,
        path: &Arc<str>,
        granules: &[RowRange],
        wanted: &[String],
        cache: OfTenant<'_>,
    ) -> Result<Vec<RowRange>, QueryError> {
        let mut left = Vec::new();
        for granules in granules.chunks(GRANULES_BY_NAME) {
            let mut names = cache.names(path, granules);
            let unknown: Vec<RowRange> = missing(granules, &names);
            let mut read = self.names(&unknown).await?.into_iter();
            for (granule, names) in granules.iter().zip(&mut names).filter(|(_, names)| names.is_none()) {
                *names = read.next().inspect(|read| cache.keep_names(path, granule, read.clone()));
            }
            let may_be = |names: &Names| names.iter().any(|name| wanted.iter().any(|w| may_be_called(name, w)));
            let named = granules.iter().zip(&names).filter(|(_, names)| names.as_ref().is_some_and(may_be));
            left.extend(named.map(|(granule, _)| granule.clone()));
        }
        Ok(left)
    }

    /// Without those granules of which no labels are kept, and filters tell that nothing in them is wanted.
    async fn filtered(
        &self,
        path: &Arc<str>,
        granules: &[RowRange],
        cache: OfTenant<'_>,
    ) -> Result<Vec<RowRange>, QueryError> {
        let kept = cache.has_rows(path, granules);
        if kept.iter().filter(|kept| !**kept).count() <= FEW_GRANULES {
            return Ok(granules.to_vec());
        }
        let of =
            |which: bool| granules.iter().zip(&kept).filter(move |(_, kept)| **kept == which).map(|(g, _)| g.clone());
        let mut unknown: Vec<RowRange> = of(false).collect();
        for any in self.wanted.tokens() {
            unknown = self.reader.granules_with(unknown, &any).await?;
        }
        let mut left: Vec<RowRange> = of(true).chain(unknown).collect();
        left.sort_by_key(|granule| (granule.row_group, granule.rows.start));
        Ok(left)
    }

    /// Reads the names of granules' metrics.
    async fn names(&self, granules: &[RowRange]) -> Result<Vec<Names>, QueryError> {
        let mut all: Vec<Vec<Arc<str>>> = Vec::new();
        let mut left = 0;
        let mut sizes = granules.iter().map(|granule| granule.rows.len());
        self.texts(granules, "name", |name| {
            if left == 0 {
                left = sizes.next().unwrap_or(usize::MAX);
                all.push(Vec::new());
            }
            left -= 1;
            // Rows are sorted by name.
            if let Some(names) = all.last_mut().filter(|names| names.last().is_none_or(|last| **last != *name)) {
                names.push(name.into());
            }
        })
        .await?;
        Ok(all.into_iter().map(Names::from).collect())
    }

    /// The identities of the rows of granules, from what is kept or from the block.
    async fn identities(
        &self,
        path: &Arc<str>,
        granules: &[RowRange],
        gather: &mut Gather<'_>,
    ) -> Result<Vec<Rows>, QueryError> {
        let cache = gather.cache();
        let mut rows = cache.rows(path, granules);
        let unknown = missing(granules, &rows);
        if !unknown.is_empty() {
            let mut read = self.read_identities(&unknown, gather).await?.into_iter();
            for (granule, rows) in granules.iter().zip(&mut rows).filter(|(_, rows)| rows.is_none()) {
                let of_granule: Rows = Granule::new(read.by_ref().take(granule.rows.len()).collect()).into();
                cache.keep_rows(path, granule, of_granule.clone());
                *rows = Some(of_granule);
            }
        }
        Ok(rows.into_iter().flatten().collect())
    }

    /// The identities of all rows of granules: by their ids, or by their labels where an id is new.
    async fn read_identities(&self, granules: &[RowRange], gather: &mut Gather<'_>) -> Result<Vec<Known>, QueryError> {
        let mut ids = Vec::with_capacity(granules.iter().map(|granule| granule.rows.len()).sum());
        self.texts(granules, "series_id", |text| ids.push(columns::parse_id(text))).await?;
        let mut known = gather.cache().series(&ids);
        let mut picked = Picked::new(0);
        let rows = granules.iter().flat_map(|granule| granule.rows.clone().map(move |row| (granule.row_group, row)));
        for (at, (row_group, row)) in rows.enumerate().filter(|(at, _)| known[*at].is_none()) {
            picked.push(row_group, row, at);
        }
        let of_labels: Vec<Column> = columns::of_labels().collect();
        let mut read = Vec::with_capacity(picked.rows.len());
        let plan = self.reader.plan_rows(self.tenant, &of_labels, &picked.ranges)?;
        let mut batches = self.reader.scan(plan);
        while let Some(batch) = batches.try_next().await? {
            let columns = Columns::new(&batch)?;
            read.extend((0..columns.rows).map(|row| (columns.id(row), gather.read(&columns, row))));
            self.within.check(gather)?;
        }
        if read.len() != picked.rows.len() {
            return Err(lost_rows());
        }
        for (at, identity) in picked.rows.into_iter().flatten().zip(gather.cache().keep_series(read)) {
            known[at] = Some(identity);
        }
        Ok(known.into_iter().map(Option::flatten).collect())
    }

    /// Reads the samples of those rows that are wanted.
    async fn samples(&self, granules: &[RowRange], rows: &[Rows], gather: &mut Gather<'_>) -> Result<(), QueryError> {
        let mut picked: Picked<&Identity> = Picked::new(GAP);
        let (mut numbers, mut distributions) = (false, false);
        for (granule, known) in granules.iter().zip(rows) {
            let may = gather.may_want(known);
            let may = granule.rows.clone().zip(&known.rows).zip(may).filter(|(_, may)| *may);
            for ((row, identity), _) in may {
                let Some(identity) = identity.as_ref().filter(|identity| gather.wants(identity)) else { continue };
                if self.wanted.wants_samples() || identity.has_bounds() {
                    numbers |= identity.is_number();
                    distributions |= !identity.is_number();
                    picked.push(granule.row_group, row, &**identity);
                } else {
                    gather.row(identity, None, &Texts::default(), row);
                }
            }
        }
        self.within.check(gather)?;
        if picked.ranges.is_empty() {
            return Ok(());
        }
        if self.wanted.wants_samples() && !distributions && !gather.is_info() {
            let numbers = self.reader.numbers(self.tenant, &picked.ranges).await?;
            if let Some(numbers) = numbers {
                return self.numbers(numbers, picked.rows, gather).await;
            }
        }
        let lists = if self.wanted.wants_samples() {
            columns::lists(numbers, distributions)
        } else {
            vec![Column::List("buckets")]
        };
        let mut batches = self.reader.scan(self.reader.plan_rows(self.tenant, &lists, &picked.ranges)?);
        let mut rows = picked.rows.into_iter();
        while let Some(batch) = batches.try_next().await? {
            let (samples, texts) = (Samples::new(&batch)?, Texts::of_distributions(&batch)?);
            for row in 0..batch.num_rows() {
                if let Some(identity) = rows.next().ok_or_else(lost_rows)? {
                    gather.row(identity, samples.as_ref(), &texts, row);
                }
            }
            self.within.check(gather)?;
            tokio::task::yield_now().await;
        }
        if rows.next().is_some() { Err(lost_rows()) } else { Ok(()) }
    }

    /// Takes in rows that are numbers, of which only some are wanted.
    async fn numbers(
        &self,
        mut numbers: Numbers,
        rows: Vec<Option<&Identity>>,
        gather: &mut Gather<'_>,
    ) -> Result<(), QueryError> {
        let mut samples = 0;
        for identity in rows {
            let Some(identity) = identity else {
                numbers.skip();
                continue;
            };
            let row = numbers.next_row()?.ok_or_else(lost_rows)?;
            samples += row.len() as u64;
            gather.numbers(identity, &row);
            if samples >= SAMPLES {
                samples = 0;
                self.within.check(gather)?;
                tokio::task::yield_now().await;
            }
        }
        self.within.check(gather)
    }

    /// Reads a column of text of all rows of granules.
    async fn texts(
        &self,
        granules: &[RowRange],
        column: &'static str,
        mut each: impl FnMut(&str),
    ) -> Result<(), QueryError> {
        let rows: usize = granules.iter().map(|granule| granule.rows.len()).sum();
        if rows == 0 {
            return Ok(());
        }
        let mut read = 0;
        let plan = self.reader.plan_rows(self.tenant, &[Column::Base(column)], granules)?;
        let mut batches = self.reader.scan(plan);
        while let Some(batch) = batches.try_next().await? {
            let texts = columns::text(&batch, column)?;
            (0..texts.len()).for_each(|row| each(texts.value(row)));
            read += texts.len();
        }
        if read == rows { Ok(()) } else { Err(lost_rows()) }
    }
}

/// The granules of which nothing is known.
fn missing<T>(granules: &[RowRange], known: &[Option<T>]) -> Vec<RowRange> {
    let unknown = granules.iter().zip(known).filter(|(_, known)| known.is_none());
    unknown.map(|(granule, _)| granule.clone()).collect()
}

/// Rows of a block to read, and what each is; none of those between them.
struct Picked<T> {
    gap: usize,
    ranges: Vec<RowRange>,
    rows: Vec<Option<T>>,
}

impl<T> Picked<T> {
    /// Rows between two that are picked are read with them, up to so many.
    fn new(gap: usize) -> Self {
        Picked { gap, ranges: Vec::new(), rows: Vec::new() }
    }

    /// Picks a row that comes after all others.
    fn push(&mut self, row_group: usize, row: usize, what: T) {
        let near = |last: &&mut RowRange| last.row_group == row_group && row - last.rows.end <= self.gap;
        match self.ranges.last_mut().filter(near) {
            Some(last) => {
                self.rows.extend((last.rows.end..row).map(|_| None));
                last.rows.end = row + 1;
            }
            None => self.ranges.push(RowRange { row_group, rows: row..row + 1 }),
        }
        self.rows.push(Some(what));
    }
}

fn lost_rows() -> QueryError {
    QueryError::Internal("a block gave other rows than were asked for".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_near_are_read_together() {
        let mut picked = Picked::new(2);
        for (row_group, row) in [(0, 1), (0, 2), (0, 5), (0, 9), (1, 10), (1, 11)] {
            picked.push(row_group, row, row);
        }
        let ranges: Vec<_> = picked.ranges.iter().map(|range| (range.row_group, range.rows.clone())).collect();
        assert_eq!(ranges, [(0, 1..6), (0, 9..10), (1, 10..12)]);
        assert_eq!(picked.rows, [Some(1), Some(2), None, None, Some(5), Some(9), Some(10), Some(11)]);
    }
}
