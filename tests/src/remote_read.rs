//! A client of remote read, and a reader of the chunks that it streams.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use prost::Message;

use crate::prometheus::messages::{Label, Series};
use crate::prometheus::snappy;

/// What is asked.
#[derive(Clone, PartialEq, Message)]
pub struct ReadRequest {
    /// Selectors.
    #[prost(message, repeated, tag = "1")]
    pub queries: Vec<Query>,
    /// 0 samples, 1 chunks; the preferred one first.
    #[prost(int32, repeated, tag = "2")]
    pub accepted_response_types: Vec<i32>,
}

/// A selector.
#[derive(Clone, PartialEq, Message)]
pub struct Query {
    /// Unix milliseconds.
    #[prost(int64, tag = "1")]
    pub start: i64,
    /// Unix milliseconds.
    #[prost(int64, tag = "2")]
    pub end: i64,
    /// Conditions.
    #[prost(message, repeated, tag = "3")]
    pub matchers: Vec<Matcher>,
}

/// A condition.
#[derive(Clone, PartialEq, Message)]
pub struct Matcher {
    /// 0 to 3: `=`, `!=`, `=~`, `!~`.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// The label.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Value or pattern.
    #[prost(string, tag = "3")]
    pub value: String,
}

/// All samples.
#[derive(Clone, PartialEq, Message)]
pub struct ReadResponse {
    /// By query.
    #[prost(message, repeated, tag = "1")]
    pub results: Vec<QueryResult>,
}

/// Those of a query.
#[derive(Clone, PartialEq, Message)]
pub struct QueryResult {
    /// Sorted by labels.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<Series>,
}

/// A message of a stream.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkedReadResponse {
    /// Series.
    #[prost(message, repeated, tag = "1")]
    pub chunked_series: Vec<ChunkedSeries>,
    /// The number of the query.
    #[prost(int64, tag = "2")]
    pub query_index: i64,
}

/// A series' chunks.
#[derive(Clone, PartialEq, Message)]
pub struct ChunkedSeries {
    /// Sorted.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Sorted by time.
    #[prost(message, repeated, tag = "2")]
    pub chunks: Vec<Chunk>,
}

/// Encoded samples.
#[derive(Clone, PartialEq, Message)]
pub struct Chunk {
    /// Unix milliseconds.
    #[prost(int64, tag = "1")]
    pub min_time: i64,
    /// Unix milliseconds.
    #[prost(int64, tag = "2")]
    pub max_time: i64,
    /// 1: floats.
    #[prost(int32, tag = "3")]
    pub encoding: i32,
    /// Bits.
    #[prost(bytes = "vec", tag = "4")]
    pub data: Vec<u8>,
}

/// A query whose matchers are all equalities.
pub fn query(start: i64, end: i64, matchers: &[(i32, &str, &str)]) -> Query {
    let matcher = |(kind, name, value): &(i32, &str, &str)| Matcher {
        kind: *kind,
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    Query { start, end, matchers: matchers.iter().map(matcher).collect() }
}

/// Sends a request to the URL of a server of remote read.
pub async fn send(http: &reqwest::Client, url: &str, request: &ReadRequest) -> Result<reqwest::Response> {
    let body = snappy(&request.encode_to_vec())?;
    let request = http.post(url).header("content-type", "application/x-protobuf").header("content-encoding", "snappy");
    Ok(request.header("x-prometheus-remote-read-version", "0.1.0").body(body).send().await?)
}

/// Asks for samples.
pub async fn samples(http: &reqwest::Client, url: &str, queries: Vec<Query>) -> Result<ReadResponse> {
    let answer = send(http, url, &ReadRequest { queries, accepted_response_types: vec![0] }).await?;
    ensure!(answer.status() == 200, "{}: {}", answer.status(), answer.text().await?);
    let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let headers = (header("content-type"), header("content-encoding"));
    ensure!(headers == (Some("application/x-protobuf".into()), Some("snappy".into())), "{headers:?}");
    Ok(ReadResponse::decode(&*snap::raw::Decoder::new().decompress_vec(&answer.bytes().await?)?)?)
}

/// Asks for chunks: the messages of the stream.
pub async fn chunks(http: &reqwest::Client, url: &str, queries: Vec<Query>) -> Result<Vec<ChunkedReadResponse>> {
    let answer = send(http, url, &ReadRequest { queries, accepted_response_types: vec![1] }).await?;
    ensure!(answer.status() == 200, "{}: {}", answer.status(), answer.text().await?);
    let media = answer.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    ensure!(media == "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse", "{media}");
    let body = answer.bytes().await?;
    let (mut rest, mut messages) = (&body[..], vec![]);
    while !rest.is_empty() {
        let length = prost::decode_length_delimiter(&mut rest)?;
        let (checksum, after) = rest.split_first_chunk::<4>().context("no checksum")?;
        let (message, after) = after.split_at_checked(length).context("the frame is cut short")?;
        ensure!(crc32c(message) == u32::from_be_bytes(*checksum), "the checksum is wrong");
        messages.push(ChunkedReadResponse::decode(message)?);
        rest = after;
    }
    Ok(messages)
}

/// The checksum of frames, bit by bit: Castagnoli's polynomial.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

/// Labels as text, for a key.
pub fn shown(labels: &[Label]) -> String {
    labels.iter().map(|label| format!("{}={:?}", label.name, label.value)).collect::<Vec<_>>().join(",")
}

/// The chunks of each series of a stream.
pub fn by_series(messages: &[ChunkedReadResponse]) -> BTreeMap<String, Vec<Chunk>> {
    let mut all: BTreeMap<String, Vec<Chunk>> = BTreeMap::new();
    for series in messages.iter().flat_map(|message| &message.chunked_series) {
        all.entry(shown(&series.labels)).or_default().extend(series.chunks.iter().cloned());
    }
    all
}

/// Times and bits of values of a chunk of floats.
pub fn read_xor(data: &[u8]) -> Result<Vec<(i64, u64)>> {
    let mut bits = Bits { data, at: 0 };
    let count = bits.take(16)?;
    let (mut time, mut distance, mut value) = (0i64, 0i64, 0u64);
    let (mut leading, mut trailing) = (0u32, 0u32);
    let mut samples = vec![];
    for number in 0..count {
        if number == 0 {
            let raw = bits.varint()?;
            time = (raw >> 1) as i64 ^ -((raw & 1) as i64);
            value = bits.take(64)?;
        } else {
            if number == 1 {
                distance = bits.varint()? as i64;
            } else {
                let mut ones = 0;
                while ones < 4 && bits.take(1)? == 1 {
                    ones += 1;
                }
                let size = [0u32, 14, 17, 20, 64][ones];
                let raw = if size == 0 { 0 } else { bits.take(size)? };
                // The one number that has no negative stands for itself.
                let negative = size > 0 && size < 64 && raw > 1 << (size - 1);
                distance += if negative { raw as i64 - (1 << size) } else { raw as i64 };
            }
            time += distance;
            if bits.take(1)? == 1 {
                if bits.take(1)? == 1 {
                    leading = bits.take(5)? as u32;
                    let significant = match bits.take(6)? as u32 {
                        0 => 64,
                        significant => significant,
                    };
                    trailing = 64 - leading - significant;
                }
                value ^= bits.take(64 - leading - trailing)? << trailing;
            }
        }
        samples.push((time, value));
    }
    Ok(samples)
}

struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Result<u64> {
        (0..count).try_fold(0u64, |number, _| {
            let byte = self.data.get(self.at / 8).context("the chunk is cut short")?;
            let bit = byte >> (7 - self.at % 8) & 1;
            self.at += 1;
            Ok(number << 1 | u64::from(bit))
        })
    }

    fn varint(&mut self) -> Result<u64> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.take(8)?;
            number |= (byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return Ok(number);
            }
        }
    }
}
