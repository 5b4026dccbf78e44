//! Deletes: from their creation on queries pass over the rows, until compaction has taken
//! them out of all blocks.

use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1;
use bonghwa_protocol::v1::command_result::Outcome;

use crate::reject::{Done, Verdict, conflict, invalid};
use crate::state::State;

/// Open deletes at most: each costs every query of its tenant.
const MOST_OPEN: usize = 1_000;

impl State {
    pub(crate) fn create_delete(&mut self, command: &v1::CreateDelete) -> Verdict {
        let mut delete = command.delete.clone().ok_or_else(|| invalid("delete is missing: say what to delete"))?;
        check(&delete)?;
        let same = |there: &v1::Delete| v1::Delete { id: 0, ..there.clone() } == v1::Delete { id: 0, ..delete.clone() };
        if let Some(there) = self.catalog.deletes().find(|there| same(there)) {
            // A retry after a lost answer.
            return Ok(Done { change: None, outcome: Some(Outcome::Delete((**there).clone())) });
        }
        if self.catalog.deletes().count() >= MOST_OPEN {
            return Err(conflict(format!(
                "{MOST_OPEN} deletes are open already: wait until compaction has carried some out, or remove one"
            )));
        }
        self.last_delete += 1;
        delete.id = self.last_delete;
        let change = v1::Change { deletes: vec![delete.clone()], ..Default::default() };
        Ok(Done { change: Some(change), outcome: Some(Outcome::Delete(delete)) })
    }

    pub(crate) fn remove_delete(&mut self, command: &v1::RemoveDelete) -> Verdict {
        if self.catalog.delete(command.id).is_none() {
            if (1..=self.last_delete).contains(&command.id) {
                // It was there and is gone.
                return Ok(Done::default());
            }
            return Err(crate::reject::not_found(format!(
                "id is {}, which is no delete: name one that the list of deletes shows",
                command.id
            )));
        }
        let change = v1::Change { removed_deletes: vec![command.id], ..Default::default() };
        Ok(Done { change: Some(change), outcome: None })
    }
}

fn check(delete: &v1::Delete) -> Result<(), v1::Rejection> {
    let tenant = &delete.tenant;
    TenantId::new(tenant).map_err(|e| invalid(format!("delete.tenant is {tenant:?}: {e}")))?;
    let signal = delete.model_signal().map_err(|e| invalid(format!("delete.{e}")))?;
    let v1::Delete { min_time, max_time, .. } = delete;
    if min_time > max_time {
        return Err(invalid(format!("delete.min_time {min_time} is after delete.max_time {max_time}: order them")));
    }
    let selector = delete.selector.clone().unwrap_or_default();
    let of_logs = selector.min_severity != 0 || selector.max_severity != 0 || !selector.body_contains.is_empty();
    if of_logs && signal != Signal::Logs {
        return Err(invalid(format!(
            "delete.selector names a severity or a body, which {signal} do not have: name a service or attributes"
        )));
    }
    if selector.max_severity != 0 && selector.min_severity > selector.max_severity {
        return Err(invalid(format!(
            "delete.selector.min_severity {} is above max_severity {}: order them",
            selector.min_severity, selector.max_severity
        )));
    }
    if selector.attributes.iter().any(|attribute| attribute.key.is_empty()) {
        return Err(invalid("delete.selector.attributes has one without a key: name the attribute"));
    }
    if selector.series.is_empty() { Ok(()) } else { check_series(&selector, signal) }
}

/// The series of a selector, and the guard beside them.
fn check_series(selector: &v1::Selector, signal: Signal) -> Result<(), v1::Rejection> {
    if signal != Signal::Metrics {
        return Err(invalid(format!("delete.selector names series, which {signal} do not have")));
    }
    let series = &selector.series;
    if series.len() > v1::Selector::MOST_SERIES {
        let most = v1::Selector::MOST_SERIES;
        return Err(invalid(format!(
            "delete.selector names {} series, and may name {most}: make several",
            series.len()
        )));
    }
    if series.iter().any(|id| id.len() != 16) || !series.is_sorted_by(|a, b| a < b) {
        return Err(invalid("delete.selector.series are identities of 16 bytes, sorted, each once"));
    }
    if selector.attributes != [v1::AttributeMatch::guard()] {
        return Err(invalid("delete.selector names series, beside which only the guard may stand"));
    }
    Ok(())
}
