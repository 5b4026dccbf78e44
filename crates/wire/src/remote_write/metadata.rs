//! Metadata: type, help and unit of metric families, each once per request.

use std::collections::HashSet;

use bonghwa_model::batch::Batch;
use bonghwa_model::prometheus::{self, Metadata, TYPES};

use super::labels::text;
use crate::any::value_too_long;
use crate::decoded::Reason;
use crate::fault::{Fault, Result};
use crate::{DecodeOptions, series};

/// One family's, as it was sent.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Family<'a> {
    pub name: &'a [u8],
    pub metric_type: u64,
    pub help: &'a [u8],
    pub unit: &'a [u8],
}

/// The distinct metadata of a request.
#[derive(Default)]
pub(crate) struct Families<'a> {
    known: HashSet<Family<'a>, foldhash::fast::RandomState>,
    list: Vec<Family<'a>>,
    bytes: usize,
}

impl<'a> Families<'a> {
    /// Takes a family's; text that is none, or too long, is a fault.
    pub fn add(&mut self, family: Family<'a>, options: &DecodeOptions) -> Result<()> {
        if family.name.is_empty() {
            let text = "is missing: name the metric family";
            return Err(Fault::rejected(Reason::MissingName, "metric_family_name", text));
        }
        if !self.known.insert(family) {
            return Ok(());
        }
        for (field, bytes) in [("metric_family_name", family.name), ("help", family.help), ("unit", family.unit)] {
            if bytes.len() > options.attributes.value_bytes {
                return Err(value_too_long(bytes.len(), &options.attributes).under(field));
            }
            text(bytes).map_err(|f| f.under(field))?;
            // Texts of version 2 are written once, and may be used at will.
            self.bytes += bytes.len();
        }
        if self.bytes > options.max_text_bytes {
            let what = format!("a request whose metadata has {} bytes of text", self.bytes);
            return Err(Fault::too_large(what, options.max_text_bytes, "max_text_bytes"));
        }
        if self.list.len() >= options.max_records {
            let what = format!("a request with over {} metric families", self.list.len());
            return Err(Fault::too_large(what, options.max_records, "max_records"));
        }
        self.list.push(family);
        Ok(())
    }

    /// What was taken.
    pub fn finish(self) -> Result<Vec<Metadata>> {
        let own = |bytes| text(bytes).map(str::to_owned);
        let family = |family: Family<'a>| {
            Ok(Metadata {
                family: own(family.name)?,
                metric_type: u8::try_from(family.metric_type)
                    .ok()
                    .filter(|t| usize::from(*t) < TYPES.len())
                    .unwrap_or(0),
                help: own(family.help)?,
                unit: own(family.unit)?,
            })
        };
        self.list.into_iter().map(family).collect()
    }
}

/// The family that a series is of: a histogram's and a summary's series have suffixes.
pub(crate) fn family_of(series: &str, metric_type: u64) -> &str {
    let suffixes: &[&str] = match metric_type {
        3 | 4 => &["_bucket", "_count", "_sum"],
        5 => &["_count", "_sum"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| series.strip_suffix(suffix)).filter(|name| !name.is_empty()).unwrap_or(series)
}

/// The rows that keep metadata which arrived at this time (Unix nanoseconds).
pub fn metadata_batch(families: &[Metadata], arrival: i64) -> Batch {
    let identity = |resource: &_, scope: &_, metric: &_| {
        series::identity(series::metric(series::sender(resource, scope), metric), 0)
    };
    Batch::Metrics(prometheus::metadata(families, arrival, identity))
}
