//! The commands beside `serve`.

pub mod block;
pub mod check;
mod client;
pub mod meta;
mod promql;
pub mod query;
pub mod ring;
mod table;
