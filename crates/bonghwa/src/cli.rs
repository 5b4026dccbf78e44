//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use bonghwa_scraper::ScrapeConfig;
use clap::{Args, Parser, Subcommand};

use crate::config::{Config, load};
use crate::{auth, commands};

/// Logs, metrics and traces in one system: OTLP, remote write and scrapes in, Parquet on object storage, PromQL and
/// SQL out.
#[derive(Parser)]
#[command(name = "bonghwa", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    Serve(ServeFlags),
    /// Check or show the configuration that `serve` would use.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask a running server.
    #[command(subcommand)]
    Query(commands::query::QueryCommand),
    /// Look into a block.
    #[command(subcommand)]
    Block(BlockCommand),
    /// Repair the control plane.
    #[command(subcommand)]
    Meta(MetaCommand),
    /// Check what lies here, without a server.
    #[command(subcommand)]
    Check(commands::check::CheckCommand),
    /// Show the ring of a running cluster: nodes, partitions, leaders, watermarks.
    Ring(commands::ring::RingArgs),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say whether the configuration, and the files of callers and of jobs to scrape that it names, can be used; the
    /// exit code tells.
    Check(ServeFlags),
    /// Print the configuration as YAML, defaults filled in and secrets hidden.
    Show(ServeFlags),
    /// Print the right that each route asks for, where authentication is on.
    Rights,
}

#[derive(Subcommand)]
enum BlockCommand {
    /// Print a block's schema, tenants, row groups, bytes per column and indexes as JSON.
    Inspect {
        /// A Parquet file that Bonghwa wrote.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum MetaCommand {
    /// Recreate the catalog of an empty data directory from the blocks in the object store.
    /// The server must not run.
    Rebuild(ServeFlags),
}

/// The flags of `serve`; each has a key of the same name in the configuration file and an
/// environment variable `BONGHWA_<KEY>`, sections separated by two underscores.
#[derive(Args, Default)]
pub struct ServeFlags {
    /// Configuration file (YAML).
    #[arg(long, env = "BONGHWA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Roles to run: all, or some of distributor, ingester, meta, querier, compactor, scraper, separated by commas
    /// [default: all].
    #[arg(long)]
    target: Option<String>,
    /// This node's name [default: host name].
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// This node's failure domain; replicas go to distinct zones where there are enough.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Where other nodes reach this one's gRPC [default: the host name with grpc-listen's port].
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// gRPC addresses of meta nodes, separated by commas.
    #[arg(long, value_name = "HOST:PORT,...")]
    join: Option<String>,
    /// For meta nodes: the gRPC addresses of all of them, this one included, separated by commas.
    #[arg(long, value_name = "HOST:PORT,...")]
    meta_peers: Option<String>,
    /// Ingesters that keep each partition; for meta nodes [default: 1 with `--target all`, else 3].
    #[arg(long, value_name = "N")]
    replication_factor: Option<String>,
    /// Leave the cluster for good when told to stop: partitions are replaced and flushed first.
    #[arg(long)]
    drain_on_shutdown: bool,
    /// Log and, by default, blocks [default: ./bonghwa-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// HTTP APIs [default: 0.0.0.0:7800].
    #[arg(long, value_name = "IP:PORT")]
    http_listen: Option<String>,
    /// gRPC between roles [default: 0.0.0.0:7801].
    #[arg(long, value_name = "IP:PORT")]
    grpc_listen: Option<String>,
    /// OTLP over gRPC [default: 0.0.0.0:4317].
    #[arg(long, value_name = "IP:PORT")]
    otlp_grpc_listen: Option<String>,
    /// OTLP over HTTP [default: 0.0.0.0:4318].
    #[arg(long, value_name = "IP:PORT")]
    otlp_http_listen: Option<String>,
    /// file:///path, s3://bucket/prefix or memory:// [default: file://DATA_DIR/objects].
    #[arg(long, value_name = "URL")]
    object_store: Option<String>,
    /// URL of an S3-compatible server.
    #[arg(long, value_name = "URL")]
    s3_endpoint: Option<String>,
    /// What to scrape, in Prometheus' format (YAML): its scrape_configs. Read again when it changes.
    #[arg(long, value_name = "FILE")]
    scrape_config: Option<String>,
    /// TLS between roles: this node's certificate chain (PEM).
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// TLS between roles: its private key (PEM).
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// TLS between roles: the authorities that other nodes' certificates must come from (PEM).
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<String>,
}

impl ServeFlags {
    fn load(self) -> Result<Config> {
        let flags = [
            ("target", self.target),
            ("node_name", self.node_name),
            ("zone", self.zone),
            ("advertise", self.advertise),
            ("join", self.join),
            ("meta_peers", self.meta_peers),
            ("replication_factor", self.replication_factor),
            ("drain_on_shutdown", self.drain_on_shutdown.then(|| "true".to_owned())),
            ("data_dir", self.data_dir),
            ("http_listen", self.http_listen),
            ("grpc_listen", self.grpc_listen),
            ("otlp_grpc_listen", self.otlp_grpc_listen),
            ("otlp_http_listen", self.otlp_http_listen),
            ("object_store", self.object_store),
            ("s3.endpoint", self.s3_endpoint),
            ("scrape.config", self.scrape_config),
            ("tls.cert", self.tls_cert),
            ("tls.key", self.tls_key),
            ("tls.ca", self.tls_ca),
        ];
        let flags: Vec<(&str, String)> = flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        Ok(load(self.config.as_deref(), std::env::vars(), &flags)?)
    }
}

/// Runs a command to its end.
pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Serve(flags) => {
            let config = flags.load()?;
            let runtime = runtime()?;
            let result = runtime.block_on(crate::serve::serve(config));
            // All that is durable is closed by now. A query that computes without a pause would
            // otherwise keep the process for as long as it likes.
            runtime.shutdown_timeout(Duration::from_secs(1));
            result
        }
        Command::Config(ConfigCommand::Check(flags)) => {
            let config = flags.load()?;
            if config.auth.enabled {
                auth::read(&config.auth.file).context("auth.file")?;
            }
            if config.scrape.is_on() {
                ScrapeConfig::load(&config.scrape.config).context("scrape.config")?;
            }
            println!("the configuration is good");
            Ok(())
        }
        Command::Config(ConfigCommand::Show(flags)) => {
            print!("{}", flags.load()?.to_yaml());
            Ok(())
        }
        Command::Config(ConfigCommand::Rights) => {
            for (path, needs) in auth::routes::ROUTES {
                println!("{:<9} {path}", needs.as_str());
            }
            Ok(())
        }
        Command::Query(command) => runtime()?.block_on(commands::query::run(command)),
        Command::Check(command) => match commands::check::run(&command)? {
            0 => Ok(()),
            code => std::process::exit(code.into()),
        },
        Command::Ring(args) => runtime()?.block_on(commands::ring::run(args)),
        Command::Block(BlockCommand::Inspect { file }) => runtime()?.block_on(commands::block::inspect(&file)),
        Command::Meta(MetaCommand::Rebuild(flags)) => runtime()?.block_on(commands::meta::rebuild(flags.load()?)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
