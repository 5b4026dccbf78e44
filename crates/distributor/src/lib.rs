//! The distributor: receives OTLP and Prometheus' remote write, checks limits, splits by tenant and service,
//! sends to the partitions' leaders, and acks when they acked.
//!
//! The write path: [`http::router`] (with `remote_write`) or [`grpc::router`] -> `receive::Receiver::receive` -> `limits::Limits::admit` -> `wire::decode` -> `route::Router::split` ->
//! `protocol::IngesterClient::append`.

mod active;
mod body;
mod counting;
mod derived;
pub mod grpc;
pub mod http;
mod limits;
mod local;
mod metadata;
mod metrics;
mod receive;
mod remote_write;
mod replicas;
mod route;
mod service_graph;

pub use counting::CountingOptions;
pub use derived::{EDGE_SERIES, OPERATION_SERIES};
pub use limits::{NAMED_TENANT, TenantLimits};
pub use local::{Taken, WriteError};
pub use receive::{MaxAge, Options, Receiver};
pub use replicas::ReplicaOptions;
pub use service_graph::{GraphPeers, ServiceGraphOptions};
