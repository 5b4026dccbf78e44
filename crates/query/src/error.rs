//! Why a query has no answer: whose fault it is, and a sentence for the one who asked.

use std::time::Duration;

use bonghwa_block::BlockError;
use bonghwa_protocol::{RpcError, RpcErrorKind};
use datafusion::common::{DataFusionError, SchemaError};

use crate::{distributed, nearest};

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The query is wrong as it is written: names, types, syntax.
    #[error("{0}")]
    Invalid(String),
    /// The query names a column that no table in reach has.
    #[error("{}", nearest::no_column(.name, .near))]
    NoColumn {
        /// The name.
        name: String,
        /// Names that look like it.
        near: Vec<String>,
    },
    /// The query would do something else than read.
    #[error("{0}")]
    Refused(String),
    /// The query is well-formed, and failed on the data: a cast, a division by zero.
    #[error("{0}")]
    Execution(String),
    /// The query needs more memory than one may have.
    #[error("the query needs more than the {} MiB of memory that one query may use ({what}): narrow its time range, select fewer columns, or aggregate before joining and sorting", .limit >> 20)]
    Memory {
        /// Bytes that a query may use.
        limit: usize,
        /// The operator that asked for more.
        what: String,
    },
    /// The query would read or keep more series, samples or points than one may.
    #[error(
        "query processing would load too many {what} into memory in query execution: {reached} of them so far, and one query may have {limit}: narrow its selectors or its time range, or raise {key}"
    )]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much there was when the query was ended.
        reached: u64,
        /// How much there may be.
        limit: u64,
        /// The key of the configuration that says so.
        key: &'static str,
    },
    /// The query took too long.
    #[error("the query was stopped after {} s, the time that one may take: narrow its time range or name a service", .0.as_secs_f64())]
    Timeout(Duration),
    /// Nobody waits for the answer any more.
    #[error("the query was canceled: nobody waits for its answer any more")]
    Canceled,
    /// More queries run than may at once.
    #[error("{0} queries are running, as many as may at once, and none ended in time: try again later")]
    Busy(usize),
    /// The queries that run hold all the memory, so many bytes, that they may hold together.
    #[error(
        "the queries that run now hold the {} MiB of memory that all may hold together: try again later, narrow the query's time range, or raise query.total_memory_bytes",
        .0 >> 20
    )]
    Crowded(u64),
    /// More queries of the tenant wait than may.
    #[error(
        "{waiting} queries of tenant {tenant} wait already, as many as may: try again later, or send fewer at once"
    )]
    Queue {
        /// The tenant.
        tenant: String,
        /// How many of its queries wait.
        waiting: usize,
    },
    /// Rows went from the log into a block, and the log no longer keeps what the query
    /// still counted on.
    #[error("rows were flushed and let go of while the query ran ({0}): run the query again")]
    Moved(String),
    /// A leader or the object store cannot be reached now.
    #[error("{0}")]
    Unavailable(String),
    /// A fault of Bonghwa.
    #[error("{0}")]
    Internal(String),
}

impl QueryError {
    /// Whether the same query may succeed later as it is.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            QueryError::Moved(_)
                | QueryError::Unavailable(_)
                | QueryError::Busy(_)
                | QueryError::Crowded(_)
                | QueryError::Queue { .. }
                | QueryError::Timeout(_)
        )
    }

    /// Reads an item of an answer's stream that is an error.
    pub fn of_stream(error: &DataFusionError) -> Self {
        Self::execution(error, 0)
    }

    /// What DataFusion reports while it plans: mostly the query's fault.
    pub(crate) fn planning(error: &DataFusionError, limit: usize) -> Self {
        match root(error) {
            DataFusionError::Execution(_) | DataFusionError::ArrowError(..) => QueryError::Invalid(sentence(error)),
            _ => Self::execution(error, limit),
        }
    }

    /// What a part of the query that ran elsewhere reports, or the way to it.
    fn of_another_node(source: &(dyn std::error::Error + Send + Sync + 'static)) -> Self {
        let text = source.to_string();
        match (distributed::read_told(&text), source.is::<tonic::Status>() || text.starts_with("code: '")) {
            (Some(told), _) => told,
            (None, true) => QueryError::Unavailable(format!("another querier cannot be reached ({text}): try again")),
            (None, false) => QueryError::Internal(text),
        }
    }

    /// What DataFusion reports while it runs.
    pub(crate) fn execution(error: &DataFusionError, limit: usize) -> Self {
        match root(error) {
            DataFusionError::External(source) => match source.downcast_ref::<QueryError>() {
                Some(own) => own.clone(),
                None => Self::of_another_node(source.as_ref()),
            },
            DataFusionError::ResourcesExhausted(what) => QueryError::Memory { limit, what: consumer(what) },
            // The plan that it waits for was sent to a querier that went away.
            DataFusionError::Execution(what) if what.starts_with("Worker::execute_task timed-out") => {
                QueryError::Unavailable(format!("another querier was not told what to do: {what}"))
            }
            DataFusionError::Execution(what) => QueryError::Execution(what.clone()),
            DataFusionError::ArrowError(source, _) => QueryError::Execution(source.to_string()),
            DataFusionError::ExecutionJoin(source) => {
                QueryError::Internal(format!("a part of the query stopped: {source}"))
            }
            DataFusionError::SchemaError(source, _) => schema_error(source),
            DataFusionError::SQL(source, _) => QueryError::Invalid(format!("the query is no SQL: {source}")),
            DataFusionError::Plan(what) => QueryError::Invalid(plan_error(what)),
            DataFusionError::NotImplemented(what) => QueryError::Invalid(format!("not supported: {what}")),
            DataFusionError::Configuration(what) => QueryError::Invalid(what.clone()),
            DataFusionError::Collection(errors) if !errors.is_empty() => Self::execution(&errors[0], limit),
            _ => QueryError::Internal(sentence(error)),
        }
    }
}

impl From<RpcError> for QueryError {
    fn from(error: RpcError) -> Self {
        match error.kind {
            RpcErrorKind::Internal | RpcErrorKind::Invalid => {
                QueryError::Internal(format!("reading a tail failed: {error}"))
            }
            RpcErrorKind::StaleWatermark => QueryError::Moved(error.message),
            _ => QueryError::Unavailable(format!("a partition's leader cannot be reached ({error}): try again")),
        }
    }
}

impl From<BlockError> for QueryError {
    fn from(error: BlockError) -> Self {
        if error.retryable() {
            QueryError::Unavailable(format!("{error}: try again"))
        } else {
            QueryError::Internal(error.to_string())
        }
    }
}

impl From<bonghwa_promql::Error> for QueryError {
    fn from(error: bonghwa_promql::Error) -> Self {
        use bonghwa_promql::Error;
        match error {
            Error::Parse(_) | Error::Params(_) => QueryError::Invalid(error.to_string()),
            Error::Execution(_) => QueryError::Execution(error.to_string()),
            Error::Limit { what, reached, limit } => {
                let key = match what {
                    "samples" => "query.max_samples",
                    "series" => "query.max_series",
                    // As many as fit into it.
                    _ => "query.memory_bytes",
                };
                QueryError::Limit { what, reached, limit, key }
            }
            Error::Crowded(limit) => QueryError::Crowded(limit),
            Error::Canceled => QueryError::Canceled,
        }
    }
}

impl From<QueryError> for DataFusionError {
    fn from(error: QueryError) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

/// Below all contexts, diagnostics and sharing.
fn root(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => root(inner),
        DataFusionError::Shared(inner) => root(inner),
        DataFusionError::Collection(errors) if errors.len() == 1 => root(&errors[0]),
        DataFusionError::External(source) => match source.downcast_ref::<DataFusionError>() {
            Some(inner) => root(inner),
            None => error,
        },
        DataFusionError::ArrowError(source, _) => match source.as_ref() {
            arrow_schema::ArrowError::ExternalError(inner) => match inner.downcast_ref::<DataFusionError>() {
                Some(inner) => root(inner),
                None => error,
            },
            _ => error,
        },
        _ => error,
    }
}

fn sentence(error: &DataFusionError) -> String {
    first_line(&root(error).strip_backtrace())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// Who asked for the memory that there was not.
fn consumer(what: &str) -> String {
    let line = first_line(what);
    let named = line.split_once("failed for ").and_then(|(_, rest)| rest.split([' ', ':']).next());
    named.map_or(line.clone(), |name| {
        format!(
            "{} asked for more",
            name.trim_end_matches(['[', ']', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
        )
    })
}

fn plan_error(what: &str) -> String {
    let what = what.strip_prefix("Error during planning: ").unwrap_or(what);
    if let Some((_, rest)) = what.split_once("Function '")
        && let Some((name, _)) = rest.split_once("' failed to match any signature")
    {
        return format!("{name} cannot take what it is given: text becomes a number by TRY_CAST(... AS DOUBLE)");
    }
    match what.strip_prefix("table '").and_then(|rest| rest.split_once("' not found")) {
        Some((name, _)) => {
            let name = name.rsplit('.').next().unwrap_or(name);
            format!("there is no table {name:?}: the tables are logs, spans (also called traces) and metrics")
        }
        None => what.to_owned(),
    }
}

fn schema_error(error: &SchemaError) -> QueryError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => QueryError::NoColumn {
            name: field.flat_name(),
            near: nearest::names(&field.name, valid_fields.iter().map(|f| f.name.as_str())),
        },
        SchemaError::AmbiguousReference { field } => QueryError::Invalid(format!(
            "{:?} could be a column of several tables: write it as table.column",
            field.name
        )),
        other => QueryError::Invalid(other.to_string()),
    }
}
