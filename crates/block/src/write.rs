//! Writing one object from the batches of a log range, or what a head kept of them.

use std::collections::BTreeMap;

use bonghwa_model::thin::Piece;
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1;
use bytes::Bytes;
use prost::Message;

use crate::BlockError;
use crate::describe::Describer;
use crate::encode::FileEncoder;
use crate::index::{DIRECTORY_KEY, Directory, IndexBuilder, Pointer, RowGroupIndex, VERSION, VERSION_KEY};
use crate::layout::{Layout, Order};
use crate::physical::PhysicalColumn;
use crate::rows::{Builder, Built, Input, Ordered, Rows, by_trace, in_batch_order, sorted};

/// How blocks are written. The defaults are what was measured to pay.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Most log records, spans or series per row group.
    pub row_group_rows: usize,
    /// Most metric samples per row group.
    pub row_group_samples: usize,
    /// Log records or spans per page, and per granule of the indexes.
    pub granule_rows: usize,
    /// Series per page.
    pub granule_series: usize,
    /// zstd level of all pages.
    pub zstd_level: i32,
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions {
            row_group_rows: 256 * 1024,
            row_group_samples: 4 * 1024 * 1024,
            granule_rows: 8192,
            granule_series: 1024,
            zstd_level: 1,
        }
    }
}

impl WriteOptions {
    /// Parquet rows per page of a signal.
    pub(crate) fn page_rows(&self, signal: Signal) -> usize {
        match signal {
            Signal::Metrics => self.granule_series.max(1),
            Signal::Logs | Signal::Traces => self.granule_rows.max(1),
        }
    }
}

/// An object to store, and what the catalog must know of it.
#[derive(Clone, Debug)]
pub struct EncodedBlock {
    /// The block's description; `bytes` is set.
    pub block: v1::Block,
    /// The object.
    pub bytes: Bytes,
}

/// Writes one L0 object from the batches of a log range, or what a head kept of them, in the order of the log.
///
/// Rows are sorted by tenant, service and time; metric points by tenant, name, series
/// and time, a row per series. Row groups never mix tenants. Positions `from < p <= to`
/// of the partition's log must be what the batches are of. CPU-bound: call it where
/// blocking is allowed. Memory: that of one row group beside the batches, and some 100 bytes per series.
pub fn write_l0(
    signal: Signal,
    partition: &str,
    from: u64,
    to: u64,
    path: String,
    pieces: &[(TenantId, impl Into<Piece> + Clone)],
    options: &WriteOptions,
) -> Result<EncodedBlock, BlockError> {
    let block = v1::Block {
        version: VERSION,
        path: path.clone(),
        signal: v1::Signal::from(signal) as i32,
        level: 0,
        partition: partition.to_owned(),
        from,
        to,
        ..Default::default()
    };
    let pieces: Vec<(&TenantId, Piece)> = pieces.iter().map(|(tenant, piece)| (tenant, piece.clone().into())).collect();
    write(signal, block, &pieces, options).map_err(|error| error.at(path))
}

fn write(
    signal: Signal,
    mut block: v1::Block,
    pieces: &[(&TenantId, Piece)],
    options: &WriteOptions,
) -> Result<EncodedBlock, BlockError> {
    let (input, numbers) = Input::of_pieces(signal, pieces.iter().map(|(_, piece)| piece))?;
    let mut tenants: BTreeMap<&TenantId, (Vec<u32>, Describer)> = BTreeMap::new();
    for ((tenant, piece), number) in pieces.iter().zip(numbers).filter(|((_, piece), _)| piece.rows() > 0) {
        let (numbers, describer) = tenants.entry(tenant).or_default();
        numbers.push(number);
        describer.add_piece(piece);
    }
    let mut all = Describer::default();
    tenants.values().for_each(|(_, describer)| all.merge(describer));
    let layout = Layout::choose(signal, &all);
    let mut writer = BlockWriter::new(layout.clone(), Order::of_flush(signal), options)?;
    let builder = Builder::new(&input, &layout, &|_| true);
    for (tenant, (numbers, describer)) in tenants {
        let mut rows = describer.finish(tenant);
        let first = writer.row_groups();
        rows.rows = writer.tenant(tenant, &input, &builder, &numbers)?;
        rows.row_groups = (first..writer.row_groups()).collect();
        block.tenants.push(rows);
    }
    writer.finish(block)
}

/// Writes one object, row group by row group.
pub(crate) struct BlockWriter {
    file: FileEncoder,
    index: IndexBuilder,
    filters: Vec<RowGroupIndex>,
    /// They are written behind the last row group; entries hold offsets within them until then.
    filter_bytes: Vec<u8>,
    layout: Layout,
    order: Order,
    options: WriteOptions,
}

impl BlockWriter {
    pub fn new(layout: Layout, order: Order, options: &WriteOptions) -> Result<Self, BlockError> {
        Ok(BlockWriter {
            file: FileEncoder::new(&layout, order, options).map_err(BlockError::write)?,
            index: IndexBuilder::new(options.page_rows(layout.signal)),
            filters: Vec::new(),
            filter_bytes: Vec::new(),
            layout,
            order,
            options: options.clone(),
        })
    }

    /// Row groups so far.
    pub fn row_groups(&self) -> u32 {
        self.file.row_groups() as u32
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.file.position() as usize + self.filter_bytes.len()
    }

    /// Writes row groups of one tenant: all rows of these batches. Returns its Parquet rows.
    /// The builder must be one of the writer's layout.
    pub fn tenant(
        &mut self,
        tenant: &TenantId,
        input: &Input<'_>,
        builder: &Builder<'_>,
        batches: &[u32],
    ) -> Result<u64, BlockError> {
        let mut written = 0;
        let rows = match self.order {
            Order::Series => {
                let ordered = Ordered::new(input, in_batch_order(input, batches))?;
                for series in ordered.parts(self.options.row_group_samples, self.options.row_group_rows) {
                    let series = series.in_rows();
                    let built = builder.build(Rows::Series(series.all()), tenant.as_str())?;
                    drop(series);
                    written += self.row_group(built)?;
                }
                return Ok(written);
            }
            Order::Service => sorted(input, batches),
            Order::Trace => by_trace(input, batches),
        };
        for rows in rows.chunks(self.options.row_group_rows.max(1)) {
            written += self.row_group(builder.build(Rows::Records(rows), tenant.as_str())?)?;
        }
        Ok(written)
    }

    fn row_group(&mut self, built: Built) -> Result<u64, BlockError> {
        let fields = self.layout.schema.fields().iter();
        let columns: Vec<PhysicalColumn> = built
            .columns
            .into_iter()
            .zip(fields)
            .map(|(column, field)| column.unwrap_or_else(|| PhysicalColumn::nulls(field.data_type(), built.rows)))
            .collect();
        let (index, bytes) = self.index.row_group(&self.layout, &columns, self.filter_bytes.len() as u64);
        self.filters.push(index);
        self.filter_bytes.extend_from_slice(&bytes);
        self.file.row_group(columns).map_err(BlockError::write)?;
        Ok(built.rows as u64)
    }

    /// Ends the object. Its own footer has the description whole; what is returned is for
    /// the catalog.
    pub fn finish(mut self, block: v1::Block) -> Result<EncodedBlock, BlockError> {
        let start = self.file.position();
        self.filters.iter_mut().flat_map(|row_group| &mut row_group.filters).for_each(|filter| filter.offset += start);
        self.file.embed(&self.filter_bytes).map_err(BlockError::write)?;
        let directory = Directory {
            version: VERSION,
            block: Some(block.clone()),
            granule_rows: self.options.page_rows(self.layout.signal) as u32,
            row_groups: self.filters,
        };
        let directory = directory.encode_to_vec();
        let pointer = Pointer::to(&directory, self.file.position());
        self.file.embed(&directory).map_err(BlockError::write)?;
        let metadata = [(VERSION_KEY.to_owned(), VERSION.to_string()), (DIRECTORY_KEY.to_owned(), pointer.to_text())];
        let bytes = Bytes::from(self.file.finish(metadata).map_err(BlockError::write)?);
        Ok(EncodedBlock { block: v1::Block { bytes: bytes.len() as u64, origin: None, ..block }, bytes })
    }
}
