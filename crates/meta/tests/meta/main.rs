//! The control plane from the outside: the state as a table of commands, the
//! rebuilt catalog, and meta nodes on real logs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod commands;
mod compaction;
mod drain;
mod fixtures;
mod node;
mod rebuild;
mod replay;
