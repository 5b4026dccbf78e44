//! What one query sees: blocks of one copy of the catalog, and of each partition
//! the tail beyond that copy's watermark, up to a fixed position. A record lies in
//! exactly one of both, whatever is flushed meanwhile. A partition whose leader cannot
//! be reached in time is left out and named: the answer says that it is partial.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_block::AttributeScope;
use bonghwa_cluster::{Catalog, ClusterView, Directory, TenantBlock, seam};
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::{IngesterClient, RpcError, RpcErrorKind, v1};
use futures::future::try_join_all;

use crate::QueryError;

/// How long a view is begun again for when leaders have let go of what the catalog
/// copy still counts on: after a start, the copy may be many versions behind.
const CATCH_UP: Duration = Duration::from_secs(10);
/// How long to wait for a newer catalog before asking again with the same.
const NEWER_WITHIN: Duration = Duration::from_secs(1);
/// How long the leaders of all partitions are looked for, if the query has twice that time.
const PATIENCE: Duration = Duration::from_secs(8);
/// The least that a leader gets to answer in when the view is begun again late.
const ONE_ANSWER: Duration = Duration::from_millis(500);

/// What one query sees of one signal.
pub(crate) struct View {
    pub(crate) signal: Signal,
    pub(crate) blocks: Vec<TenantBlock>,
    pub(crate) tails: Vec<Arc<Tail>>,
    /// Rows that are not to be seen, though some blocks and tails still hold them.
    pub(crate) deletes: Vec<Arc<v1::Delete>>,
    /// Partitions whose tails are not in view, because no leader of theirs could be reached.
    pub(crate) missing: Vec<String>,
    /// Unix nanoseconds: partitions and blocks that were born since may not be in view.
    pub(crate) as_of: i64,
}

/// The rows of one partition that the catalog copy's blocks do not hold.
pub(crate) struct Tail {
    pub(crate) partition: String,
    pub(crate) watermark: u64,
    pub(crate) through: u64,
    /// What the leader says lies between both; never empty.
    pub(crate) rows: v1::TenantRows,
    pub(crate) leader: Arc<dyn IngesterClient>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({}, {} blocks, {} tails)", self.signal, self.blocks.len(), self.tails.len())
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tail({}, {}..={})", self.partition, self.watermark + 1, self.through)
    }
}

impl View {
    /// Sees nothing.
    pub(crate) fn empty(signal: Signal) -> Self {
        View {
            signal,
            blocks: Vec::new(),
            tails: Vec::new(),
            deletes: Vec::new(),
            missing: Vec::new(),
            as_of: i64::MAX,
        }
    }

    /// One consistent view of these signals, all from the same catalog copy, for a query
    /// that has this much time.
    pub(crate) async fn take(
        cluster: &ClusterView,
        directory: &dyn Directory,
        tenant: &TenantId,
        signals: &BTreeSet<Signal>,
        time: Duration,
    ) -> Result<BTreeMap<Signal, Arc<View>>, QueryError> {
        let start = seam::now();
        let patience = PATIENCE.min(time / 2);
        loop {
            let age = i64::try_from(cluster.age().as_nanos()).unwrap_or(i64::MAX);
            let as_of = seam::unix_nanos().saturating_sub(age);
            let catalog = cluster.current();
            let version = catalog.version();
            let left = patience.saturating_sub(start.elapsed()).max(ONE_ANSWER.min(patience));
            let of_signals = signals.iter().map(|signal| of_signal(&catalog, directory, tenant, *signal, as_of, left));
            match try_join_all(of_signals).await {
                Ok(views) => return Ok(views.into_iter().map(|view| (view.signal, Arc::new(view))).collect()),
                Err(error) if is_stale(&error) && start.elapsed() < CATCH_UP => {
                    tracing::debug!(version, %error, "taking a newer catalog");
                    // Without one in time, the next attempt finds out whether that matters.
                    let _ = cluster.wait_for_version(version + 1, NEWER_WITHIN).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What all blocks and tails in view hold of the tenant.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &v1::TenantRows> {
        self.blocks.iter().map(TenantBlock::rows).chain(self.tails.iter().map(|tail| &tail.rows))
    }

    /// The kinds of values that each attribute has in view.
    pub(crate) fn attribute_kinds(&self) -> AttributeKinds {
        let mut kinds = AttributeKinds::default();
        for rows in self.rows() {
            for attribute in &rows.attributes {
                *kinds.known.entry(place(attribute)).or_default() |= attribute.kinds;
            }
            if !rows.attributes_complete {
                let last = rows.attributes.last().map_or((AttributeScope::Any, String::new()), place);
                kinds.listed_to = Some(kinds.listed_to.map_or(last.clone(), |to: Place| to.min(last)));
            }
        }
        kinds
    }
}

/// The leader no longer has what the catalog copy expects of it, or the partition is gone.
fn is_stale(error: &RpcError) -> bool {
    matches!(error.kind, RpcErrorKind::StaleWatermark | RpcErrorKind::NotFound)
}

async fn of_signal(
    catalog: &Catalog,
    directory: &dyn Directory,
    tenant: &TenantId,
    signal: Signal,
    as_of: i64,
    patience: Duration,
) -> Result<View, RpcError> {
    let partitions = catalog.partitions(signal).map(|partition| describe(directory, tenant, partition, patience));
    let blocks = catalog.tenant_blocks(signal, tenant).cloned().collect();
    let deletes = catalog
        .deletes()
        .filter(|delete| delete.tenant == tenant.as_str() && delete.model_signal() == Ok(signal))
        .cloned()
        .collect();
    let mut view = View { signal, blocks, tails: Vec::new(), deletes, missing: Vec::new(), as_of };
    for described in try_join_all(partitions).await? {
        match described {
            Described::Empty => {}
            Described::Tail(tail) => view.tails.push(Arc::new(tail)),
            Described::Missing(partition) => view.missing.push(partition),
        }
    }
    Ok(view)
}

/// What a partition adds to a view.
enum Described {
    Empty,
    Tail(Tail),
    /// The partition's name.
    Missing(String),
}

async fn describe(
    directory: &dyn Directory,
    tenant: &TenantId,
    partition: &v1::Partition,
    patience: Duration,
) -> Result<Described, RpcError> {
    let watermark = partition.watermark;
    let asking = async {
        let leader = directory.leader_of(&partition.name)?;
        let tenant = tenant.as_str().to_owned();
        let request = v1::DescribeTailRequest { partition: partition.name.clone(), tenant, watermark };
        let answer = leader.describe_tail(request).await?;
        Ok::<_, RpcError>((leader, answer))
    };
    let answered = seam::timeout(patience, asking).await;
    let answered = answered.unwrap_or_else(|_| Err(RpcError::timeout(format!("no answer within {patience:?}"))));
    match answered {
        Ok((leader, v1::DescribeTailResponse { through, rows: Some(rows) }))
            if rows.items > 0 && through > watermark =>
        {
            Ok(Described::Tail(Tail { partition: partition.name.clone(), watermark, through, rows, leader }))
        }
        Ok(_) => Ok(Described::Empty),
        Err(error) if error.is_retryable() => {
            tracing::warn!(partition = partition.name, %error, "a query leaves out a tail");
            Ok(Described::Missing(partition.name.clone()))
        }
        Err(error) => Err(error),
    }
}

/// Where an attribute stands in the catalog's order.
type Place = (AttributeScope, String);

fn place(attribute: &v1::AttributeType) -> Place {
    let scope = match attribute.scope() {
        v1::AttributeScope::Resource => AttributeScope::Resource,
        v1::AttributeScope::Record | v1::AttributeScope::Unspecified => AttributeScope::Record,
    };
    (scope, attribute.key.clone())
}

/// What is known of an attribute that is not listed: it is text that no index holds.
const EVERY_KIND: u32 = u32::MAX;

/// The attributes in view and the kinds of their values.
#[derive(Debug, Default)]
pub(crate) struct AttributeKinds {
    known: BTreeMap<Place, u32>,
    /// Some block has more keys than the catalog lists: from here on, any may be inside.
    listed_to: Option<Place>,
}

impl AttributeKinds {
    /// Those of two views together.
    pub(crate) fn and(mut self, other: Self) -> Self {
        for (place, kinds) in other.known {
            *self.known.entry(place).or_default() |= kinds;
        }
        self.listed_to = match (self.listed_to, other.listed_to) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self
    }

    /// The kinds of an attribute's values. None if surely no record has it.
    pub(crate) fn of(&self, scope: AttributeScope, key: &str) -> Option<u32> {
        match scope {
            AttributeScope::Any => {
                let (record, resource) = (self.of(AttributeScope::Record, key), self.of(AttributeScope::Resource, key));
                record.map_or(resource, |kinds| Some(kinds | resource.unwrap_or(0)))
            }
            scope => {
                let place = (scope, key.to_owned());
                let unlisted = self.listed_to.as_ref().is_some_and(|to| place > *to).then_some(EVERY_KIND);
                let known = self.known.get(&place).copied();
                known.map_or(unlisted, |kinds| Some(kinds | unlisted.unwrap_or(0)))
            }
        }
    }

    /// Keys in view, as one may write them.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(|(_, key)| key.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::mentions::Mentions;
    use crate::{statement, table};
    use bonghwa_model::Kind;

    #[test]
    fn what_is_not_listed_is_text_that_no_index_holds() {
        let mut kinds = AttributeKinds::default();
        for key in ["a", "z"] {
            kinds.known.insert((AttributeScope::Record, key.to_owned()), Kind::Str.bit());
        }
        kinds.listed_to = Some((AttributeScope::Record, "b".to_owned()));
        let mut parsed =
            statement::parse("SELECT attributes['a'], attributes['c'], attributes['z'] FROM logs").unwrap();
        let mentions = Mentions::of(statement::inner_mut(&mut parsed).unwrap());
        let columns = table::attribute_columns(&mentions, Signal::Logs, &kinds);
        let found: Vec<_> = columns.iter().map(|c| (c.field(Signal::Logs).data_type().clone(), c.indexed)).collect();
        let text = arrow_schema::DataType::Utf8;
        assert_eq!(found, [(text.clone(), true), (text.clone(), false), (text, false)]);
    }
}
