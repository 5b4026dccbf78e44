//! PromQL: the whole language of Prometheus 3, parsed and evaluated without I/O, clocks or async.
//!
//! ```text
//! Query::parse -> Evaluation::new -> selections()        what to read from storage
//!                                 -> fold(i).push(..)    one fold per thread, series in any order
//!                                 -> finish(folds)       Answer
//! ```
//!
//! A fold turns each series into its values at the query's steps at once, and adds those up where an
//! aggregation stands above, so that memory is series x steps (or groups x steps), never all samples.
//!
//! - [`syntax`]: lexer, parser, types, printer, the tree as JSON.
//! - [`Labels`], [`Matcher`]: series and how they are chosen.
//! - [`Histogram`]: native histograms and their arithmetic.
//! - [`Evaluation`], [`Fold`], [`Answer`]: evaluation.
//! - [`Part`], [`Parts`]: some steps of the answer to a query that [`Query::is_divisible`]; as bytes: [`Encoder`],
//!   [`Decoder`].
//! - [`FoldEncoder`], [`FoldDecoder`]: folds of some of a query's series as bytes, for the node that has the others'.
//! - [`number`]: values as Prometheus writes them.

mod error;
mod eval;
mod histogram;
mod labels;
mod matcher;
pub mod number;
mod plain;
mod re2;
pub mod syntax;

pub use error::{Error, ParseError};
pub use eval::{
    Annotations, Answer, DecodeError, Decoder, Encoder, Evaluation, Fold, FoldDecoder, FoldEncoder, Keeps, Limits,
    Memory, Params, Part, Parts, Point, STALE_BITS, Sample, Selection, Series, SeriesPoints, Stats, Value, Windows,
};
pub use histogram::{Bucket, CUSTOM_BUCKETS, Histogram, Incompatible, Joined, ResetHint};
pub use labels::{Labels, LabelsBuilder, METRIC_NAME};
pub use matcher::{MatchOp, Matcher, ValuePart, anchored_regex};
pub use syntax::Query;
