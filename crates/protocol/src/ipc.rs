//! Record batches as an Arrow IPC stream, cut into chunks: how a tail travels.

use std::collections::VecDeque;

use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};

use crate::{RpcError, v1};

/// Upper size of a chunk, and roughly of one IPC message: small enough that a
/// reader starts early, large enough that framing costs nothing.
const CHUNK_BYTES: usize = 2 * 1024 * 1024;

type Batches = BoxStream<'static, Result<RecordBatch, RpcError>>;

/// Encodes batches of one schema as chunks. No batches give no chunks.
pub(crate) fn encode(batches: Batches) -> BoxStream<'static, Result<v1::TailChunk, RpcError>> {
    let state = Encoder { batches, writer: None, chunks: VecDeque::new(), ended: false };
    stream::try_unfold(state, |mut state| async move { Ok(state.next().await?.map(|chunk| (chunk, state))) }).boxed()
}

/// Decodes what [`encode`] made, however its bytes are cut.
pub(crate) fn decode<S>(chunks: S) -> Batches
where
    S: stream::Stream<Item = Result<v1::TailChunk, RpcError>> + Send + 'static,
{
    let state = Decoder { chunks: chunks.boxed(), decoder: StreamDecoder::new(), buffer: Bytes::new().into() };
    stream::try_unfold(state, |mut state| async move { Ok(state.next().await?.map(|batch| (batch, state))) }).boxed()
}

struct Encoder {
    batches: Batches,
    writer: Option<StreamWriter<Vec<u8>>>,
    chunks: VecDeque<Bytes>,
    ended: bool,
}

impl Encoder {
    async fn next(&mut self) -> Result<Option<v1::TailChunk>, RpcError> {
        while self.chunks.is_empty() && !self.ended {
            match self.batches.next().await {
                Some(batch) => self.write(&batch?).map_err(encoding)?,
                None => self.end().map_err(encoding)?,
            }
        }
        Ok(self.chunks.pop_front().map(|ipc| v1::TailChunk { ipc }))
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(StreamWriter::try_new(Vec::new(), &batch.schema())?),
        };
        let pieces = slice_bytes(batch).div_ceil(CHUNK_BYTES).max(1);
        let rows = batch.num_rows().div_ceil(pieces).max(1);
        let mut start = 0;
        while start < batch.num_rows() {
            let length = rows.min(batch.num_rows() - start);
            writer.write(&batch.slice(start, length))?;
            cut(writer.get_mut(), &mut self.chunks);
            start += length;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), ArrowError> {
        self.ended = true;
        if let Some(writer) = &mut self.writer {
            writer.finish()?;
            cut(writer.get_mut(), &mut self.chunks);
        }
        Ok(())
    }
}

/// Moves what was written into chunks.
fn cut(written: &mut Vec<u8>, chunks: &mut VecDeque<Bytes>) {
    let mut rest = Bytes::from(std::mem::take(written));
    while !rest.is_empty() {
        chunks.push_back(rest.split_to(rest.len().min(CHUNK_BYTES)));
    }
}

fn slice_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(c.get_array_memory_size())).sum()
}

fn encoding(error: ArrowError) -> RpcError {
    RpcError::internal(format!("the tail could not be encoded: {error}"))
}

struct Decoder {
    chunks: BoxStream<'static, Result<v1::TailChunk, RpcError>>,
    decoder: StreamDecoder,
    buffer: arrow_buffer::Buffer,
}

impl Decoder {
    async fn next(&mut self) -> Result<Option<RecordBatch>, RpcError> {
        loop {
            if let Some(batch) = self.decoder.decode(&mut self.buffer).map_err(decoding)? {
                return Ok(Some(batch));
            }
            match self.chunks.next().await {
                Some(chunk) => self.buffer = chunk?.ipc.into(),
                None => {
                    self.decoder.finish().map_err(decoding)?;
                    return Ok(None);
                }
            }
        }
    }
}

fn decoding(error: ArrowError) -> RpcError {
    RpcError::internal(format!("the tail that came is no Arrow IPC stream: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow_array::{Int64Array, RecordBatchOptions, StringArray};
    use arrow_schema::{DataType, Field, Schema};
    use futures::TryStreamExt;

    use super::*;

    fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
        let schema =
            Schema::new(vec![Field::new("time", DataType::Int64, false), Field::new("body", DataType::Utf8, true)]);
        let bodies = rows.clone().map(|i| (i % 3 != 0).then(|| format!("line {i} {}", "x".repeat(50))));
        let columns: Vec<arrow_array::ArrayRef> =
            vec![Arc::new(Int64Array::from_iter_values(rows)), Arc::new(StringArray::from_iter(bodies))];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    async fn chunks(batches: Vec<RecordBatch>) -> Vec<v1::TailChunk> {
        encode(stream::iter(batches.into_iter().map(Ok)).boxed()).try_collect().await.unwrap()
    }

    async fn read(chunks: Vec<v1::TailChunk>) -> Result<Vec<RecordBatch>, RpcError> {
        decode(stream::iter(chunks.into_iter().map(Ok))).try_collect().await
    }

    #[tokio::test]
    async fn large_batches_travel_in_chunks() {
        let all = batch(0..200_000);
        let sent = chunks(vec![all.slice(0, 10), all.slice(10, 150_000), all.slice(150_010, 49_990)]).await;
        assert!(sent.len() > 4 && sent.iter().all(|c| c.ipc.len() <= CHUNK_BYTES));
        let got = read(sent).await.unwrap();
        assert_eq!(arrow_select::concat::concat_batches(&all.schema(), &got).unwrap(), all);
    }

    #[tokio::test]
    async fn any_cut_decodes() {
        let all = batch(0..50);
        let bytes: Vec<u8> = chunks(vec![all.clone()]).await.iter().flat_map(|c| c.ipc.to_vec()).collect();
        for size in [1, 7, 64, 1000] {
            let cut = bytes.chunks(size).map(|c| v1::TailChunk { ipc: Bytes::copy_from_slice(c) }).collect();
            assert_eq!(read(cut).await.unwrap(), std::slice::from_ref(&all), "{size}");
        }
    }

    #[tokio::test]
    async fn nothing_and_no_columns() {
        assert!(chunks(vec![]).await.is_empty());
        assert!(read(vec![]).await.unwrap().is_empty());
        let options = RecordBatchOptions::new().with_row_count(Some(5));
        let count = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        let got = read(chunks(vec![count]).await).await.unwrap();
        assert_eq!(got.iter().map(RecordBatch::num_rows).sum::<usize>(), 5);
    }

    #[tokio::test]
    async fn a_cut_off_or_foreign_stream_is_an_error() {
        let mut sent = chunks(vec![batch(0..50)]).await;
        sent.truncate(1);
        let cut = sent[0].ipc.len() - 10;
        sent[0].ipc.truncate(cut);
        assert!(read(sent).await.is_err());
        assert!(read(vec![v1::TailChunk { ipc: Bytes::from_static(b"not arrow at all") }]).await.is_err());
    }
}
