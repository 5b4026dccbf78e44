//! Scraping, as Prometheus does it.

use std::path::PathBuf;
use std::time::Duration;

use bonghwa_model::TenantId;
use bonghwa_scraper::ScraperOptions;
use serde::{Deserialize, Serialize};

use crate::units::Size;

/// What is scraped, and how much memory that may take.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Scrape {
    /// YAML file in Prometheus' format: `global`, `scrape_configs` and `scrape_config_files` of it are used. Read
    /// again when it changes. Nodes with the role `scraper` share the targets: give all of them the same jobs. Empty:
    /// nothing is scraped here.
    pub config: PathBuf,
    /// The tenant that the series are stored for.
    pub tenant: String,
    /// An uncompressed body, where its job has no `body_size_limit`; a target with more is down.
    pub max_body_bytes: Size,
    /// All bodies, and what is made of them, in memory at once. A scrape waits for memory within its timeout.
    pub max_inflight_bytes: Size,
}

impl Default for Scrape {
    fn default() -> Self {
        Scrape {
            config: PathBuf::new(),
            tenant: TenantId::default_tenant().as_str().into(),
            max_body_bytes: Size(64 << 20),
            max_inflight_bytes: Size(256 << 20),
        }
    }
}

impl Scrape {
    /// Whether there is anything to scrape.
    pub fn is_on(&self) -> bool {
        !self.config.as_os_str().is_empty()
    }

    /// The scraper's options; `patience` is how long meta may be silent.
    pub fn options(&self, patience: Duration) -> Result<ScraperOptions, String> {
        Ok(ScraperOptions {
            config: self.config.clone(),
            tenant: TenantId::new(&self.tenant).map_err(|error| error.to_string())?,
            max_body_bytes: self.max_body_bytes.0,
            max_inflight_bytes: self.max_inflight_bytes.0,
            patience,
        })
    }
}
