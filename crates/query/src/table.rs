//! The tables that one query sees: the base columns of a signal, and a column for
//! each attribute that the query speaks of.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use bonghwa_block::{self as block, AttributeScope, Column};
use bonghwa_model::{Kind, Signal};
use datafusion::catalog::{CatalogProvider, SchemaProvider, Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use futures::future::try_join_all;

use crate::mentions::Mentions;
use crate::names;
use crate::plan::{self, Source};
use crate::predicate::{self, Columns, TableColumn};
use crate::scan::BlockScanExec;
use crate::view::{AttributeKinds, View};

/// A signal's table in one query.
pub(crate) struct SignalTable {
    signal: Signal,
    parts: Vec<Part>,
    columns: Vec<TableColumn>,
    schema: SchemaRef,
}

/// The rows of one tenant.
pub(crate) struct Part {
    pub(crate) source: Arc<Source>,
    pub(crate) view: Arc<View>,
}

impl fmt::Debug for SignalTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let views = self.parts.iter().map(|part| &part.view);
        write!(f, "SignalTable({:?}, {} columns)", views.collect::<Vec<_>>(), self.columns.len())
    }
}

/// The attribute columns that a query adds to a signal's table, with their names.
pub(crate) fn attribute_columns(mentions: &Mentions, signal: Signal, kinds: &AttributeKinds) -> Vec<TableColumn> {
    let mut columns = BTreeMap::new();
    for mention in mentions.attributes(signal) {
        let name = names::attribute(mention.scope, &mention.key);
        if block::base_column(signal, &name).is_ok() {
            continue;
        }
        let kinds = match kinds.of(mention.scope, &mention.key) {
            // A quoted name that no record has is an alias, or a mistake to be told of.
            None if mention.scope == AttributeScope::Any => continue,
            kinds => kinds.unwrap_or(0),
        };
        let (key, value_type) = (mention.key.as_str().into(), block::value_type(kinds));
        let column = Column::Attribute { scope: mention.scope, key, value_type };
        // A number that is shown as text has no tokens.
        let indexed = signal != Signal::Metrics && kinds & !(Kind::Str.bit() | Kind::Null.bit()) == 0;
        columns.insert(name.clone(), TableColumn { name, column, indexed });
    }
    columns.into_values().collect()
}

impl SignalTable {
    /// A table of these rows, with the base columns and these.
    pub(crate) fn new(signal: Signal, parts: Vec<Part>, attributes: &[TableColumn]) -> Self {
        let base = block::base_columns(signal).iter().map(|c| TableColumn::base(signal, c.name));
        let columns: Vec<TableColumn> = base.chain(attributes.iter().cloned()).collect();
        let fields = columns.iter().map(|c| c.field(signal));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<Field>>()));
        SignalTable { signal, parts, columns, schema }
    }

    fn columns(&self) -> Columns<'_> {
        Columns { signal: self.signal, columns: &self.columns }
    }
}

#[async_trait]
impl TableProvider for SignalTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let columns = self.columns();
        let support = filters.iter().map(|filter| {
            if predicate::says_nothing(&predicate::of(filter, &columns)) {
                TableProviderFilterPushDown::Unsupported
            } else {
                TableProviderFilterPushDown::Inexact
            }
        });
        Ok(support.collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let predicate = predicate::of_filters(filters, &self.columns());
        let (columns, schema) = match projection {
            Some(at) => (at.iter().map(|i| &self.columns[*i]).collect(), Arc::new(self.schema.project(at)?)),
            None => (self.columns.iter().collect::<Vec<_>>(), self.schema.clone()),
        };
        let columns: Vec<Column> = columns.into_iter().map(|c| c.column.clone()).collect();
        let filtered = !filters.is_empty();
        let partitions = state.config().target_partitions();
        let scan = |part: &Part| {
            let (source, view, schema) = (part.source.clone(), part.view.clone(), schema.clone());
            let (columns, predicate) = (columns.clone(), predicate.clone());
            async move {
                let plan = plan::plan(&source, &view, columns, predicate, filtered).await?;
                let scan = BlockScanExec::new(Arc::new(plan), schema, partitions, limit);
                Ok::<_, DataFusionError>(Arc::new(scan) as Arc<dyn ExecutionPlan>)
            }
        };
        // A scan reads the rows of one tenant: what it asks leaders and blocks for names that one.
        let scans = try_join_all(self.parts.iter().map(scan)).await?;
        UnionExec::try_new(scans)
    }
}

/// The only schema: our tables.
#[derive(Debug)]
pub(crate) struct Tables {
    tables: BTreeMap<&'static str, Arc<SignalTable>>,
}

impl Tables {
    /// The tables of these signals under all their names.
    pub(crate) fn new(by_signal: &BTreeMap<Signal, Arc<SignalTable>>) -> Self {
        let tables = names::TABLES.iter().filter_map(|(name, s)| by_signal.get(s).map(|table| (*name, table.clone())));
        Tables { tables: tables.collect() }
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        // `traces` is another name of `spans`: listed once.
        self.tables.keys().filter(|name| **name != "traces").map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        Ok(self.tables.get(name).map(|table| table.clone() as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }
}

/// The only catalog.
#[derive(Debug)]
pub(crate) struct OneSchema {
    name: &'static str,
    schema: Arc<Tables>,
}

impl OneSchema {
    /// A catalog with this schema.
    pub(crate) fn new(name: &'static str, tables: Tables) -> Self {
        OneSchema { name, schema: Arc::new(tables) }
    }
}

impl CatalogProvider for OneSchema {
    fn schema_names(&self) -> Vec<String> {
        vec![self.name.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == self.name).then(|| self.schema.clone() as Arc<dyn SchemaProvider>)
    }
}
