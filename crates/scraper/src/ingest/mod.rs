//! From the body of a scrape to messages of remote write: what is new, what is gone, what is written.
//!
//! Between two scrapes a target costs a hash for each series, and the body of the last scrape, compressed: where
//! series have vanished, their labels are read from it again.

mod kept;
mod mapper;
mod message;
mod report;
mod timeless;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;
use xxhash_rust::xxh3::Xxh3;

pub(crate) use message::MessageWriter;
pub(crate) use report::{Facts, end_reports, report};

use crate::config::Job;
use crate::labels::hash_pair;
use crate::parse::{self, Family, Format, NativeHistogram, Receiver, Sample, Value, Wanted};
use crate::target::Target;
use kept::Kept;
use mapper::{Mapped, Mapper};
use message::{Metadata, Point};
use timeless::Timeless;

/// The value that ends a series.
pub(crate) const STALE_NAN: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
/// A number that is none; the bits of others have meanings.
const NORMAL_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// Relabelling drops it.
const DROPPED: u8 = 1;
/// Relabelling leaves it as it is.
const SAME: u8 = 2;
/// It has timestamps of its own, and no marker at its end.
const UNTRACKED: u8 = 4;
/// Another series of the scrape had the labels that it was to be stored with.
const DUPLICATE: u8 = 8;

/// Metadata is written again after so long, in milliseconds: queries look for it no farther back than some hours, and
/// a distributor stores what comes within one hour once.
const TELL_AGAIN: u64 = 20 * 60 * 1000;

type Hashes = HashSet<u64, FixedState>;

/// What is remembered of a target's last scrape.
#[derive(Default)]
pub(crate) struct SeriesCache {
    /// By the hash of the series as the target writes it.
    entries: HashMap<u64, Entry, FixedState>,
    generation: u32,
    timeless: Timeless,
    last: Option<Arc<Last>>,
    /// Hashes of the metrics' metadata that was written.
    told: Hashes,
    /// Since when, Unix milliseconds.
    told_since: i64,
}

#[derive(Clone, Copy)]
struct Entry {
    generation: u32,
    flags: u8,
}

/// The last good scrape.
pub(crate) struct Last {
    body: Kept,
    format: Format,
    job: Arc<Job>,
    target: Arc<Target>,
}

/// A scrape: of what, by which rules, when.
pub(crate) struct Scrape<'a> {
    pub job: &'a Arc<Job>,
    pub target: &'a Arc<Target>,
    /// Unix milliseconds.
    pub time: i64,
}

/// What a scrape brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Samples in the body.
    pub scraped: u64,
    /// Those that relabelling left.
    pub kept: u64,
    /// Series that the scrape before had not.
    pub added: u64,
    /// Samples of series that the body had before.
    pub duplicates: u64,
}

impl SeriesCache {
    /// Writes what a body holds, and the ends of the series that it holds no more; `gzip` is the body as it came, if
    /// it was compressed. After an error nothing of what was written may be used; call [`fail`](Self::fail).
    pub fn take(
        &mut self,
        body: &[u8],
        gzip: Option<Vec<u8>>,
        format: Format,
        scrape: &Scrape<'_>,
        writer: &mut MessageWriter,
    ) -> (Counts, Result<(), String>) {
        self.generation = self.generation.wrapping_add(1);
        let job = scrape.job;
        // What is remembered of a series follows from the rules of its job.
        let other_job = self.last.as_ref().is_some_and(|last| !Arc::ptr_eq(&last.job, job));
        if other_job {
            self.entries = HashMap::default();
        }
        if scrape.time.abs_diff(self.told_since) >= TELL_AGAIN {
            self.told.clear();
            self.told_since = scrape.time;
        }
        let mut pass = Pass {
            entries: &mut self.entries,
            timeless: &mut self.timeless,
            told: &mut self.told,
            generation: self.generation,
            mapper: Mapper::new(job, scrape.target.labels()),
            writer,
            job,
            time: scrape.time,
            family: None,
            born: self.last.is_some().then(Hashes::default),
            written: (!job.metric_relabel.is_empty()).then(Hashes::default),
            counts: Counts::default(),
        };
        let parsed = parse::parse(body, format, wanted(job), &mut pass).map_err(|error| error.to_string());
        let (counts, mut here) = (pass.counts, pass.born.take().unwrap_or_default());
        here.extend(pass.written.take().unwrap_or_default());
        self.timeless.end(self.generation);
        let limit = job.limits.samples;
        let checked = parsed.and_then(|()| match limit > 0 && counts.kept > limit {
            true => Err(format!("{} samples are more than sample_limit ({limit})", counts.kept)),
            false => Ok(()),
        });
        if checked.is_ok() {
            match &self.last {
                Some(last) if other_job => last.end(None, &here, scrape.time, writer),
                _ => self.end_vanished(&here, scrape.time, writer),
            }
            let body = Kept::new(body, gzip);
            let (job, target) = (job.clone(), scrape.target.clone());
            self.last = Some(Arc::new(Last { body, format, job, target }));
        }
        (counts, checked)
    }

    /// Ends all series, after a scrape that failed or a target that is gone.
    pub fn fail(&mut self, time: i64, writer: &mut MessageWriter) {
        if let Some(last) = self.last.take() {
            last.end(None, &Hashes::default(), time, writer);
        }
        self.entries = HashMap::default();
        self.timeless = Timeless::default();
        self.told = Hashes::default();
    }

    /// Has all metadata be written again.
    pub fn forget_metadata(&mut self) {
        self.told.clear();
    }

    /// The last good scrape.
    pub fn last(&self) -> Option<Arc<Last>> {
        self.last.clone()
    }

    /// Ends the series that the scrape before had and this one has not, unless labels that are `here` in it are the
    /// same.
    fn end_vanished(&mut self, here: &Hashes, time: i64, writer: &mut MessageWriter) {
        let generation = self.generation;
        let mut vanished = Hashes::default();
        self.entries.retain(|key, entry| {
            let stays = entry.generation == generation;
            if !stays && entry.flags & (DROPPED | UNTRACKED | DUPLICATE) == 0 {
                vanished.insert(*key);
            }
            stays
        });
        if let (Some(last), false) = (&self.last, vanished.is_empty()) {
            last.end(Some(&vanished), here, time, writer);
        }
    }
}

impl Last {
    /// Bytes of its body, uncompressed.
    pub fn size(&self) -> usize {
        self.body.size()
    }

    /// What it says of its metrics. It unpacks and parses the body.
    pub fn metadata(&self, take: impl FnMut(&Family<'_>)) {
        // It was parsed before.
        let _ = parse::parse(&self.body.body(), self.format, wanted(&self.job), &mut Families { take });
    }

    /// Writes the ends of its series: of these, or of all; but for those that are `here` still.
    fn end(&self, vanished: Option<&Hashes>, here: &Hashes, time: i64, writer: &mut MessageWriter) {
        let body = self.body.body();
        let mapper = Mapper::new(&self.job, self.target.labels());
        let mut ends = Ends { vanished, here, mapper, writer, job: &self.job, time, seen: Hashes::default() };
        // It was parsed before.
        let _ = parse::parse(&body, self.format, wanted(&self.job), &mut ends);
    }
}

fn wanted(job: &Job) -> Wanted {
    Wanted { native: job.native_histograms, classic: job.classic_histograms }
}

/// Whether a sample's own time is kept, so that its series ends without a marker.
fn untracked(job: &Job, timestamp: Option<i64>) -> bool {
    timestamp.is_some() && job.honor_timestamps && !job.track_timestamps_staleness
}

fn hash(labels: &[(&str, &str)]) -> u64 {
    let mut hasher = Xxh3::new();
    for (name, value) in labels {
        hash_pair(&mut hasher, name, value);
    }
    hasher.digest()
}

/// Writes the samples of a body.
struct Pass<'a, 'b> {
    entries: &'a mut HashMap<u64, Entry, FixedState>,
    timeless: &'a mut Timeless,
    told: &'a mut Hashes,
    generation: u32,
    mapper: Mapper<'a>,
    writer: &'a mut MessageWriter,
    job: &'a Job,
    time: i64,
    /// Metadata that goes with the next series of its metric, and the hash of it.
    family: Option<(u64, Family<'b>)>,
    /// Series that the scrape before had not written this way, by their labels.
    born: Option<Hashes>,
    /// Series that were written, by their labels, where relabelling may make two the same.
    written: Option<Hashes>,
    counts: Counts,
}

impl<'b> Receiver<'b> for Pass<'_, 'b> {
    fn family(&mut self, family: &Family<'b>) {
        let mut hasher = Xxh3::new();
        hasher.update(&[family.kind as u8]);
        hash_pair(&mut hasher, &family.name, &family.help);
        hasher.update(family.unit.as_bytes());
        let hash = hasher.digest();
        self.family = (!self.told.contains(&hash)).then(|| (hash, family.clone()));
    }

    fn sample(&mut self, sample: &Sample<'_, 'b>) -> Result<(), String> {
        self.counts.scraped += 1;
        // All series of the metric before may have been dropped.
        self.family.take_if(|(_, family)| !belongs(sample.name, &family.name));
        let known = self.entries.get(&sample.key).copied();
        if let Some(entry) = known {
            if entry.generation == self.generation && (sample.timestamp.is_none() || !self.job.honor_timestamps) {
                self.counts.duplicates += 1;
                return Ok(());
            }
            if entry.flags & DROPPED != 0 {
                let generation = self.generation;
                self.entries.insert(sample.key, Entry { generation, ..entry });
                return Ok(());
            }
        }
        let limit = self.job.limits.samples;
        if limit > 0 && self.counts.kept > limit {
            // It fails; the rest is only counted.
            self.counts.kept += 1;
            return Ok(());
        }
        let flags = self.write(sample, known)?;
        let flags = flags | if untracked(self.job, sample.timestamp) { UNTRACKED } else { 0 };
        self.entries.insert(sample.key, Entry { generation: self.generation, flags });
        Ok(())
    }
}

impl<'b> Pass<'_, 'b> {
    /// Writes a sample. What is to be remembered of its series.
    fn write(&mut self, sample: &Sample<'_, 'b>, known: Option<Entry>) -> Result<u8, String> {
        let time = sample.timestamp.filter(|_| self.job.honor_timestamps).unwrap_or(self.time);
        let value = match sample.value {
            Value::Float(number) if number.is_nan() => Value::Float(NORMAL_NAN),
            value => value,
        };
        let metadata = self.family.as_ref();
        let metadata =
            metadata.map(|(_, family)| Metadata { kind: family.kind, help: &family.help, unit: &family.unit });
        let exemplars = self.timeless.fresh(sample.key, sample.exemplars, self.generation);
        let point = Point { value, time, start: sample.start, exemplars, metadata };
        let (writer, written, born) = (&mut *self.writer, &mut self.written, &mut self.born);
        let most_buckets = self.job.limits.buckets;
        let known_same = known.is_some_and(|entry| entry.flags & SAME != 0);
        let mapped = self.mapper.map(sample.name, sample.labels, known_same, |labels| {
            if written.is_some() || (known.is_none() && born.is_some()) {
                let hash = hash(labels);
                if let Some(born) = born.as_mut().filter(|_| known.is_none()) {
                    born.insert(hash);
                }
                let again = written.as_mut().is_some_and(|written| !written.insert(hash));
                if again && sample.timestamp.is_none() {
                    return Ok(false);
                }
            }
            match point.value {
                Value::Histogram(histogram) if most_buckets > 0 && histogram.buckets() as u64 > most_buckets => {
                    let histogram = fitting(sample.name, histogram, most_buckets)?;
                    writer.series(labels, &Point { value: Value::Histogram(&histogram), ..point });
                }
                _ => writer.series(labels, &point),
            }
            Ok(true)
        })?;
        Ok(match mapped {
            Mapped::Dropped => DROPPED,
            Mapped::Stored { made: false, same } => {
                self.counts.duplicates += 1;
                DUPLICATE | if same { SAME } else { 0 }
            }
            Mapped::Stored { made: true, same } => {
                if let Some((hash, _)) = self.family.take() {
                    self.told.insert(hash);
                }
                self.counts.kept += 1;
                self.counts.added += u64::from(known.is_none());
                if same { SAME } else { 0 }
            }
        })
    }
}

/// Whether a series of this name may be one of the metric's: itself, or with a suffix such as `_total`.
fn belongs(series: &str, metric: &str) -> bool {
    series.strip_prefix(metric).is_some_and(|suffix| suffix.is_empty() || suffix.starts_with('_'))
}

/// A histogram in the finest resolution in which it has so many buckets at most.
fn fitting(name: &str, histogram: &NativeHistogram, most: u64) -> Result<NativeHistogram, String> {
    let mut coarser = histogram.clone();
    while coarser.buckets() as u64 > most {
        coarser = coarser.coarser().ok_or_else(|| {
            let (buckets, key) = (coarser.buckets(), "native_histogram_bucket_limit");
            format!("the histogram {name:?} has {buckets} buckets in the coarsest resolution, more than {key} ({most})")
        })?;
    }
    Ok(coarser)
}

/// Writes the ends of series.
struct Ends<'a> {
    vanished: Option<&'a Hashes>,
    here: &'a Hashes,
    mapper: Mapper<'a>,
    writer: &'a mut MessageWriter,
    job: &'a Job,
    time: i64,
    seen: Hashes,
}

impl<'b> Receiver<'b> for Ends<'_> {
    fn family(&mut self, _: &Family<'b>) {}

    fn sample(&mut self, sample: &Sample<'_, 'b>) -> Result<(), String> {
        let ends = self.vanished.is_none_or(|vanished| vanished.contains(&sample.key));
        if !ends || untracked(self.job, sample.timestamp) {
            return Ok(());
        }
        let point =
            Point { value: Value::Float(STALE_NAN), time: self.time, start: None, exemplars: &[], metadata: None };
        let (writer, here, seen) = (&mut *self.writer, self.here, &mut self.seen);
        self.mapper.map(sample.name, sample.labels, false, |labels| {
            let hash = hash(labels);
            if !here.contains(&hash) && seen.insert(hash) {
                writer.series(labels, &point);
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// Looks at metadata alone.
struct Families<F> {
    take: F,
}

impl<'b, F: FnMut(&Family<'_>)> Receiver<'b> for Families<F> {
    fn family(&mut self, family: &Family<'b>) {
        (self.take)(family);
    }

    fn sample(&mut self, _: &Sample<'_, 'b>) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod read_back;
#[cfg(test)]
mod tests;
