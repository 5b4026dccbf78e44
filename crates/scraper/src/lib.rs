//! The scraper: finds targets as Prometheus does, scrapes them, and writes what they expose.
//!
//! The way of a sample: [`config`] says what there is to scrape; `discovery` finds targets, and `target` relabels
//! them; `pool` has each scraped by a task of its own (`runner`), as far as `shards` gives it to this node; `fetch` gets
//! the body, [`parse`] reads it, `ingest` relabels its series and makes messages of remote write of them, which go to
//! a [`Sink`]: the distributor.

mod api;
mod client;
pub mod config;
mod discovery;
mod fetch;
mod ingest;
pub mod labels;
mod memory;
mod metrics;
pub mod parse;
mod pool;
pub mod relabel;
mod runner;
mod scraper;
mod shards;
mod sink;
mod target;
mod tls;

pub use api::{elsewhere, router};
pub use config::{ConfigError, ScrapeConfig};
pub use discovery::Group;
pub use scraper::{Scraper, ScraperOptions};
pub use sink::{Rejected, Sink, SinkError};
