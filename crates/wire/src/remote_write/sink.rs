//! The batch in the making: what both versions of remote write do with a series once its labels are read.

use std::collections::HashMap;

use bonghwa_model::metrics::{Metric, MetricBatch, MetricRow, MetricType, PointKind};
use bonghwa_model::prometheus::{NAME_LABEL, resource, scope};
use bonghwa_model::refs::Arena;
use bonghwa_model::{Kind, heartbeat};

use super::exemplars::{Exemplar, Exemplars};
use super::histograms::Histogram;
use super::labels::{Labels, Role};
use super::metadata::Families;
use super::schema::sample;
use super::times::{self, Times};
use super::{Received, Replica, Written};
use crate::cursor::Cursor;
use crate::decoded::{Reason, Tally};
use crate::envelope::check_text;
use crate::fault::{Fault, Result};
use crate::heartbeat::reserved;
use crate::resource::UNKNOWN_SERVICE;
use crate::{DecodeOptions, Decoded, series};

/// No label.
const NONE: u32 = u32::MAX;

/// What a series carries, still encoded.
#[derive(Default)]
pub(crate) struct Items<'a> {
    pub samples: Vec<&'a [u8]>,
    pub histograms: Vec<&'a [u8]>,
    pub exemplars: Vec<&'a [u8]>,
    /// Milliseconds; when counting began for those that do not say themselves.
    pub start: i64,
}

impl Items<'_> {
    /// Empties it.
    pub fn clear(&mut self) {
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.start = 0;
    }

    fn len(&self) -> usize {
        self.samples.len() + self.histograms.len() + self.exemplars.len()
    }

    /// Refuses what is more than a request may have.
    #[inline(always)]
    pub fn check(&self, options: &DecodeOptions) -> Result<()> {
        if self.len() > options.max_records {
            return Err(too_many_records(options));
        }
        Ok(())
    }
}

/// The current series, ready to be copied into rows.
#[derive(Default)]
struct Current {
    keys: Vec<u32>,
    kinds: Vec<u8>,
    values: Vec<u64>,
    /// Of its attributes.
    hash: u128,
    /// The label that names the metric.
    name: u32,
    resource: u32,
    /// The metric that its last row had.
    metric: Option<(MetricType, u32, u128)>,
}

/// A batch of series in the making.
pub(crate) struct Sink<'a> {
    pub batch: MetricBatch,
    pub labels: Labels<'a>,
    pub families: Families<'a>,
    pub options: &'a DecodeOptions,
    /// Number of the current series in the request.
    pub at: usize,
    tally: Tally,
    written: Written,
    times: Times,
    current: Current,
    /// Keys in the order of their names, as a series had them.
    in_order: Vec<u32>,
    senders: Senders,
    metrics: HashMap<(u32, MetricType), u32, foldhash::fast::RandomState>,
    exemplars: Exemplars,
    histogram: Histogram,
    /// The labels that name cluster and replica of the sender.
    replica: Option<(u32, u32)>,
}

/// The resources of a request, by job and instance.
#[derive(Default)]
struct Senders {
    known: HashMap<(u32, u32), u32, foldhash::fast::RandomState>,
    last: Option<((u32, u32), u32)>,
    /// Their hashes.
    hashes: Vec<u128>,
    /// The hashes of their metrics.
    metrics: HashMap<(u32, u32), u128, foldhash::fast::RandomState>,
    bytes: usize,
}

impl<'a> Sink<'a> {
    /// Empty.
    pub fn new(options: &'a DecodeOptions) -> Self {
        let mut batch = MetricBatch::default();
        batch.common.scopes.push(scope());
        Sink {
            batch,
            labels: Labels::default(),
            families: Families::default(),
            options,
            at: 0,
            tally: Tally::default(),
            written: Written::default(),
            times: Times::new(options),
            current: Current::default(),
            in_order: Vec::new(),
            senders: Senders::default(),
            metrics: HashMap::default(),
            exemplars: Exemplars::default(),
            histogram: Histogram::default(),
            replica: None,
        }
    }

    /// Takes a series. `read` reads one of its exemplars.
    pub fn take(
        &mut self,
        labels: &[u32],
        items: &Items<'a>,
        read: impl Fn(&'a [u8]) -> Result<Exemplar<'a>>,
    ) -> Result<()> {
        if items.len() == 0 {
            return Ok(());
        }
        if let Err(fault) = self.open(labels) {
            return self.reject(fault, labels, items);
        }
        for (at, bytes) in items.samples.iter().enumerate() {
            if let Err(fault) = self.sample(bytes, items.start) {
                self.reject_one(fault.under(format!("samples[{at}]")), labels)?;
            }
        }
        for (at, bytes) in items.histograms.iter().enumerate() {
            if let Err(fault) = self.histogram(bytes, items.start) {
                self.reject_one(fault.under(format!("histograms[{at}]")), labels)?;
            }
        }
        let resource = self.current.resource;
        self.batch.common.close_group(resource, 0, self.batch.rows() as u32);
        for (at, bytes) in items.exemplars.iter().enumerate() {
            if let Err(fault) = self.exemplar(bytes, labels, &read) {
                self.reject_one(fault.under(format!("exemplars[{at}]")), labels)?;
            }
        }
        check_text(&self.batch.common, self.options)
    }

    /// Rejects all that a series carries.
    #[cold]
    pub fn reject(&mut self, fault: Box<Fault>, labels: &[u32], items: &Items<'_>) -> Result<()> {
        let fault = self.in_series(fault, labels);
        self.tally.reject(fault, items.len() as u64)
    }

    #[cold]
    fn reject_one(&mut self, fault: Box<Fault>, labels: &[u32]) -> Result<()> {
        let fault = self.in_series(fault, labels);
        self.tally.reject(fault, 1)
    }

    /// Rejects what is beside the series.
    #[cold]
    pub fn reject_other(&mut self, fault: Box<Fault>) -> Result<()> {
        self.tally.reject(fault, 1)
    }

    fn in_series(&self, fault: Box<Fault>, labels: &[u32]) -> Box<Fault> {
        let shown = self.labels.shown(labels);
        let space = if shown.is_empty() { "" } else { " " };
        fault.under(format!("timeseries[{}]{space}{shown}", self.at))
    }

    /// Makes a series the current one.
    #[inline(always)]
    fn open(&mut self, labels: &[u32]) -> Result<()> {
        let current = &mut self.current;
        current.keys.clear();
        current.values.clear();
        current.hash = 0;
        current.metric = None;
        let (mut name, mut job, mut instance) = (NONE, NONE, NONE);
        let (mut cluster, mut replica) = (NONE, NONE);
        let mut has_source = false;
        for number in labels {
            let label = self.labels.get(*number);
            match label.role {
                Role::Empty => continue,
                Role::Name if name == NONE => {
                    name = *number;
                    continue;
                }
                Role::Name => return Err(twice(NAME_LABEL)),
                Role::Job => job = *number,
                Role::Instance => instance = *number,
                Role::Attribute => {}
                Role::Source => has_source = true,
                Role::Cluster => cluster = *number,
                Role::Replica => {
                    replica = *number;
                    continue;
                }
            }
            current.keys.push(label.key);
            current.values.push(label.stored.0);
            current.hash = current.hash.wrapping_add(label.hash);
        }
        if name == NONE {
            let text = "have no __name__: name the metric";
            return Err(Fault::rejected(Reason::MissingName, "labels", text));
        }
        current.name = name;
        if has_source && self.labels.get(name).value == heartbeat::METRIC {
            return Err(reserved("labels"));
        }
        if replica != NONE {
            self.sent_by(cluster, replica)?;
        }
        let current = &mut self.current;
        current.kinds.resize(current.keys.len(), Kind::Str as u8);
        if current.keys != self.in_order {
            self.sort()?;
        }
        self.current.resource = self.resource(job, instance)?;
        Ok(())
    }

    /// Heeds the label that names a replica; where the cluster is not named it is a label like others.
    #[inline(never)]
    fn sent_by(&mut self, cluster: u32, replica: u32) -> Result<()> {
        if cluster == NONE {
            let label = self.labels.get(replica);
            self.current.keys.push(label.key);
            self.current.values.push(label.stored.0);
            self.current.hash = self.current.hash.wrapping_add(label.hash);
            return Ok(());
        }
        match self.replica {
            None => self.replica = Some((cluster, replica)),
            Some(known) if known == (cluster, replica) => {}
            Some((known_cluster, known_replica)) => {
                let value = |label: u32| self.labels.get(label).value;
                if (value(known_cluster), value(known_replica)) != (value(cluster), value(replica)) {
                    let text = format!(
                        "name the replica {:?} of {:?}, and others of the request name {:?} of {:?}: send those of one \
                         replica at a time",
                        value(replica),
                        value(cluster),
                        value(known_replica),
                        value(known_cluster)
                    );
                    return Err(Fault::rejected(Reason::InvalidLabel, "labels", text));
                }
            }
        }
        Ok(())
    }

    /// Sorts the current series' attributes by name.
    #[inline(never)]
    fn sort(&mut self) -> Result<()> {
        let names = self.batch.common.keys.names();
        let current = &mut self.current;
        let mut entries: Vec<(u32, u64)> = current.keys.iter().copied().zip(current.values.iter().copied()).collect();
        let name = |entry: &(u32, u64)| names[entry.0 as usize].as_str();
        if !entries.is_sorted_by_key(name) {
            entries.sort_by_key(name);
        }
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(twice(name(&pair[0])));
        }
        (current.keys, current.values) = entries.into_iter().unzip();
        self.in_order.clone_from(&current.keys);
        Ok(())
    }

    fn resource(&mut self, job: u32, instance: u32) -> Result<u32> {
        let senders = &mut self.senders;
        if let Some((key, number)) = senders.last
            && key == (job, instance)
        {
            return Ok(number);
        }
        let number = match senders.known.get(&(job, instance)) {
            Some(number) => *number,
            None => {
                let number = senders.hashes.len();
                if number >= self.options.max_senders {
                    let what = format!("a request with over {number} distinct jobs and instances");
                    return Err(Fault::too_large(what, self.options.max_senders, "max_senders"));
                }
                let text = |label: u32| if label == NONE { "" } else { self.labels.get(label).value };
                let (job_text, instance_text) = (text(job), text(instance));
                senders.bytes += 2 * job_text.len() + instance_text.len();
                if senders.bytes > self.options.max_text_bytes {
                    let what = format!("a request whose jobs and instances have {} bytes of text", senders.bytes);
                    return Err(Fault::too_large(what, self.options.max_text_bytes, "max_text_bytes"));
                }
                let resource = resource(job_text, instance_text, UNKNOWN_SERVICE);
                senders.hashes.push(series::sender(&resource, &self.batch.common.scopes[0]));
                self.batch.common.resources.push(resource);
                senders.known.insert((job, instance), number as u32);
                number as u32
            }
        };
        senders.last = Some(((job, instance), number));
        Ok(number)
    }

    /// Adds a row of the current series.
    #[inline(always)]
    fn push(&mut self, metric_type: MetricType, row: MetricRow) -> Result<()> {
        let entries = self.batch.attributes.keys.len() + self.current.keys.len() + self.exemplars.entries();
        if entries > self.options.max_entries {
            let what = format!("a request whose samples have {entries} or more labels");
            return Err(Fault::too_large(what, self.options.max_entries, "max_entries"));
        }
        if self.batch.rows() >= self.options.max_records {
            return Err(too_many_records(self.options));
        }
        let (metric, hash) = match self.current.metric {
            Some((known, metric, hash)) if known == metric_type => (metric, hash),
            _ => self.metric(metric_type),
        };
        let attributes = &mut self.batch.attributes;
        attributes.keys.extend_from_slice(&self.current.keys);
        attributes.kinds.extend_from_slice(&self.current.kinds);
        attributes.values.extend_from_slice(&self.current.values);
        self.batch.push_row(MetricRow { metric, series: series::identity(hash, self.current.hash), ..row });
        Ok(())
    }

    /// The current series' metric as this type: its number in the batch, and its hash.
    #[inline(never)]
    fn metric(&mut self, metric_type: MetricType) -> (u32, u128) {
        let (name, resource) = (self.current.name, self.current.resource);
        let metrics = &mut self.batch.metrics;
        let number = *self.metrics.entry((name, metric_type)).or_insert_with(|| {
            metrics.push(metric(self.labels.get(name).value, metric_type));
            metrics.len() as u32 - 1
        });
        let sender = self.senders.hashes[resource as usize];
        let hash = self.senders.metrics.entry((resource, number));
        let hash = *hash.or_insert_with(|| series::metric(sender, &metrics[number as usize]));
        self.current.metric = Some((metric_type, number, hash));
        (number, hash)
    }

    #[inline(always)]
    fn sample(&mut self, bytes: &[u8], mut start: i64) -> Result<()> {
        let (mut value, mut timestamp) = (0, 0);
        let mut c = Cursor::new(bytes, &sample::MESSAGE);
        while c.more() {
            match c.tag()? {
                sample::value => value = c.fixed64()?,
                sample::timestamp => timestamp = c.varint()? as i64,
                sample::start_timestamp => start = c.varint()? as i64,
                _ => c.skip()?,
            }
        }
        let time = self.times.check(timestamp, "timestamp")?;
        let start_time = times::start(start);
        let row = MetricRow { time, start_time, value, point_kind: PointKind::Double, ..Default::default() };
        self.push(MetricType::Gauge, row)?;
        self.written.samples += 1;
        Ok(())
    }

    fn histogram(&mut self, bytes: &[u8], start: i64) -> Result<()> {
        let limit = self.options.max_buckets;
        self.histogram.read(bytes, limit)?;
        let time = self.times.check(self.histogram.timestamp, "timestamp")?;
        let start = if self.histogram.start == 0 { start } else { self.histogram.start };
        let start_time = times::start(start);
        let (metric_type, row) = self.histogram.take(&mut self.batch.common.arena, limit)?;
        check_text(&self.batch.common, self.options)?;
        self.push(metric_type, MetricRow { time, start_time, ..row })?;
        self.written.histograms += 1;
        Ok(())
    }

    fn exemplar(
        &mut self,
        bytes: &'a [u8],
        labels: &[u32],
        read: impl Fn(&'a [u8]) -> Result<Exemplar<'a>>,
    ) -> Result<()> {
        let exemplar = read(bytes)?;
        // Without a time of its own it has that of the sample that it comes with.
        let time = match (exemplar.timestamp, self.batch.time.last(), self.current.metric) {
            (0, Some(last), Some(_)) => *last,
            (millis, ..) => self.times.check(millis, "timestamp")?,
        };
        let sender = self.senders.hashes[self.current.resource as usize];
        let name = self.labels.get(self.current.name).value;
        let types = [MetricType::Gauge, MetricType::ExponentialHistogram, MetricType::Histogram];
        let identities = types.map(|t| series::identity(series::metric(sender, &metric(name, t)), self.current.hash));
        self.exemplars.add(&exemplar, time, identities, labels, self.options)?;
        let bytes = self.exemplars.bytes() + self.batch.common.arena.len();
        if bytes > self.options.max_text_bytes {
            let what = format!("a request that unpacks to {bytes} bytes of text");
            return Err(Fault::too_large(what, self.options.max_text_bytes, "max_text_bytes"));
        }
        self.written.exemplars += 1;
        Ok(())
    }

    /// Ends the request.
    pub fn finish(mut self) -> Result<Received> {
        let exemplars = std::mem::take(&mut self.exemplars);
        for orphans in exemplars.attach(&mut self.batch) {
            // The labels were valid when the exemplar came.
            self.open(&orphans.labels)?;
            let exemplars = self.batch.common.arena.push(&orphans.json);
            let row = MetricRow { time: orphans.time, exemplars, point_kind: PointKind::None, ..Default::default() };
            self.push(MetricType::Gauge, row)?;
            let resource = self.current.resource;
            self.batch.common.close_group(resource, 0, self.batch.rows() as u32);
        }
        check_text(&self.batch.common, self.options)?;
        // It stays in memory until it is flushed.
        self.batch.shrink_to_fit();
        let replica = self.replica.map(|(cluster, replica)| {
            let value = |label: u32| self.labels.get(label).value.to_owned();
            Replica { cluster: value(cluster), name: value(replica) }
        });
        Ok(Received {
            replica,
            metadata: self.families.finish()?,
            written: self.written,
            decoded: Decoded {
                batch: bonghwa_model::batch::Batch::Metrics(self.batch),
                rejected: self.tally.rejected,
                reasons: self.tally.reasons,
                cut_values: 0,
                dropped_ids: 0,
            },
        })
    }

    /// Makes room for a request of so many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.batch.common.arena = Arena::with_capacity((bytes / 4).min(self.options.max_text_bytes));
    }
}

/// A metric whose type is only what its rows hold.
fn metric(name: &str, metric_type: MetricType) -> Metric {
    Metric { name: name.to_owned(), metric_type, ..Default::default() }
}

#[cold]
fn twice(name: &str) -> Box<Fault> {
    Fault::rejected(Reason::DuplicateLabel, "labels", format!("have {name:?} twice: a label's name is unique"))
}

#[cold]
fn too_many_records(options: &DecodeOptions) -> Box<Fault> {
    let limit = options.max_records;
    Fault::too_large(format!("a request with over {limit} samples"), limit, "max_records")
}
