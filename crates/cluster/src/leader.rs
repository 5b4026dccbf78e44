//! Finding the leader of a partition, and finding it again when it moved.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bonghwa_model::TenantId;
use bonghwa_protocol::{EncodedBatch, IngesterClient, RpcError, RpcErrorKind, v1};
use futures::future::{BoxFuture, join_all};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;

use crate::directory::{Clients, unknown_partition};
use crate::seam::Instant;
use crate::{Backoff, Catalog, seam};

/// How long a leader is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaderOptions {
    /// An election takes one to two seconds; this covers several.
    pub patience: Duration,
    /// First wait after all replicas said no.
    pub first_wait: Duration,
    /// Longest such wait.
    pub longest_wait: Duration,
}

impl Default for LeaderOptions {
    fn default() -> Self {
        LeaderOptions {
            patience: Duration::from_secs(8),
            first_wait: Duration::from_millis(20),
            longest_wait: Duration::from_millis(500),
        }
    }
}

/// Sends each call to the leader of the partition it names. Remembers leaders,
/// follows a replica's word about who leads, and asks the others when one is away.
///
/// An append without a [name](bonghwa_protocol::BatchId) is sent again only where the first attempt
/// surely did nothing ([`RpcError::had_no_effect`]); a named one, which is stored once however often
/// it comes, and reads also after a timeout or a broken connection.
pub struct LeaderClient {
    clients: Arc<Clients>,
    options: LeaderOptions,
    /// Partition to the node that led it last.
    leaders: Mutex<HashMap<String, u64>>,
}

/// What an election takes, and its result to be known.
const ELECTION: Duration = Duration::from_secs(2);

/// Whether a call may be sent again when it may have been done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Always,
    IfNothingHappened,
}

impl LeaderClient {
    pub(crate) fn new(clients: Arc<Clients>, options: LeaderOptions) -> Self {
        LeaderClient { clients, options, leaders: Mutex::default() }
    }

    /// A partition that came back with `bonghwa meta rebuild` has blocks and no
    /// replicas: its tail is empty, and asking for it must not fail every query.
    fn has_no_log(&self, partition: &str) -> bool {
        self.clients.catalog().partition(partition).is_some_and(|p| p.replicas.is_empty())
    }

    async fn route<T>(
        &self,
        partition: &str,
        repeat: Repeat,
        call: impl Fn(Arc<dyn IngesterClient>) -> BoxFuture<'static, Result<T, RpcError>>,
    ) -> Result<T, RpcError> {
        let deadline = seam::now() + self.options.patience;
        let mut backoff = Backoff::new(self.options.first_wait, self.options.longest_wait);
        let mut silent = Silent::default();
        loop {
            let error = match self.round(partition, repeat, &mut silent, &call).await {
                Ok(answer) => return Ok(answer),
                Err(Stop::Now(error)) => return Err(error),
                Err(Stop::Round(error)) => error,
            };
            let delay = backoff.next_delay();
            if seam::now() + delay >= deadline {
                return Err(error);
            }
            seam::sleep(delay).await;
        }
    }

    /// Asks every replica at most twice, the likeliest leader first; those that were silent are left
    /// alone while others may be elected.
    async fn round<T>(
        &self,
        partition: &str,
        repeat: Repeat,
        silent: &mut Silent,
        call: impl Fn(Arc<dyn IngesterClient>) -> BoxFuture<'static, Result<T, RpcError>>,
    ) -> Result<T, Stop> {
        let catalog = self.clients.catalog();
        let replicas = match catalog.partition(partition) {
            Some(partition) => partition.replicas.clone(),
            None => {
                self.leaders.lock().remove(partition);
                return Err(Stop::Now(unknown_partition(partition)));
            }
        };
        if replicas.is_empty() {
            return Err(Stop::Now(no_log(partition)));
        }
        let mut queue = replicas.clone();
        queue.retain(|node| !silent.has(*node));
        if queue.is_empty() {
            queue.clone_from(&replicas);
        }
        let known = self.leaders.lock().get(partition).copied();
        if let Some(at) = known.and_then(|known| queue.iter().position(|id| *id == known)) {
            queue[..=at].rotate_right(1);
        }
        queue.reverse();
        let mut left = 2 * replicas.len();
        let mut last = RpcError::unavailable(format!("partition {partition}: none of its replicas is in the catalog"));
        while let Some(node) = queue.pop() {
            if left == 0 {
                break;
            }
            left -= 1;
            let client = match self.clients.of_node(node) {
                Ok(client) => client,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            match call(client).await {
                Ok(answer) => {
                    if known != Some(node) {
                        self.leaders.lock().insert(partition.to_owned(), node);
                    }
                    return Ok(answer);
                }
                Err(error) => {
                    match &error.kind {
                        RpcErrorKind::NotLeader { leader: Some(address) } => {
                            let leader = replica_at(&catalog, &replicas, address);
                            if let Some(leader) = leader.filter(|l| *l != node && !silent.has(*l)) {
                                queue.retain(|id| *id != leader);
                                queue.push(leader);
                            }
                        }
                        // A replica that has not opened the partition yet says NotFound.
                        RpcErrorKind::NotLeader { leader: None } | RpcErrorKind::NotFound => {}
                        RpcErrorKind::Unreachable => silent.add(node),
                        RpcErrorKind::Unavailable | RpcErrorKind::Timeout if repeat == Repeat::Always => {
                            silent.add(node);
                        }
                        _ => return Err(Stop::Now(error)),
                    }
                    last = error;
                }
            }
        }
        Err(Stop::Round(last))
    }
}

/// Replicas that did not answer during a call. The others may still believe that such a one leads:
/// it is not asked again before an election had its time.
#[derive(Default)]
struct Silent(Vec<(u64, Instant)>);

impl Silent {
    fn add(&mut self, node: u64) {
        self.0.retain(|(known, _)| *known != node);
        self.0.push((node, seam::now()));
    }

    fn has(&self, node: u64) -> bool {
        self.0.iter().any(|(known, since)| *known == node && since.elapsed() < ELECTION)
    }
}

fn no_log(partition: &str) -> RpcError {
    RpcError::not_found(format!("partition {partition} has no replicas, only blocks: write to one that is on the ring"))
}

/// Why a round over the replicas ended.
enum Stop {
    /// The caller has to know.
    Now(RpcError),
    /// No replica led; after a while one may.
    Round(RpcError),
}

fn replica_at(catalog: &Catalog, replicas: &[u64], address: &str) -> Option<u64> {
    replicas.iter().copied().find(|id| catalog.node(*id).is_some_and(|node| node.address == address))
}

#[async_trait]
impl IngesterClient for LeaderClient {
    async fn append(&self, partition: &str, tenant: &TenantId, batch: EncodedBatch) -> Result<u64, RpcError> {
        let repeat = if batch.id.is_some() { Repeat::Always } else { Repeat::IfNothingHappened };
        self.route(partition, repeat, |client| {
            let (partition, tenant, batch) = (partition.to_owned(), tenant.clone(), batch.clone());
            async move { client.append(&partition, &tenant, batch).await }.boxed()
        })
        .await
    }

    async fn describe_tail(&self, request: v1::DescribeTailRequest) -> Result<v1::DescribeTailResponse, RpcError> {
        if self.has_no_log(&request.partition) {
            return Ok(v1::DescribeTailResponse { through: request.watermark, rows: None });
        }
        self.route(&request.partition, Repeat::Always, |client| {
            let request = request.clone();
            async move { client.describe_tail(request).await }.boxed()
        })
        .await
    }

    async fn tail(
        &self,
        request: v1::TailRequest,
    ) -> Result<BoxStream<'static, Result<arrow_array::RecordBatch, RpcError>>, RpcError> {
        if self.has_no_log(&request.partition) {
            return Ok(stream::empty().boxed());
        }
        self.route(&request.partition, Repeat::Always, |client| {
            let request = request.clone();
            async move { client.tail(request).await }.boxed()
        })
        .await
    }

    /// Flushes every partition where it is led; all blocks written. Fails with the first failure,
    /// after which others may still flush, and where a partition has no leader.
    async fn flush(&self) -> Result<Vec<String>, RpcError> {
        let catalog = self.clients.catalog();
        let replicas: BTreeSet<u64> = catalog.all_partitions().flat_map(|p| p.replicas.iter().copied()).collect();
        let clients: Vec<_> = replicas.iter().filter_map(|node| self.clients.of_node(*node).ok()).collect();
        let said = join_all(clients.iter().map(|client| client.status())).await;
        let leads = |partition: &v1::Partition| {
            said.iter().flatten().flatten().any(|s| s.leads && s.partition == partition.name)
        };
        if let Some(lost) = catalog.all_partitions().find(|p| !p.replicas.is_empty() && !leads(p)) {
            let message = format!("partition {} has no leader now: flush again in a moment", lost.name);
            return Err(RpcError::unavailable(message));
        }
        // Nodes that do not answer lead nothing.
        let answering = clients.iter().zip(&said).filter(|(_, said)| said.is_ok());
        let blocks = join_all(answering.map(|(client, _)| client.flush())).await;
        let blocks: Vec<Vec<String>> = blocks.into_iter().collect::<Result<_, _>>()?;
        Ok(blocks.into_iter().flatten().collect())
    }

    /// The partitions of every ingester that answers.
    async fn status(&self) -> Result<Vec<v1::PartitionStatus>, RpcError> {
        let catalog = self.clients.catalog();
        let ingesters = catalog.nodes().filter(|node| node.has_role("ingester"));
        let clients: Vec<_> = ingesters.filter_map(|node| self.clients.of_node(node.id).ok()).collect();
        let answers = join_all(clients.iter().map(|client| client.status())).await;
        Ok(answers.into_iter().flatten().flatten().collect())
    }
}
