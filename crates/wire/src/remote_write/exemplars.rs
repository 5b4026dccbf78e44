//! Exemplars: they come apart from the samples that they are examples for, and find them at the end.

use std::collections::HashMap;
use std::ops::Range;

use bonghwa_model::json;
use bonghwa_model::metrics::MetricBatch;

use super::labels::text;
use crate::DecodeOptions;
use crate::any::{too_many, value_too_long};
use crate::decoded::Reason;
use crate::fault::{Fault, Result};

/// An exemplar as it was sent.
#[derive(Default)]
pub(crate) struct Exemplar<'a> {
    pub labels: Vec<(&'a [u8], &'a [u8])>,
    pub value: f64,
    /// Milliseconds; 0 for none.
    pub timestamp: i64,
}

/// A series that has exemplars: what its rows may be called, and its labels' numbers.
struct Series {
    identities: [[u64; 2]; 3],
    labels: Range<usize>,
}

/// One of them, as JSON.
struct Pending {
    series: usize,
    time: i64,
    json: Range<usize>,
}

/// Where an exemplar goes.
enum Place {
    Row(usize),
    /// No sample of the series is in the request: its own row.
    Nowhere,
}

/// The exemplars of a request.
#[derive(Default)]
pub(crate) struct Exemplars {
    pending: Vec<Pending>,
    series: Vec<Series>,
    numbers: HashMap<[u64; 2], usize, foldhash::fast::RandomState>,
    labels: Vec<u32>,
    json: Vec<u8>,
}

/// The exemplars of a series without a sample, for a row of their own.
pub(crate) struct Orphans {
    pub labels: Vec<u32>,
    pub time: i64,
    pub json: Vec<u8>,
}

impl Exemplars {
    /// Bytes of text that they will add to the batch.
    pub fn bytes(&self) -> usize {
        self.json.len()
    }

    /// Labels that they keep.
    pub fn entries(&self) -> usize {
        self.labels.len()
    }

    /// Keeps an exemplar of the series that has these identities (as each type of metric) and labels.
    pub fn add(
        &mut self,
        exemplar: &Exemplar<'_>,
        time: i64,
        identities: [[u64; 2]; 3],
        labels: &[u32],
        options: &DecodeOptions,
    ) -> Result<()> {
        let start = self.json.len();
        if let Err(fault) = write(&mut self.json, exemplar, time, options) {
            self.json.truncate(start);
            return Err(fault);
        }
        let series = *self.numbers.entry(identities[0]).or_insert_with(|| {
            let first = self.labels.len();
            self.labels.extend_from_slice(labels);
            self.series.push(Series { identities, labels: first..self.labels.len() });
            self.series.len() - 1
        });
        self.pending.push(Pending { series, time, json: start..self.json.len() });
        Ok(())
    }

    /// Gives the samples of `batch` their exemplars, and returns those of series without any.
    pub fn attach(&self, batch: &mut MetricBatch) -> Vec<Orphans> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let mut by_row: HashMap<usize, Vec<&Pending>> = HashMap::new();
        let mut orphans: HashMap<usize, Vec<&Pending>> = HashMap::new();
        let rows = self.rows(batch);
        for pending in &self.pending {
            match place(&rows[pending.series], pending.time) {
                Place::Row(row) => by_row.entry(row).or_default().push(pending),
                Place::Nowhere => orphans.entry(pending.series).or_default().push(pending),
            }
        }
        let mut by_row: Vec<_> = by_row.into_iter().collect();
        by_row.sort_unstable_by_key(|(row, _)| *row);
        for (row, list) in by_row {
            batch.exemplars[row] = batch.common.arena.push_with(|out| self.write_list(out, &list));
        }
        let mut orphans: Vec<_> = orphans.into_iter().collect();
        orphans.sort_unstable_by_key(|(series, _)| *series);
        let orphan = |(series, list): (usize, Vec<&Pending>)| {
            let mut json = Vec::new();
            self.write_list(&mut json, &list);
            let labels = self.labels[self.series[series].labels.clone()].to_vec();
            Orphans { labels, time: list.iter().map(|p| p.time).min().unwrap_or_default(), json }
        };
        orphans.into_iter().map(orphan).collect()
    }

    /// The samples of each series that has exemplars: time and row, by time.
    fn rows(&self, batch: &MetricBatch) -> Vec<Vec<(i64, usize)>> {
        let mut wanted: HashMap<[u64; 2], usize, foldhash::fast::RandomState> = HashMap::default();
        for (number, series) in self.series.iter().enumerate() {
            wanted.extend(series.identities.map(|identity| (identity, number)));
        }
        let mut rows = vec![Vec::new(); self.series.len()];
        for (row, (identity, time)) in batch.series.iter().zip(&batch.time).enumerate() {
            if let Some(series) = wanted.get(identity) {
                rows[*series].push((*time, row));
            }
        }
        for list in &mut rows {
            list.sort_unstable();
        }
        rows
    }

    fn write_list(&self, out: &mut Vec<u8>, list: &[&Pending]) {
        out.push(b'[');
        for (i, pending) in list.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&self.json[pending.json.clone()]);
        }
        out.push(b']');
    }
}

/// The last row at or before a time, else the first after it.
fn place(rows: &[(i64, usize)], time: i64) -> Place {
    let after = rows.partition_point(|(t, _)| *t <= time);
    match rows.get(after.saturating_sub(1)) {
        Some((_, row)) => Place::Row(*row),
        None => Place::Nowhere,
    }
}

fn write(out: &mut Vec<u8>, exemplar: &Exemplar<'_>, time: i64, options: &DecodeOptions) -> Result<()> {
    if exemplar.labels.len() > options.attributes.count {
        return Err(too_many(&options.attributes).under("labels"));
    }
    let bytes = exemplar.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > options.attributes.value_bytes {
        return Err(value_too_long(bytes, &options.attributes).under("labels"));
    }
    let mut labels: Vec<(&str, &str)> = Vec::with_capacity(exemplar.labels.len());
    for (at, (name, value)) in exemplar.labels.iter().enumerate() {
        let text = |bytes| text(bytes).map_err(|f| f.under(format!("labels[{at}]")));
        let (name, value) = (text(name)?, text(value)?);
        if labels.iter().any(|(known, _)| *known == name) {
            return Err(Fault::rejected(
                Reason::DuplicateLabel,
                "labels",
                format!("has {name:?} twice: a label's name is unique"),
            ));
        }
        labels.push((name, value));
    }
    let mut id = |name: &str, digits: usize| {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let fits = |v: &str| v.len() == digits && v.bytes().all(is_digit) && v.bytes().any(|b| b != b'0');
        let at = labels.iter().position(|(known, value)| *known == name && fits(value))?;
        Some(labels.remove(at).1)
    };
    let (trace_id, span_id) = (id("trace_id", 32), id("span_id", 16));
    out.extend_from_slice(b"{\"time_unix_nano\":");
    json::write_i64(out, time);
    out.extend_from_slice(b",\"value\":");
    json::write_f64(out, exemplar.value);
    out.extend_from_slice(b",\"trace_id\":\"");
    out.extend_from_slice(trace_id.unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\",\"span_id\":\"");
    out.extend_from_slice(span_id.unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\",\"attributes\":{");
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        json::write_str(out, name);
        out.push(b':');
        json::write_str(out, value);
    }
    out.extend_from_slice(b"}}");
    Ok(())
}
