//! Evaluation: plan, folds, answer.
//!
//! `compile` (with `calls`) turns the tree into a `plan` whose leaves are selectors. A `fold` turns each series into
//! a row of values by step (`window`, `range`, `rate`, `range_histogram`, `widened`), changes it (`maps`) and adds
//! it to its group (`group`). `run` evaluates what stands above the leaves (`binary`, `topk`, `names`,
//! `histograms`, `info`), `answer` is what comes out, with its `annotations`. `parts` are some steps of an answer,
//! and `encoding` is how they travel; `sent` is how folds do (both in `chunks`, on `bytes`).

mod annotations;
mod answer;
mod binary;
mod bytes;
mod calls;
mod cells;
mod chunks;
mod compile;
mod dates;
mod encoding;
mod fold;
mod group;
mod histograms;
mod info;
mod loaded;
mod maps;
mod names;
mod ops;
mod parts;
mod plan;
mod range;
mod range_histogram;
mod rate;
mod rows;
mod run;
mod selection;
mod sent;
mod sums;
mod topk;
mod widened;
mod window;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

pub use annotations::Annotations;
pub use answer::{Answer, Point, Sample, SeriesPoints, Stats, Value};
pub use chunks::DecodeError;
pub(crate) use dates::rfc3339;
pub use encoding::{Decoder, Encoder};
pub use fold::Fold;
pub(crate) use ops::float_op;
pub use parts::{Part, Parts};
pub use selection::{STALE_BITS, Selection, Series, Windows};
pub use sent::{FoldDecoder, FoldEncoder};

use crate::error::Error;
use crate::labels::Labels;
use crate::syntax::{AggregateOp, Expr, Function, Kind, Query, Type};
use fold::Usage;
use plan::{Leaf, Plan, Read};

/// What a query may use; more ends it with [`Error::Limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Samples that are pushed.
    pub samples: u64,
    /// Series that are pushed.
    pub series: u64,
    /// Values that are kept: series or groups, times steps.
    pub points: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { samples: u64::MAX, series: u64::MAX, points: u64::MAX }
    }
}

/// Memory that evaluations share.
pub trait Memory: fmt::Debug + Send + Sync {
    /// So many points more are kept; an error where there is no room for them.
    fn keep(&self, points: u64) -> Result<(), Error>;

    /// So many points are kept no more.
    fn let_go(&self, points: u64);
}

/// When a query is evaluated, and within which limits.
#[derive(Clone, Debug)]
pub struct Params {
    /// The first time, milliseconds since the epoch.
    pub start_ms: i64,
    /// The last time at most; the same as the first for an instant query.
    pub end_ms: i64,
    /// From one time to the next; nothing for an instant query.
    pub step_ms: i64,
    /// How old a sample may be to count as the present value.
    pub lookback_ms: i64,
    /// The step of subqueries that name none.
    pub subquery_step_ms: i64,
    /// Limits.
    pub limits: Limits,
    /// Raised by the caller to end the query.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Told of all points that are kept.
    pub memory: Option<Arc<dyn Memory>>,
    /// Whether the answer of one step is a matrix all the same: a range query whose end is its start.
    pub range_query: bool,
    /// Whether to count the samples that each step takes: [`Stats::steps`].
    pub count_steps: bool,
}

/// The longest time there is, in milliseconds: offsets must not overflow.
const MAX_TIME: i64 = 9_000_000_000_000_000;

impl Params {
    /// An instant query with Prometheus' lookback of 5 minutes.
    pub fn instant(time_ms: i64) -> Self {
        Self {
            start_ms: time_ms,
            end_ms: time_ms,
            step_ms: 0,
            lookback_ms: 300_000,
            subquery_step_ms: 60_000,
            limits: Limits::default(),
            cancel: None,
            memory: None,
            range_query: false,
            count_steps: false,
        }
    }

    /// A range query with Prometheus' lookback of 5 minutes.
    pub fn range(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        Self { end_ms, step_ms, range_query: true, ..Self::instant(start_ms) }
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |message: &str| Err(Error::Params(message.to_owned()));
        if self.end_ms < self.start_ms {
            return wrong("end timestamp must not be before start time");
        }
        if self.step_ms <= 0 && (self.range_query || self.end_ms > self.start_ms) {
            return wrong("zero or negative query resolution step widths are not accepted. Try a positive integer");
        }
        if self.lookback_ms <= 0 || self.subquery_step_ms <= 0 {
            return wrong("lookback and the step of subqueries must be greater than 0");
        }
        if self.start_ms.abs() > MAX_TIME || self.end_ms.abs() > MAX_TIME {
            return wrong("start and end must lie within 285,000 years of 1970");
        }
        Ok(())
    }
}

/// What folds of a selection keep of some series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Their samples: numbers are not known yet.
    Samples,
    /// Of so many series, each in one fold, a value by step.
    Series(usize),
    /// Of so many groups, which any fold may have, a value by step.
    Groups(usize),
}

/// A query at its times: what it reads, and what comes of that.
#[derive(Debug)]
pub struct Evaluation {
    query: Query,
    plan: Arc<Plan>,
    usage: Arc<Usage>,
    selections: Vec<Selection>,
    is_range: bool,
    /// What the steps of subqueries, which are multiples of their length, can move a selection by.
    slack_ms: i64,
}

impl Evaluation {
    /// Plans a query.
    pub fn new(query: &Query, params: Params) -> Result<Self, Error> {
        params.check()?;
        let kind = query.value_type();
        let is_range = params.range_query || params.end_ms > params.start_ms;
        if is_range && matches!(kind, Type::String | Type::Matrix) {
            let kind = kind.name();
            let message = format!("invalid expression type {kind:?} for range query, must be Scalar or instant Vector");
            return Err(Error::Params(message));
        }
        let usage = Usage::new(&params);
        let steps = ((params.end_ms - params.start_ms) / params.step_ms.max(1) + 1) as u64;
        if steps > params.limits.points {
            return Err(Error::Limit { what: "points", reached: steps, limit: params.limits.points });
        }
        let plan = compile::compile(query, &params, &usage)?;
        let selections = plan.leaves.iter().map(|leaf| leaf.selection.clone()).collect();
        let slack_ms = slack(query, &params);
        let (plan, usage) = (Arc::new(plan), Arc::new(usage));
        Ok(Self { query: query.clone(), plan, usage, selections, is_range, slack_ms })
    }

    /// What to read, each to be folded; an empty list for `1 + 1`.
    pub fn selections(&self) -> &[Selection] {
        &self.selections
    }

    /// How far before a step and after it samples matter at most, in milliseconds, wherever the step is; after it
    /// is negative where only older ones do. Of a query that [`Query::is_divisible`] and reads something.
    pub fn reach_ms(&self) -> Option<(i64, i64)> {
        let (first, last) = (self.plan.grid.start, self.plan.grid.time(self.plan.grid.len.saturating_sub(1)));
        let min = self.selections.iter().map(|selection| selection.min_ms).min()?;
        let max = self.selections.iter().map(|selection| selection.max_ms).max()?;
        let wider = |ms: i64| ms.saturating_add(self.slack_ms);
        Some((wider(first.saturating_sub(min)), wider(max.saturating_sub(last))))
    }

    /// A fold for selection `selection`, as many as there are threads. Whoever asks for one that is not there gets
    /// none.
    pub fn fold(&self, selection: usize) -> Option<Fold> {
        (selection < self.plan.leaves.len()).then(|| Fold::new(self.plan.clone(), self.usage.clone(), selection))
    }

    /// What folds of a selection would keep of series with these labels.
    pub fn keeps<'a>(&self, selection: usize, series: impl ExactSizeIterator<Item = &'a Labels>) -> Keeps {
        match self.plan.leaves.get(selection) {
            Some(Leaf { read: Read::Raw, .. }) | None => Keeps::Samples,
            Some(Leaf { group: None, .. }) => Keeps::Series(series.len()),
            Some(Leaf { group: Some(group), .. }) => {
                let (mut keys, mut key) = (HashSet::new(), Vec::new());
                for labels in series {
                    group.by.key(labels, &mut key);
                    if !keys.contains(key.as_slice()) {
                        keys.insert(key.clone());
                    }
                }
                Keeps::Groups(keys.len())
            }
        }
    }

    /// How many values [`Evaluation::finish`] has to do with, about, once all is folded. None where the query does
    /// not tell: a subquery has steps of its own, and what `@` pins is repeated.
    pub fn work(&self) -> Option<u64> {
        let (mut parts, mut known) = (0, true);
        self.query.expr().walk(&mut |expr| {
            parts += 1;
            known &= match &expr.kind {
                Kind::Subquery { .. } => false,
                Kind::Selector(selector) | Kind::Range { selector, .. } => selector.modifiers.at.is_none(),
                _ => true,
            };
        });
        let vectors = (self.plan.grid.len as u64).saturating_mul(parts);
        known.then(|| self.usage.points.load(Relaxed).saturating_add(vectors))
    }

    /// The answer, from folds of all selections; a selection without series needs none.
    pub fn finish(self, folds: Vec<Fold>) -> Result<Answer, Error> {
        let mut run = run::Run::new(&self.plan, &self.usage, folds)?;
        let value = if let Some(series) = run.matrix(&self.plan.grid)? {
            answer::samples(series)
        } else {
            let data = run.root()?;
            if self.is_range {
                answer::range(data, self.query.value_type(), &self.plan.grid)?
            } else {
                answer::instant(data, is_ordered(self.query.expr()))?
            }
        };
        let grid = &self.plan.grid;
        let steps = run.loaded.iter().flat_map(|loaded| loaded.steps().iter().enumerate());
        let stats = Stats {
            steps: steps.map(|(step, samples)| (grid.time(step), *samples)).collect(),
            samples: self.usage.samples.load(Relaxed),
            series: self.usage.series.load(Relaxed),
            peak_points: self.usage.peak.load(Relaxed),
        };
        Ok(Answer { value, annotations: run.notes.finish(self.query.text()), stats })
    }
}

/// The steps of all subqueries together: each may begin or end by up to one earlier or later than another time.
fn slack(query: &Query, params: &Params) -> i64 {
    let mut slack: i64 = 0;
    query.expr().walk(&mut |expr| {
        if let Kind::Subquery { step, .. } = &expr.kind {
            let range = params.end_ms.saturating_sub(params.start_ms);
            let given = step.as_ref().and_then(|step| step.to_ms(params.step_ms, range, false).ok());
            slack = slack.saturating_add(given.unwrap_or(params.subquery_step_ms).max(1));
        }
    });
    slack
}

/// Whether the order of an instant answer is the query's own.
fn is_ordered(expr: &Expr) -> bool {
    match &expr.unwrapped().kind {
        Kind::Call { function, .. } => {
            matches!(function, Function::Sort | Function::SortDesc | Function::SortByLabel | Function::SortByLabelDesc)
        }
        Kind::Aggregate { op, .. } => matches!(op, AggregateOp::Topk | AggregateOp::Bottomk),
        _ => false,
    }
}
