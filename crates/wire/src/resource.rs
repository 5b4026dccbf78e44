//! Resources and scopes: read once per request, however often they are repeated.

use std::collections::HashMap;

use bonghwa_model::Value;
use bonghwa_model::batch::{Common, Resource, Scope};

use crate::DecodeOptions;
use crate::any::Entries;
use crate::cursor::{Cursor, utf8};
use crate::fault::{Fault, Result};
use crate::schema;

type Table<'a> = HashMap<(&'a [u8], &'a [u8]), u32, foldhash::fast::RandomState>;

/// The resources and scopes of a request by their encoded bytes and schema URL.
#[derive(Default)]
pub(crate) struct Senders<'a> {
    resources: Table<'a>,
    scopes: Table<'a>,
}

impl<'a> Senders<'a> {
    /// The number of a resource in the batch.
    pub fn resource(
        &mut self,
        bytes: &'a [u8],
        schema_url: &'a [u8],
        common: &mut Common,
        options: &DecodeOptions,
    ) -> Result<u32> {
        if let Some(known) = self.resources.get(&(bytes, schema_url)) {
            return Ok(*known);
        }
        let mut resource = read_resource(bytes, options).map_err(|f| f.under("resource"))?;
        resource.schema_url = utf8(schema_url).map_err(|f| f.under("schema_url"))?.to_owned();
        let number = room(common.resources.len(), "resources", options)?;
        common.resources.push(resource);
        self.resources.insert((bytes, schema_url), number);
        Ok(number)
    }

    /// The number of a scope in the batch.
    pub fn scope(
        &mut self,
        bytes: &'a [u8],
        schema_url: &'a [u8],
        common: &mut Common,
        options: &DecodeOptions,
    ) -> Result<u32> {
        if let Some(known) = self.scopes.get(&(bytes, schema_url)) {
            return Ok(*known);
        }
        let mut scope = read_scope(bytes, options).map_err(|f| f.under("scope"))?;
        scope.schema_url = utf8(schema_url).map_err(|f| f.under("schema_url"))?.to_owned();
        let number = room(common.scopes.len(), "scopes", options)?;
        common.scopes.push(scope);
        self.scopes.insert((bytes, schema_url), number);
        Ok(number)
    }
}

/// The number of one more resource or scope.
fn room(have: usize, what: &str, options: &DecodeOptions) -> Result<u32> {
    if have >= options.max_senders {
        let what = format!("a request with over {have} distinct {what}");
        return Err(Fault::too_large(what, options.max_senders, "max_senders"));
    }
    Ok(have as u32)
}

fn read_resource(bytes: &[u8], options: &DecodeOptions) -> Result<Resource> {
    let mut entries = Entries::default();
    let mut dropped_attributes = 0;
    let mut c = Cursor::new(bytes, &schema::resource::MESSAGE);
    while c.more() {
        match c.tag()? {
            schema::resource::attributes => {
                entries.add_attribute(c.bytes()?, options).map_err(|f| f.under("attributes"))?;
            }
            schema::resource::dropped_attributes_count => dropped_attributes = c.varint()? as u32,
            _ => c.skip()?,
        }
    }
    let attributes = entries.list;
    Ok(Resource { service_name: service_name(&attributes), attributes, dropped_attributes, schema_url: String::new() })
}

fn read_scope(bytes: &[u8], options: &DecodeOptions) -> Result<Scope> {
    let mut entries = Entries::default();
    let mut scope = Scope::default();
    let mut c = Cursor::new(bytes, &schema::scope::MESSAGE);
    while c.more() {
        match c.tag()? {
            schema::scope::name => scope.name = c.str()?.to_owned(),
            schema::scope::version => scope.version = c.str()?.to_owned(),
            schema::scope::attributes => {
                entries.add_attribute(c.bytes()?, options).map_err(|f| f.under("attributes"))?;
            }
            schema::scope::dropped_attributes_count => scope.dropped_attributes = c.varint()? as u32,
            _ => c.skip()?,
        }
    }
    scope.attributes = entries.list;
    Ok(scope)
}

/// Loki's list of attributes that name a service where `service.name` does not
/// (`discover_service_name`), as Loki spells labels.
const SERVICE_NAMES: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

/// The service of a resource that names none.
pub(crate) const UNKNOWN_SERVICE: &str = "unknown_service";

/// The service that a resource speaks for: `service.name`, else the first of Loki's list, else
/// `unknown_service`. Only texts count.
fn service_name(attributes: &[(String, Value)]) -> String {
    let text = |value: &Value| match value {
        Value::Str(v) if !v.is_empty() => Some(v.clone()),
        _ => None,
    };
    let named = |wanted: &str| attributes.iter().find(|(key, _)| is_label(key, wanted)).and_then(|(_, v)| text(v));
    let own = attributes.iter().find(|(key, _)| key == "service.name").and_then(|(_, v)| text(v));
    own.or_else(|| named("service_name"))
        .or_else(|| SERVICE_NAMES.iter().find_map(|name| named(name)))
        .unwrap_or_else(|| UNKNOWN_SERVICE.to_owned())
}

/// Whether an attribute has this name once all but letters, digits and `_` became `_`.
fn is_label(key: &str, label: &str) -> bool {
    let byte = |b: u8| if b.is_ascii_alphanumeric() { b } else { b'_' };
    key.len() == label.len() && key.bytes().map(byte).eq(label.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names() {
        let cases: [(&[(&str, &str)], &str); 8] = [
            (&[("service.name", "shop"), ("app", "x")], "shop"),
            (&[("app", "x"), ("service.name", "shop")], "shop"),
            (&[("service_name", "shop")], "shop"),
            (&[("service.name", ""), ("job", "batch")], "batch"),
            (&[("k8s.job.name", "nightly"), ("k8s.container.name", "c")], "c"),
            (&[("app.kubernetes.io/name", "web")], "web"),
            (&[("host.name", "a")], "unknown_service"),
            (&[], "unknown_service"),
        ];
        for (attributes, expected) in cases {
            let attributes: Vec<_> =
                attributes.iter().map(|(k, v)| (k.to_string(), Value::Str(v.to_string()))).collect();
            assert_eq!(service_name(&attributes), expected, "{attributes:?}");
        }
        assert_eq!(service_name(&[("service.name".into(), Value::Int(7))]), "unknown_service");
    }
}
