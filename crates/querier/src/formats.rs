//! The formats of an answer, written batch by batch.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;

use crate::cells::Cells;

/// A format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One array of objects.
    Json,
    /// An object a line.
    Ndjson,
    /// RFC 4180 with a header line.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

impl Format {
    /// All, the default first.
    pub(crate) const ALL: [Format; 4] = [Format::Json, Format::Ndjson, Format::Csv, Format::Arrow];

    /// What Accept calls it.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::Csv => "text/csv",
            Format::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// The Content-Type of an answer.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::Csv => "text/csv; charset=utf-8; header=present",
            other => other.media_type(),
        }
    }
}

/// Writes batches of one schema in a format.
pub(crate) struct Encoder {
    schema: SchemaRef,
    state: State,
}

enum State {
    Json { keys: Vec<Vec<u8>>, lines: bool, rows: u64 },
    Csv { started: bool },
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Encoder {
    /// For answers with these columns.
    pub(crate) fn new(format: Format, schema: &SchemaRef) -> Result<Self, String> {
        let keys = || schema.fields().iter().map(|f| serde_json::to_vec(f.name()).unwrap_or_default()).collect();
        let state = match format {
            Format::Json => State::Json { keys: keys(), lines: false, rows: 0 },
            Format::Ndjson => State::Json { keys: keys(), lines: true, rows: 0 },
            Format::Csv => State::Csv { started: false },
            Format::Arrow => {
                let writer = StreamWriter::try_new(Vec::new(), schema).map_err(|error| error.to_string())?;
                State::Arrow(Box::new(writer))
            }
        };
        Ok(Encoder { schema: schema.clone(), state })
    }

    /// The next rows.
    pub(crate) fn rows(&mut self, batch: &RecordBatch) -> Result<Bytes, String> {
        let mut out = Vec::with_capacity(batch.num_rows() * 64);
        match &mut self.state {
            State::Json { keys, lines, rows } => write_json(batch, keys, *lines, rows, &mut out)?,
            State::Csv { started } => {
                if !std::mem::replace(started, true) {
                    csv_header(&self.schema, &mut out);
                }
                write_csv(batch, &mut out)?;
            }
            State::Arrow(writer) => {
                writer.write(batch).map_err(|error| error.to_string())?;
                out = std::mem::take(writer.get_mut());
            }
        }
        Ok(out.into())
    }

    /// What comes after the last row.
    pub(crate) fn end(mut self) -> Result<Bytes, String> {
        let mut out = Vec::new();
        match &mut self.state {
            State::Json { lines: true, .. } => {}
            State::Json { rows: 0, .. } => out.extend_from_slice(b"[]\n"),
            State::Json { .. } => out.extend_from_slice(b"\n]\n"),
            State::Csv { started: true } => {}
            State::Csv { .. } => csv_header(&self.schema, &mut out),
            State::Arrow(writer) => {
                writer.finish().map_err(|error| error.to_string())?;
                out = std::mem::take(writer.get_mut());
            }
        }
        Ok(out.into())
    }
}

fn cells(batch: &RecordBatch) -> Result<Vec<Cells<'_>>, String> {
    let schema = batch.schema_ref();
    batch.columns().iter().zip(schema.fields()).map(|(column, field)| Cells::new(column, field)).collect()
}

fn write_json(
    batch: &RecordBatch,
    keys: &[Vec<u8>],
    lines: bool,
    rows: &mut u64,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let cells = cells(batch)?;
    for row in 0..batch.num_rows() {
        match (lines, *rows) {
            (true, _) => {}
            (false, 0) => out.extend_from_slice(b"[\n"),
            (false, _) => out.extend_from_slice(b",\n"),
        }
        *rows += 1;
        out.push(b'{');
        for (at, (cells, key)) in cells.iter().zip(keys).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(key);
            out.push(b':');
            cells.json(row, out);
        }
        out.push(b'}');
        if lines {
            out.push(b'\n');
        }
    }
    Ok(())
}

fn csv_header(schema: &SchemaRef, out: &mut Vec<u8>) {
    for (at, field) in schema.fields().iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        csv_text(field.name(), out);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_csv(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), String> {
    let cells = cells(batch)?;
    let mut text = Vec::new();
    for row in 0..batch.num_rows() {
        for (at, cells) in cells.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            // Null is nothing, an empty text is a pair of quotes.
            if !cells.is_null(row) {
                text.clear();
                cells.text(row, &mut text);
                csv_text(&String::from_utf8_lossy(&text), out);
            }
        }
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

fn csv_text(text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() && !text.contains([',', '"', '\r', '\n']) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}
