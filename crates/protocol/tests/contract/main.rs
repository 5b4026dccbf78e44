//! The contract of the traits that roles meet through, checked on an implementation
//! in memory directly and through gRPC on loopback: a caller must not see the
//! difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod ingester;
mod memory;
mod meta;
mod wire;
