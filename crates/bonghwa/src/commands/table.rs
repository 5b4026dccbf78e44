//! Answers as tables for a terminal.

use std::io::Write;

use anyhow::Result;
use serde_json::Value;

/// A JSON object whose keys keep their order, which is that of the query's columns.
pub struct Row(pub Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Row {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> serde::de::Visitor<'de> for Entries {
            type Value = Row;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a row as a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Row(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Aligned columns. A text of several lines takes several lines.
pub fn print(rows: &[Row]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let Some(Row(first)) = rows.first() else {
        return Ok(writeln!(out, "(0 rows)")?);
    };
    let header = first.iter().map(|(name, _)| cell(&Value::from(name.as_str()))).collect();
    let body = rows.iter().map(|Row(row)| row.iter().map(|(_, value)| cell(value)).collect());
    let table: Vec<Vec<Vec<String>>> = std::iter::once(header).chain(body).collect();
    let width = |column: usize| {
        let lines = table.iter().filter_map(|row| row.get(column)).flatten();
        lines.map(|line| line.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..first.len()).map(width).collect();
    for (n, row) in table.iter().enumerate() {
        for line in 0..row.iter().map(Vec::len).max().unwrap_or(0) {
            let cells = row.iter().map(|cell| cell.get(line).map_or("", String::as_str));
            let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(out, "{}", padded.join("  ").trim_end())?;
        }
        if n == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            writeln!(out, "{}", rules.join("  "))?;
        }
    }
    writeln!(out, "({} rows)", rows.len())?;
    Ok(())
}

/// The lines of a value. Telemetry is other people's text: it must not steer the terminal.
fn cell(value: &Value) -> Vec<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    let shown = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.lines().map(|line| line.chars().map(shown).collect()).collect()
}
