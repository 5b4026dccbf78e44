//! The tables that rows refer to: resources, scopes and metrics, told apart by all that
//! their columns say.

use bonghwa_model::Value;
use bonghwa_model::batch::{Common, Resource, Scope};
use bonghwa_model::metrics::{Metric, MetricType};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_128;

use super::attributes::AttributeCells;
use super::cells::{Cells, Ints, Texts};
use super::nested;
use crate::BlockError;
use crate::layout::Owner;

/// Numbers of what a batch has in its tables already, by a hash of what it says.
#[derive(Default)]
pub(super) struct Sources {
    resources: HashMap<u128, u32, FixedState>,
    scopes: HashMap<u128, u32, FixedState>,
    metrics: HashMap<u128, u32, FixedState>,
    scratch: Vec<u8>,
}

impl Sources {
    /// Bytes held, roughly.
    pub fn heap_bytes(&self) -> usize {
        32 * (self.resources.capacity() + self.scopes.capacity() + self.metrics.capacity())
    }
}

fn identify(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The columns of resources and scopes.
pub(super) struct SourceCells<'a> {
    service: Texts<'a>,
    resource_schema: Texts<'a>,
    resource_dropped: Ints<'a>,
    attributes: AttributeCells<'a>,
    scope: [Texts<'a>; 4],
    scope_dropped: Ints<'a>,
}

impl<'a> SourceCells<'a> {
    pub fn new(cells: Cells<'a>) -> Result<Self, BlockError> {
        Ok(SourceCells {
            service: cells.texts("service_name")?,
            resource_schema: cells.texts("resource_schema_url")?,
            resource_dropped: cells.ints("resource_dropped_attributes_count")?,
            attributes: AttributeCells::new(cells, Owner::Resource)?,
            scope: [
                cells.texts("scope_name")?,
                cells.texts("scope_version")?,
                cells.texts("scope_schema_url")?,
                cells.texts("scope_attributes")?,
            ],
            scope_dropped: cells.ints("scope_dropped_attributes_count")?,
        })
    }

    /// The numbers of a row's resource and scope.
    pub fn ids(&self, row: usize, sources: &mut Sources, common: &mut Common) -> (u32, u32) {
        (self.resource(row, sources, common), self.scope(row, sources, common))
    }

    fn resource(&self, row: usize, sources: &mut Sources, common: &mut Common) -> u32 {
        let out = &mut sources.scratch;
        out.clear();
        identify(out, self.service.get(row));
        identify(out, self.resource_schema.get(row));
        out.extend_from_slice(&self.resource_dropped.get(row).to_le_bytes());
        for (key, column) in &self.attributes.columns {
            identify(out, key);
            column.identify(row, out);
        }
        identify(out, self.attributes.rest(row));
        *sources.resources.entry(xxh3_128(out)).or_insert_with(|| {
            common.resources.push(Resource {
                service_name: self.service.get(row).to_owned(),
                attributes: self.attributes.values(row),
                dropped_attributes: self.resource_dropped.get(row),
                schema_url: self.resource_schema.get(row).to_owned(),
            });
            common.resources.len() as u32 - 1
        })
    }

    fn scope(&self, row: usize, sources: &mut Sources, common: &mut Common) -> u32 {
        let out = &mut sources.scratch;
        out.clear();
        self.scope.iter().for_each(|texts| identify(out, texts.get(row)));
        out.extend_from_slice(&self.scope_dropped.get(row).to_le_bytes());
        *sources.scopes.entry(xxh3_128(out)).or_insert_with(|| {
            let [name, version, schema_url, attributes] = &self.scope;
            common.scopes.push(Scope {
                name: name.get(row).to_owned(),
                version: version.get(row).to_owned(),
                attributes: object(attributes.get(row)),
                dropped_attributes: self.scope_dropped.get(row),
                schema_url: schema_url.get(row).to_owned(),
            });
            common.scopes.len() as u32 - 1
        })
    }
}

/// The members of a JSON object; none of another text.
fn object(text: &str) -> Vec<(String, Value)> {
    use crate::json_scan::{entries, unquote};
    entries(text).map(|(key, value)| (unquote(key).into_owned(), nested::parse(value))).collect()
}

/// The columns of metrics.
pub(super) struct MetricCells<'a> {
    texts: [Texts<'a>; 6],
    monotonic: Option<&'a arrow_array::BooleanArray>,
}

impl<'a> MetricCells<'a> {
    pub fn new(cells: Cells<'a>) -> Result<Self, BlockError> {
        Ok(MetricCells {
            texts: [
                cells.texts("name")?,
                cells.texts("unit")?,
                cells.texts("description")?,
                cells.texts("type")?,
                cells.texts("temporality")?,
                cells.texts("metadata")?,
            ],
            monotonic: cells.bools("monotonic")?,
        })
    }

    /// The number of a row's metric.
    pub fn id(&self, row: usize, sources: &mut Sources, metrics: &mut Vec<Metric>) -> u32 {
        let monotonic = self.monotonic.is_some_and(|column| column.value(row));
        let out = &mut sources.scratch;
        out.clear();
        self.texts.iter().for_each(|texts| identify(out, texts.get(row)));
        out.push(u8::from(monotonic));
        *sources.metrics.entry(xxh3_128(out)).or_insert_with(|| {
            let [name, unit, description, kind, temporality, metadata] = self.texts.each_ref().map(|t| t.get(row));
            metrics.push(Metric {
                name: name.to_owned(),
                unit: unit.to_owned(),
                description: description.to_owned(),
                metric_type: metric_type(kind),
                monotonic,
                temporality: match temporality {
                    "delta" => 1,
                    "cumulative" => 2,
                    _ => 0,
                },
                metadata: metadata.to_owned(),
            });
            metrics.len() as u32 - 1
        })
    }
}

fn metric_type(name: &str) -> MetricType {
    let types = (0..=u8::MAX).map_while(MetricType::from_u8);
    types.into_iter().find(|t| t.as_str() == name).unwrap_or_default()
}
