//! `bonghwa query` and `bonghwa ring`: a client of the HTTP API.

use std::io::Write;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use futures::StreamExt;
use serde_json::Value;

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
    for section in ["nodes", "partitions"] {
        println!("\n{section}");
        print_table(&serde_json::from_value::<Vec<Row>>(ring[section].clone())?)?;
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

fn print_table(rows: &[Row]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let Some(Row(first)) = rows.first() else {
        return Ok(writeln!(out, "(0 rows)")?);
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.replace('\n', "\\n"),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let header: Vec<String> = first.iter().map(|(name, _)| name.clone()).collect();
    let body = rows.iter().map(|Row(row)| row.iter().map(|(_, value)| text(value)).collect());
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(body).collect();
    let width = |i: usize| lines.iter().filter_map(|line| line.get(i)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..first.len()).map(|i| width(i).unwrap_or(0)).collect();
    for (n, line) in lines.iter().enumerate() {
        let padded: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", padded.join("  ").trim_end())?;
        if n == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            writeln!(out, "{}", rules.join("  "))?;
        }
    }
    writeln!(out, "({} rows)", rows.len())?;
    Ok(())
}
