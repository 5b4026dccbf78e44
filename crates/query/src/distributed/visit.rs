//! What all tasks of one query on one node share: whose rows it may see, its memory, and
//! how long it is waited for.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bonghwa_cluster::seam;
use bonghwa_model::TenantSet;
use datafusion::DATAFUSION_VERSION;
use datafusion::common::Result;
use datafusion::execution::runtime_env::RuntimeEnv;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use super::Told;
use super::metrics::{REFUSED, TASKS};
use crate::QueryError;
use crate::alive::Alive;
use crate::pool::Pool;
use crate::run::Limits;
use crate::session;

/// Names the query.
pub(crate) const QUERY: HeaderName = HeaderName::from_static("x-bonghwa-query");
/// The milliseconds that it has left.
const LEFT: HeaderName = HeaderName::from_static("x-bonghwa-left-ms");
/// The tenants whose rows it may see.
const TENANTS: HeaderName = HeaderName::from_static("x-bonghwa-tenants");
/// What the asker runs.
const RELEASE: HeaderName = HeaderName::from_static("x-bonghwa-release");

/// Plans travel as DataFusion's own messages, which promise nothing from one release to
/// the next: queriers of different ones do not work for each other.
fn release() -> String {
    format!("{}+{DATAFUSION_VERSION}", env!("CARGO_PKG_VERSION"))
}

/// A query on a node.
pub(crate) struct Visit {
    id: String,
    pub(crate) tenants: TenantSet,
    pub(crate) alive: Arc<Alive>,
    pub(crate) runtime: Arc<RuntimeEnv>,
    /// Asked at another node.
    from_elsewhere: bool,
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Visit({} of {})", self.id, self.tenants)
    }
}

impl Visit {
    /// What its calls to other nodes say of it.
    pub(crate) fn headers(&self) -> HeaderMap {
        let left = u64::try_from(self.alive.left().as_millis()).unwrap_or(u64::MAX);
        let mut headers = HeaderMap::new();
        headers.insert(LEFT, HeaderValue::from(left));
        // None of them has a character that a header must not have.
        for (name, text) in [(QUERY, self.id.clone()), (TENANTS, self.tenants.to_string()), (RELEASE, release())] {
            headers.extend(HeaderValue::from_str(&text).ok().map(|value| (name, value)));
        }
        headers
    }
}

/// The queries on this node, as long as a task of theirs is.
pub(crate) struct Visits {
    timeout: Duration,
    memory_bytes: usize,
    pool: Arc<Pool>,
    /// Queries of other nodes that are worked on at once.
    most: usize,
    known: Mutex<HashMap<String, Weak<Visit>>>,
}

impl Visits {
    /// Each may take as long and have as much memory as a query that is asked here; as many of other nodes at once.
    pub(crate) fn new(limits: &Limits) -> Self {
        let Limits { timeout, memory_bytes, ref pool, .. } = *limits;
        Visits { timeout, memory_bytes, pool: pool.clone(), most: limits.concurrent(), known: Mutex::default() }
    }

    /// A query that was asked here.
    pub(crate) fn begin(&self, tenants: &TenantSet, alive: &Arc<Alive>, runtime: &Arc<RuntimeEnv>) -> Arc<Visit> {
        let visit = Arc::new(Visit {
            id: format!("{:016x}{:016x}", seam::random(), seam::random()),
            tenants: tenants.clone(),
            alive: alive.clone(),
            runtime: runtime.clone(),
            from_elsewhere: false,
        });
        let mut known = self.known.lock();
        known.retain(|_, visit| visit.strong_count() > 0);
        known.insert(visit.id.clone(), Arc::downgrade(&visit));
        visit
    }

    /// The query that a call belongs to. It is not waited for a turn, which could be one that
    /// waits for this node's: a query that is too many is refused, and its asker runs it alone.
    pub(crate) fn join(&self, headers: &HeaderMap) -> Result<Arc<Visit>> {
        Ok(self.enter(headers).map_err(Told)?)
    }

    /// The same for who needs no DataFusion.
    pub(crate) fn enter(&self, headers: &HeaderMap) -> Result<Arc<Visit>, QueryError> {
        let visit = self.find(headers).inspect_err(|_| REFUSED.inc())?;
        if visit.from_elsewhere {
            TASKS.inc();
        }
        Ok(visit)
    }

    fn find(&self, headers: &HeaderMap) -> Result<Arc<Visit>, QueryError> {
        let refused = |why: &str| QueryError::Unavailable(format!("a querier takes no part in the query: {why}"));
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        if text(&RELEASE) != Some(&release()) {
            return Err(refused(&format!("it runs {}, the asker another release", release())));
        }
        let tenants = text(&TENANTS).and_then(|tenants| TenantSet::parse(tenants).ok());
        let left = text(&LEFT).and_then(|left| left.parse().ok());
        let (Some(id), Some(left), Some(tenants)) = (text(&QUERY), left, tenants) else {
            return Err(refused("the call does not say which query it is of, and whose"));
        };
        let mut known = self.known.lock();
        known.retain(|_, visit| visit.strong_count() > 0);
        let others = || known.values().filter_map(Weak::upgrade).filter(|visit| visit.from_elsewhere).count();
        match known.get(id).and_then(Weak::upgrade) {
            Some(visit) if visit.tenants == tenants => return Ok(visit),
            Some(_) => return Err(refused("it knows the query as another tenant's")),
            None if others() >= self.most => return Err(refused("it works for as many others as it may")),
            None => {}
        }
        let alive = Alive::new(self.timeout.min(Duration::from_millis(left)), &self.pool);
        let runtime = session::runtime(self.memory_bytes, &alive.memory);
        let runtime = runtime.map_err(|error| QueryError::Internal(error.strip_backtrace()))?;
        let visit = Arc::new(Visit { id: id.to_owned(), tenants, alive, runtime, from_elsewhere: true });
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
    use crate::EngineOptions;

    fn visits() -> Visits {
        let options = EngineOptions { memory_bytes: 1 << 20, concurrent: 2, ..Default::default() };
        Visits::new(&Limits::new(&options))
    }

    fn begin(visits: &Visits, tenants: &str) -> Arc<Visit> {
        let alive = Alive::new(Duration::from_secs(5), &Pool::new(1 << 30));
        let runtime = session::runtime(1 << 20, &alive.memory).unwrap();
        visits.begin(&TenantSet::parse(tenants).unwrap(), &alive, &runtime)
    }

    #[test]
    fn tasks_of_a_query_share_what_it_has() {
        let (here, there) = (visits(), visits());
        let query = begin(&here, "a|b");
        let (one, other) = (there.join(&query.headers()).unwrap(), there.join(&query.headers()).unwrap());
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(one.tenants, query.tenants);
        assert!(one.alive.left() <= Duration::from_secs(5));
        // Where it was asked, its tasks are the query itself.
        assert!(Arc::ptr_eq(&here.join(&query.headers()).unwrap(), &query));
        assert!(one.alive.check().is_ok());
        there.abandon(&query.id);
        assert!(one.alive.check().is_err() && query.alive.check().is_ok());
    }

    #[test]
    fn calls_that_do_not_say_enough_are_refused() {
        let (here, there) = (visits(), visits());
        let query = begin(&here, "a");
        let _known = there.join(&query.headers()).unwrap();
        for name in [QUERY, LEFT, TENANTS, RELEASE] {
            let mut headers = query.headers();
            headers.remove(&name);
            assert!(there.join(&headers).is_err(), "{name}");
        }
        for (name, value) in [(RELEASE, "0.0.0+1"), (TENANTS, "b"), (TENANTS, "a|b")] {
            let mut headers = query.headers();
            headers.insert(name.clone(), HeaderValue::from_static(value));
            assert!(there.join(&headers).is_err(), "{name}: {value}");
        }
    }

    #[test]
    fn no_more_than_so_many_are_worked_on_for_others() {
        let (here, there) = (visits(), visits());
        let queries = [begin(&here, "a"), begin(&here, "a"), begin(&here, "b")];
        let own = begin(&there, "b");
        let first = there.join(&queries[0].headers()).unwrap();
        let _second = there.join(&queries[1].headers()).unwrap();
        let refused = there.join(&queries[2].headers()).unwrap_err();
        assert!(refused.to_string().contains("as many others"), "{refused}");
        // What is asked here, and what is known, goes on.
        there.join(&own.headers()).unwrap();
        there.join(&queries[0].headers()).unwrap();
        drop(first);
        there.join(&queries[2].headers()).unwrap();
    }
}
