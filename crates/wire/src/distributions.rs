//! Points of histograms, exponential histograms and summaries.

use bonghwa_model::json;
use bonghwa_model::metrics::{MetricRow, PointKind};
use bonghwa_model::prometheus::COARSEST_SCHEMA;

use crate::cursor::Cursor;
use crate::decoded::Reason;
use crate::envelope::Walk;
use crate::fault::{Fault, Result};
use crate::metrics::{Head, MetricSink};
use crate::schema::{buckets, exponential_point, histogram_point, packed, quantile, summary_point};

const PACKED_COUNTS: u32 = packed(histogram_point::bucket_counts);
const PACKED_BOUNDS: u32 = packed(histogram_point::explicit_bounds);
const PACKED_EXPONENTIAL: u32 = packed(buckets::bucket_counts);

/// Takes a histogram's point.
pub(crate) fn histogram<'a>(sink: &mut MetricSink<'a>, bytes: &'a [u8], walk: &mut Walk<'a>) -> Result<()> {
    let mut head = Head::default();
    let mut row = MetricRow::default();
    let (mut sum, mut min, mut max) = (None, None, None);
    let (mut counts, mut bounds): (Vec<u64>, Vec<f64>) = (Vec::new(), Vec::new());
    let limit = walk.options.max_buckets;
    let mut c = Cursor::new(bytes, &histogram_point::MESSAGE);
    while c.more() {
        let before = c.rest();
        match c.tag()? {
            histogram_point::attributes => sink.attribute(c.bytes()?, walk)?,
            histogram_point::start_time_unix_nano => head.start = c.fixed64()?,
            histogram_point::time_unix_nano => head.time = c.fixed64()?,
            histogram_point::count => row.count = c.fixed64()?,
            histogram_point::sum => sum = Some(c.double()?),
            histogram_point::min => min = Some(c.double()?),
            histogram_point::max => max = Some(c.double()?),
            histogram_point::flags => head.flags = c.varint()? as u32,
            histogram_point::bucket_counts => counts.push(c.fixed64()?),
            histogram_point::explicit_bounds => bounds.push(c.double()?),
            PACKED_COUNTS => counts.extend(eights(&mut c)?.map(u64::from_le_bytes)),
            PACKED_BOUNDS => bounds.extend(eights(&mut c)?.map(f64::from_le_bytes)),
            histogram_point::exemplars => {
                c.bytes()?;
                if head.exemplars.is_empty() {
                    head.exemplars = before;
                }
            }
            _ => c.skip()?,
        }
        if counts.len().max(bounds.len()) > limit {
            return Err(too_many("bucket_counts", "buckets", limit));
        }
    }
    let none = counts.is_empty() && bounds.is_empty();
    if !none && counts.len() != bounds.len() + 1 {
        let text = format!(
            "has {} entries where explicit_bounds has {}: send one count more than bounds, or none of both",
            counts.len(),
            bounds.len()
        );
        return Err(Fault::rejected(Reason::InvalidDistribution, "bucket_counts", text));
    }
    // Not `>=`: a bound that is not a number has no place in the order either.
    if let Some(at) = bounds.windows(2).position(|w| !matches!(w, [a, b] if a < b)) {
        let text = format!("is {}, not above the bound before it: sort the bounds", bounds[at + 1]);
        return Err(Fault::rejected(Reason::InvalidDistribution, format!("explicit_bounds[{}]", at + 1), text));
    }
    kind(&mut row, sum);
    row.buckets = sink.batch.common.arena.push_with(|out| {
        out.extend_from_slice(b"{\"bounds\":");
        write_list(out, &bounds, |out, v| json::write_f64(out, *v));
        out.extend_from_slice(b",\"counts\":");
        write_list(out, &counts, |out, v| json::write_u64(out, *v));
        write_range(out, min, max);
    });
    sink.finish(row, &head, (&histogram_point::MESSAGE, histogram_point::exemplars), walk)
}

/// Takes an exponential histogram's point.
pub(crate) fn exponential<'a>(sink: &mut MetricSink<'a>, bytes: &'a [u8], walk: &mut Walk<'a>) -> Result<()> {
    let mut head = Head::default();
    let mut row = MetricRow::default();
    let (mut sum, mut min, mut max) = (None, None, None);
    let (mut scale, mut zero_count, mut zero_threshold) = (0, 0, 0.0);
    let (mut positive, mut negative) = (Buckets::default(), Buckets::default());
    let limit = walk.options.max_buckets;
    let mut c = Cursor::new(bytes, &exponential_point::MESSAGE);
    while c.more() {
        let before = c.rest();
        match c.tag()? {
            exponential_point::attributes => sink.attribute(c.bytes()?, walk)?,
            exponential_point::start_time_unix_nano => head.start = c.fixed64()?,
            exponential_point::time_unix_nano => head.time = c.fixed64()?,
            exponential_point::count => row.count = c.fixed64()?,
            exponential_point::sum => sum = Some(c.double()?),
            exponential_point::min => min = Some(c.double()?),
            exponential_point::max => max = Some(c.double()?),
            exponential_point::scale => scale = c.sint32()?,
            exponential_point::zero_count => zero_count = c.fixed64()?,
            exponential_point::zero_threshold => zero_threshold = c.double()?,
            exponential_point::positive => {
                positive = Buckets::read(c.bytes()?, limit).map_err(|f| f.under("positive"))?;
            }
            exponential_point::negative => {
                negative = Buckets::read(c.bytes()?, limit).map_err(|f| f.under("negative"))?;
            }
            exponential_point::flags => head.flags = c.varint()? as u32,
            exponential_point::exemplars => {
                c.bytes()?;
                if head.exemplars.is_empty() {
                    head.exemplars = before;
                }
            }
            _ => c.skip()?,
        }
    }
    // What no query can show is not taken.
    if scale < COARSEST_SCHEMA {
        let text = format!("is {scale}, coarser than {COARSEST_SCHEMA}: send a larger scale");
        return Err(Fault::rejected(Reason::InvalidDistribution, "scale", text));
    }
    check_threshold(zero_threshold)?;
    kind(&mut row, sum);
    row.buckets = sink.batch.common.arena.push_with(|out| {
        out.extend_from_slice(b"{\"scale\":");
        json::write_i64(out, i64::from(scale));
        out.extend_from_slice(b",\"zero_count\":");
        json::write_u64(out, zero_count);
        out.extend_from_slice(b",\"zero_threshold\":");
        json::write_f64(out, zero_threshold);
        out.extend_from_slice(b",\"positive\":");
        positive.write(out);
        out.extend_from_slice(b",\"negative\":");
        negative.write(out);
        write_range(out, min, max);
    });
    sink.finish(row, &head, (&exponential_point::MESSAGE, exponential_point::exemplars), walk)
}

/// Takes a summary's point.
pub(crate) fn summary<'a>(sink: &mut MetricSink<'a>, bytes: &'a [u8], walk: &mut Walk<'a>) -> Result<()> {
    let mut head = Head::default();
    let mut row = MetricRow::default();
    let mut sum = 0.0;
    let mut quantiles: Vec<(f64, f64)> = Vec::new();
    let mut c = Cursor::new(bytes, &summary_point::MESSAGE);
    while c.more() {
        match c.tag()? {
            summary_point::attributes => sink.attribute(c.bytes()?, walk)?,
            summary_point::start_time_unix_nano => head.start = c.fixed64()?,
            summary_point::time_unix_nano => head.time = c.fixed64()?,
            summary_point::count => row.count = c.fixed64()?,
            summary_point::sum => sum = c.double()?,
            summary_point::flags => head.flags = c.varint()? as u32,
            summary_point::quantile_values => {
                let at = quantiles.len();
                if at >= walk.options.max_buckets {
                    return Err(too_many("quantile_values", "entries", walk.options.max_buckets));
                }
                let value = read_quantile(c.bytes()?).map_err(|f| f.under(format!("quantile_values[{at}]")))?;
                quantiles.push(value);
            }
            _ => c.skip()?,
        }
    }
    kind(&mut row, Some(sum));
    row.buckets = sink.batch.common.arena.push_with(|out| {
        out.extend_from_slice(b"{\"quantiles\":");
        write_list(out, &quantiles, |out, (quantile, value)| {
            out.extend_from_slice(b"{\"quantile\":");
            json::write_f64(out, *quantile);
            out.extend_from_slice(b",\"value\":");
            json::write_f64(out, *value);
            out.push(b'}');
        });
        out.push(b'}');
    });
    sink.finish(row, &head, (&summary_point::MESSAGE, 0), walk)
}

fn kind(row: &mut MetricRow, sum: Option<f64>) {
    row.point_kind = if sum.is_some() { PointKind::Distribution } else { PointKind::DistributionWithoutSum };
    row.sum = sum.unwrap_or(0.0);
}

/// One side of an exponential histogram.
#[derive(Default)]
struct Buckets {
    offset: i32,
    counts: Vec<u64>,
}

impl Buckets {
    fn read(bytes: &[u8], limit: usize) -> Result<Buckets> {
        let mut read = Buckets::default();
        let mut c = Cursor::new(bytes, &buckets::MESSAGE);
        while c.more() {
            match c.tag()? {
                buckets::offset => read.offset = c.sint32()?,
                buckets::bucket_counts => read.push(c.varint()?, limit)?,
                PACKED_EXPONENTIAL => {
                    let mut list = Cursor::new(c.bytes()?, &buckets::MESSAGE);
                    while list.more() {
                        read.push(list.varint().map_err(|f| f.under("bucket_counts"))?, limit)?;
                    }
                }
                _ => c.skip()?,
            }
        }
        Ok(read)
    }

    fn push(&mut self, count: u64, limit: usize) -> Result<()> {
        if self.counts.len() >= limit {
            return Err(too_many("bucket_counts", "buckets", limit));
        }
        self.counts.push(count);
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"offset\":");
        json::write_i64(out, i64::from(self.offset));
        out.extend_from_slice(b",\"counts\":");
        write_list(out, &self.counts, |out, v| json::write_u64(out, *v));
        out.push(b'}');
    }
}

fn read_quantile(bytes: &[u8]) -> Result<(f64, f64)> {
    let (mut at, mut value) = (0.0, 0.0);
    let mut c = Cursor::new(bytes, &quantile::MESSAGE);
    while c.more() {
        match c.tag()? {
            quantile::quantile => at = c.double()?,
            quantile::value => value = c.double()?,
            _ => c.skip()?,
        }
    }
    Ok((at, value))
}

/// A packed list of values of eight bytes.
pub(crate) fn eights<'a>(c: &mut Cursor<'a>) -> Result<impl Iterator<Item = [u8; 8]> + use<'a>> {
    let (values, rest) = c.bytes()?.as_chunks::<8>();
    if rest.is_empty() {
        return Ok(values.iter().copied());
    }
    Err(c.malformed(format!("is a packed list that ends with {} bytes of an 8-byte value", rest.len())))
}

/// The width of the zero bucket.
pub(crate) fn check_threshold(value: f64) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    let text = format!("is {value}: send a number that is not negative, or leave it out");
    Err(Fault::rejected(Reason::InvalidDistribution, "zero_threshold", text))
}

#[cold]
pub(crate) fn too_many(field: &str, what: &str, limit: usize) -> Box<Fault> {
    let text = format!("has more than {limit} {what}: send fewer, or raise max_buckets");
    Fault::rejected(Reason::InvalidDistribution, field, text)
}

/// Writes a JSON array.
pub(crate) fn write_list<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// Writes what was sent of the smallest and largest value, and closes the object.
fn write_range(out: &mut Vec<u8>, min: Option<f64>, max: Option<f64>) {
    for (name, value) in [("min", min), ("max", max)] {
        if let Some(value) = value {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            json::write_f64(out, value);
        }
    }
    out.push(b'}');
}
