//! The configuration: one section per role, every key with its default.

mod compaction;
mod limits;
mod load;
mod metrics;
mod scrape;
mod service_graph;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bonghwa_block::CacheOptions;
use bonghwa_distributor::{MaxAge, ReplicaOptions};
use bonghwa_ingester::IngesterOptions;
use bonghwa_meta::{ControlOptions, MetaOptions, PlacementOptions};
use bonghwa_protocol::TlsFiles;
use bonghwa_query::{EngineOptions, SeriesLimits};
use bonghwa_replog::HostOptions;
use serde::{Deserialize, Serialize};

pub use compaction::{Compaction, Keep};
pub use limits::Limits;
pub use load::load;
pub use metrics::Metrics;
pub use scrape::Scrape;

use crate::roles::Roles;
use crate::units::{Size, Time};

/// Everything that can be configured. `bonghwa config show` prints it with its values.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Roles that this process runs: `all`, or some of `distributor`, `ingester`, `meta`, `querier`,
    /// `compactor` and `scraper`, separated by commas.
    pub target: String,
    /// This node's name in the cluster. Empty: the host name.
    pub node_name: String,
    /// The failure domain that this node is in. Replicas of a partition go to distinct zones where
    /// there are enough.
    pub zone: String,
    /// HOST:PORT at which other nodes reach this node's `grpc_listen`. Empty: that address, the
    /// host name in place of 0.0.0.0.
    pub advertise: String,
    /// HOST:PORT of meta nodes' gRPC, separated by commas. A name that stands for several addresses,
    /// as of a headless Kubernetes service, stands for as many meta nodes. Empty: this process runs
    /// meta itself.
    pub join: String,
    /// HOST:PORT of every meta node's gRPC, this one's included, separated by commas; the same on
    /// all of them. Only for nodes with the target `meta`. Empty: this node is the only one.
    pub meta_peers: String,
    /// Ingesters that keep each partition. 0: 1 where `target` is `all`, else 3.
    pub replication_factor: usize,
    /// Whether a node that is told to stop leaves for good: its partitions are replaced and flushed first.
    pub drain_on_shutdown: bool,
    /// Where the log and, unless `object_store` says otherwise, the blocks lie.
    pub data_dir: PathBuf,
    /// All HTTP APIs.
    pub http_listen: String,
    /// Between roles.
    pub grpc_listen: String,
    /// OTLP over gRPC.
    pub otlp_grpc_listen: String,
    /// OTLP over HTTP.
    pub otlp_http_listen: String,
    /// `file:///path`, `s3://bucket/prefix` or `memory://`. Empty: `file://<data_dir>/objects`.
    pub object_store: String,
    /// S3-compatible stores; credentials also come from the AWS environment.
    pub s3: S3,
    /// TLS between roles.
    pub tls: Tls,
    /// Who may send requests, and for which tenants.
    pub auth: Auth,
    /// Who is taken for alive, and when replicas are given up.
    pub cluster: Cluster,
    /// Receiving.
    pub distributor: Distributor,
    /// Heads and flushes.
    pub ingester: Ingester,
    /// What tenants may send, and how many partitions take it.
    pub limits: Limits,
    /// Queries.
    pub query: Query,
    /// How PromQL sees OpenTelemetry's metrics.
    pub metrics: Metrics,
    /// Putting blocks together.
    pub compactor: Compaction,
    /// How long rows are kept; the compactor takes out what is older.
    pub retention: Keep,
    /// Scraping, as Prometheus does it.
    pub scrape: Scrape,
    /// Bonghwa's own telemetry.
    pub telemetry: Telemetry,
}

/// S3-compatible object stores.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct S3 {
    /// URL of the server; empty for AWS.
    pub endpoint: String,
    /// Region; empty: from the environment, else us-east-1.
    pub region: String,
    /// Access key; empty: from the environment.
    pub access_key_id: String,
    /// Secret key; empty: from the environment. Never shown.
    pub secret_access_key: String,
}

/// TLS between roles, on `grpc_listen` and towards other nodes. All empty: none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// PEM file with this node's certificate chain, for its listener and, as a client, towards others.
    pub cert: String,
    /// PEM file with its private key.
    pub key: String,
    /// PEM file with the authorities that other nodes' certificates must come from. Callers without
    /// such a certificate are refused.
    pub ca: String,
    /// The name that other nodes' certificates must bear. Empty: the host they are reached by.
    pub server_name: String,
}

/// Authentication of callers, on all listeners but `grpc_listen`: that one is between roles, where
/// `tls` says who may call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// Whether callers need credentials. Off: `X-Scope-OrgID` names the tenant, whoever sends it.
    pub enabled: bool,
    /// YAML file of callers: a list `callers` of name; token or token_sha256, or username with
    /// password or password_sha256; tenants, a list or "*"; rights, some of read, write and admin.
    /// Read again when it changes.
    pub file: PathBuf,
}

/// The cluster's patience.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// How often a node tells meta that it lives.
    pub heartbeat: Time,
    /// After this silence a node gets no new replicas.
    pub unreachable_after: Time,
    /// After this silence an ingester's replicas are given up: its partitions are sealed by the
    /// others and replaced, and other nodes are forgotten.
    pub lost_after: Time,
    /// How often the leader of a log tells the other replicas that it lives. They elect another
    /// after seven to eight times this without a word.
    pub log_heartbeat: Time,
    /// How long a draining node may take before the process ends anyway.
    pub drain_timeout: Time,
}

/// The distributor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Distributor {
    /// A request body as sent; more is answered with 413.
    pub max_body_bytes: Size,
    /// A request body after decompression; more is answered with 413.
    pub max_decompressed_bytes: Size,
    /// All request bodies in memory at once; more is answered with 503.
    pub max_inflight_bytes: Size,
    /// How long a body may take to arrive, and a tenth of it each of its parts; a slower one is
    /// answered with 408.
    pub body_timeout: Time,
    /// Attributes of one record; a record with more is rejected.
    pub max_attributes: usize,
    /// How deep arrays and maps may nest; a record that goes deeper is rejected.
    pub max_depth: usize,
    /// How far ahead of the clock a record may be; one further ahead is rejected.
    pub max_future: Time,
    /// Remote write of tenants with `accept_ha_samples`: the label that names what several Prometheus
    /// servers scrape. It stays.
    pub ha_cluster_label: String,
    /// The label that names one of those servers. It is taken away.
    pub ha_replica_label: String,
    /// After this silence of the elected server another one's samples are taken.
    pub ha_failover: Time,
}

/// The ingester.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Ingester {
    /// Partitions of each signal whose home this node is. Meta's nodes read it.
    pub partitions_per_signal: usize,
    /// A partition is flushed when its head holds this much memory.
    pub flush_bytes: Size,
    /// A partition is flushed when its oldest record is this old.
    pub flush_age: Time,
    /// Memory of all heads, and of one of them half of it; writers are told to come back beyond it.
    pub head_bytes: Size,
    /// How long flushed records stay readable for queries that began before. They go earlier when
    /// the heads hold over a quarter of `head_bytes`; such queries begin again.
    pub grace: Time,
}

/// Queries.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Query {
    /// How long a query may take.
    pub timeout: Time,
    /// Memory that the operators of one query may hold on one node; beyond it the query fails.
    pub memory_bytes: Size,
    /// Series that one query of PromQL may read; more end it with an error. Each takes about half a
    /// KiB of `memory_bytes`.
    pub max_series: u64,
    /// Samples that one query of PromQL may read; more end it with an error. Each takes 16 bytes of
    /// `memory_bytes`.
    pub max_samples: u64,
    /// Memory for footers and indexes of blocks.
    pub footer_cache_bytes: Size,
    /// Memory for labels of series that were read lately. 0: none.
    pub series_cache_bytes: Size,
    /// Memory for values of PromQL's range queries at past steps, which the same query finds again. 0: none.
    pub results_cache_bytes: Size,
    /// Memory for parts of blocks that were read lately. 0: none.
    pub cache_memory_bytes: Size,
    /// Disk for them; what lies there survives restarts, and may stay for a while after its block
    /// was deleted. 0: none, else at least 64MiB.
    pub cache_disk_bytes: Size,
    /// Where on disk. Empty: `<data_dir>/cache`.
    pub cache_dir: PathBuf,
    /// Whether queries that are asked here are shared out to the other queriers, where there are any.
    /// This one works for others in any case.
    pub distributed: bool,
    /// What a querier reads by itself: a table of which so many bytes must be read, as they lie in
    /// blocks, goes to as many queriers as there are multiples of it.
    pub distributed_bytes: Size,
    /// The same of queries of PromQL, in samples to read: evaluating so many takes a querier some tens of milliseconds,
    /// and asking another a few. Range queries are shared out by time; those that cannot be, and instant queries, by
    /// series, where an aggregation or a long range leaves little of them.
    pub distributed_samples: u64,
}

/// Bonghwa's own telemetry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    /// `tracing` filter, for example `info,openraft=error` or `info,bonghwa_ingester=debug`.
    pub log: String,
    /// `text` or `json`.
    pub log_format: String,
    /// OTLP/HTTP base URL that takes this node's own logs and metrics, for example its own
    /// `http://127.0.0.1:4318`. Empty: none are sent.
    pub otlp_endpoint: String,
    /// How often metrics are sent there.
    pub otlp_interval: Time,
    /// Bearer token that is sent along; empty: none. Never shown.
    pub otlp_token: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            target: "all".into(),
            node_name: String::new(),
            zone: String::new(),
            advertise: String::new(),
            join: String::new(),
            meta_peers: String::new(),
            replication_factor: 0,
            drain_on_shutdown: false,
            data_dir: "./bonghwa-data".into(),
            http_listen: "0.0.0.0:7800".into(),
            grpc_listen: "0.0.0.0:7801".into(),
            otlp_grpc_listen: "0.0.0.0:4317".into(),
            otlp_http_listen: "0.0.0.0:4318".into(),
            object_store: String::new(),
            s3: S3::default(),
            tls: Tls::default(),
            auth: Auth::default(),
            cluster: Cluster::default(),
            distributor: Distributor::default(),
            ingester: Ingester::default(),
            limits: Limits::default(),
            query: Query::default(),
            metrics: Metrics::default(),
            compactor: Compaction::default(),
            retention: Keep::default(),
            scrape: Scrape::default(),
            telemetry: Telemetry::default(),
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        use std::time::Duration;
        Cluster {
            heartbeat: Time(Duration::from_secs(1)),
            unreachable_after: Time(Duration::from_secs(5)),
            lost_after: Time(Duration::from_secs(600)),
            log_heartbeat: Time(Duration::from_millis(200)),
            drain_timeout: Time(Duration::from_secs(300)),
        }
    }
}

impl Default for Distributor {
    fn default() -> Self {
        let options = bonghwa_distributor::Options::default();
        Distributor {
            max_body_bytes: Size(options.max_body_bytes),
            max_decompressed_bytes: Size(options.max_decompressed_bytes),
            max_inflight_bytes: Size(options.max_inflight_bytes),
            body_timeout: Time(options.body_timeout),
            max_attributes: options.decode.attributes.count,
            max_depth: options.decode.max_depth,
            max_future: Time(std::time::Duration::from_nanos(options.decode.max_future_ns as u64)),
            ha_cluster_label: options.replicas.labels.cluster.clone(),
            ha_replica_label: options.replicas.labels.replica.clone(),
            ha_failover: Time(options.replicas.failover_after),
        }
    }
}

impl Default for Ingester {
    fn default() -> Self {
        let options = IngesterOptions::default();
        Ingester {
            partitions_per_signal: 1,
            flush_bytes: Size(options.flush_bytes),
            flush_age: Time(options.flush_age),
            head_bytes: Size(options.head_bytes),
            grace: Time(options.grace),
        }
    }
}

impl Default for Query {
    fn default() -> Self {
        let options = EngineOptions::default();
        Query {
            timeout: Time(options.timeout),
            memory_bytes: Size(options.memory_bytes),
            max_series: options.series.series,
            max_samples: options.series.samples,
            footer_cache_bytes: Size(options.footer_cache_bytes),
            series_cache_bytes: Size(options.series_cache_bytes),
            results_cache_bytes: Size(options.results_cache_bytes),
            cache_memory_bytes: Size(64 << 20),
            cache_disk_bytes: Size(0),
            cache_dir: PathBuf::new(),
            distributed: true,
            distributed_bytes: Size(64 << 20),
            distributed_samples: 2_000_000,
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry {
            log: "info,openraft=error".into(),
            log_format: "text".into(),
            otlp_endpoint: String::new(),
            otlp_interval: Time(std::time::Duration::from_secs(15)),
            otlp_token: String::new(),
        }
    }
}

impl Config {
    /// The roles to run. `all` leaves meta to the nodes that `join` names, if it names any and this is
    /// none of meta's own; and scraping to nodes that are told what to scrape.
    pub fn roles(&self) -> anyhow::Result<Roles> {
        let roles = Roles::parse(&self.target).map_err(|message| anyhow::anyhow!("target: {message}"))?;
        let roles = if self.scrape.is_on() { roles } else { roles.without("scraper") };
        let elsewhere = !self.join.is_empty() && self.meta_peers.is_empty() && self.target.trim() == "all";
        Ok(if elsewhere { roles.without("meta") } else { roles })
    }

    /// The addresses of `join`.
    pub fn join_addresses(&self) -> Vec<String> {
        list(&self.join)
    }

    /// The addresses of `meta_peers`.
    pub fn meta_peer_addresses(&self) -> Vec<String> {
        list(&self.meta_peers)
    }

    /// Ingesters that keep each partition.
    pub fn replication_factor(&self) -> usize {
        match self.replication_factor {
            0 if self.target.trim() == "all" => 1,
            0 => 3,
            given => given,
        }
    }

    /// The log's options.
    pub fn host_options(&self) -> HostOptions {
        let heartbeat = self.cluster.log_heartbeat.0;
        HostOptions { heartbeat, election_min: heartbeat * 3, election_max: heartbeat * 4, ..HostOptions::default() }
    }

    /// Meta's options with these nodes in its group.
    pub fn meta_options(&self, members: BTreeMap<u64, String>) -> MetaOptions {
        let placement = PlacementOptions {
            replication_factor: self.replication_factor(),
            partitions_per_signal: self.ingester.partitions_per_signal,
        };
        let control = ControlOptions {
            unreachable_after: self.cluster.unreachable_after.0,
            lost_after: self.cluster.lost_after.0,
            placement: Some(placement),
        };
        MetaOptions { control, ..MetaOptions::new(members, true) }
    }

    /// The files of TLS; none where it is off.
    pub fn tls_files(&self) -> Option<TlsFiles> {
        let Tls { cert, key, ca, server_name } = &self.tls;
        let server_name = (!server_name.is_empty()).then(|| server_name.clone());
        (!cert.is_empty()).then(|| TlsFiles { cert: cert.into(), key: key.into(), ca: ca.into(), server_name })
    }

    /// The object store's URL, the default one filled in.
    pub fn object_store_url(&self) -> String {
        if self.object_store.is_empty() {
            // A relative data directory is made absolute: file URLs have no relative form.
            let dir = std::path::absolute(&self.data_dir).unwrap_or_else(|_| self.data_dir.clone());
            format!("file://{}/objects", dir.display())
        } else {
            self.object_store.clone()
        }
    }

    /// The distributor's options.
    pub fn distributor_options(&self) -> bonghwa_distributor::Options {
        let mut options = bonghwa_distributor::Options::default();
        let section = &self.distributor;
        options.max_body_bytes = section.max_body_bytes.0;
        options.max_decompressed_bytes = section.max_decompressed_bytes.0;
        options.max_inflight_bytes = section.max_inflight_bytes.0;
        options.body_timeout = section.body_timeout.0;
        options.decode.attributes.count = section.max_attributes;
        options.decode.labels.count = section.max_attributes;
        options.decode.max_depth = section.max_depth;
        options.decode.max_future_ns = section.max_future.0.as_nanos() as i64;
        let retention = self.retention.retention();
        options.max_age = MaxAge::new(move |tenant, signal| retention.longest(tenant.as_str(), signal));
        options.decode.names = self.metrics.strategy().unwrap_or_default();
        options.limits = self.limits.options();
        options.heartbeats = self.metrics.push_up.enabled.then_some(self.metrics.push_up.forget_after.0);
        options.span_metrics = self.metrics.span_metrics.options();
        options.service_graph = self.metrics.service_graph.options();
        options.replicas =
            ReplicaOptions::new(&section.ha_cluster_label, &section.ha_replica_label, section.ha_failover.0);
        options
    }

    /// The ingester's options.
    pub fn ingester_options(&self) -> IngesterOptions {
        IngesterOptions {
            flush_bytes: self.ingester.flush_bytes.0,
            flush_age: self.ingester.flush_age.0,
            head_bytes: self.ingester.head_bytes.0,
            grace: self.ingester.grace.0,
            ..IngesterOptions::default()
        }
    }

    /// The query engine's options.
    pub fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            timeout: self.query.timeout.0,
            memory_bytes: self.query.memory_bytes.0,
            footer_cache_bytes: self.query.footer_cache_bytes.0,
            series_cache_bytes: self.query.series_cache_bytes.0,
            results_cache_bytes: self.query.results_cache_bytes.0,
            metrics: self.metrics.options(),
            series: SeriesLimits { series: self.query.max_series, samples: self.query.max_samples },
            ..EngineOptions::default()
        }
    }

    /// How much of blocks is kept, and where.
    pub fn cache_options(&self) -> CacheOptions {
        let directory = &self.query.cache_dir;
        CacheOptions {
            memory_bytes: self.query.cache_memory_bytes.0,
            disk_bytes: self.query.cache_disk_bytes.0,
            directory: if directory.as_os_str().is_empty() { self.data_dir.join("cache") } else { directory.clone() },
        }
    }

    /// The configuration as YAML, secrets hidden.
    pub fn to_yaml(&self) -> String {
        let mut shown = self.clone();
        for secret in [&mut shown.s3.secret_access_key, &mut shown.telemetry.otlp_token] {
            if !secret.is_empty() {
                *secret = "<hidden>".into();
            }
        }
        serde_yaml_ng::to_string(&shown).unwrap_or_else(|e| format!("# cannot be shown: {e}\n"))
    }
}

/// The parts of a list separated by commas.
fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
