//! The copy of the catalog and the way to the others, from the outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod catalog;
mod fixtures;
mod leaders;
mod metas;
mod view;
