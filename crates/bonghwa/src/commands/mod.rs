//! The commands beside `serve`.

pub mod block;
mod client;
pub mod meta;
pub mod query;
pub mod ring;
mod table;
