//! What planning and running a query needs of DataFusion: functions, settings,
//! memory; and what is taken away from it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow_array::temporal_conversions::timestamp_ns_to_datetime;
use bonghwa_cluster::seam;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProviderList};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::TrackConsumersPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::optimizer::Analyzer;
use datafusion::prelude::SessionConfig;
use datafusion_distributed::DistributedConfig;

use crate::charge::Charge;
use crate::mixed::MixedRewrite;
use crate::planner::AttributePlanner;
use crate::pool::{Lease, OfQuery};
use crate::table::OneSchema;
use crate::{bounded, functions};

const CATALOG: &str = "bonghwa";
/// The schema's name, as SHOW TABLES shows it.
pub(crate) const SCHEMA: &str = "public";
/// Operators that an error about memory names.
const TOP_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN;

/// What every query starts from.
pub(crate) fn base(target_partitions: usize) -> SessionState {
    let mut config = SessionConfig::new()
        .with_target_partitions(target_partitions.max(1))
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true);
    let options = config.options_mut();
    options.execution.time_zone = Some("UTC".into());
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    options.explain.show_schema = false;
    let scalar = SessionStateDefaults::default_scalar_functions();
    let scalar =
        scalar.into_iter().filter_map(bounded::allowed).chain([functions::json_value(), functions::has_token()]);
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(AttributePlanner)];
    planners.extend(SessionStateDefaults::default_expr_planners());
    let table_functions = SessionStateDefaults::default_table_functions();
    let mut analyzer = Analyzer::new();
    analyzer.add_function_rewrite(Arc::new(MixedRewrite));
    // Not `with_default_features`: that brings readers and writers of files with it.
    let mut builder = SessionStateBuilder::new()
        .with_config(config)
        .with_expr_planners(planners)
        .with_scalar_functions(scalar.collect())
        .with_higher_order_functions(SessionStateDefaults::default_higher_order_functions())
        .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
        .with_window_functions(SessionStateDefaults::default_window_functions())
        .with_table_functions(table_functions.into_iter().map(|f| (f.name().to_owned(), f)).collect());
    *builder.analyzer() = Some(analyzer);
    builder.build()
}

/// The memory of one query, and nothing of the disk: neither to write nor, whatever a plan
/// that came from elsewhere says, to read.
pub(crate) fn runtime(memory_bytes: usize, lease: &Arc<Lease>) -> Result<Arc<RuntimeEnv>, DataFusionError> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(OfQuery::new(memory_bytes, lease), TOP_CONSUMERS)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()?;
    runtime.deregister_object_store(ObjectStoreUrl::local_filesystem().as_ref())?;
    Ok(runtime)
}

/// The same for one query: its tables, its memory, its `now()`.
pub(crate) fn of_query(base: &SessionState, schema: OneSchema, runtime: &Arc<RuntimeEnv>) -> SessionStateBuilder {
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.to_owned(), Arc::new(schema) as Arc<dyn CatalogProvider>);
    let mut props = ExecutionProps::new();
    let now = timestamp_ns_to_datetime(seam::unix_nanos());
    props.query_execution_start_time = now.map(|now| now.and_utc());
    SessionStateBuilder::new_from_existing(base.clone())
        .with_config(base.config().clone().with_option_extension(Charge::new(runtime.memory_pool.clone())))
        .with_runtime_env(runtime.clone())
        .with_catalog_list(Arc::new(catalogs))
        .with_execution_props(props)
}

/// The same for a part of a query that was asked elsewhere. `config` holds what came with it.
pub(crate) fn of_task(
    base: &SessionState,
    mut config: SessionConfig,
    runtime: &Arc<RuntimeEnv>,
) -> SessionStateBuilder {
    let mut options = base.config().options().as_ref().clone();
    if let Some(distributed) = config.options().extensions.get::<DistributedConfig>() {
        options.extensions.insert(distributed.clone());
    }
    *config.options_mut() = options;
    SessionStateBuilder::new_from_existing(base.clone())
        .with_config(config.with_option_extension(Charge::new(runtime.memory_pool.clone())))
        .with_runtime_env(runtime.clone())
}
