//! Tree to plan.

use std::sync::Arc;

use super::Params;
use super::binary::Operation;
use super::fold::Usage;
use super::group::{Aggregation, GroupBy};
use super::maps::{MapKind, is_map};
use super::plan::{Leaf, Node, Plan, RangeSource, Read};
use super::rows::{Grid, Steps};
use super::selection::{Selection, Windows};
use super::window::Window;
use crate::error::Error;
use crate::syntax::{At, BinaryOp, Duration, Expr, Function, Kind, Modifiers, Query, Selector, Span, Type, Widening};

/// Makes the plan of a query.
pub(crate) fn compile(query: &Query, params: &Params, usage: &Usage) -> Result<Plan, Error> {
    let step = params.step_ms.max(1);
    let len = ((params.end_ms - params.start_ms) / step + 1) as usize;
    let grid = Grid { start: params.start_ms, step, len };
    let mut compiler = Compiler { params, usage, leaves: vec![] };
    let root = compiler.any(query.expr(), grid)?;
    Ok(Plan { leaves: compiler.leaves, root, grid })
}

pub(super) struct Compiler<'a> {
    pub(super) params: &'a Params,
    /// Vectors of numbers are made already while the plan is.
    usage: &'a Usage,
    pub(super) leaves: Vec<Leaf>,
}

/// Where and when a selector looks.
#[derive(Clone, Copy)]
pub(super) struct Shift {
    pub at: Option<i64>,
    pub offset: i64,
}

impl Compiler<'_> {
    pub(super) fn duration(&self, duration: &Duration, negative: bool) -> Result<i64, Error> {
        let range = self.params.end_ms - self.params.start_ms;
        duration.to_ms(self.params.step_ms, range, negative).map_err(Error::Execution)
    }

    pub(super) fn shift(&self, modifiers: &Modifiers) -> Result<Shift, Error> {
        let at = modifiers.at.map(|at| match at {
            At::Time(ms) => ms,
            At::Start => self.params.start_ms,
            At::End => self.params.end_ms,
        });
        let offset = modifiers.offset.as_ref().map_or(Ok(0), |offset| self.duration(offset, true))?;
        Ok(Shift { at, offset })
    }

    /// An expression of any type; a range vector is the whole answer.
    fn any(&mut self, expr: &Expr, grid: Grid) -> Result<Node, Error> {
        match expr.value_type() {
            Type::String => match &expr.unwrapped().kind {
                Kind::String(text) => Ok(Node::Text(text.clone())),
                _ => Err(Error::execution("a text cannot be computed")),
            },
            Type::Scalar => self.scalar(expr, grid),
            Type::Vector => self.vector(expr, grid),
            Type::Matrix => self.matrix(expr, grid),
        }
    }

    fn matrix(&mut self, expr: &Expr, grid: Grid) -> Result<Node, Error> {
        let (source, window) = self.range_source(expr, grid)?;
        let widening = match &expr.unwrapped().kind {
            Kind::Range { selector, .. } => selector.modifiers.widening.map(|w| w == Widening::Smoothed),
            _ => None,
        };
        Ok(Node::Matrix { window, source, widening })
    }

    /// A vector; what does not change from step to step is evaluated once.
    pub(super) fn vector(&mut self, expr: &Expr, grid: Grid) -> Result<Node, Error> {
        if grid.len > 1 && has_selector(expr) && is_invariant(expr) {
            return Ok(Node::Repeat(Box::new(self.changing(expr, grid.first())?)));
        }
        self.changing(expr, grid)
    }

    fn changing(&mut self, expr: &Expr, grid: Grid) -> Result<Node, Error> {
        match &expr.kind {
            Kind::Paren(inner) => self.changing(inner, grid),
            Kind::Selector(selector) => {
                let smooth = selector.modifiers.widening == Some(Widening::Smoothed);
                let read = if smooth { Read::Smoothed } else { Read::Latest };
                self.leaf(selector, expr.span, grid, read, self.params.lookback_ms).map(Node::Leaf)
            }
            Kind::Unary { negative, expr: inner } => {
                let node = self.vector(inner, grid)?;
                if *negative { self.map(MapKind::Negate, vec![], false, expr.span, node, grid) } else { Ok(node) }
            }
            Kind::Call { .. } => self.call(expr, grid),
            Kind::Aggregate { .. } => self.aggregate(expr, grid),
            Kind::Binary { .. } => self.binary(expr, grid),
            _ => Err(Error::execution("expected an instant vector")),
        }
    }

    pub(super) fn scalar(&mut self, expr: &Expr, grid: Grid) -> Result<Node, Error> {
        match &expr.kind {
            Kind::Number { value, .. } => Ok(Node::Number(*value)),
            Kind::Paren(inner) => self.scalar(inner, grid),
            Kind::Unary { negative, expr } => {
                let node = self.scalar(expr, grid)?;
                let minus = Node::ScalarOp(BinaryOp::Mul, Box::new(Node::Number(-1.0)), Box::new(node.clone()));
                Ok(if *negative { minus } else { node })
            }
            Kind::Binary { op, left, right, .. } => {
                let (left, right) = (self.scalar(left, grid)?, self.scalar(right, grid)?);
                Ok(Node::ScalarOp(*op, Box::new(left), Box::new(right)))
            }
            Kind::Call { function, args, .. } => {
                let seconds = |ms: i64| Node::Number(ms as f64 / 1000.0);
                let (start, end) = (self.params.start_ms, self.params.end_ms);
                Ok(match function {
                    Function::Time => Node::Time,
                    Function::Pi => Node::Number(std::f64::consts::PI),
                    Function::Start => seconds(start),
                    Function::End => seconds(end),
                    Function::Range => seconds(end - start),
                    Function::Step => seconds(if start == end { 0 } else { self.params.step_ms }),
                    Function::MinOf | Function::MaxOf => {
                        let greatest = *function == Function::MaxOf;
                        let (a, b) = (self.scalar(&args[0], grid)?, self.scalar(&args[1], grid)?);
                        Node::ScalarBest(greatest, Box::new(a), Box::new(b))
                    }
                    _ => Node::Scalar(Box::new(self.vector(&args[0], grid)?)),
                })
            }
            _ => Err(Error::execution("expected a scalar")),
        }
    }

    /// A leaf for a selector; gives its place.
    pub(super) fn leaf(
        &mut self,
        selector: &Selector,
        span: Span,
        grid: Grid,
        read: Read,
        before: i64,
    ) -> Result<usize, Error> {
        let shift = self.shift(&selector.modifiers)?;
        let lookback = self.params.lookback_ms;
        let (wider, after) = match (&read, selector.modifiers.widening) {
            (Read::Smoothed, _) => (0, lookback),
            (Read::Range(_) | Read::Raw, Some(Widening::Anchored)) => (lookback, 0),
            (Read::Range(_) | Read::Raw, Some(Widening::Smoothed)) => (lookback, lookback),
            _ => (0, 0),
        };
        let window = Window { grid, at: shift.at, offset: shift.offset, before: before + wider, after };
        Ok(self.add_leaf(selector.matchers.clone(), span, window, read, before))
    }

    pub(super) fn add_leaf(
        &mut self,
        matchers: Vec<crate::Matcher>,
        span: Span,
        window: Window,
        read: Read,
        range_ms: i64,
    ) -> usize {
        let (min_ms, max_ms) = window.bounds();
        let (step_ms, changes_only) = (window.grid.step, read.takes_changes());
        let selection = Selection {
            matchers,
            min_ms,
            max_ms,
            step_ms,
            range_ms,
            windows: Windows::of(&window),
            changes_only,
            span,
        };
        self.leaves.push(Leaf { selection, window, read, drop_name: false, maps: vec![], group: None });
        self.leaves.len() - 1
    }

    /// The leaf of a node, if it is one that can take more work.
    fn open_leaf(&mut self, node: &Node) -> Option<&mut Leaf> {
        let Node::Leaf(leaf) = node else { return None };
        self.leaves.get_mut(*leaf).filter(|leaf| leaf.group.is_none() && !matches!(leaf.read, Read::Raw))
    }

    /// Numbers that need no series.
    pub(super) fn free(&self, nodes: &[Node], grid: &Grid) -> Result<Option<Vec<Steps>>, Error> {
        nodes.iter().map(|node| node.free(grid, self.usage)).collect()
    }

    pub(super) fn map(
        &mut self,
        kind: MapKind,
        params: Vec<Node>,
        keep_name: bool,
        span: Span,
        node: Node,
        grid: Grid,
    ) -> Result<Node, Error> {
        if let Some(steps) = self.free(&params, &grid)?
            && let Some(leaf) = self.open_leaf(&node)
        {
            leaf.maps.push(super::maps::Map { kind, params: steps, keep_name, span });
            return Ok(node);
        }
        Ok(Node::Map { kind, params, keep_name, span, node: Box::new(node) })
    }

    fn aggregate(&mut self, expr: &Expr, grid: Grid) -> Result<Node, Error> {
        let Kind::Aggregate { op, param, expr: inner, grouping } = &expr.kind else {
            return Err(Error::execution("expected an aggregation"));
        };
        let node = self.vector(inner, grid)?;
        let param = match param {
            Some(param) => Some((Box::new(self.any(param, grid)?), param.span)),
            None => None,
        };
        let aggregation = Arc::new(Aggregation { op: *op, by: GroupBy::new(grouping), span: inner.span });
        if Aggregation::folds(*op)
            && let Some(leaf) = self.open_leaf(&node)
        {
            leaf.group = Some(aggregation);
            return Ok(node);
        }
        Ok(Node::Aggregate { aggregation, param, whole: expr.span, node: Box::new(node) })
    }

    fn binary(&mut self, expr: &Expr, grid: Grid) -> Result<Node, Error> {
        let Kind::Binary { op, left, right, return_bool, matching, keep_names } = &expr.kind else {
            return Err(Error::execution("expected an operation"));
        };
        let (op, return_bool, keep) = (*op, *return_bool, *keep_names);
        let scalar_left = left.value_type() == Type::Scalar;
        if scalar_left || right.value_type() == Type::Scalar {
            let (scalar, vector) = if scalar_left { (left, right) } else { (right, left) };
            let params = vec![self.scalar(scalar, grid)?];
            let node = self.vector(vector, grid)?;
            let kind = MapKind::Operator { op, scalar_left, return_bool };
            if op == BinaryOp::Default {
                // Where there is no series at all, the scalar is the answer: folds cannot know.
                return Ok(Node::Map { kind, params, keep_name: keep, span: expr.span, node: Box::new(node) });
            }
            return self.map(kind, params, keep, expr.span, node, grid);
        }
        let operation = Operation { op, matching: matching.clone(), return_bool, keep_names: keep, span: expr.span };
        let (left, right) = (self.vector(left, grid)?, self.vector(right, grid)?);
        Ok(Node::Binary { operation, left: Box::new(left), right: Box::new(right) })
    }

    /// Whether `function` is one that changes each value by itself.
    pub(super) fn maps(function: Function) -> bool {
        is_map(function)
    }

    /// The samples of a range and the windows over them.
    pub(super) fn range_source(&mut self, expr: &Expr, grid: Grid) -> Result<(RangeSource, Window), Error> {
        match &expr.kind {
            Kind::Paren(inner) => self.range_source(inner, grid),
            Kind::Range { selector, range } => {
                let range = self.duration(range, false)?;
                let leaf = self.leaf(selector, expr.span, grid, Read::Raw, range)?;
                Ok((RangeSource::Raw(leaf), self.leaves[leaf].window))
            }
            Kind::Subquery { expr: inner, range, step, modifiers } => {
                let range = self.duration(range, false)?;
                let step =
                    step.as_ref().map_or(Ok(self.params.subquery_step_ms), |step| self.duration(step, false))?.max(1);
                let shift = self.shift(modifiers)?;
                let window = Window { grid, at: shift.at, offset: shift.offset, before: range, after: 0 };
                let last = window.reference(grid.len.saturating_sub(1));
                let from = window.reference(0) - range;
                // Steps are multiples of the step, whatever the query's start.
                let mut start = step * (from / step);
                if start <= from {
                    start += step;
                }
                let len = if last < start { 0 } else { (last - start) / step + 1 };
                let inner_grid = Grid { start, step, len: self.limited(len)? };
                let node = self.vector(inner, inner_grid)?;
                Ok((RangeSource::Subquery(Box::new(node), inner_grid), window))
            }
            _ => Err(Error::execution("expected a range vector")),
        }
    }

    fn limited(&self, steps: i64) -> Result<usize, Error> {
        let limit = self.params.limits.points.min(1 << 32);
        if steps as u64 > limit {
            Err(Error::Limit { what: "points", reached: steps as u64, limit })
        } else {
            Ok(steps as usize)
        }
    }
}

fn has_selector(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |expr| found |= matches!(expr.kind, Kind::Selector(_) | Kind::Range { .. }));
    found
}

/// Whether it is the same at each step.
fn is_invariant(expr: &Expr) -> bool {
    use Function::{
        DayOfMonth, DayOfWeek, DayOfYear, DaysInMonth, Hour, Info, Minute, Month, PredictLinear, Time, Timestamp, Year,
    };
    match &expr.kind {
        Kind::Number { .. } | Kind::String(_) => true,
        Kind::Selector(selector) | Kind::Range { selector, .. } => selector.modifiers.at.is_some(),
        Kind::Subquery { modifiers, .. } => modifiers.at.is_some(),
        Kind::Call { function: Timestamp, args, .. } => {
            matches!(&args[0].unwrapped().kind, Kind::Selector(selector) if selector.modifiers.at.is_some())
        }
        Kind::Call {
            function:
                Time | PredictLinear | Info | DayOfMonth | DayOfWeek | DayOfYear | DaysInMonth | Hour | Minute | Month
                | Year,
            ..
        } => false,
        _ => expr.children().into_iter().all(is_invariant),
    }
}
