//! A plan: the tree with its selectors taken out as leaves, which folds evaluate series by series.

use std::sync::Arc;

use super::binary::Operation;
use super::fold::Usage;
use super::group::Aggregation;
use super::info::Info;
use super::maps::{Map, MapKind};
use super::range::RangeCall;
use super::rows::{Grid, Steps};
use super::selection::Selection;
use super::window::Window;
use crate::error::Error;
use crate::labels::Labels;
use crate::syntax::{BinaryOp, Function, Span};

/// What a fold makes of a series before changes and groups.
#[derive(Clone, Debug)]
pub(crate) enum Read {
    /// The last sample within the lookback.
    Latest,
    /// The time of that sample, in seconds.
    Time,
    /// The same, of an info metric.
    InfoTime,
    /// The value between the samples around each step.
    Smoothed,
    /// A function over a range.
    Range(RangeCall),
    /// The samples as they are: for what needs numbers that are known only later.
    Raw,
}

impl Read {
    /// Whether values that are all greater by the same give the same.
    pub(crate) fn takes_changes(&self) -> bool {
        use Function::{
            AbsentOverTime, Changes, CountOverTime, Delta, Deriv, Idelta, Increase, Irate, PresentOverTime, Rate,
            Resets,
        };
        match self {
            Read::Time | Read::InfoTime => true,
            Read::Latest | Read::Smoothed | Read::Raw => false,
            Read::Range(call) => {
                let adds_up =
                    matches!(call.function, Rate | Increase | Irate | Delta | Idelta | Deriv | Changes | Resets);
                adds_up || matches!(call.function, CountOverTime | PresentOverTime | AbsentOverTime)
            }
        }
    }
}

/// A selector and what is done to its series at once.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub selection: Selection,
    pub window: Window,
    pub read: Read,
    pub drop_name: bool,
    pub maps: Vec<Map>,
    pub group: Option<Arc<Aggregation>>,
}

/// Where the samples of a function over a range come from.
#[derive(Clone, Debug)]
pub(crate) enum RangeSource {
    /// A leaf that keeps samples.
    Raw(usize),
    /// An expression at each step of a subquery.
    Subquery(Box<Node>, Grid),
}

/// A part of a query. Numbers that it takes are nodes too.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Number(f64),
    Text(String),
    /// `time()`
    Time,
    /// `scalar(v)`
    Scalar(Box<Node>),
    /// `a + b` of scalars
    ScalarOp(BinaryOp, Box<Node>, Box<Node>),
    /// `min_of`, `max_of`
    ScalarBest(bool, Box<Node>, Box<Node>),
    /// `vector(s)`
    Vector(Box<Node>),
    /// `hour()`: a part of the time of each step.
    Now(Function),
    /// What a fold made.
    Leaf(usize),
    /// The same at each step.
    Repeat(Box<Node>),
    /// A function over a range.
    Range {
        call: RangeCall,
        params: Vec<Node>,
        window: Window,
        source: RangeSource,
        keep_name: bool,
    },
    /// The samples of a range as the answer.
    Matrix {
        window: Window,
        source: RangeSource,
        widening: Option<bool>,
    },
    /// A change of each series.
    Map {
        kind: MapKind,
        params: Vec<Node>,
        keep_name: bool,
        span: Span,
        node: Box<Node>,
    },
    /// An aggregation, with its parameter and where that stands.
    Aggregate {
        aggregation: Arc<Aggregation>,
        param: Option<(Box<Node>, Span)>,
        whole: Span,
        node: Box<Node>,
    },
    /// An operator between vectors.
    Binary {
        operation: Operation,
        left: Box<Node>,
        right: Box<Node>,
    },
    /// 1 where there is nothing.
    Absent {
        labels: Labels,
        drop_name: bool,
        node: Box<Node>,
    },
    /// label_replace or label_join.
    Relabel {
        join: bool,
        texts: Vec<String>,
        node: Box<Node>,
    },
    /// Sorting.
    Sort {
        function: Function,
        labels: Vec<String>,
        span: Span,
        node: Box<Node>,
    },
    /// histogram_quantile and its kin; quantiles may have a label.
    Ask {
        function: Function,
        label: String,
        params: Vec<(Node, Span)>,
        span: Span,
        node: Box<Node>,
    },
    /// `info`
    Info {
        info: Info,
        leaf: usize,
        node: Box<Node>,
    },
}

impl Node {
    /// The numbers at each step of `grid`, where they need no series.
    pub(crate) fn free(&self, grid: &Grid, usage: &Usage) -> Result<Option<Steps>, Error> {
        let both = |a: &Self, b: &Self, op: &dyn Fn(f64, f64) -> f64| {
            let (Some(a), Some(b)) = (a.free(grid, usage)?, b.free(grid, usage)?) else { return Ok(None) };
            if let (Steps::One(a), Steps::One(b)) = (&a, &b) {
                return Ok(Some(Steps::One(op(*a, *b))));
            }
            usage.keep(grid.len)?;
            Ok(Some(Steps::Each((0..grid.len).map(|step| op(a.at(step), b.at(step))).collect())))
        };
        match self {
            Self::Number(value) => Ok(Some(Steps::One(*value))),
            Self::Time => {
                usage.keep(grid.len)?;
                Ok(Some(Steps::Each((0..grid.len).map(|step| grid.time(step) as f64 / 1000.0).collect())))
            }
            Self::ScalarOp(op, a, b) => both(a, b, &|a, b| super::ops::float_op(*op, a, b)),
            Self::ScalarBest(greatest, a, b) => both(a, b, &|a, b| best(*greatest, a, b)),
            _ => Ok(None),
        }
    }
}

/// The greater or the lesser of two.
pub(crate) fn best(greatest: bool, a: f64, b: f64) -> f64 {
    if greatest { super::maps::greater(a, b) } else { super::maps::lesser(a, b) }
}

/// Leaves and the tree above them.
#[derive(Debug)]
pub(crate) struct Plan {
    pub leaves: Vec<Leaf>,
    pub root: Node,
    pub grid: Grid,
}
