//! What the end-to-end tests stand on: servers and nodes of clusters that can be killed, an S3 server that
//! can fail, seeded telemetry, and an oracle that knows what was acked.
//!
//! Everything runs on loopback, in temporary directories, and ends with the test.

// The seams of the product forbid clock, randomness and spawn by lint; a test is
// outside of them, and gets its randomness from a seed that it prints.
#![allow(clippy::disallowed_methods)]

pub mod collector;
pub mod exporter;
pub mod faults;
pub mod generate;
pub mod grpc;
pub mod load;
pub mod node;
pub mod oracle;
pub mod pages;
mod ports;
pub mod prometheus;
pub mod s3;
pub mod seed;
pub mod send;
pub mod server;
pub mod sql;
pub mod tls;
pub mod tools;
pub mod wait;

pub use exporter::Exporter;
pub use faults::{FaultMix, Faults};
pub use generate::{Batch, Generator, Record, Signal};
pub use load::Load;
pub use node::Node;
pub use oracle::Oracle;
pub use pages::Pages;
pub use s3::S3;
pub use send::Sender;
pub use server::{Server, Store};
