//! `bonghwa query` and `bonghwa ring`: a client of the HTTP API.

use std::io::Write;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use futures::StreamExt;
use serde_json::Value;

use crate::pages;

/// Where the server is and whose data is meant.
#[derive(Args)]
pub struct Address {
    /// URL of the server's HTTP API.
    #[arg(long, env = "BONGHWA_ADDRESS", default_value = "http://127.0.0.1:7800")]
    address: String,
    /// Tenant, where the server has several.
    #[arg(long)]
    tenant: Option<String>,
}

/// A query language.
#[derive(Subcommand)]
pub enum QueryCommand {
    /// Run a SELECT over `logs`, `spans` and `metrics`.
    Sql {
        /// For example: SELECT time, body FROM logs ORDER BY time DESC LIMIT 10
        query: String,
        /// How to print the answer.
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
        #[command(flatten)]
        address: Address,
    },
}

/// Forms of an answer.
#[derive(Clone, Copy, ValueEnum)]
pub enum Output {
    /// Aligned columns.
    Table,
    /// One JSON array.
    Json,
    /// One JSON object per line.
    Ndjson,
    /// Comma-separated, with a header.
    Csv,
}

/// Runs a query and prints its answer.
pub async fn run(command: QueryCommand) -> Result<()> {
    let QueryCommand::Sql { query, output, address } = command;
    let accept = match output {
        Output::Table | Output::Ndjson => "application/x-ndjson",
        Output::Json => "application/json",
        Output::Csv => "text/csv",
    };
    let request = reqwest::Client::new()
        .post(format!("{}/api/v1/sql", address.address.trim_end_matches('/')))
        .header("accept", accept)
        .json(&serde_json::json!({ "query": query }));
    let response = send(request, &address).await?;
    if let Output::Table = output {
        let text = response.text().await?;
        let rows: Result<Vec<Row>, _> = text.lines().map(serde_json::from_str).collect();
        return print_table(&rows.context("the answer is no JSON")?);
    }
    let mut body = response.bytes_stream();
    let mut out = std::io::stdout().lock();
    while let Some(chunk) = body.next().await {
        out.write_all(&chunk?)?;
    }
    Ok(out.flush()?)
}

/// Prints the ring.
pub async fn ring(address: Address) -> Result<()> {
    let request = reqwest::Client::new().get(format!("{}/ring", address.address.trim_end_matches('/')));
    let ring: Value = send(request, &address).await?.json().await?;
    println!("catalog version {}, {} blocks", ring["version"], ring["blocks"]);
    for (section, columns) in [("nodes", pages::NODE_COLUMNS), ("partitions", pages::PARTITION_COLUMNS)] {
        println!("\n{section}");
        let row = |item: &Value| Row(columns.iter().map(|name| ((*name).to_owned(), item[*name].clone())).collect());
        print_table(&ring[section].as_array().into_iter().flatten().map(row).collect::<Vec<_>>())?;
    }
    Ok(())
}

async fn send(request: reqwest::RequestBuilder, address: &Address) -> Result<reqwest::Response> {
    let request = match &address.tenant {
        Some(tenant) => request.header("x-scope-orgid", tenant),
        None => request,
    };
    let response = request.send().await.with_context(|| format!("no server answers at {}", address.address))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    let message = serde_json::from_str::<Value>(&text).ok().and_then(|v| Some(v.get("error")?.as_str()?.to_owned()));
    bail!("{status}: {}", message.unwrap_or(text));
}

/// A JSON object whose keys keep their order, which is that of the query's columns.
struct Row(Vec<(String, Value)>);

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
fn print_table(rows: &[Row]) -> Result<()> {
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
