//! Metric points: from protobuf into a [`MetricBatch`].

use std::collections::HashMap;

use bonghwa_model::attributes::Attributes;
use bonghwa_model::batch::Common;
use bonghwa_model::metrics::{Metric, MetricBatch, MetricRow, MetricType, PointKind};
use bonghwa_model::refs::Ref;
use bonghwa_model::{Signal, json};

use crate::any::{Entries, value_too_long};
use crate::cursor::{Cursor, utf8};
use crate::decoded::Reason;
use crate::distributions;
use crate::envelope::{Sink, Walk, any_time, check_text, no_time};
use crate::exemplars;
use crate::fault::{Fault, Result};
use crate::heartbeat;
use crate::schema::{self, metric, number_point, sum};
use crate::series::{self, KeyHashes};

/// OTLP's DataPointFlags: the point has no value, its series ended.
const NO_RECORDED_VALUE: u32 = 1;

/// A batch of points in the making.
#[derive(Default)]
pub(crate) struct MetricSink<'a> {
    pub batch: MetricBatch,
    /// The batch's metrics by their encoded parts.
    known: HashMap<Header<'a>, u32, foldhash::fast::RandomState>,
    hashes: KeyHashes,
    /// Hash of the current resource and scope.
    sender: u128,
    /// The current metric's number and hash.
    metric: (u32, u128),
    /// Whether it has the name of heartbeats, whose label it must not have.
    like_heartbeats: bool,
}

/// A metric without its points.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Header<'a> {
    name: &'a [u8],
    description: &'a [u8],
    unit: &'a [u8],
    metadata: Vec<&'a [u8]>,
    /// Tag of the data, which tells the type; 0 for none.
    data: u32,
    temporality: u8,
    monotonic: bool,
}

/// What all kinds of points have.
#[derive(Default)]
pub(crate) struct Head<'a> {
    pub start: u64,
    pub time: u64,
    pub flags: u32,
    /// The point's bytes from its first exemplar on.
    pub exemplars: &'a [u8],
}

impl<'a> Sink<'a> for MetricSink<'a> {
    const SIGNAL: Signal = Signal::Metrics;

    fn parts(&mut self) -> (&mut Attributes, &mut Common) {
        (&mut self.batch.attributes, &mut self.batch.common)
    }

    fn reserve(&mut self, _metrics: usize) {}

    fn enter(&mut self, resource: u32, scope: u32) {
        let common = &self.batch.common;
        self.sender = series::sender(&common.resources[resource as usize], &common.scopes[scope as usize]);
    }

    fn record(&mut self, bytes: &'a [u8], walk: &mut Walk<'a>) -> Result<()> {
        let (header, data) = read_header(bytes)?;
        let points = count_points(data)?;
        let field = metric::MESSAGE.field(header.data >> 3).map_or("data", |f| f.name);
        let metric_type = match header.data {
            metric::gauge => MetricType::Gauge,
            metric::sum => MetricType::Sum,
            metric::histogram => MetricType::Histogram,
            metric::exponential_histogram => MetricType::ExponentialHistogram,
            metric::summary => MetricType::Summary,
            _ => return Ok(()),
        };
        if points == 0 {
            return Ok(());
        }
        walk.check_records(self, points)?;
        self.batch.reserve(points);
        self.like_heartbeats = heartbeat::may_be_called_so(header.name);
        self.metric = self.find(header, metric_type, walk)?;
        let mut c = Cursor::new(data, &schema::gauge::MESSAGE);
        let mut at = 0;
        while c.more() {
            if c.tag()? != schema::gauge::data_points {
                // `count_points` saw that what is no point can be passed over.
                c.skip()?;
                continue;
            }
            let point = c.bytes()?;
            let mark = walk.rows.begin(&self.batch.common);
            let taken = match metric_type {
                MetricType::Gauge | MetricType::Sum => self.number(point, walk),
                MetricType::Histogram => distributions::histogram(self, point, walk),
                MetricType::ExponentialHistogram => distributions::exponential(self, point, walk),
                MetricType::Summary => distributions::summary(self, point, walk),
            };
            if let Err(fault) = taken {
                walk.rows.undo(mark, &mut self.batch.attributes, &mut self.batch.common);
                let fault = fault.under(format!("{field}.data_points[{at}]"));
                if !fault.is_rejection() {
                    return Err(fault);
                }
                let fault = walk.in_record(fault);
                walk.tally.reject(fault, 1)?;
            }
            check_text(&self.batch.common, walk.options)?;
            at += 1;
        }
        Ok(())
    }

    fn count(&self, bytes: &'a [u8]) -> Result<u64> {
        let (_, data) = read_header(bytes)?;
        Ok(count_points(data)? as u64)
    }
}

/// Reads what stands around a metric's points, and where the points are.
fn read_header(bytes: &[u8]) -> Result<(Header<'_>, &[u8])> {
    let mut header = Header::default();
    let mut data: &[u8] = b"";
    let mut c = Cursor::new(bytes, &metric::MESSAGE);
    while c.more() {
        let tag = c.tag()?;
        match tag {
            metric::name => header.name = c.bytes()?,
            metric::description => header.description = c.bytes()?,
            metric::unit => header.unit = c.bytes()?,
            metric::metadata => header.metadata.push(c.bytes()?),
            metric::gauge | metric::sum | metric::histogram | metric::exponential_histogram | metric::summary => {
                if header.data != 0 {
                    return Err(c.malformed("is a second set of data in one metric"));
                }
                header.data = tag;
                data = c.bytes()?;
            }
            _ => c.skip()?,
        }
    }
    if matches!(header.data, metric::sum | metric::histogram | metric::exponential_histogram) {
        // Sum has the fields of both histograms, under the same numbers.
        let mut c = Cursor::new(data, &sum::MESSAGE);
        while c.more() {
            match c.tag()? {
                sum::aggregation_temporality => header.temporality = c.enumeration(2)?,
                sum::is_monotonic if header.data == metric::sum => header.monotonic = c.varint()? != 0,
                _ => c.skip()?,
            }
        }
    }
    Ok((header, data))
}

fn count_points(data: &[u8]) -> Result<usize> {
    let mut points = 0;
    let mut c = Cursor::new(data, &schema::gauge::MESSAGE);
    while c.more() {
        match c.tag()? {
            schema::gauge::data_points => {
                c.bytes()?;
                points += 1;
            }
            _ => c.skip()?,
        }
    }
    Ok(points)
}

impl<'a> MetricSink<'a> {
    /// The metric's number in the batch, and its hash.
    fn find(&mut self, header: Header<'a>, metric_type: MetricType, walk: &Walk<'a>) -> Result<(u32, u128)> {
        let number = match self.known.get(&header) {
            Some(number) => *number,
            None => {
                let metric = build(&header, metric_type, walk)?;
                let number = self.batch.metrics.len() as u32;
                self.batch.metrics.push(metric);
                self.known.insert(header, number);
                number
            }
        };
        Ok((number, series::metric(self.sender, &self.batch.metrics[number as usize])))
    }

    #[inline(always)]
    fn number(&mut self, bytes: &'a [u8], walk: &mut Walk<'a>) -> Result<()> {
        let mut head = Head::default();
        let mut row = MetricRow { point_kind: PointKind::None, ..Default::default() };
        let mut c = Cursor::new(bytes, &number_point::MESSAGE);
        while c.more() {
            let before = c.rest();
            match c.tag()? {
                number_point::attributes => self.attribute(c.bytes()?, walk)?,
                number_point::start_time_unix_nano => head.start = c.fixed64()?,
                number_point::time_unix_nano => head.time = c.fixed64()?,
                number_point::as_double => {
                    row.value = c.fixed64()?;
                    row.point_kind = PointKind::Double;
                }
                number_point::as_int => {
                    row.value = c.fixed64()?;
                    row.point_kind = PointKind::Int;
                }
                number_point::flags => head.flags = c.varint()? as u32,
                number_point::exemplars => {
                    c.bytes()?;
                    if head.exemplars.is_empty() {
                        head.exemplars = before;
                    }
                }
                _ => c.skip()?,
            }
        }
        if head.flags & NO_RECORDED_VALUE == 0 && row.point_kind == PointKind::None {
            let text = "is missing, as is as_int: send one of them, or the flag for no recorded value";
            return Err(Fault::rejected(Reason::MissingValue, "as_double", text));
        }
        self.finish(row, &head, (&number_point::MESSAGE, number_point::exemplars), walk)
    }

    /// Adds an attribute of the current point.
    #[inline(always)]
    pub fn attribute(&mut self, bytes: &'a [u8], walk: &mut Walk<'a>) -> Result<()> {
        walk.rows.add(bytes, &mut self.batch.attributes, &mut self.batch.common).map_err(|f| f.under("attributes"))
    }

    /// Checks what all points have, and adds the row.
    #[inline(always)]
    pub fn finish(
        &mut self,
        mut row: MetricRow,
        head: &Head<'a>,
        exemplars: (&'static schema::Message, u32),
        walk: &Walk<'a>,
    ) -> Result<()> {
        if head.time == 0 {
            return Err(no_time("time_unix_nano"));
        }
        row.time = walk.times.check(head.time, "time_unix_nano")?;
        row.start_time = any_time(head.start, "start_time_unix_nano")?;
        row.flags = head.flags;
        row.metric = self.metric.0;
        if head.flags & NO_RECORDED_VALUE != 0 {
            row = MetricRow { point_kind: PointKind::None, value: 0, count: 0, sum: 0.0, buckets: Ref::EMPTY, ..row };
        }
        if self.like_heartbeats {
            let attributes = &self.batch.attributes;
            let start = attributes.ends.last().copied().unwrap_or(0) as usize;
            let names = self.batch.common.keys.names();
            heartbeat::check(attributes.keys[start..].iter().map(|key| names[*key as usize].as_str()))?;
        }
        if !head.exemplars.is_empty() {
            row.exemplars =
                exemplars::write(head.exemplars, exemplars.0, exemplars.1, &mut self.batch.common, walk.options)?;
        }
        let attributes = self.hashes.open_row(&self.batch.attributes, &self.batch.common);
        row.series = series::identity(self.metric.1, attributes);
        self.batch.push_row(row);
        Ok(())
    }
}

fn build(header: &Header<'_>, metric_type: MetricType, walk: &Walk<'_>) -> Result<Metric> {
    if header.name.is_empty() {
        return Err(Fault::rejected(Reason::MissingName, "name", "is missing: name the metric"));
    }
    // OTLP asks for one where there are sums; without it nobody knows what the values mean.
    let summed = matches!(metric_type, MetricType::Sum | MetricType::Histogram | MetricType::ExponentialHistogram);
    if summed && header.temporality == 0 {
        let field = format!("{}.aggregation_temporality", metric_type.as_str());
        return Err(Fault::rejected(
            Reason::InvalidTemporality,
            field,
            "is unspecified: send delta (1) or cumulative (2)",
        ));
    }
    let text = |bytes, field| utf8(bytes).map(str::to_owned).map_err(|f| f.under(field));
    for (bytes, field) in [(header.name, "name"), (header.unit, "unit"), (header.description, "description")] {
        if bytes.len() > walk.options.attributes.value_bytes {
            return Err(value_too_long(bytes.len(), &walk.options.attributes).under(field));
        }
    }
    let name = text(header.name, "name")?;
    if !walk.options.names.can_name(&name) {
        let text = format!("is {name:?}, of which PromQL has no letter or digit: name the metric with one of ASCII");
        return Err(Fault::rejected(Reason::InvalidName, "name", text));
    }
    let mut metadata = Entries::default();
    for pair in &header.metadata {
        metadata.add_attribute(pair, walk.options).map_err(|f| f.under("metadata"))?;
    }
    let mut json = Vec::new();
    if !metadata.list.is_empty() {
        json::write_object(&mut json, &metadata.list);
    }
    Ok(Metric {
        name,
        unit: text(header.unit, "unit")?,
        description: text(header.description, "description")?,
        metric_type,
        monotonic: header.monotonic,
        temporality: header.temporality,
        // JSON that `write_object` wrote is text.
        metadata: String::from_utf8(json).unwrap_or_default(),
    })
}
