//! Operators between vectors: series are matched once, then step by step.

use std::collections::HashMap;

use super::annotations::Notes;
use super::fold::Usage;
use super::ops::{Outcome, compare, float_op, point_op};
use super::rows::{Point, Row, is_absent, merge_same};
use crate::error::Error;
use crate::labels::{Labels, is_metadata};
use crate::syntax::{BinaryOp, Card, Matching, Span};

/// An operation between vectors.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub op: BinaryOp,
    pub matching: Matching,
    pub return_bool: bool,
    pub keep_names: bool,
    pub span: Span,
}

/// Rows of both sides that match each other.
#[derive(Default)]
struct Match {
    left: Vec<usize>,
    right: Vec<usize>,
}

/// Two series with the same labels have a value at the same time.
pub(crate) fn same_labels() -> Error {
    Error::execution("vector cannot contain metrics with the same labelset")
}

impl Operation {
    /// The labels by which series match.
    fn signature(&self, labels: &Labels) -> Labels {
        let listed = |name: &str| self.matching.labels.iter().any(|label| label == name);
        labels.filter(|name| if self.matching.on { listed(name) } else { !listed(name) && !is_metadata(name) })
    }

    fn matches(&self, left: &[Row], right: &[Row]) -> (Vec<Match>, Vec<Labels>) {
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let (mut matches, mut signatures): (Vec<Match>, Vec<Labels>) = (vec![], vec![]);
        for (rows, is_left) in [(left, true), (right, false)] {
            for (i, row) in rows.iter().enumerate() {
                let place = *places.entry(self.signature(&row.labels)).or_insert_with_key(|signature| {
                    matches.push(Match::default());
                    signatures.push(signature.clone());
                    matches.len() - 1
                });
                let found = &mut matches[place];
                if is_left { found.left.push(i) } else { found.right.push(i) }
            }
        }
        (matches, signatures)
    }

    /// The result's rows.
    pub(crate) fn apply(
        &self,
        left: Vec<Row>,
        right: Vec<Row>,
        len: usize,
        usage: &Usage,
        notes: &mut Notes,
    ) -> Result<Vec<Row>, Error> {
        let rows = match self.op {
            BinaryOp::And | BinaryOp::Unless => self.filter(left, &right, len, usage)?,
            BinaryOp::Or => self.union(left, right, len, usage)?,
            BinaryOp::Default => self.default(left, right, len, usage)?,
            _ => {
                let rows = self.combine(&left, &right, len, usage, notes)?;
                usage.let_go(left.iter().chain(&right).map(Row::points).sum());
                rows
            }
        };
        // Of one step there must be one value of a series; more show in the end, if a name that goes hid them.
        merge_same(rows).ok_or_else(same_labels)
    }

    fn filter(&self, mut left: Vec<Row>, right: &[Row], len: usize, usage: &Usage) -> Result<Vec<Row>, Error> {
        let keep = self.op == BinaryOp::And;
        for found in self.matches(&left, right).0 {
            usage.check()?;
            let present = present(right, &found.right, len);
            for row in found.left {
                for step in (0..len).filter(|step| present[*step] != keep) {
                    left[row].set(step, None);
                }
            }
        }
        left.retain(|row| !row.is_empty());
        Ok(left)
    }

    fn union(&self, mut left: Vec<Row>, mut right: Vec<Row>, len: usize, usage: &Usage) -> Result<Vec<Row>, Error> {
        for found in self.matches(&left, &right).0 {
            usage.check()?;
            let present = present(&left, &found.left, len);
            for row in found.right {
                for step in (0..len).filter(|step| present[*step]) {
                    right[row].set(step, None);
                }
            }
        }
        right.retain(|row| !row.is_empty());
        left.append(&mut right);
        Ok(left)
    }

    /// MetricsQL: gaps at the left are filled from the right; what is only at the right is taken.
    fn default(&self, mut left: Vec<Row>, mut right: Vec<Row>, len: usize, usage: &Usage) -> Result<Vec<Row>, Error> {
        let mut taken = vec![];
        for found in self.matches(&left, &right).0 {
            usage.check()?;
            let filler = |step| found.right.iter().find_map(|r| right[*r].point(step));
            let fillers: Vec<Option<Point>> =
                if found.left.is_empty() { vec![] } else { (0..len).map(filler).collect() };
            for row in &found.left {
                for (step, filler) in fillers.iter().enumerate() {
                    if !left[*row].is_present(step) {
                        left[*row].set(step, filler.clone());
                    }
                }
            }
            if found.left.is_empty() {
                taken.extend(found.right);
            }
        }
        taken.sort_unstable();
        let mut place = 0;
        right.retain(|_| {
            place += 1;
            taken.binary_search(&(place - 1)).is_ok()
        });
        left.append(&mut right);
        Ok(left)
    }

    fn combine(
        &self,
        left: &[Row],
        right: &[Row],
        len: usize,
        usage: &Usage,
        notes: &mut Notes,
    ) -> Result<Vec<Row>, Error> {
        let (matches, signatures) = self.matches(left, right);
        // With group_right the many are at the right.
        let swapped = self.matching.card == Card::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let fills = self.matching.fill_left.is_some() || self.matching.fill_right.is_some();
        let mut rows = vec![];
        for (found, signature) in matches.into_iter().zip(signatures) {
            let (of_many, of_one) = if swapped { (found.right, found.left) } else { (found.left, found.right) };
            self.check_one(one, &of_one, many, len, &signature)?;
            let sides = Sides { many, one, of_many, of_one, signature, swapped };
            self.check_many(&sides, len, fills)?;
            self.combine_match(&sides, len, usage, &mut rows, notes)?;
        }
        Ok(rows)
    }

    /// At each step the one side has at most one series of a group.
    fn check_one(
        &self,
        one: &[Row],
        of_one: &[usize],
        many: &[Row],
        len: usize,
        signature: &Labels,
    ) -> Result<(), Error> {
        if of_one.len() < 2 {
            return Ok(());
        }
        for step in 0..len {
            let mut present = of_one.iter().filter(|i| one[**i].is_present(step));
            let (Some(first), Some(second)) = (present.next(), present.next()) else { continue };
            // Where the other side is empty altogether, nothing is compared.
            let fills = self.matching.fill_left.is_some() || self.matching.fill_right.is_some();
            if !fills && !many.iter().any(|row| row.is_present(step)) {
                continue;
            }
            let side = if self.matching.card == Card::OneToMany { "left" } else { "right" };
            let mut names = [one[*first].labels.to_string(), one[*second].labels.to_string()];
            names.sort();
            return Err(Error::execution(format!(
                "found duplicate series for the match group {signature} on the {side} hand-side of the operation: \
                 [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                names[0], names[1]
            )));
        }
        Ok(())
    }

    /// At each step no two series of the many side give the same result.
    fn check_many(&self, sides: &Sides, len: usize, fills: bool) -> Result<(), Error> {
        if sides.of_many.len() < 2 || sides.of_one.is_empty() && !fills {
            return Ok(());
        }
        if self.matching.card == Card::OneToOne {
            for step in 0..len {
                let one =
                    sides.of_one.iter().any(|i| sides.one[*i].is_present(step)) || self.matching.fill_right.is_some();
                let many = sides.of_many.iter().filter(|i| sides.many[**i].is_present(step)).count();
                if one && many > 1 {
                    return Err(Error::execution(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                    ));
                }
            }
            return Ok(());
        }
        let mut seen: HashMap<Labels, Vec<bool>> = HashMap::new();
        for many in &sides.of_many {
            for one in &sides.of_one {
                let labels = self.result_labels(&sides.many[*many].labels, &sides.one[*one].labels);
                let steps = seen.entry(labels).or_insert_with(|| vec![false; len]);
                for (step, seen) in steps.iter_mut().enumerate() {
                    if sides.many[*many].is_present(step) && sides.one[*one].is_present(step) {
                        if *seen {
                            return Err(Error::execution(
                                "multiple matches for labels: grouping labels must ensure unique matches",
                            ));
                        }
                        *seen = true;
                    }
                }
            }
        }
        Ok(())
    }

    fn combine_match(
        &self,
        sides: &Sides,
        len: usize,
        usage: &Usage,
        rows: &mut Vec<Row>,
        notes: &mut Notes,
    ) -> Result<(), Error> {
        let mut pair = |many: &Row, one: &Row| -> Result<(), Error> {
            usage.check()?;
            let row = self.pair(many, one, sides.swapped, notes);
            if !row.is_empty() {
                usage.keep(row.points())?;
                rows.push(row);
            }
            Ok(())
        };
        for i in &sides.of_many {
            sides.of_one.iter().try_for_each(|j| pair(&sides.many[*i], &sides.one[*j]))?;
        }
        // What has no counterpart meets the value it is filled with.
        let (fill_many, fill_one) = match sides.swapped {
            true => (self.matching.fill_right, self.matching.fill_left),
            false => (self.matching.fill_left, self.matching.fill_right),
        };
        let filled = |value: f64, present: Vec<bool>| {
            let mut row = Row::new(sides.signature.clone(), len);
            (0..len).filter(|step| !present[*step]).for_each(|step| row.floats[step] = value);
            row
        };
        if let Some(value) = fill_one {
            let one = filled(value, present(sides.one, &sides.of_one, len));
            sides.of_many.iter().try_for_each(|i| pair(&sides.many[*i], &one))?;
        }
        if let Some(value) = fill_many {
            let many = filled(value, present(sides.many, &sides.of_many, len));
            sides.of_one.iter().try_for_each(|j| pair(&many, &sides.one[*j]))?;
        }
        Ok(())
    }

    /// The values of two series that met.
    fn pair(&self, many: &Row, one: &Row, swapped: bool, notes: &mut Notes) -> Row {
        let mut row = Row::new(self.result_labels(&many.labels, &one.labels), many.floats.len());
        row.drop_name = if self.keep_names { many.drop_name } else { self.return_bool || many.drop_name };
        let (left, right) = if swapped { (one, many) } else { (many, one) };
        let compares = self.op.is_comparison();
        let trims = matches!(self.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        if left.histograms.is_none() && right.histograms.is_none() && !trims {
            for ((out, a), b) in row.floats.iter_mut().zip(&left.floats).zip(&right.floats) {
                if is_absent(*a) || is_absent(*b) {
                    continue;
                }
                if !compares || self.return_bool {
                    *out = float_op(self.op, *a, *b);
                } else if compare(self.op, *a, *b) {
                    *out = *a;
                }
            }
            return row;
        }
        for step in 0..row.floats.len() {
            let (Some(a), Some(b)) = (left.point(step), right.point(step)) else { continue };
            let point = match point_op(self.op, &a, &b, self.span, notes) {
                Outcome::Value(_, holds) if self.return_bool => Some(Point::Float(f64::from(u8::from(holds)))),
                Outcome::Value(point, true) => Some(point),
                Outcome::Value(_, false) | Outcome::Nothing => None,
            };
            row.set(step, point);
        }
        row
    }

    fn result_labels(&self, many: &Labels, one: &Labels) -> Labels {
        let matching = &self.matching;
        let listed = |name: &str| matching.labels.iter().any(|label| label == name);
        let drops = self.op.changes_metric() && !self.keep_names;
        let one_to_one = matching.card == Card::OneToOne;
        let labels = many.filter(|name| {
            let named = !drops || !is_metadata(name);
            let kept_name = self.keep_names && is_metadata(name);
            named && (!one_to_one || kept_name || listed(name) == matching.on)
        });
        if matching.include.is_empty() {
            return labels;
        }
        let mut builder = labels.builder();
        for name in &matching.include {
            builder.set(name, one.get(name));
        }
        builder.build()
    }
}

/// At which steps one of some rows has a value.
fn present(rows: &[Row], of: &[usize], len: usize) -> Vec<bool> {
    let mut present = vec![false; len];
    for row in of {
        present.iter_mut().enumerate().for_each(|(step, present)| *present |= rows[*row].is_present(step));
    }
    present
}

struct Sides<'a> {
    many: &'a [Row],
    one: &'a [Row],
    of_many: Vec<usize>,
    of_one: Vec<usize>,
    signature: Labels,
    swapped: bool,
}
