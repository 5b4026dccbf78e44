//! The entry: a query's text, or a trace's id, and the answer to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow_schema::SchemaRef;
use bonghwa_block::FooterCache;
use bonghwa_cluster::{ClusterView, Directory};
use bonghwa_model::{Signal, TenantId, TenantSet};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::execute_stream;
use datafusion::sql::parser::Statement;
use futures::future::{BoxFuture, try_join_all};
use object_store::ObjectStore;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use parking_lot::Mutex;

use crate::alive::{self, Alive};
use crate::distributed::{Distribution, Peers};
use crate::mentions::Mentions;
use crate::past::PastCache;
use crate::plan::Source;
use crate::run::{Limits, Plan};
use crate::series::{MetricsOptions, SeriesCache};
use crate::table::{OneSchema, Part, SignalTable, Tables};
use crate::view::{AttributeKinds, View};
use crate::{QueryError, nearest, numeric, session, star, statement, table, trace};

/// Bounds of queries.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How long one query may take, delivery of its answer included.
    pub timeout: Duration,
    /// Bytes that the operators of one query may hold.
    pub memory_bytes: usize,
    /// Bytes that all queries together may hold; who needs more then is told to come back.
    pub total_memory_bytes: usize,
    /// Queries that run at once; the others wait for a turn within their time.
    pub concurrent: usize,
    /// Streams that one table is read in.
    pub target_partitions: usize,
    /// Bytes of block footers and indexes that are kept.
    pub footer_cache_bytes: usize,
    /// Bytes of series' labels that are kept for PromQL.
    pub series_cache_bytes: usize,
    /// Bytes of range queries' values that are kept.
    pub results_cache_bytes: usize,
    /// How PromQL sees OpenTelemetry's metrics.
    pub metrics: MetricsOptions,
    /// What one query of PromQL may read.
    pub series: SeriesLimits,
}

/// What one question about series may read; more ends it with [`QueryError::Limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesLimits {
    /// Series.
    pub series: u64,
    /// Samples.
    pub samples: u64,
}

impl Default for SeriesLimits {
    fn default() -> Self {
        SeriesLimits { series: 500_000, samples: 50_000_000 }
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            timeout: Duration::from_secs(60),
            memory_bytes: 256 * 1024 * 1024,
            total_memory_bytes: 1024 * 1024 * 1024,
            concurrent: 16,
            target_partitions: std::thread::available_parallelism().map_or(1, usize::from),
            footer_cache_bytes: 64 * 1024 * 1024,
            series_cache_bytes: 128 * 1024 * 1024,
            results_cache_bytes: 64 * 1024 * 1024,
            metrics: MetricsOptions::default(),
            series: SeriesLimits::default(),
        }
    }
}

/// Answers queries from blocks and tails.
pub struct Engine {
    pub(crate) cluster: Arc<ClusterView>,
    pub(crate) directory: Arc<dyn Directory>,
    store: Arc<dyn ObjectStore>,
    footers: Arc<FooterCache>,
    base: SessionState,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics_options: Arc<MetricsOptions>,
    pub(crate) series_cache: Arc<SeriesCache>,
    pub(crate) past: Arc<PastCache>,
    pub(crate) series_limits: SeriesLimits,
    distribution: Option<Distribution>,
}

/// The rows of an answer, as they come.
pub struct SqlAnswer {
    /// Names and types of the columns.
    pub schema: SchemaRef,
    /// The rows. Dropping it ends the query.
    pub stream: SendableRecordBatchStream,
    /// Partitions whose newest rows, those in no block yet, are not in the answer, because no
    /// leader of theirs could be reached. Empty: the answer is whole.
    pub missing: Vec<String>,
}

/// A trace, and whether that is all of it.
#[derive(Debug)]
pub struct TraceAnswer {
    /// Its spans. None if there are none; never so where partitions are missing.
    pub trace: Option<TracesData>,
    /// As of [`SqlAnswer::missing`].
    pub missing: Vec<String>,
}

/// The partitions that the last attempt at a query had to leave out.
#[derive(Clone, Default)]
pub(crate) struct Missing(Arc<Mutex<Vec<String>>>);

impl Missing {
    pub(crate) fn note(&self, views: &Views) {
        let missing: BTreeSet<&String> =
            views.iter().flat_map(|(_, views)| views.values()).flat_map(|view| &view.missing).collect();
        *self.0.lock() = missing.into_iter().cloned().collect();
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Engine {
    /// An engine over what the cluster knows, who leads its partitions, and where its blocks are.
    pub fn new(
        cluster: Arc<ClusterView>,
        directory: Arc<dyn Directory>,
        store: Arc<dyn ObjectStore>,
        options: EngineOptions,
    ) -> Self {
        Engine {
            cluster,
            directory,
            store,
            footers: Arc::new(FooterCache::new(options.footer_cache_bytes)),
            base: session::base(options.target_partitions),
            limits: Arc::new(Limits::new(&options)),
            metrics_options: Arc::new(options.metrics),
            series_cache: Arc::new(SeriesCache::new(options.series_cache_bytes)),
            past: Arc::new(PastCache::new(options.results_cache_bytes)),
            series_limits: options.series,
            distribution: None,
        }
    }

    /// Works with the other queriers of the cluster. Their calls reach it once the door of `peers`
    /// is opened for it.
    pub fn with_peers(self, peers: Peers) -> Self {
        let (store, footers, directory) = (self.store.clone(), self.footers.clone(), self.directory.clone());
        let distribution = Distribution::new(peers, store, footers, directory, &self.limits);
        Engine { distribution: Some(distribution), ..self }
    }

    pub(crate) fn distribution(&self) -> Option<&Distribution> {
        self.distribution.as_ref()
    }

    pub(crate) fn base(&self) -> &SessionState {
        &self.base
    }

    /// Answers a query over all rows of these tenants; it waits for its turn as one of
    /// the first. Errors that show while rows are read come as an item of the stream;
    /// [`QueryError::of_stream`] reads them.
    // Boxed, as `trace`: callers would compile the planner again.
    pub fn sql<'a>(
        self: &'a Arc<Self>,
        tenants: impl Into<TenantSet>,
        query: &'a str,
    ) -> BoxFuture<'a, Result<SqlAnswer, QueryError>> {
        let tenants = tenants.into();
        Box::pin(async move {
            let statement = statement::parse(query)?;
            let missing = Missing::default();
            let (engine, of, left_out) = (self.clone(), tenants.clone(), missing.clone());
            let plan: Plan = Box::new(move |alive| {
                let (engine, tenants, statement) = (engine.clone(), of.clone(), statement.clone());
                let left_out = left_out.clone();
                Box::pin(async move { engine.execute(&tenants, statement, alive, &left_out).await })
            });
            let stream = self.limits.clone().run(tenants.first(), plan).await?;
            Ok(SqlAnswer { schema: stream.schema(), stream, missing: missing.take() })
        })
    }

    /// All spans that these tenants have of a trace, as far as the partitions' leaders can be
    /// reached. A trace of which nothing is found while some cannot is an error: it may well be there.
    pub fn trace(
        self: &Arc<Self>,
        tenants: impl Into<TenantSet>,
        trace_id: [u8; 16],
        time: Option<(i64, i64)>,
    ) -> BoxFuture<'_, Result<TraceAnswer, QueryError>> {
        let tenants = tenants.into();
        Box::pin(async move {
            let missing = Missing::default();
            let (engine, of, left_out) = (self.clone(), tenants.clone(), missing.clone());
            let plan: Plan = Box::new(move |alive| {
                let (engine, tenants, left_out) = (engine.clone(), of.clone(), left_out.clone());
                Box::pin(async move { engine.trace_rows(&tenants, trace_id, time, &alive, &left_out).await })
            });
            let alive = Alive::new(self.limits.timeout, &self.limits.pool);
            let rows = self.limits.clone().run(tenants.first(), plan).await?;
            let trace = trace::collect(rows, trace_id, self.limits.memory_bytes, &alive).await?;
            let missing = missing.take();
            if trace.is_none() && !missing.is_empty() {
                let missing = missing.join(", ");
                return Err(QueryError::Unavailable(format!(
                    "no span of the trace was found, but the leaders of {missing} cannot be reached: try again"
                )));
            }
            Ok(TraceAnswer { trace, missing })
        })
    }

    async fn execute(
        &self,
        tenants: &TenantSet,
        mut statement: Statement,
        alive: Arc<Alive>,
        missing: &Missing,
    ) -> Result<SendableRecordBatchStream, QueryError> {
        let limit = self.limits.memory_bytes;
        let session = self.session(tenants, &mut statement, &alive, missing).await?;
        let plan = session.session.statement_to_plan(statement).await;
        let plan = plan.map_err(|error| session.explain(QueryError::planning(&error, limit)))?;
        let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reads.verify_plan(&plan).map_err(|error| QueryError::Refused(error.strip_backtrace()))?;
        let state = session.session;
        let plan = state.create_physical_plan(&plan).await.and_then(|plan| alive::guard(plan, &alive));
        let plan = plan.map_err(|error| QueryError::planning(&error, limit))?;
        execute_stream(plan, state.task_ctx()).map_err(|error| QueryError::execution(&error, limit))
    }

    /// A session that has the tables and attribute columns that the statement speaks of.
    async fn session(
        &self,
        tenants: &TenantSet,
        statement: &mut Statement,
        alive: &Arc<Alive>,
        missing: &Missing,
    ) -> Result<QuerySession, QueryError> {
        let measured = matches!(statement, Statement::Explain(explain) if explain.options.analyze);
        let inner = statement::inner_mut(statement);
        let mentions = inner.as_deref().map(Mentions::of).unwrap_or_default();
        let views = self.views(tenants, &mentions.signals, alive).await?;
        missing.note(&views);
        let mut tables = BTreeMap::new();
        let mut added = BTreeMap::new();
        let mut texts = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for signal in Signal::ALL {
            // Tables that the query leaves alone are only listed.
            let parts = self.parts(&views, signal);
            let kinds = parts.iter().map(|part| part.view.attribute_kinds()).reduce(AttributeKinds::and);
            let kinds = kinds.unwrap_or_default();
            keys.extend(kinds.keys().map(str::to_owned));
            let attributes = table::attribute_columns(&mentions, signal, &kinds);
            added.insert(signal, attributes.iter().map(|column| column.name.clone()).collect());
            if mentions.signals.contains(&signal) {
                texts.extend(attributes.iter().filter(|column| column.is_text()).map(|column| column.name.clone()));
            }
            tables.insert(signal, Arc::new(SignalTable::new(signal, parts, &attributes)));
        }
        if let Some(inner) = inner {
            star::hide(inner, &added, &mentions.ctes);
            numeric::cast(inner, &texts);
        }
        let schema = OneSchema::new(session::SCHEMA, Tables::new(&tables));
        let session = self.shared_session(schema, tenants, alive, measured);
        let session = session.map_err(|error| QueryError::Internal(error.strip_backtrace()))?;
        Ok(QuerySession { session, keys })
    }

    /// A session whose plans other queriers take part in, where there are others.
    fn shared_session(
        &self,
        schema: OneSchema,
        tenants: &TenantSet,
        alive: &Arc<Alive>,
        measured: bool,
    ) -> Result<SessionState, DataFusionError> {
        let runtime = session::runtime(self.limits.memory_bytes, &alive.memory)?;
        let builder = session::of_query(&self.base, schema, &runtime);
        let builder = match &self.distribution {
            Some(distribution) => {
                let catalog = self.cluster.current();
                distribution.session(builder, &catalog, tenants, alive, &runtime, measured)?
            }
            None => builder,
        };
        Ok(builder.build())
    }

    async fn trace_rows(
        &self,
        tenants: &TenantSet,
        trace_id: [u8; 16],
        time: Option<(i64, i64)>,
        alive: &Alive,
        missing: &Missing,
    ) -> Result<SendableRecordBatchStream, QueryError> {
        let limit = self.limits.memory_bytes;
        let views = self.views(tenants, &BTreeSet::from([Signal::Traces]), alive).await?;
        missing.note(&views);
        let runtime =
            session::runtime(limit, &alive.memory).map_err(|error| QueryError::Internal(error.strip_backtrace()))?;
        let no_tables = OneSchema::new(session::SCHEMA, Tables::new(&BTreeMap::new()));
        let state = session::of_query(&self.base, no_tables, &runtime).build();
        let table = SignalTable::new(Signal::Traces, self.parts(&views, Signal::Traces), &[]);
        let plan = trace::plan(&state, table, trace_id, time).await;
        let plan = plan.map_err(|error| QueryError::execution(&error, limit))?;
        execute_stream(plan, state.task_ctx()).map_err(|error| QueryError::execution(&error, limit))
    }

    /// What the query sees of each tenant, and where its rows come from. No record is of two
    /// tenants, so that each may have a view of its own.
    pub(crate) async fn views(
        &self,
        tenants: &TenantSet,
        signals: &BTreeSet<Signal>,
        alive: &Alive,
    ) -> Result<Views, QueryError> {
        let of_tenant = |tenant: &TenantId| {
            let tenant = tenant.clone();
            async move {
                let views = View::take(&self.cluster, &*self.directory, &tenant, signals, alive.left()).await?;
                Ok::<_, QueryError>((self.source(&tenant), views))
            }
        };
        try_join_all(tenants.iter().map(of_tenant)).await
    }

    /// Where a tenant's rows come from.
    pub(crate) fn source(&self, tenant: &TenantId) -> Arc<Source> {
        let (store, footers) = (self.store.clone(), self.footers.clone());
        Arc::new(Source { tenant: tenant.clone(), store, footers })
    }

    /// A signal's rows, by tenant.
    fn parts(&self, views: &Views, signal: Signal) -> Vec<Part> {
        let part = |(source, views): &(Arc<Source>, BTreeMap<Signal, Arc<View>>)| {
            let view = views.get(&signal).cloned().unwrap_or_else(|| Arc::new(View::empty(signal)));
            Part { source: source.clone(), view }
        };
        views.iter().map(part).collect()
    }
}

/// What a query sees, by tenant.
pub(crate) type Views = Vec<(Arc<Source>, BTreeMap<Signal, Arc<View>>)>;

struct QuerySession {
    session: SessionState,
    /// Attribute keys in view.
    keys: BTreeSet<String>,
}

impl QuerySession {
    /// Names attributes that are near to a column that does not exist.
    fn explain(&self, error: QueryError) -> QueryError {
        match error {
            QueryError::NoColumn { name, mut near } => {
                let attributes = nearest::names(&name, self.keys.iter().map(String::as_str));
                near.extend(attributes.iter().map(|key| format!("\"{key}\"")));
                QueryError::NoColumn { name, near }
            }
            other => other,
        }
    }
}
