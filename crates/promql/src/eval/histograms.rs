//! histogram_quantile, histogram_quantiles, histogram_fraction: over native and classic histograms.

use std::collections::HashMap;

use super::annotations::{Note, Notes, Raised};
use super::rows::{ABSENT, Grid, Row, Steps, is_absent};
use crate::error::Error;
use crate::histogram::{Notice, classic};
use crate::labels::Labels;
use crate::syntax::Span;

/// The label of the upper bound of classic buckets.
const BOUND: &str = "le";

/// What is asked of each histogram.
pub(crate) enum Question<'a> {
    /// A quantile, and the label that tells it from others.
    Quantile(&'a Steps, Option<(&'a str, String)>),
    /// The part between two values.
    Fraction(&'a Steps, &'a Steps),
}

/// The series of one histogram: a native one, classic buckets by bound, or both.
#[derive(Default)]
struct Family {
    native: Option<usize>,
    buckets: Vec<(f64, usize)>,
}

/// Answers for each histogram among `rows`.
pub(crate) fn ask(
    questions: &[Question],
    rows: &[Row],
    grid: &Grid,
    span: Span,
    notes: &mut Notes,
) -> Result<Vec<Row>, Error> {
    let families = families(rows, span, notes);
    let mut found = vec![];
    for question in questions {
        for (labels, family) in &families {
            // Native histograms and buckets may stand under one set of labels.
            let source = family.native.or(family.buckets.first().map(|b| b.1));
            let Some(source) = source else { continue };
            let labels = match question {
                Question::Quantile(_, Some((name, text))) => labels.builder().set(name, text).build(),
                _ => labels.clone(),
            };
            let mut row = Row::new(labels, grid.len);
            row.drop_name = true;
            let name = rows[source].labels.metric_name();
            let mut at = At { question, rows, family, name, span, notes };
            for step in 0..grid.len {
                row.floats[step] = at.answer(step, grid.time(step));
            }
            if !row.is_empty() {
                found.push(row);
            }
        }
    }
    Ok(found)
}

fn families(rows: &[Row], span: Span, notes: &mut Notes) -> Vec<(Labels, Family)> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut families: Vec<(Labels, Family)> = vec![];
    let mut place = |labels: Labels, families: &mut Vec<(Labels, Family)>| {
        *places.entry(labels).or_insert_with_key(|labels| {
            families.push((labels.clone(), Family::default()));
            families.len() - 1
        })
    };
    for (i, row) in rows.iter().enumerate() {
        if row.histograms.as_ref().is_some_and(|h| h.iter().any(Option::is_some)) {
            let at = place(row.labels.clone(), &mut families);
            families[at].1.native = Some(i);
        }
        if row.floats.iter().all(|value| is_absent(*value)) {
            continue;
        }
        let bound = row.labels.get(BOUND);
        match crate::number::parse_float(bound).filter(|bound| !bound.is_nan()) {
            Some(upper) => {
                let at = place(row.labels.filter(|name| name != BOUND), &mut families);
                families[at].1.buckets.push((upper, i));
            }
            None => notes.add(Note::BadBucket, span, &format!("{}\n{bound}", row.labels.metric_name())),
        }
    }
    families
}

struct At<'a> {
    question: &'a Question<'a>,
    rows: &'a [Row],
    family: &'a Family,
    name: &'a str,
    span: Span,
    notes: &'a mut Notes,
}

impl At<'_> {
    fn answer(&mut self, step: usize, time: i64) -> f64 {
        let native = self.family.native.and_then(|i| self.rows[i].histogram(step));
        let present = |(bound, i): &(f64, usize)| {
            let count = self.rows[*i].floats[step];
            (!is_absent(count)).then_some((*bound, count))
        };
        let mut buckets: Vec<(f64, f64)> = self.family.buckets.iter().filter_map(present).collect();
        match (native, buckets.is_empty()) {
            (None, true) => ABSENT,
            (Some(_), false) => {
                self.notes.add(Note::MixedClassicNative, self.span, self.name);
                ABSENT
            }
            (Some(histogram), true) => {
                let (value, notice) = match self.question {
                    Question::Quantile(q, _) => histogram.quantile(q.at(step)),
                    Question::Fraction(lower, upper) => histogram.fraction(lower.at(step), upper.at(step)),
                };
                if let Some(notice) = notice {
                    let note = match notice {
                        Notice::Result => Note::NanResult,
                        Notice::Skew => Note::NanSkew,
                        Notice::Fraction => Note::NanFraction,
                    };
                    self.notes.add(note, self.span, self.name);
                }
                value
            }
            (None, false) => match self.question {
                Question::Fraction(lower, upper) => classic::fraction(lower.at(step), upper.at(step), &mut buckets),
                Question::Quantile(q, _) => {
                    let (value, forced) = classic::quantile(q.at(step), &mut buckets);
                    if let Some(forced) = forced {
                        let raised = Raised {
                            from_ms: time,
                            to_ms: time,
                            min_bucket: forced.min_bucket,
                            max_bucket: forced.max_bucket,
                            max_diff: forced.max_diff,
                            samples: 1,
                        };
                        self.notes.add_raised(self.span, self.name, raised);
                    }
                    value
                }
            },
        }
    }
}
