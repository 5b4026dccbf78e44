//! Who may do what: callers with their secrets, tenants and rights from a file, the right that each
//! route asks for, and the gate in front of every listener that is not between roles.
//!
//! A request passes `gate::Gate`: its path is looked up in [`routes`], its caller in [`callers`], and
//! what the two say decides whether it goes on, and for which tenants.

mod callers;
mod file;
mod gate;
pub mod routes;
mod watch;

pub use file::read;
pub use gate::{Gate, Speaks};
