//! Queries of PromQL that several queriers evaluate together ([`sharing`]).
//!
//! A range query whose steps can be evaluated apart, and that reads much ([`work`]), is [`cut`] by time. Any other that
//! does, instant queries among them, is shared by series, where what is made of these is little: each querier folds a slice
//! of them, whatever the time, and the asker merges the folds and evaluates what stands above.
//!
//! What a querier is sent ([`message`]) names the blocks, tails and deletes of the asker's one view, so that all see the
//! same. It evaluates its steps as its own query ([`worker`]), with its own caches and kept values, or folds its series,
//! and streams back what comes of that ([`made`]), as [`bonghwa_promql::Encoder`] or [`bonghwa_promql::FoldEncoder`] writes
//! it. The asker ([`ask`]) evaluates its own share meanwhile, and whatever another fails, refuses or is too slow with
//! ([`pace`]); an error of the query itself is an error wherever it shows ([`told`]).

mod ask;
mod cut;
mod made;
mod message;
mod pace;
mod sharing;
mod told;
mod work;
mod worker;

pub(crate) use sharing::Sharing;
pub(super) use worker::RangeWorker;

/// The largest message between queriers: chunks of answers are far below it, and a share that names more blocks than
/// fit is evaluated by its asker.
const MOST_BYTES: usize = 4 << 20;
