//! A deterministic simulation of a whole cluster: meta nodes, ingesters, distributors and queriers
//! with their real code, in one thread, on a clock that jumps from event to event.
//!
//! A [`run()`] builds a [`world`] from a seed, lets clients send and ask ([`workload`], [`reads`])
//! while a [`nemesis`] breaks disks, processes, the [`network`] and the [`objects`] store, heals
//! everything, and holds what is left against the [`invariants`]. The same seed and build give the
//! same run, event by event ([`trace`]); what the operating system would leave to chance is fixed
//! by `entropy`, which is part of the binary.
//!
//! Simulated are only the outside: wires, disks, the object store, clocks, crashes.

pub mod bugs;
pub mod clients;
pub mod dice;
pub mod invariants;
pub mod ledger;
pub mod member;
pub mod membership;
pub mod nemesis;
pub mod network;
pub mod objects;
pub mod reads;
pub mod roles;
pub mod run;
pub mod trace;
pub mod workload;
pub mod world;

pub use bugs::Bug;
pub use run::{Plan, Report, run};
