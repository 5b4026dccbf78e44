//! The tree above the leaves, evaluated once all series are folded.

use std::collections::HashSet;
use std::sync::Arc;

use super::annotations::{Note, Notes};
use super::binary::same_labels;
use super::fold::{Fold, RawSeries, Usage};
use super::histograms::{Question, ask};
use super::loaded::Loaded;
use super::maps::{Map, MapKind};
use super::plan::{Node, Plan, RangeSource, best};
use super::range::{Context, RangeCall, Scratch};
use super::rows::{Data, Grid, Row, Steps, is_absent};
use super::window::Window;
use super::{dates, names, ops, topk};
use crate::error::Error;
use crate::histogram::{Histogram, ResetHint};
use crate::labels::Labels;
use crate::syntax::{AggregateOp, BinaryOp, Function};

/// What folds left of a leaf.
#[derive(Default)]
struct Folded {
    rows: Vec<Row>,
    raw: Vec<RawSeries>,
    loaded: Option<Loaded>,
}

/// A fold of each leaf, of which there may be several or none.
pub(super) fn merged(plan: &Plan, folds: Vec<Fold>) -> Result<Vec<Option<Fold>>, Error> {
    let mut merged: Vec<Option<Fold>> = plan.leaves.iter().map(|_| None).collect();
    for fold in folds {
        let place = merged.get_mut(fold.leaf).ok_or_else(|| Error::execution("a fold of another query"))?;
        match place {
            Some(whole) => whole.merge(fold)?,
            None => *place = Some(fold),
        }
    }
    Ok(merged)
}

/// An evaluation in its last part.
pub(crate) struct Run<'a> {
    plan: &'a Plan,
    usage: &'a Usage,
    leaves: Vec<Folded>,
    pub notes: Notes,
    /// Samples that steps take, where they are counted.
    pub loaded: Option<Loaded>,
}

impl<'a> Run<'a> {
    /// Merges folds, of which each selection may have several or none.
    pub(crate) fn new(plan: &'a Plan, usage: &'a Usage, folds: Vec<Fold>) -> Result<Self, Error> {
        let mut notes = Notes::default();
        let mut leaves = vec![];
        for fold in merged(plan, folds)? {
            let Some(fold) = fold else {
                leaves.push(Folded::default());
                continue;
            };
            notes.merge(fold.notes);
            let mut rows = fold.rows;
            if let Some(groups) = fold.groups {
                rows = groups.finish(&mut notes);
            }
            leaves.push(Folded { rows, raw: fold.raw, loaded: fold.loaded });
        }
        let loaded = usage.count_steps.then(|| Loaded::new(plan.grid.len));
        Ok(Self { plan, usage, leaves, notes, loaded })
    }

    /// The whole query.
    pub(crate) fn root(&mut self) -> Result<Data, Error> {
        let plan = self.plan;
        self.eval(&plan.root, &plan.grid)
    }

    fn rows(&mut self, node: &Node, grid: &Grid) -> Result<Vec<Row>, Error> {
        Ok(self.eval(node, grid)?.rows())
    }

    fn numbers(&mut self, node: &Node, grid: &Grid) -> Result<Vec<f64>, Error> {
        Ok(self.eval(node, grid)?.scalar(grid.len))
    }

    fn steps(&mut self, nodes: &[Node], grid: &Grid) -> Result<Vec<Steps>, Error> {
        nodes.iter().map(|node| Ok(Steps::of(self.numbers(node, grid)?))).collect()
    }

    /// The samples of the range selector that is the answer.
    pub(crate) fn matrix(&mut self, grid: &Grid) -> Result<Option<Vec<RawSeries>>, Error> {
        let plan = self.plan;
        let Node::Matrix { window, source, widening } = &plan.root else { return Ok(None) };
        let ((mut series, drops), inner) = self.apart(|run| run.source(source))?;
        if let Some(loaded) = &mut self.loaded {
            loaded.add(grid.len - 1, inner);
            if let RangeSource::Raw(_) = source {
                series.iter().for_each(|one| loaded.all(window, &one.samples()));
            }
        }
        for (one, drop) in series.iter_mut().zip(drops) {
            if drop {
                one.labels = one.labels.without_metadata();
            }
        }
        let mut seen = HashSet::new();
        if !series.iter().all(|one| seen.insert(one.labels.clone())) {
            return Err(same_labels());
        }
        let (from, to) = (window.reference(0) - window.before, window.reference(grid.len - 1) + window.after);
        for one in &mut series {
            let inside = |times: &[i64]| times.partition_point(|t| *t <= from)..times.partition_point(|t| *t <= to);
            let (f, h) = (inside(&one.times), inside(&one.histogram_times));
            one.times = one.times[f.clone()].to_vec();
            one.values = one.values[f].to_vec();
            one.histogram_times = one.histogram_times[h.clone()].to_vec();
            one.histograms = one.histograms[h].to_vec();
            if let Some(smooth) = widening {
                if !one.histograms.is_empty() {
                    let name = if *smooth { "smoothed" } else { "anchored" };
                    return Err(Error::Execution(format!("{name} modifier is not supported with histograms")));
                }
                let range = self.selected_range(source, window);
                let end = window.reference(0);
                (one.times, one.values) = super::widened::extend(&one.times, &one.values, end - range, end, *smooth);
            }
        }
        series.retain(|one| !one.times.is_empty() || !one.histograms.is_empty());
        Ok(Some(series))
    }

    fn selected_range(&self, source: &RangeSource, window: &Window) -> i64 {
        match source {
            RangeSource::Raw(leaf) => self.plan.leaves[*leaf].selection.range_ms,
            RangeSource::Subquery(..) => window.before,
        }
    }

    /// Series with their samples, and whether the name of each goes.
    fn source(&mut self, source: &RangeSource) -> Result<(Vec<RawSeries>, Vec<bool>), Error> {
        match source {
            RangeSource::Raw(leaf) => {
                let series = std::mem::take(&mut self.leaves[*leaf].raw);
                let drops = vec![false; series.len()];
                Ok((series, drops))
            }
            RangeSource::Subquery(node, grid) => {
                let rows = self.rows(node, grid)?;
                let drops = rows.iter().map(|row| row.drop_name).collect();
                Ok((rows.into_iter().map(|row| samples_of(row, grid)).collect(), drops))
            }
        }
    }

    /// Evaluates something whose samples are none of the steps'. With how many they were.
    fn apart<T>(&mut self, evaluate: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<(T, u64), Error> {
        let inner = self.loaded.as_ref().map(|_| Loaded::new(1));
        let outer = std::mem::replace(&mut self.loaded, inner);
        let value = evaluate(self)?;
        let inner = std::mem::replace(&mut self.loaded, outer);
        Ok((value, inner.map_or(0, |loaded| loaded.total())))
    }

    /// The rows of a leaf, each of which is taken once.
    fn leaf(&mut self, leaf: usize) -> Vec<Row> {
        let folded = &mut self.leaves[leaf];
        if let (Some(all), Some(loaded)) = (&mut self.loaded, &folded.loaded) {
            all.add_all(loaded);
        }
        std::mem::take(&mut folded.rows)
    }

    fn eval(&mut self, node: &Node, grid: &Grid) -> Result<Data, Error> {
        self.usage.check()?;
        // What is made here of no series; `vector` keeps what it is given.
        if matches!(
            node,
            Node::Number(_)
                | Node::Time
                | Node::Scalar(_)
                | Node::ScalarOp(..)
                | Node::ScalarBest(..)
                | Node::Now(_)
                | Node::Absent { .. }
        ) {
            self.usage.keep(grid.len)?;
        }
        Ok(match node {
            Node::Number(value) => Data::Scalar(vec![*value; grid.len]),
            Node::Text(text) => Data::Text(text.clone()),
            Node::Time => Data::Scalar((0..grid.len).map(|step| grid.time(step) as f64 / 1000.0).collect()),
            Node::ScalarOp(op, left, right) => {
                let (left, right) = (self.numbers(left, grid)?, self.numbers(right, grid)?);
                Data::Scalar(left.iter().zip(&right).map(|(a, b)| ops::float_op(*op, *a, *b)).collect())
            }
            Node::ScalarBest(greatest, left, right) => {
                let (left, right) = (self.numbers(left, grid)?, self.numbers(right, grid)?);
                Data::Scalar(left.iter().zip(&right).map(|(a, b)| best(*greatest, *a, *b)).collect())
            }
            Node::Scalar(node) => Data::Scalar(only_values(&self.rows(node, grid)?, grid.len)),
            Node::Vector(node) => {
                let mut row = Row::new(Labels::empty(), grid.len);
                row.floats = self.numbers(node, grid)?;
                Data::Rows(vec![row])
            }
            Node::Now(function) => {
                let mut row = Row::new(Labels::empty(), grid.len);
                row.floats = (0..grid.len).map(|step| now(*function, grid.time(step))).collect();
                Data::Rows(vec![row])
            }
            Node::Leaf(leaf) => Data::Rows(self.leaf(*leaf)),
            Node::Repeat(node) => {
                let (rows, loaded) = self.apart(|run| run.rows(node, &grid.first()))?;
                if let Some(all) = &mut self.loaded {
                    (0..grid.len).for_each(|step| all.add(step, loaded));
                }
                self.usage.keep(rows.iter().map(Row::points).sum::<usize>() * grid.len)?;
                Data::Rows(rows.into_iter().map(|row| repeated(row, grid.len)).collect())
            }
            Node::Range { call, params, window, source, keep_name } => {
                let params = self.steps(params, grid)?;
                let call = RangeCall { params, ..call.clone() };
                Data::Rows(self.range(&call, window, source, *keep_name, grid)?)
            }
            Node::Matrix { .. } => return Err(Error::execution("a range vector is no value of a step")),
            Node::Map { kind, params, keep_name, span, node } => {
                let params = self.steps(params, grid)?;
                let mut rows = self.rows(node, grid)?;
                let map = Map { kind: *kind, params, keep_name: *keep_name, span: *span };
                if let (MapKind::Operator { op: BinaryOp::Default, .. }, true) = (kind, rows.is_empty()) {
                    self.usage.keep(grid.len)?;
                    rows.push(Row::new(Labels::empty(), grid.len));
                }
                rows.iter_mut().for_each(|row| map.apply(row, grid, &mut self.notes));
                rows.retain(|row| !row.is_empty());
                Data::Rows(rows)
            }
            Node::Binary { operation, left, right } => {
                let (left, right) = (self.rows(left, grid)?, self.rows(right, grid)?);
                Data::Rows(operation.apply(left, right, grid.len, self.usage, &mut self.notes)?)
            }
            Node::Absent { labels, drop_name, node } => {
                let rows = self.rows(node, grid)?;
                let mut row = Row::new(labels.clone(), grid.len);
                row.drop_name = *drop_name;
                for step in (0..grid.len).filter(|step| !rows.iter().any(|r| r.is_present(*step))) {
                    row.floats[step] = 1.0;
                }
                Data::Rows(Some(row).filter(|row| !row.is_empty()).into_iter().collect())
            }
            Node::Relabel { join, texts, node } => {
                let rows = self.rows(node, grid)?;
                let relabel = if *join { names::label_join } else { names::label_replace };
                Data::Rows(relabel(rows, texts, self.usage)?)
            }
            Node::Sort { function, labels, span, node } => {
                let mut rows = self.rows(node, grid)?;
                if grid.len > 1 {
                    self.notes.add(Note::SortInRange, *span, "");
                    if matches!(function, Function::Sort | Function::SortDesc) {
                        rows.iter_mut().for_each(|row| row.histograms = None);
                        rows.retain(|row| !row.is_empty());
                    }
                } else {
                    names::sort(*function, &mut rows, labels);
                }
                Data::Rows(rows)
            }
            Node::Aggregate { .. } => Data::Rows(self.aggregate(node, grid)?),
            Node::Ask { .. } => Data::Rows(self.ask(node, grid)?),
            Node::Info { info, leaf, node } => {
                let rows = self.rows(node, grid)?;
                let infos = self.leaf(*leaf);
                Data::Rows(info.apply(rows, &infos, grid.len)?)
            }
        })
    }

    fn range(
        &mut self,
        call: &RangeCall,
        window: &Window,
        source: &RangeSource,
        keep_name: bool,
        grid: &Grid,
    ) -> Result<Vec<Row>, Error> {
        // What a subquery gave counts, not what it took.
        let ((series, drops), _) = self.apart(|run| run.source(source))?;
        let mut rows = vec![];
        let mut scratch = Scratch::default();
        for (one, drop) in series.into_iter().zip(drops) {
            self.usage.check()?;
            let mut row = Row::new(one.labels.clone(), grid.len);
            row.drop_name = drop || !keep_name;
            let (name, notes) = (one.labels.metric_name(), &mut self.notes);
            let (scratch, cancel) = (&mut scratch, self.usage.cancel.as_deref());
            if let Some(loaded) = &mut self.loaded {
                loaded.all(window, &one.samples());
            }
            call.apply(&one.samples(), &mut row, Context { call, window, name, notes, scratch, cancel })?;
            if !row.is_empty() {
                self.usage.keep(row.points())?;
                rows.push(row);
            }
        }
        // The last series may have been left in the middle.
        self.usage.check()?;
        Ok(rows)
    }

    fn aggregate(&mut self, node: &Node, grid: &Grid) -> Result<Vec<Row>, Error> {
        let Node::Aggregate { aggregation, param, whole, node } = node else { return Ok(vec![]) };
        let param_span = param.as_ref().map_or(*whole, |param| param.1);
        let param = match param {
            Some((node, _)) => Some(self.eval(node, grid)?),
            None => None,
        };
        let rows = self.rows(node, grid)?;
        let numbers = |param: Option<Data>| Steps::of(param.map_or_else(Vec::new, |p| p.scalar(grid.len)));
        match aggregation.op {
            AggregateOp::CountValues => {
                let label = if let Some(Data::Text(label)) = param { label } else { String::new() };
                topk::count_values(aggregation, &label, &rows, grid.len, self.usage)
            }
            AggregateOp::Quantile => {
                let numbers = numbers(param);
                topk::quantiles(aggregation, &numbers, param_span, &rows, grid.len, self.usage, &mut self.notes)
            }
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => {
                let spans = (param_span, *whole);
                topk::select(aggregation, &numbers(param), spans, rows, grid.len, &mut self.notes)
            }
            _ => {
                let mut groups = super::group::Groups::new(Arc::clone(aggregation), grid.len);
                for row in &rows {
                    self.usage.check()?;
                    let before = groups.points();
                    groups.push(row, &mut self.notes);
                    self.usage.keep(groups.points() - before)?;
                }
                Ok(groups.finish(&mut self.notes))
            }
        }
    }

    fn ask(&mut self, node: &Node, grid: &Grid) -> Result<Vec<Row>, Error> {
        let Node::Ask { function, label, params, span, node } = node else { return Ok(vec![]) };
        let mut steps = vec![];
        for (param, param_span) in params {
            let values = self.numbers(param, grid)?;
            if *function != Function::HistogramFraction {
                for q in values.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
                    self.notes.add_number(Note::InvalidQuantile, *param_span, *q);
                }
            }
            steps.push(Steps::of(values));
        }
        let rows = self.rows(node, grid)?;
        let labelled = |steps: &Steps| format_quantile(steps.at(0));
        let questions: Vec<Question> = match (function, steps.as_slice()) {
            (Function::HistogramFraction, [lower, upper]) => vec![Question::Fraction(lower, upper)],
            (Function::HistogramQuantiles, all) => {
                let mut questions = vec![];
                for one in all {
                    if matches!(one, Steps::Each(_)) {
                        return Err(Error::execution("histogram_quantiles takes quantiles that do not change"));
                    }
                    questions.push(Question::Quantile(one, Some((label.as_str(), labelled(one)))));
                }
                questions
            }
            (_, all) => all.iter().map(|q| Question::Quantile(q, None)).collect(),
        };
        let rows = ask(&questions, &rows, grid, *span, &mut self.notes)?;
        super::rows::merge_same(rows).ok_or_else(same_labels)
    }
}

/// A quantile as a label: OpenMetrics' floats, which have a point or an exponent.
fn format_quantile(q: f64) -> String {
    let text = crate::number::format_g(q);
    if q.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}

/// What a row has at the steps of its grid, as samples. What histograms say of resets does not hold any more: a
/// subquery may pass over samples, or see one twice.
fn samples_of(row: Row, grid: &Grid) -> RawSeries {
    let present = || (0..grid.len).filter(|step| !is_absent(row.floats[*step]));
    let (times, values) = present().map(|step| (grid.time(step), row.floats[step])).unzip();
    let histograms = || (0..grid.len).filter_map(|step| Some((grid.time(step), unhinted(row.histogram(step)?))));
    let (histogram_times, histograms) = histograms().unzip();
    RawSeries { labels: row.labels.clone(), times, values, histogram_times, histograms }
}

fn unhinted(histogram: &Arc<Histogram>) -> Arc<Histogram> {
    match histogram.hint {
        ResetHint::Reset | ResetHint::NotReset => {
            Arc::new(Histogram { hint: ResetHint::Unknown, ..(**histogram).clone() })
        }
        ResetHint::Unknown | ResetHint::Gauge => histogram.clone(),
    }
}

fn now(function: Function, ms: i64) -> f64 {
    dates::part(function, ms.div_euclid(1000) as f64)
}

/// The value of the only series at each step; NaN where there is none or more than one.
fn only_values(rows: &[Row], len: usize) -> Vec<f64> {
    (0..len)
        .map(|step| {
            let mut values = rows.iter().map(|row| row.floats[step]).filter(|value| !is_absent(*value));
            match (values.next(), values.next()) {
                (Some(value), None) => value,
                _ => f64::NAN,
            }
        })
        .collect()
}

/// The row with its one value at each of `len` steps.
fn repeated(mut row: Row, len: usize) -> Row {
    if let Some(value) = row.floats.first().copied() {
        row.floats = vec![value; len];
    }
    if let Some(histograms) = &mut row.histograms {
        let one = histograms.first().cloned().flatten();
        **histograms = vec![one; len];
    }
    row
}
