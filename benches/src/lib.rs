//! The telemetry that the benchmarks send: three sets, each made once from a seed, in the
//! shapes that the budgets were measured with.

pub mod sets;
