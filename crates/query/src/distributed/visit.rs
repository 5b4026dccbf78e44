//! What all tasks of one query on one node share: its memory, and how long it is waited for.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bonghwa_cluster::seam;
use datafusion::common::Result;
use datafusion::execution::runtime_env::RuntimeEnv;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use super::Told;
use crate::QueryError;
use crate::alive::Alive;
use crate::session;

/// Names the query.
pub(crate) const QUERY: HeaderName = HeaderName::from_static("x-bonghwa-query");
/// The milliseconds that it has left.
const LEFT: HeaderName = HeaderName::from_static("x-bonghwa-left-ms");

/// A query on a node.
pub(crate) struct Visit {
    id: String,
    pub(crate) alive: Arc<Alive>,
    pub(crate) runtime: Arc<RuntimeEnv>,
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Visit({})", self.id)
    }
}

impl Visit {
    /// What its calls to other nodes say of it.
    pub(crate) fn headers(&self) -> HeaderMap {
        let left = u64::try_from(self.alive.left().as_millis()).unwrap_or(u64::MAX);
        let mut headers = HeaderMap::new();
        headers.insert(LEFT, HeaderValue::from(left));
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            headers.insert(QUERY, id);
        }
        headers
    }
}

/// The queries on this node, as long as a task of theirs is.
pub(crate) struct Visits {
    timeout: Duration,
    memory_bytes: usize,
    known: Mutex<HashMap<String, Weak<Visit>>>,
}

impl Visits {
    /// Each may take so long and have so much memory.
    pub(crate) fn new(timeout: Duration, memory_bytes: usize) -> Self {
        Visits { timeout, memory_bytes, known: Mutex::default() }
    }

    /// A query that was asked here.
    pub(crate) fn begin(&self, alive: &Arc<Alive>, runtime: &Arc<RuntimeEnv>) -> Arc<Visit> {
        let id = format!("{:016x}{:016x}", seam::random(), seam::random());
        let visit = Arc::new(Visit { id, alive: alive.clone(), runtime: runtime.clone() });
        self.known.lock().insert(visit.id.clone(), Arc::downgrade(&visit));
        visit
    }

    /// The query that a call belongs to.
    pub(crate) fn join(&self, headers: &HeaderMap) -> Result<Arc<Visit>> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(id), Some(left)) = (text(&QUERY), text(&LEFT).and_then(|left| left.parse().ok())) else {
            let what = "a querier's call does not say of which query: upgrade the older of the two";
            return Err(Told(QueryError::Unavailable(what.into())).into());
        };
        let mut known = self.known.lock();
        known.retain(|_, visit| visit.strong_count() > 0);
        if let Some(visit) = known.get(id).and_then(Weak::upgrade) {
            return Ok(visit);
        }
        let alive = Alive::new(self.timeout.min(Duration::from_millis(left)));
        let visit = Arc::new(Visit { id: id.to_owned(), alive, runtime: session::runtime(self.memory_bytes)? });
        known.insert(id.to_owned(), Arc::downgrade(&visit));
        Ok(visit)
    }

    /// Nobody waits for the query any more.
    pub(crate) fn abandon(&self, id: &str) {
        let visit = self.known.lock().remove(id);
        if let Some(visit) = visit.and_then(|visit| visit.upgrade()) {
            visit.alive.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tasks_of_a_query_share_what_it_has() {
        let visits = || Visits::new(Duration::from_secs(60), 1 << 20);
        let (here, there) = (visits(), visits());
        let alive = Alive::new(Duration::from_secs(5));
        let query = here.begin(&alive, &session::runtime(1 << 20).unwrap());
        let (one, other) = (there.join(&query.headers()).unwrap(), there.join(&query.headers()).unwrap());
        assert!(Arc::ptr_eq(&one, &other));
        assert!(one.alive.left() <= Duration::from_secs(5));
        // Where it was asked, its tasks are the query itself.
        assert!(Arc::ptr_eq(&here.join(&query.headers()).unwrap(), &query));
        assert!(one.alive.check().is_ok());
        there.abandon(&query.id);
        assert!(one.alive.check().is_err() && query.alive.check().is_ok());
        assert!(there.join(&HeaderMap::new()).is_err());
    }
}
