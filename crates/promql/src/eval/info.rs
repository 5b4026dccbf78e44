//! `info(v, {labels})`: labels of info metrics, such as `target_info`, added to the series of the same target.

use std::collections::{BTreeMap, HashMap};

use super::binary::same_labels;
use super::rows::{Row, is_absent, merge_same};
use crate::error::Error;
use crate::labels::{Labels, METRIC_NAME, is_metadata};
use crate::matcher::{MatchOp, Matcher};

/// The labels that say of which target a series is.
const TARGET: [&str; 2] = ["instance", "job"];

/// The info metrics that are asked for, and the labels wanted of them.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    /// Conditions on the names of info metrics.
    names: Vec<Matcher>,
    /// Conditions on their labels; if there are some, only the labels that they name are added.
    data: Vec<Matcher>,
}

impl Info {
    /// What the second argument asks for.
    pub(crate) fn new(matchers: &[Matcher]) -> Self {
        let (named, data): (Vec<Matcher>, Vec<Matcher>) = matchers.iter().cloned().partition(|m| m.name == METRIC_NAME);
        let positive = named.iter().any(|m| matches!(m.op, MatchOp::Equal | MatchOp::Regex));
        let mut names = named;
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, "target_info"));
        } else if !positive && let Ok(any) = Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info") {
            names.insert(0, any);
        }
        Self { names, data }
    }

    /// The conditions on the series to read.
    pub(crate) fn matchers(&self) -> Vec<Matcher> {
        self.names.iter().chain(&self.data).cloned().collect()
    }

    /// Adds to `base` the labels of `infos`, whose values are the times of their samples.
    pub(crate) fn apply(&self, base: Vec<Row>, infos: &[Row], len: usize) -> Result<Vec<Row>, Error> {
        let mut by_target: HashMap<Labels, Vec<usize>> = HashMap::new();
        for (i, info) in infos.iter().enumerate() {
            by_target.entry(target(&info.labels)).or_default().push(i);
        }
        let mut rows = vec![];
        for row in base {
            let name = row.labels.metric_name();
            let is_info = self.names.iter().all(|m| m.matches(name));
            if is_info {
                rows.push(row);
                continue;
            }
            let key = target(&row.labels);
            let candidates = if key.is_empty() { None } else { by_target.get(&key) };
            self.enrich(&row, candidates.map_or(&[], Vec::as_slice), infos, len, &mut rows)?;
        }
        merge_same(rows).ok_or_else(same_labels)
    }

    /// The series with the labels of each time: a row for each set of labels that it has at some step.
    fn enrich(
        &self,
        row: &Row,
        candidates: &[usize],
        infos: &[Row],
        len: usize,
        rows: &mut Vec<Row>,
    ) -> Result<(), Error> {
        let mut known: HashMap<Vec<usize>, Option<Labels>> = HashMap::new();
        let mut made: HashMap<Labels, Row> = HashMap::new();
        let mut order = vec![];
        for step in (0..len).filter(|step| row.is_present(*step)) {
            let chosen = latest(candidates, infos, step)?;
            let labels = match known.get(&chosen) {
                Some(labels) => labels.clone(),
                None => {
                    let labels = self.labels(row, &chosen, infos)?;
                    known.insert(chosen, labels.clone());
                    labels
                }
            };
            let Some(labels) = labels else { continue };
            let target = made.entry(labels).or_insert_with_key(|labels| {
                order.push(labels.clone());
                let mut new = Row::new(labels.clone(), len);
                new.drop_name = row.drop_name;
                new
            });
            target.set(step, row.point(step));
        }
        rows.extend(order.iter().filter_map(|labels| made.remove(labels)));
        Ok(())
    }

    /// The labels of a series with those of its info series; none where conditions are not fulfilled.
    fn labels(&self, row: &Row, chosen: &[usize], infos: &[Row]) -> Result<Option<Labels>, Error> {
        let mut added: BTreeMap<&str, &str> = BTreeMap::new();
        for info in chosen {
            for (name, value) in infos[*info].labels.iter().filter(|(name, _)| !is_metadata(name)) {
                if !self.data.is_empty() && !self.data.iter().any(|m| m.name == name) {
                    continue;
                }
                if added.get(name).is_some_and(|known| *known != value) {
                    return Err(Error::execution(format!("conflicting label: {name}")));
                }
                if row.labels.get(name).is_empty() {
                    added.insert(name, value);
                }
            }
        }
        if chosen.is_empty() && !self.data.iter().all(|m| m.matches("")) {
            return Ok(None);
        }
        let mut builder = row.labels.builder();
        for (name, value) in added {
            builder.set(name, value);
        }
        Ok(Some(builder.build()))
    }
}

/// The labels of the target.
fn target(labels: &Labels) -> Labels {
    labels.filter(|name| TARGET.contains(&name))
}

/// Of each info metric the series with the newest sample at a step, in the order of names.
fn latest(candidates: &[usize], infos: &[Row], step: usize) -> Result<Vec<usize>, Error> {
    let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
    for i in candidates {
        let info = &infos[*i];
        let time = info.floats[step];
        if is_absent(time) {
            continue;
        }
        let best = newest.entry(info.labels.metric_name()).or_insert(*i);
        if best == i {
            continue;
        }
        let best_time = infos[*best].floats[step];
        if best_time == time {
            let (old, new) = (&infos[*best].labels, &info.labels);
            return Err(Error::execution(format!(
                "found duplicate series for info metric: existing {old} @ {best_time}, new {new} @ {time}"
            )));
        }
        if best_time < time {
            *best = *i;
        }
    }
    Ok(newest.into_values().collect())
}
