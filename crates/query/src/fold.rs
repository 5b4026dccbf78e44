//! Reading the series that an evaluation wants, and folding them on several threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bonghwa_cluster::seam;
use bonghwa_promql::{Evaluation, Fold, Labels, METRIC_NAME, Selection, Series};
use futures::future::try_join_all;

use crate::alive::Alive;
use crate::evaluate::{FEW, Job, Stop, stopped};
use crate::series::{Found, Held, INFO_EVERY, Slice, TARGET_INFO, Taken, Wanted};
use crate::{Engine, QueryError};

/// Folds of all selections of an evaluation.
pub(crate) struct Folded {
    pub(crate) folds: Vec<Fold>,
    /// They were so little work that more of it need not go to another thread.
    pub(crate) few: bool,
    /// Whether values are what they are whatever other steps are evaluated with them: changes are added up from the
    /// first sample that is read, and what was read tells how often a heartbeat comes.
    pub(crate) divisible: bool,
}

impl Engine {
    /// Reads what an evaluation wants of some series, and folds it. `apart`: it ends once it shows that steps are not to
    /// be evaluated apart from others.
    pub(crate) async fn folded(
        &self,
        evaluation: &Evaluation,
        job: &Job<'_>,
        slice: Slice,
        apart: bool,
    ) -> Result<Folded, Stop> {
        let Job { views, alive, .. } = *job;
        let held = Held::new(alive);
        let divisible = AtomicBool::new(true);
        let reading = evaluation.selections().iter().enumerate().map(|(number, selection)| {
            let range = (first_ms(selection), selection.max_ms);
            let samples = if selection.changes_only { Taken::Changes } else { Taken::Values };
            let (matchers, windows) = (selection.matchers.clone().into(), selection.windows);
            let wanted = Wanted { matchers, range, windows, samples, slice };
            let (held, divisible) = (&held, &divisible);
            async move {
                let found = self.read_series(views, &wanted, held, alive).await?;
                if found.iter().any(|(_, found)| found.delta || found.heartbeats) {
                    if apart {
                        return Err(Stop::Whole);
                    }
                    divisible.store(false, Ordering::Relaxed);
                }
                let samples: usize = found.iter().map(|(_, found)| found.len()).sum();
                if samples.max(found.len().saturating_mul(steps(selection))) <= FEW {
                    let fold = evaluation.fold(number).map(|fold| fold_in(fold, found, held, alive));
                    return Ok((fold.transpose()?, true));
                }
                Ok((on_threads(evaluation, number, found, self.tasks(), held, alive).await?, false))
            }
        });
        let (folds, few): (Vec<_>, Vec<bool>) = try_join_all(reading).await?.into_iter().unzip();
        let folds = folds.into_iter().flatten().collect();
        Ok(Folded { folds, few: few.iter().all(|few| *few), divisible: divisible.into_inner() })
    }
}

/// The first millisecond to read. Of each slot of `target_info` the first sample counts: slots are read whole.
pub(crate) fn first_ms(selection: &Selection) -> i64 {
    let mut names = selection.matchers.iter().filter(|matcher| matcher.name == METRIC_NAME);
    let info = names.all(|matcher| matcher.matches(TARGET_INFO));
    if info { selection.min_ms.div_euclid(INFO_EVERY).saturating_mul(INFO_EVERY) } else { selection.min_ms }
}

/// At how many steps a selection is evaluated, about.
pub(crate) fn steps(selection: &Selection) -> usize {
    let span = selection.max_ms.saturating_sub(selection.min_ms).saturating_sub(selection.range_ms);
    usize::try_from(span.max(0) / selection.step_ms.max(1)).unwrap_or(usize::MAX).saturating_add(1)
}

/// Folds the series that one selector selected, on several threads.
async fn on_threads(
    evaluation: &Evaluation,
    number: usize,
    mut found: Vec<(Labels, Found)>,
    tasks: usize,
    held: &Arc<Held>,
    alive: &Arc<Alive>,
) -> Result<Option<Fold>, QueryError> {
    let share = found.len().div_ceil(tasks.max(1)).max(1);
    let mut folding = Vec::new();
    while !found.is_empty() {
        let share = found.split_off(found.len().saturating_sub(share));
        let Some(fold) = evaluation.fold(number) else { return Ok(None) };
        let (held, alive) = (held.clone(), alive.clone());
        folding.push(async move {
            let folded = seam::blocking(move || fold_in(fold, share, &held, &alive));
            folded.await.unwrap_or_else(|| Err(stopped()))
        });
    }
    let mut folds = try_join_all(folding).await?.into_iter();
    let mut all = folds.next();
    if let Some(all) = &mut all {
        for fold in folds {
            all.merge(fold)?;
        }
    }
    Ok(all)
}

/// Folds series in.
fn fold_in(mut fold: Fold, series: Vec<(Labels, Found)>, held: &Held, alive: &Alive) -> Result<Fold, QueryError> {
    for (labels, found) in series {
        alive.check()?;
        let weight = found.weight();
        push(&mut fold, &labels, found)?;
        held.let_go((1, weight));
    }
    Ok(fold)
}

fn push(fold: &mut Fold, labels: &Labels, mut found: Found) -> Result<(), QueryError> {
    found.finish();
    let (times, histograms): (Vec<i64>, Vec<_>) = found.histograms.into_iter().unzip();
    fold.push(&Series {
        labels,
        timestamps: &found.times,
        values: &found.values,
        histogram_timestamps: &times,
        histograms: &histograms,
    })?;
    Ok(())
}
