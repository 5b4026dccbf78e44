//! Remote write 2.0: `io.prometheus.write.v2.Request`. All texts stand in one list, and labels are pairs of
//! numbers in it.

use std::collections::{HashMap, HashSet};

use bonghwa_model::refs::Ref;

use super::exemplars::Exemplar;
use super::metadata::{Family, family_of};
use super::schema::{exemplar_v2, metadata_v2, request_v2, series_v2};
use super::sink::{Items, Sink};
use crate::DecodeOptions;
use crate::any::too_many;
use crate::cursor::Cursor;
use crate::decoded::Reason;
use crate::fault::{Fault, Result};
use crate::schema::packed;

/// The list is not packed, which protobuf allows.
const ONE_SERIES_REF: u32 = series_v2::labels_refs;
const SERIES_REFS: u32 = packed(series_v2::labels_refs);
const ONE_EXEMPLAR_REF: u32 = exemplar_v2::labels_refs;
const EXEMPLAR_REFS: u32 = packed(exemplar_v2::labels_refs);

/// The texts of a request.
struct Symbols<'a> {
    texts: Vec<&'a [u8]>,
}

/// The labels of a request by their numbers.
#[derive(Default)]
struct Labels {
    known: HashMap<u64, u32, foldhash::fast::RandomState>,
    /// Those of the series before, by place.
    before: Vec<(u64, u32)>,
    /// Those of the current series.
    current: Vec<u32>,
    /// Where the texts lie in the batch; empty for those that are no value there.
    stored: Vec<Ref>,
}

/// What a series says of its metric.
#[derive(Default, Clone, Copy)]
struct Metadata {
    metric_type: u64,
    help: u64,
    unit: u64,
}

/// What is kept while a request is walked.
struct Walk<'a> {
    symbols: Symbols<'a>,
    labels: Labels,
    /// Numbers of the current series' labels, in pairs.
    refs: Vec<u64>,
    items: Items<'a>,
    /// Metric name and metadata, by their numbers.
    described: HashSet<(u32, u64, u64, u64), foldhash::fast::RandomState>,
}

/// Walks a request.
pub(crate) fn walk<'a>(bytes: &'a [u8], sink: &mut Sink<'a>) -> Result<()> {
    let symbols = Symbols::read(bytes, sink.options)?;
    let stored = vec![Ref::EMPTY; symbols.texts.len()];
    let mut walk = Walk {
        symbols,
        labels: Labels { stored, ..Default::default() },
        refs: Vec::new(),
        items: Items::default(),
        described: HashSet::default(),
    };
    let mut c = Cursor::new(bytes, &request_v2::MESSAGE);
    while c.more() {
        match c.tag()? {
            request_v2::timeseries => {
                let series = c.bytes()?;
                walk.series(series, sink)?;
                sink.at += 1;
            }
            _ => c.skip()?,
        }
    }
    Ok(())
}

impl<'a> Symbols<'a> {
    /// Reads them all: series may stand before them.
    fn read(bytes: &'a [u8], options: &DecodeOptions) -> Result<Symbols<'a>> {
        let most = options.max_records.saturating_mul(2);
        let mut texts = Vec::new();
        let mut c = Cursor::new(bytes, &request_v2::MESSAGE);
        while c.more() {
            match c.tag()? {
                request_v2::symbols => {
                    if texts.len() >= most {
                        let what = format!("a request with over {most} symbols");
                        return Err(Fault::too_large(what, most, "max_records"));
                    }
                    texts.push(c.bytes()?);
                }
                _ => c.skip()?,
            }
        }
        Ok(Symbols { texts })
    }

    fn get(&self, number: u64, field: &str) -> Result<&'a [u8]> {
        let text = usize::try_from(number).ok().and_then(|number| self.texts.get(number));
        text.copied().ok_or_else(|| {
            let text = format!("has {number} where there are {} symbols: send the symbol too", self.texts.len());
            Fault::rejected(Reason::InvalidLabel, field, text)
        })
    }

    fn exemplar(&self, bytes: &'a [u8]) -> Result<Exemplar<'a>> {
        let mut exemplar = Exemplar::default();
        let mut refs = Vec::new();
        let mut c = Cursor::new(bytes, &exemplar_v2::MESSAGE);
        while c.more() {
            match c.tag()? {
                EXEMPLAR_REFS => read_refs(c.bytes()?, &mut refs)?,
                ONE_EXEMPLAR_REF => refs.push(c.varint()?),
                exemplar_v2::value => exemplar.value = c.double()?,
                exemplar_v2::timestamp => exemplar.timestamp = c.varint()? as i64,
                _ => c.skip()?,
            }
        }
        for pair in pairs(&refs)? {
            exemplar.labels.push((self.get(pair[0], "labels_refs")?, self.get(pair[1], "labels_refs")?));
        }
        Ok(exemplar)
    }
}

impl<'a> Walk<'a> {
    fn series(&mut self, bytes: &'a [u8], sink: &mut Sink<'a>) -> Result<()> {
        self.refs.clear();
        self.items.clear();
        let mut metadata = Metadata::default();
        let under = |fault: Box<Fault>, at: usize| fault.under(format!("timeseries[{at}]"));
        self.read(bytes, &mut metadata, sink.options).map_err(|f| under(f, sink.at))?;
        if let Err(fault) = self.labels.read(&self.refs, &self.symbols, sink) {
            if !fault.is_rejection() {
                return Err(under(fault, sink.at));
            }
            return sink.reject(fault, &self.labels.current, &self.items);
        }
        let labels = &self.labels.current;
        if let Err(fault) = describe(&self.symbols, &mut self.described, labels, metadata, sink) {
            sink.reject_other(under(fault.under("metadata"), sink.at))?;
        }
        let symbols = &self.symbols;
        sink.take(labels, &self.items, |bytes| symbols.exemplar(bytes))
    }

    fn read(&mut self, bytes: &'a [u8], metadata: &mut Metadata, options: &DecodeOptions) -> Result<()> {
        let mut c = Cursor::new(bytes, &series_v2::MESSAGE);
        while c.more() {
            match c.tag()? {
                SERIES_REFS => read_refs(c.bytes()?, &mut self.refs)?,
                ONE_SERIES_REF => self.refs.push(c.varint()?),
                series_v2::samples => self.items.samples.push(c.bytes()?),
                series_v2::histograms => self.items.histograms.push(c.bytes()?),
                series_v2::exemplars => self.items.exemplars.push(c.bytes()?),
                series_v2::metadata => {
                    *metadata = read_metadata(c.bytes()?).map_err(|f| f.under("metadata"))?;
                }
                series_v2::created_timestamp => self.items.start = c.varint()? as i64,
                _ => c.skip()?,
            }
            self.items.check(options)?;
        }
        Ok(())
    }
}

/// Keeps what a series says of its metric, once.
fn describe<'a>(
    symbols: &Symbols<'a>,
    described: &mut HashSet<(u32, u64, u64, u64), foldhash::fast::RandomState>,
    labels: &[u32],
    Metadata { metric_type, help, unit }: Metadata,
    sink: &mut Sink<'a>,
) -> Result<()> {
    if (metric_type, help, unit) == (0, 0, 0) {
        return Ok(());
    }
    let Some(label) = sink.labels.metric_name(labels) else { return Ok(()) };
    if !described.insert((label, metric_type, help, unit)) {
        return Ok(());
    }
    let name = family_of(sink.labels.get(label).value, metric_type).as_bytes();
    let family =
        Family { name, metric_type, help: symbols.get(help, "help_ref")?, unit: symbols.get(unit, "unit_ref")? };
    if metric_type == 0 && family.help.is_empty() && family.unit.is_empty() {
        return Ok(());
    }
    sink.families.add(family, sink.options)
}

impl Labels {
    /// The labels of these pairs, as the current ones.
    #[inline(always)]
    fn read<'a>(&mut self, refs: &[u64], symbols: &Symbols<'a>, sink: &mut Sink<'a>) -> Result<()> {
        self.current.clear();
        for [name, value] in pairs(refs)? {
            let place = self.current.len();
            // A symbol's number has 32 bits, or there is no such symbol.
            let key = (name << 32) | (value & 0xffff_ffff);
            let number = match self.before.get(place) {
                Some((known, number)) if *known == key && (name | value) >> 32 == 0 => *number,
                _ => self.find(key, [*name, *value], symbols, sink).map_err(|f| f.under("labels_refs"))?,
            };
            self.current.push(number);
        }
        Ok(())
    }

    /// A label that the series before had not at this place.
    #[inline(never)]
    fn find<'a>(
        &mut self,
        key: u64,
        [name, value]: [u64; 2],
        symbols: &Symbols<'a>,
        sink: &mut Sink<'a>,
    ) -> Result<u32> {
        let place = self.current.len();
        if place >= sink.options.labels.count {
            return Err(too_many(&sink.options.labels));
        }
        let (name_text, value_text) = (symbols.get(name, "")?, symbols.get(value, "")?);
        let number = match self.known.get(&key) {
            Some(number) => *number,
            None => {
                // `get` found it.
                let slot = &mut self.stored[value as usize];
                let stored = Some(*slot).filter(|stored| !stored.is_empty());
                let number = sink.labels.add(name_text, value_text, stored, &mut sink.batch.common, sink.options)?;
                *slot = sink.labels.get(number).stored;
                self.known.insert(key, number);
                number
            }
        };
        match self.before.get_mut(place) {
            Some(entry) => *entry = (key, number),
            // Places are filled one after another, so this one is the next.
            None => self.before.push((key, number)),
        }
        Ok(number)
    }
}

fn read_refs(bytes: &[u8], refs: &mut Vec<u64>) -> Result<()> {
    let mut c = Cursor::new(bytes, &series_v2::MESSAGE);
    while c.more() {
        refs.push(c.varint().map_err(|f| f.under("labels_refs"))?);
    }
    Ok(())
}

fn pairs(refs: &[u64]) -> Result<&[[u64; 2]]> {
    let (pairs, rest) = refs.as_chunks::<2>();
    if rest.is_empty() {
        return Ok(pairs);
    }
    let text = format!("has {} entries: names and values come in pairs", refs.len());
    Err(Fault::rejected(Reason::InvalidLabel, "labels_refs", text))
}

fn read_metadata(bytes: &[u8]) -> Result<Metadata> {
    let mut metadata = Metadata::default();
    let mut c = Cursor::new(bytes, &metadata_v2::MESSAGE);
    while c.more() {
        match c.tag()? {
            metadata_v2::metric_type => metadata.metric_type = c.varint()?,
            metadata_v2::help_ref => metadata.help = c.varint()?,
            metadata_v2::unit_ref => metadata.unit = c.varint()?,
            _ => c.skip()?,
        }
    }
    Ok(metadata)
}
