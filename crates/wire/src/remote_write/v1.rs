//! Remote write 1.0: `prometheus.WriteRequest`. Every series spells its labels out; most of them are
//! those of the series before, at the same place.

use std::collections::HashMap;

use super::exemplars::Exemplar;
use super::metadata::Family;
use super::schema::{exemplar_v1, label, metadata_v1, series_v1, write_request};
use super::sink::{Items, Sink};
use crate::any::too_many;
use crate::cursor::Cursor;
use crate::fault::{Fault, Result};

/// The labels of a request by their encoded bytes.
#[derive(Default)]
struct Labels<'a> {
    known: HashMap<&'a [u8], u32, foldhash::fast::RandomState>,
    /// Those of the series before, by place.
    before: Vec<(&'a [u8], u32)>,
    /// Those of the current series.
    current: Vec<u32>,
}

/// Walks a request.
pub(crate) fn walk<'a>(bytes: &'a [u8], sink: &mut Sink<'a>) -> Result<()> {
    let (mut labels, mut items) = (Labels::default(), Items::default());
    let mut families = 0;
    let mut c = Cursor::new(bytes, &write_request::MESSAGE);
    while c.more() {
        match c.tag()? {
            write_request::timeseries => {
                let series = c.bytes()?;
                read_series(series, &mut labels, &mut items, sink)?;
                sink.at += 1;
            }
            write_request::metadata => {
                let taken = read_family(c.bytes()?).and_then(|family| sink.families.add(family, sink.options));
                if let Err(fault) = taken {
                    sink.reject_other(fault.under(format!("metadata[{families}]")))?;
                }
                families += 1;
            }
            _ => c.skip()?,
        }
    }
    Ok(())
}

fn read_series<'a>(bytes: &'a [u8], labels: &mut Labels<'a>, items: &mut Items<'a>, sink: &mut Sink<'a>) -> Result<()> {
    labels.current.clear();
    items.clear();
    let mut invalid: Option<Box<Fault>> = None;
    let mut walk = || {
        let mut c = Cursor::new(bytes, &series_v1::MESSAGE);
        while c.more() {
            match c.tag()? {
                series_v1::labels => {
                    let label = c.bytes()?;
                    if invalid.is_none()
                        && let Err(fault) = labels.add(label, sink)
                    {
                        let fault = fault.under("labels");
                        if !fault.is_rejection() {
                            return Err(fault);
                        }
                        invalid = Some(fault);
                    }
                }
                series_v1::samples => items.samples.push(c.bytes()?),
                series_v1::histograms => items.histograms.push(c.bytes()?),
                series_v1::exemplars => items.exemplars.push(c.bytes()?),
                _ => c.skip()?,
            }
            items.check(sink.options)?;
        }
        Ok(())
    };
    walk().map_err(|fault: Box<Fault>| fault.under(format!("timeseries[{}]", sink.at)))?;
    match invalid {
        Some(fault) => sink.reject(fault, &labels.current, items),
        None => sink.take(&labels.current, items, read_exemplar),
    }
}

impl<'a> Labels<'a> {
    #[inline(always)]
    fn add(&mut self, bytes: &'a [u8], sink: &mut Sink<'a>) -> Result<()> {
        let place = self.current.len();
        let number = match self.before.get(place) {
            Some((known, number)) if *known == bytes => *number,
            _ => self.find(bytes, place, sink)?,
        };
        self.current.push(number);
        Ok(())
    }

    /// A label that the series before had not at this place.
    #[inline(never)]
    fn find(&mut self, bytes: &'a [u8], place: usize, sink: &mut Sink<'a>) -> Result<u32> {
        if place >= sink.options.labels.count {
            return Err(too_many(&sink.options.labels));
        }
        let number = match self.known.get(bytes) {
            Some(number) => *number,
            None => {
                let (name, value) = read_label(bytes)?;
                let number = sink.labels.add(name, value, None, &mut sink.batch.common, sink.options)?;
                self.known.insert(bytes, number);
                number
            }
        };
        match self.before.get_mut(place) {
            Some(entry) => *entry = (bytes, number),
            // Places are filled one after another, so this one is the next.
            None => self.before.push((bytes, number)),
        }
        Ok(number)
    }
}

fn read_label(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
    let mut c = Cursor::new(bytes, &label::MESSAGE);
    while c.more() {
        match c.tag()? {
            label::name => name = c.bytes()?,
            label::value => value = c.bytes()?,
            _ => c.skip()?,
        }
    }
    Ok((name, value))
}

fn read_exemplar(bytes: &[u8]) -> Result<Exemplar<'_>> {
    let mut exemplar = Exemplar::default();
    let mut c = Cursor::new(bytes, &exemplar_v1::MESSAGE);
    while c.more() {
        match c.tag()? {
            exemplar_v1::labels => exemplar.labels.push(read_label(c.bytes()?).map_err(|f| f.under("labels"))?),
            exemplar_v1::value => exemplar.value = c.double()?,
            exemplar_v1::timestamp => exemplar.timestamp = c.varint()? as i64,
            _ => c.skip()?,
        }
    }
    Ok(exemplar)
}

fn read_family(bytes: &[u8]) -> Result<Family<'_>> {
    let mut family = Family::default();
    let mut c = Cursor::new(bytes, &metadata_v1::MESSAGE);
    while c.more() {
        match c.tag()? {
            metadata_v1::metric_type => family.metric_type = c.varint()?,
            metadata_v1::metric_family_name => family.name = c.bytes()?,
            metadata_v1::help => family.help = c.bytes()?,
            metadata_v1::unit => family.unit = c.bytes()?,
            _ => c.skip()?,
        }
    }
    Ok(family)
}
