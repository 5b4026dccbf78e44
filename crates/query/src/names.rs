//! What tables and attribute columns are called in SQL.

use bonghwa_block::AttributeScope;
use bonghwa_model::Signal;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName};

/// The table of a signal.
pub(crate) fn table(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs => "logs",
        Signal::Metrics => "metrics",
        Signal::Traces => "spans",
    }
}

/// Every name of a table, with its signal.
pub(crate) const TABLES: [(&str, Signal); 4] =
    [("logs", Signal::Logs), ("metrics", Signal::Metrics), ("spans", Signal::Traces), ("traces", Signal::Traces)];

/// The signal whose table this is, if it is one.
pub(crate) fn signal_of(name: &ObjectName) -> Option<Signal> {
    let last = name.0.last()?.as_ident()?;
    let name = normalized(last);
    TABLES.iter().find(|(table, _)| *table == name).map(|(_, signal)| *signal)
}

/// An identifier as the planner compares it: unquoted ones do not heed case.
pub(crate) fn normalized(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

/// The column that a subscript on this one looks into.
pub(crate) fn scope_of(column: &str) -> Option<AttributeScope> {
    match column {
        "attributes" => Some(AttributeScope::Record),
        "resource" => Some(AttributeScope::Resource),
        _ => None,
    }
}

/// What the column of an attribute is called: as the query wrote it, so that the
/// answer's header is what the user expects.
pub(crate) fn attribute(scope: AttributeScope, key: &str) -> String {
    match scope {
        AttributeScope::Any => key.to_owned(),
        AttributeScope::Record => format!("attributes['{}']", key.replace('\'', "''")),
        AttributeScope::Resource => format!("resource['{}']", key.replace('\'', "''")),
    }
}
