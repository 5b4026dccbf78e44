//! The commands beside `serve`.

pub mod block;
pub mod meta;
pub mod query;
