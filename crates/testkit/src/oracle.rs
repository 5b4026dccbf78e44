//! Who knows what was acked: every acked record is there exactly once, no record is there
//! twice, and none is there that nobody sent.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::generate::{Batch, Signal};
use crate::sql::Sql;

#[derive(Default)]
struct Known {
    sent: HashSet<u64>,
    acked: HashSet<u64>,
}

/// Parts in which records are asked for, so that however many a fast machine has sent fit into a query's memory.
const PARTS: u64 = 4;

/// The ledger of a run.
#[derive(Default)]
pub struct Oracle {
    signals: Mutex<HashMap<Signal, Known>>,
    last_refusal: Mutex<Option<String>>,
}

impl Oracle {
    /// A batch is about to be sent.
    pub fn sent(&self, batch: &Batch) {
        let ids = batch.records.iter().map(|r| r.id);
        self.lock().entry(batch.signal).or_default().sent.extend(ids);
    }

    /// A batch was acked.
    pub fn acked(&self, batch: &Batch) {
        let ids = batch.records.iter().map(|r| r.id);
        self.lock().entry(batch.signal).or_default().acked.extend(ids);
    }

    /// A batch was refused; shown when a test finds too little acked.
    pub fn refused(&self, reason: String) {
        *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// Acked records of a signal.
    pub fn count(&self, signal: Signal) -> usize {
        self.lock().get(&signal).map_or(0, |k| k.acked.len())
    }

    /// Acked records of all signals.
    pub fn total(&self) -> usize {
        Signal::ALL.into_iter().map(|s| self.count(s)).sum()
    }

    /// What the server said when it last refused a batch.
    pub fn last_refusal(&self) -> String {
        let reason = self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner);
        reason.clone().unwrap_or_else(|| "nothing was refused".into())
    }

    /// Asks for every record and compares. No load may run meanwhile.
    pub async fn check(&self, sql: &Sql) -> Result<()> {
        for signal in Signal::ALL {
            let (id, table, sent) = (signal.id_column(), signal.table(), signal.sent());
            let mut found = HashMap::new();
            for part in 0..PARTS {
                let of_part = format!("SELECT {id} AS id FROM {table} WHERE {sent} AND {id} % {PARTS} = {part}");
                let query = format!("SELECT id, count(*) AS n FROM ({of_part}) GROUP BY 1");
                found.extend(parse_counts(&sql.csv(&query).await?)?);
            }
            self.compare(signal, &found)?;
        }
        Ok(())
    }

    fn compare(&self, signal: Signal, found: &HashMap<u64, u64>) -> Result<()> {
        let known = self.lock();
        let empty = Known::default();
        let known = known.get(&signal).unwrap_or(&empty);
        let missing: Vec<u64> = known.acked.iter().filter(|id| !found.contains_key(id)).copied().collect();
        let twice: Vec<u64> = found.iter().filter(|(_, n)| **n > 1).map(|(id, _)| *id).collect();
        let unknown: Vec<u64> = found.keys().filter(|id| !known.sent.contains(id)).copied().collect();
        ensure!(
            missing.is_empty() && twice.is_empty() && unknown.is_empty(),
            "{signal:?}: {} acked, {} found; acked but missing: {}; there twice: {}; never sent: {}",
            known.acked.len(),
            found.len(),
            sample(missing),
            sample(twice),
            sample(unknown),
        );
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Signal, Known>> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many, and the first ones as worker/number.
fn sample(mut ids: Vec<u64>) -> String {
    ids.sort_unstable();
    let first: Vec<String> = ids.iter().take(5).map(|id| format!("{}/{}", id >> 32, id & 0xFFFF_FFFF)).collect();
    format!("{} [{}]", ids.len(), first.join(" "))
}

fn parse_counts(csv: &str) -> Result<HashMap<u64, u64>> {
    csv.lines()
        .skip(1)
        .map(|line| {
            let (id, n) = line.split_once(',').with_context(|| format!("no two columns: {line}"))?;
            let id = id.parse().with_context(|| format!("a row without an id: {line}"))?;
            Ok((id, n.parse().with_context(|| format!("no count: {line}"))?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Generator;

    #[test]
    fn finds_what_is_missing_twice_or_unknown() -> Result<()> {
        let mut generator = Generator::new(1, 0, 0);
        let (acked, sent) = (generator.batch(Signal::Logs, 3), generator.batch(Signal::Logs, 2));
        let oracle = Oracle::default();
        oracle.sent(&acked);
        oracle.sent(&sent);
        oracle.acked(&acked);
        for (csv, error) in [
            ("id,n\n0,1\n1,1\n2,1\n", None),
            ("id,n\n0,1\n1,1\n2,1\n3,1\n", None),
            ("id,n\n0,1\n2,1\n", Some("missing: 1 [0/1]")),
            ("id,n\n0,1\n1,1\n2,1\n3,2\n", Some("twice: 1 [0/3]")),
            ("id,n\n0,1\n1,1\n2,1\n9,1\n", Some("never sent: 1 [0/9]")),
        ] {
            let result = oracle.compare(Signal::Logs, &parse_counts(csv)?);
            match error {
                None => result?,
                Some(text) => {
                    let message = result.err().context("no error")?.to_string();
                    ensure!(message.contains(text), "{message}");
                }
            }
        }
        Ok(())
    }
}
