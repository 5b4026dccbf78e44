//! The streamed answer: messages of chunks, each in a frame of its length, its checksum and its bytes, made
//! when the reader takes them.

use bonghwa_promql::Labels;
use bonghwa_query::SeriesSamples;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::encode_varint;

use super::message::{Chunk, ChunkedReadResponse, ChunkedSeries, labels};
use super::xor;

/// Samples of a chunk, as Prometheus has them.
const CHUNK_SAMPLES: usize = 120;
/// Bytes of the chunks of a frame, after which another begins.
const FRAME_BYTES: usize = 1 << 20;

/// The frames of an answer. A series that fills several comes in several.
pub(super) struct Frames {
    answers: std::iter::Enumerate<std::vec::IntoIter<Vec<SeriesSamples>>>,
    query: i64,
    series: std::vec::IntoIter<SeriesSamples>,
    current: Option<Rest>,
}

/// What is left of a series.
struct Rest {
    labels: Labels,
    times: Vec<i64>,
    values: Vec<f64>,
    done: usize,
}

impl Frames {
    /// Of floats; histograms are left out.
    pub(super) fn new(answers: Vec<Vec<SeriesSamples>>) -> Self {
        Frames { answers: answers.into_iter().enumerate(), query: 0, series: Vec::new().into_iter(), current: None }
    }

    fn current(&mut self) -> Option<&mut Rest> {
        while self.current.as_ref().is_none_or(|rest| rest.done == rest.times.len()) {
            match self.series.next() {
                Some(SeriesSamples { labels, times, values, .. }) => {
                    self.current = Some(Rest { labels, times, values, done: 0 });
                }
                None => {
                    let (query, series) = self.answers.next()?;
                    (self.query, self.series) = (query as i64, series.into_iter());
                    self.current = None;
                }
            }
        }
        self.current.as_mut()
    }
}

impl Iterator for Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let rest = self.current()?;
        let mut series = ChunkedSeries { labels: labels(&rest.labels), chunks: Vec::new() };
        let mut bytes = 0;
        while rest.done < rest.times.len() && bytes < FRAME_BYTES {
            let end = (rest.done + CHUNK_SAMPLES).min(rest.times.len());
            let (times, values) = (&rest.times[rest.done..end], &rest.values[rest.done..end]);
            let data = xor::encode(times, values);
            bytes += data.len();
            let (min_time_ms, max_time_ms) = (times[0], times[times.len() - 1]);
            series.chunks.push(Chunk { min_time_ms, max_time_ms, encoding: Chunk::XOR, data });
            rest.done = end;
        }
        let message = ChunkedReadResponse { chunked_series: vec![series], query_index: self.query };
        Some(frame(&message.encode_to_vec()))
    }
}

fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 16);
    encode_varint(message.len() as u64, &mut frame);
    frame.put_u32(crc32c::crc32c(message));
    frame.put_slice(message);
    frame.freeze()
}
