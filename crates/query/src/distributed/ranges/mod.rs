//! Range queries that several queriers evaluate together, each some of the steps.
//!
//! A query whose steps can be evaluated apart, and that reads much ([`work`]), is [`cut`] by time. What a querier is
//! sent ([`message`]) names the blocks, tails and deletes of the asker's one view, so that all see the same; it
//! evaluates its steps as its own query ([`worker`]), with its own caches and kept values, and streams them back as
//! [`bonghwa_promql::Encoder`] writes them. The asker ([`ask`]) evaluates its own share meanwhile, and whatever another
//! fails, refuses or is too slow with ([`pace`]); an error of the query itself is an error wherever it shows ([`told`]).

mod ask;
mod cut;
mod message;
mod pace;
mod told;
mod work;
mod worker;

pub(super) use worker::RangeWorker;

/// The largest message between queriers: chunks of answers are far below it, and a share that names more blocks than
/// fit is evaluated by its asker.
const MOST_BYTES: usize = 4 << 20;
