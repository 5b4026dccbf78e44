//! Answers questions about telemetry with DataFusion, from blocks and tails in one
//! consistent view: SQL over the tables `logs`, `spans` and `metrics`, PromQL ([`promql`],
//! [`series`]), and traces by their id.
//!
//! The read path: [`Engine::sql`] parses ([`statement`]), finds what the query
//! speaks of ([`mentions`]), takes a [`view`], gives the query its [`table`]s, and
//! lets DataFusion plan; a scan decides what to read ([`plan`]) by what the filters
//! say ([`predicate`]), and reads it ([`scan`]) within limits ([`run`], [`turns`],
//! [`alive`]). PromQL is evaluated over what is read ([`evaluate`], [`fold`]); range queries find the values of past steps again
//! ([`past`]). Where there are several queriers, they share a query's work ([`distributed`]).

mod alive;
mod bounded;
mod charge;
mod deleted;
mod distributed;
mod engine;
mod error;
mod evaluate;
mod exemplars;
mod fold;
mod functions;
mod late;
mod mentions;
mod mixed;
mod names;
mod nearest;
mod numeric;
mod past;
mod plan;
mod planner;
mod pool;
mod predicate;
mod promql;
mod remove;
mod run;
mod samples;
mod scan;
mod series;
mod session;
mod star;
mod statement;
mod table;
mod trace;
mod turns;
mod view;
mod words;

#[cfg(test)]
mod tests;

pub use distributed::{Peers, WorkerDoor};
pub use engine::{Engine, EngineOptions, SeriesLimits, SqlAnswer, TraceAnswer};
pub use error::QueryError;
pub use past::Caching;
pub use promql::{Cardinality, MetadataByName, MetricsAnswer, SeriesQuery, of_tenant};
pub use samples::SeriesSamples;
pub use series::{Counts, Exemplar, Exemplars, Metadata, MetricsOptions, Promoted, PushUp};
pub use statement::MAX_QUERY_BYTES;
