//! Function calls to plan.

use std::sync::Arc;

use super::compile::Compiler;
use super::group::{Aggregation, GroupBy};
use super::info::Info;
use super::maps::MapKind;
use super::names::absent_labels;
use super::plan::{Node, Read};
use super::range::RangeCall;
use super::rows::Grid;
use super::window::Window;
use crate::error::Error;
use crate::labels::Labels;
use crate::syntax::{AggregateOp, Expr, Function, Grouping, Kind, Span, Type, Widening};

/// Functions that know what to do with a range that reaches from bound to bound.
const ANCHORED: [&str; 5] = ["changes", "delta", "increase", "rate", "resets"];
const SMOOTHED: [&str; 3] = ["delta", "increase", "rate"];

impl Compiler<'_> {
    pub(super) fn call(&mut self, expr: &Expr, grid: Grid) -> Result<Node, Error> {
        let Kind::Call { function, args, keep_names } = &expr.kind else {
            return Err(Error::execution("expected a call"));
        };
        let function = *function;
        if args.iter().any(|arg| arg.value_type() == Type::Matrix) {
            return self.range_call(function, args, *keep_names, grid);
        }
        match function {
            Function::Timestamp if self.times(&args[0]) => {
                let inner = args[0].unwrapped();
                let Kind::Selector(selector) = &inner.kind else { return Err(Error::execution("expected a selector")) };
                let leaf = self.leaf(selector, inner.span, grid, Read::Time, self.params.lookback_ms)?;
                self.leaves[leaf].drop_name = !keep_names;
                Ok(Node::Leaf(leaf))
            }
            function if Self::maps(function) => self.map_call(function, args, *keep_names, expr.span, grid),
            Function::Vector => Ok(Node::Vector(Box::new(self.scalar(&args[0], grid)?))),
            Function::Absent => {
                let labels = match &args[0].unwrapped().kind {
                    Kind::Selector(selector) => absent_labels(&selector.matchers),
                    _ => Labels::empty(),
                };
                let node = self.vector(&args[0], grid)?;
                let node = Box::new(self.any_series(node, args[0].span));
                Ok(Node::Absent { labels, drop_name: false, node })
            }
            Function::LabelReplace | Function::LabelJoin => {
                let node = Box::new(self.vector(&args[0], grid)?);
                let texts = args[1..].iter().map(text).collect();
                Ok(Node::Relabel { join: function == Function::LabelJoin, texts, node })
            }
            Function::Sort | Function::SortDesc | Function::SortByLabel | Function::SortByLabelDesc => {
                let node = Box::new(self.vector(&args[0], grid)?);
                let labels = args[1..].iter().map(text).collect();
                Ok(Node::Sort { function, labels, span: expr.span, node })
            }
            Function::HistogramQuantile | Function::HistogramQuantiles | Function::HistogramFraction => {
                self.ask(function, args, grid)
            }
            Function::Info => self.info(args, grid),
            other => Err(Error::Execution(format!("{}() cannot be evaluated here", other.name()))),
        }
    }

    /// Whether the times of samples are meant, and not those of steps.
    fn times(&self, arg: &Expr) -> bool {
        matches!(arg.unwrapped().kind, Kind::Selector(_))
    }

    fn map_call(
        &mut self,
        function: Function,
        args: &[Expr],
        keep: bool,
        span: Span,
        grid: Grid,
    ) -> Result<Node, Error> {
        let Some(first) = args.first() else { return Ok(Node::Now(function)) };
        let mut params = vec![];
        for arg in &args[1..] {
            params.push(self.scalar(arg, grid)?);
        }
        let node = self.vector(first, grid)?;
        self.map(MapKind::Function(function), params, keep, span, node, grid)
    }

    /// One series with a value wherever one of many has one.
    fn any_series(&mut self, node: Node, span: Span) -> Node {
        let by = GroupBy::new(&Grouping::default());
        let aggregation = Arc::new(Aggregation { op: AggregateOp::Group, by, span });
        if let Node::Leaf(leaf) = &node
            && self.leaves[*leaf].group.is_none()
            && !matches!(self.leaves[*leaf].read, Read::Raw)
        {
            let leaf = &mut self.leaves[*leaf];
            leaf.group = Some(aggregation);
            return node;
        }
        Node::Aggregate { aggregation, param: None, whole: span, node: Box::new(node) }
    }

    fn range_call(&mut self, function: Function, args: &[Expr], keep: bool, grid: Grid) -> Result<Node, Error> {
        let range =
            args.iter().find(|arg| arg.value_type() == Type::Matrix).ok_or_else(|| Error::execution("no range"))?;
        let mut params = vec![];
        let mut param_span = range.span;
        for arg in args.iter().filter(|arg| arg.value_type() == Type::Scalar) {
            param_span = arg.span;
            params.push(self.scalar(arg, grid)?);
        }
        let inner = range.unwrapped();
        let (widening, range_ms) = match &inner.kind {
            Kind::Range { selector, range } => (selector.modifiers.widening, self.duration(range, false)?),
            Kind::Subquery { range, .. } => (None, self.duration(range, false)?),
            _ => (None, 0),
        };
        check_widening(function, widening)?;
        let free = self.free(&params, &grid)?;
        let arg_span = range.span;
        let steps = free.clone().unwrap_or_default();
        let call = RangeCall { function, params: steps, range_ms, widening, arg_span, param_span };
        let drop_name = !keep && !call.keeps_name();
        let node = match (&inner.kind, free) {
            (Kind::Range { selector, .. }, Some(_)) => {
                let leaf = self.leaf(selector, inner.span, grid, Read::Range(call), range_ms)?;
                self.leaves[leaf].drop_name = drop_name;
                Node::Leaf(leaf)
            }
            _ => {
                let (source, window) = self.range_source(inner, grid)?;
                Node::Range { call, params, window, source, keep_name: !drop_name }
            }
        };
        if function != Function::AbsentOverTime {
            return Ok(node);
        }
        let labels = match &inner.kind {
            Kind::Range { selector, .. } => absent_labels(&selector.matchers),
            _ => Labels::empty(),
        };
        let node = Box::new(self.any_series(node, range.span));
        Ok(Node::Absent { labels, drop_name: true, node })
    }

    fn ask(&mut self, function: Function, args: &[Expr], grid: Grid) -> Result<Node, Error> {
        let vector =
            args.iter().find(|arg| arg.value_type() == Type::Vector).ok_or_else(|| Error::execution("no vector"))?;
        let label = args.iter().find(|arg| arg.value_type() == Type::String).map(text).unwrap_or_default();
        let mut params = vec![];
        for arg in args.iter().filter(|arg| arg.value_type() == Type::Scalar) {
            params.push((self.scalar(arg, grid)?, arg.span));
        }
        let node = Box::new(self.vector(vector, grid)?);
        Ok(Node::Ask { function, label, params, span: vector.span, node })
    }

    fn info(&mut self, args: &[Expr], grid: Grid) -> Result<Node, Error> {
        let node = Box::new(self.vector(&args[0], grid)?);
        let matchers = match args.get(1).map(|arg| &arg.kind) {
            Some(Kind::Selector(selector)) => selector.matchers.clone(),
            _ => vec![],
        };
        let info = Info::new(&matchers);
        let (at, offset) = self.reference(&args[0])?;
        let before = self.params.lookback_ms;
        let window = Window { grid, at, offset, before, after: 0 };
        let span = args.get(1).unwrap_or(&args[0]).span;
        let leaf = self.add_leaf(info.matchers(), span, window, Read::InfoTime, before);
        Ok(Node::Info { info, leaf, node })
    }
}

/// When a selector looks, with the subqueries around it counted in.
#[derive(Clone, Copy)]
struct Reference {
    at: Option<i64>,
    offset: i64,
}

impl Reference {
    fn same(self, other: Self) -> bool {
        match (self.at, other.at) {
            (None, None) => self.offset == other.offset,
            (Some(a), Some(b)) => a - self.offset == b - other.offset,
            _ => false,
        }
    }
}

impl Compiler<'_> {
    /// When info series are looked at: with the others, where those are all looked at at one time; else at the
    /// time of the step.
    fn reference(&self, expr: &Expr) -> Result<(Option<i64>, i64), Error> {
        let (mut found, mut free) = (vec![], false);
        self.references(expr, &mut vec![], &mut found, &mut free)?;
        let Some(first) = found.first().copied() else { return Ok((None, 0)) };
        let uniform = !free && found.iter().all(|other| first.same(*other));
        Ok(if uniform { (first.at, first.offset) } else { (None, 0) })
    }

    /// Gathers the references of an expression; `free` tells that a vector in it comes from no series.
    fn references(
        &self,
        expr: &Expr,
        around: &mut Vec<Reference>,
        found: &mut Vec<Reference>,
        free: &mut bool,
    ) -> Result<bool, Error> {
        if !matches!(expr.value_type(), Type::Vector | Type::Matrix) {
            return Ok(false);
        }
        if let Kind::Selector(selector) | Kind::Range { selector, .. } = &expr.kind {
            let shift = self.shift(&selector.modifiers)?;
            let mut reference = Reference { at: shift.at, offset: shift.offset };
            for outer in around.iter().rev() {
                if reference.at.is_some() {
                    break;
                }
                reference.offset += outer.offset;
                reference.at = outer.at;
            }
            found.push(reference);
            return Ok(true);
        }
        let subquery =
            if let Kind::Subquery { modifiers, .. } = &expr.kind { Some(self.shift(modifiers)?) } else { None };
        around.extend(subquery.map(|shift| Reference { at: shift.at, offset: shift.offset }));
        let mut any = false;
        // Of an inner info, what it enriches counts.
        let inner_info = matches!(&expr.kind, Kind::Call { function: Function::Info, .. });
        for child in expr.children().into_iter().take(if inner_info { 1 } else { usize::MAX }) {
            any |= self.references(child, around, found, free)?;
        }
        if subquery.is_some() {
            around.pop();
        }
        *free |= !any;
        Ok(any)
    }
}

fn text(arg: &Expr) -> String {
    if let Kind::String(text) = &arg.unwrapped().kind { text.clone() } else { String::new() }
}

fn check_widening(function: Function, widening: Option<Widening>) -> Result<(), Error> {
    let (name, allowed) = match widening {
        Some(Widening::Anchored) => ("anchored", &ANCHORED[..]),
        Some(Widening::Smoothed) => ("smoothed", &SMOOTHED[..]),
        None => return Ok(()),
    };
    if allowed.contains(&function.name()) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(Error::Execution(format!("{name} modifier can only be used with: {allowed} - not with {}", function.name())))
}
