//! The compactor from the outside, over a catalog and an object store that fail where
//! they are told to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod admin;
mod crash;
mod faults;
mod keeps;
mod many;
#[path = "../../../block/tests/support/mod.rs"]
mod support;
mod world;
