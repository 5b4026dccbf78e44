//! What a block holds and how it is stored, for `bonghwa block inspect`.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt};
use serde::Serialize;

use crate::BlockError;
use crate::index::FilterKind;
use crate::read::{Footer, parse_path};

/// A block, described.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Object path.
    pub path: String,
    /// Version of the block's layout.
    pub version: u32,
    /// `logs`, `metrics` or `traces`.
    pub signal: String,
    /// 0 for a flush.
    pub level: u32,
    /// Whose log it was.
    pub partition: String,
    /// Log positions after this one.
    pub from: u64,
    /// Log positions up to this one.
    pub to: u64,
    /// Object size.
    pub bytes: u64,
    /// Parquet rows.
    pub rows: u64,
    /// What the filters take, in bytes, by kind.
    pub index_bytes: BTreeMap<String, u64>,
    /// Bytes of the footer, the page index and all else that is neither column nor filter.
    pub footer_bytes: u64,
    /// Rows per granule.
    pub granule_rows: u32,
    /// Whose rows.
    pub tenants: Vec<TenantInspection>,
    /// All columns.
    pub columns: Vec<ColumnInspection>,
    /// All row groups.
    pub row_groups: Vec<RowGroupInspection>,
}

/// A tenant's share of a block.
#[derive(Clone, Debug, Serialize)]
pub struct TenantInspection {
    /// Name.
    pub tenant: String,
    /// Row groups.
    pub row_groups: Vec<u32>,
    /// Parquet rows.
    pub rows: u64,
    /// Log records, spans or samples.
    pub items: u64,
    /// Unix nanoseconds.
    pub min_time: i64,
    /// Unix nanoseconds.
    pub max_time: i64,
    /// Services; none if there are too many.
    pub services: Vec<String>,
    /// How many attribute keys.
    pub attributes: usize,
}

/// A column of a block.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnInspection {
    /// Name.
    pub name: String,
    /// Arrow type.
    pub data_type: String,
    /// Encodings of its pages.
    pub encodings: Vec<String>,
    /// Data pages, where the page index tells.
    pub pages: usize,
    /// Bytes in the file.
    pub compressed_bytes: i64,
    /// Bytes before compression.
    pub uncompressed_bytes: i64,
    /// Bytes in the file per log record, span or sample.
    pub bytes_per_item: f64,
}

/// A row group of a block.
#[derive(Clone, Debug, Serialize)]
pub struct RowGroupInspection {
    /// Parquet rows.
    pub rows: i64,
    /// Bytes in the file.
    pub compressed_bytes: i64,
    /// Granules of the indexes.
    pub granules: u64,
}

/// Describes a block from its footer; reads no rows.
pub async fn inspect(store: &Arc<dyn ObjectStore>, path: &str) -> Result<Inspection, BlockError> {
    let location = parse_path(path)?;
    let size = store.head(&location).await.map_err(|e| BlockError::store(&location, e))?.size;
    let footer = Footer::load(Arc::clone(store), &location, size).await?;
    let block = &footer.block;
    let items: u64 = block.tenants.iter().map(|t| t.items).sum();
    let mut index_bytes = BTreeMap::new();
    for filter in footer.directory.row_groups.iter().flat_map(|r| &r.filters) {
        let kind = match filter.kind() {
            FilterKind::Tokens => "tokens",
            FilterKind::TraceIds => "trace_ids",
            FilterKind::Unknown => "unknown",
        };
        *index_bytes.entry(kind.to_owned()).or_insert(0) += filter.size();
    }
    let columns = columns(&footer, items);
    let stored: u64 =
        columns.iter().map(|c| c.compressed_bytes as u64).sum::<u64>() + index_bytes.values().sum::<u64>();
    let granule_rows = u64::from(footer.directory.granule_rows.max(1));
    Ok(Inspection {
        path: path.to_owned(),
        version: block.version,
        signal: footer.layout.signal.to_string(),
        level: block.level,
        partition: block.partition.clone(),
        from: block.from,
        to: block.to,
        bytes: size,
        rows: block.tenants.iter().map(|t| t.rows).sum(),
        footer_bytes: size.saturating_sub(stored),
        index_bytes,
        granule_rows: footer.directory.granule_rows,
        tenants: block.tenants.iter().map(tenant).collect(),
        columns,
        row_groups: footer
            .metadata()
            .row_groups()
            .iter()
            .map(|r| RowGroupInspection {
                rows: r.num_rows(),
                compressed_bytes: r.compressed_size(),
                granules: (r.num_rows() as u64).div_ceil(granule_rows),
            })
            .collect(),
    })
}

fn tenant(rows: &bonghwa_protocol::v1::TenantRows) -> TenantInspection {
    TenantInspection {
        tenant: rows.tenant.clone(),
        row_groups: rows.row_groups.clone(),
        rows: rows.rows,
        items: rows.items,
        min_time: rows.min_time,
        max_time: rows.max_time,
        services: rows.services.clone(),
        attributes: rows.attributes.len(),
    }
}

fn columns(footer: &Footer, items: u64) -> Vec<ColumnInspection> {
    let schema = footer.metadata().file_metadata().schema_descr();
    let mut columns = Vec::new();
    for leaf in 0..schema.num_columns() {
        let field = footer.layout.schema.field(schema.get_column_root_idx(leaf));
        let mut column = ColumnInspection {
            name: field.name().clone(),
            data_type: field.data_type().to_string(),
            encodings: Vec::new(),
            pages: 0,
            compressed_bytes: 0,
            uncompressed_bytes: 0,
            bytes_per_item: 0.0,
        };
        for chunk in footer.metadata().row_groups().iter().map(|r| r.column(leaf)) {
            column.compressed_bytes += chunk.compressed_size();
            column.uncompressed_bytes += chunk.uncompressed_size();
            column.encodings.extend(chunk.encodings().map(|e| e.to_string()));
        }
        let offsets = footer.metadata().offset_index().into_iter().flatten();
        column.pages = offsets.filter_map(|columns| columns.get(leaf)).map(|pages| pages.page_locations().len()).sum();
        column.encodings.sort();
        column.encodings.dedup();
        column.bytes_per_item = column.compressed_bytes as f64 / items.max(1) as f64;
        columns.push(column);
    }
    columns
}
