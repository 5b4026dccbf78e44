//! `bonghwa query`: asks a running server.

use std::io::Write;

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use futures::StreamExt;

use super::client::Address;
use super::promql;
use super::table::{self, Row};

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
    /// Evaluate PromQL over metrics, at one time or over a range.
    Promql(promql::PromqlArgs),
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
    let (query, output, address) = match command {
        QueryCommand::Sql { query, output, address } => (query, output, address),
        QueryCommand::Promql(args) => return promql::run(args).await,
    };
    let accept = match output {
        Output::Table | Output::Ndjson => "application/x-ndjson",
        Output::Json => "application/json",
        Output::Csv => "text/csv",
    };
    let request = address.post("/api/v1/sql").header("accept", accept).json(&serde_json::json!({ "query": query }));
    let response = address.send(request).await?;
    if let Output::Table = output {
        let text = response.text().await?;
        let rows: Result<Vec<Row>, _> = text.lines().map(serde_json::from_str).collect();
        return table::print(&rows.context("the answer is no JSON")?);
    }
    let mut body = response.bytes_stream();
    let mut out = std::io::stdout().lock();
    while let Some(chunk) = body.next().await {
        out.write_all(&chunk?)?;
    }
    Ok(out.flush()?)
}
