//! Writing row groups: dictionary columns by ourselves, all others through the
//! Parquet crate, each with the encoding that was measured to pay for it.

mod dict;
mod rle;

use std::sync::Arc;

use arrow_schema::{DataType, Schema, SchemaRef};
use bonghwa_model::Signal;
use bytes::Bytes;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, SchemaDescriptor};

use crate::layout::{Layout, Order};
use crate::packing::{self, TIME_OFFSETS};
use crate::physical::PhysicalColumn;
use crate::write::WriteOptions;

/// Bytes of a page of samples' parts before compression, about: few series, so that whoever wants one does not
/// decode a thousand. Integers are packed, and take far less than the eight bytes of a float.
const INTEGERS_PAGE_BYTES: usize = 4 * 1024;
const TIMES_PAGE_BYTES: usize = 32 * 1024;
const FLOATS_PAGE_BYTES: usize = 128 * 1024;
const TEXTS_PAGE_BYTES: usize = 512 * 1024;
/// Most bytes of a dictionary of the offsets of times: with more values than that, packing them is better.
const OFFSETS_DICTIONARY_BYTES: usize = 16 * 1024;

/// zstd with one context for all pages.
struct Compressor {
    zstd: zstd::bulk::Compressor<'static>,
    level: ZstdLevel,
}

impl Compressor {
    fn compress(&mut self, page: &[u8]) -> Result<Bytes> {
        Ok(self.zstd.compress(page)?.into())
    }

    fn compression(&self) -> Compression {
        Compression::ZSTD(self.level)
    }
}

/// A Parquet file in memory, written row group by row group.
pub(crate) struct FileEncoder {
    writer: SerializedFileWriter<Vec<u8>>,
    factory: ArrowRowGroupWriterFactory,
    /// In memory.
    physical: SchemaRef,
    /// In the block.
    stored: SchemaRef,
    schema: SchemaDescriptor,
    page_rows: usize,
    row_groups: usize,
    compressor: Compressor,
}

impl FileEncoder {
    pub fn new(layout: &Layout, order: Order, options: &WriteOptions) -> Result<Self> {
        let level = ZstdLevel::try_new(options.zstd_level)?;
        let stored = packing::stored(&layout.schema);
        let properties = Arc::new(properties(layout.signal, &stored, order, options, level).build());
        let schema = ArrowSchemaConverter::new().convert(&stored)?;
        let writer = SerializedFileWriter::new(Vec::new(), schema.root_schema_ptr(), properties)?;
        let factory = ArrowRowGroupWriterFactory::new(&writer, Arc::clone(&stored));
        Ok(FileEncoder {
            writer,
            factory,
            physical: Arc::clone(&layout.schema),
            stored,
            schema,
            page_rows: options.page_rows(layout.signal),
            row_groups: 0,
            compressor: Compressor { zstd: zstd::bulk::Compressor::new(options.zstd_level)?, level },
        })
    }

    /// Writes one row group with all columns of the layout.
    pub fn row_group(&mut self, columns: Vec<PhysicalColumn>) -> Result<()> {
        let columns = packing::pack(&self.physical, columns).map_err(|e| ParquetError::External(Box::new(e)))?;
        let writers = self.factory.create_column_writers(self.row_groups)?;
        let mut writers = writers.into_iter();
        let mut row_group = self.writer.next_row_group()?;
        // Every field is one leaf: lists have one item column.
        // A column's memory is given back when it is written.
        for (index, (column, field)) in columns.into_iter().zip(self.stored.fields()).enumerate() {
            let writer = writers.next();
            match column {
                PhysicalColumn::Dict { keys, values } => {
                    let descriptor = self.schema.column(index);
                    dict::check_type(&descriptor, &values)?;
                    let bounds = has_bounds(field.name());
                    let chunk =
                        dict::encode(&descriptor, &keys, &values, self.page_rows, bounds, &mut self.compressor)?;
                    row_group.append_column(&chunk.bytes, chunk.close)?;
                }
                PhysicalColumn::Plain(array) => {
                    let mut writer = writer.ok_or_else(|| ParquetError::General("columns ran out".into()))?;
                    for leaf in compute_leaves(field, &array)? {
                        writer.write(&leaf)?;
                    }
                    writer.close()?.append_to_row_group(&mut row_group)?;
                }
            }
        }
        row_group.close()?;
        self.row_groups += 1;
        Ok(())
    }

    /// Row groups so far.
    pub fn row_groups(&self) -> usize {
        self.row_groups
    }

    /// Where the next byte will lie in the file.
    pub fn position(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Writes bytes that other readers pass over.
    pub fn embed(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes)?;
        Ok(())
    }

    /// Ends the file.
    pub fn finish(mut self, metadata: impl IntoIterator<Item = (String, String)>) -> Result<Vec<u8>> {
        for (key, value) in metadata {
            self.writer.append_key_value_metadata(KeyValue::new(key, value));
        }
        self.writer.into_inner()
    }
}

/// Columns whose values are spread over all pages: bounds of theirs skip nothing.
fn has_bounds(column: &str) -> bool {
    !matches!(
        column,
        "body"
            | "trace_id"
            | "span_id"
            | "parent_span_id"
            | "series_id"
            | "events"
            | "links"
            | "trace_state"
            | "resource_rest"
            | "attributes_rest"
            | "scope_attributes"
            | "metadata"
    )
}

fn properties(
    signal: Signal,
    schema: &Schema,
    order: Order,
    options: &WriteOptions,
    level: ZstdLevel,
) -> WriterPropertiesBuilder {
    let page_rows = options.page_rows(signal);
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("bonghwa {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(false)
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size(page_rows)
        .set_data_page_size_limit(8 << 20)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(64))
        .set_column_index_truncate_length(Some(64));
    let sorting = order.columns(signal);
    let sorting = sorting.iter().filter_map(|name| schema.index_of(name).ok());
    let sorting = sorting.map(|i| SortingColumn { column_idx: i as i32, descending: false, nulls_first: false });
    properties = properties.set_sorting_columns(Some(sorting.collect()));
    for field in schema.fields() {
        let (path, item) = match field.data_type() {
            DataType::List(item) => {
                let path = vec![field.name().clone(), "list".into(), item.name().clone()];
                (ColumnPath::new(path), item.data_type())
            }
            other => (ColumnPath::new(vec![field.name().clone()]), other),
        };
        if !has_bounds(field.name()) || matches!(field.data_type(), DataType::List(_)) {
            properties = properties.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
        }
        let encoding = match item {
            DataType::Timestamp(..) | DataType::Int64 | DataType::Int32 => Encoding::DELTA_BINARY_PACKED,
            DataType::Float64 => Encoding::BYTE_STREAM_SPLIT,
            DataType::Utf8 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
            _ => Encoding::PLAIN,
        };
        if matches!(field.data_type(), DataType::List(_)) {
            let bytes = match item {
                DataType::Utf8 => TEXTS_PAGE_BYTES,
                DataType::Float64 => FLOATS_PAGE_BYTES,
                DataType::Timestamp(..) => TIMES_PAGE_BYTES,
                _ => INTEGERS_PAGE_BYTES,
            };
            properties = properties.set_column_data_page_size_limit(path.clone(), bytes);
        }
        if field.name() == TIME_OFFSETS {
            properties = properties
                .set_column_dictionary_enabled(path.clone(), true)
                .set_column_dictionary_page_size_limit(path.clone(), OFFSETS_DICTIONARY_BYTES);
        }
        properties = properties.set_column_encoding(path, encoding);
    }
    properties
}
