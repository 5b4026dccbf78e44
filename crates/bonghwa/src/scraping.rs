//! The scraper writes through a distributor of its own process.

use std::sync::Arc;

use async_trait::async_trait;
use bonghwa_distributor::Receiver;
use bonghwa_model::TenantId;
use bonghwa_scraper::{Rejected, Sink, SinkError};
use bytes::Bytes;

/// Where scrapes go.
pub struct ToDistributor(pub Arc<Receiver>);

#[async_trait]
impl Sink for ToDistributor {
    async fn write(&self, tenant: &TenantId, message: Bytes, key: Bytes) -> Result<Rejected, SinkError> {
        match self.0.write(tenant, message, key).await {
            Ok(taken) => Ok(Rejected { count: taken.lost, message: taken.message, passed_over: taken.passed_over }),
            Err(error) => Err(SinkError { retry: error.retry, after: error.after, message: error.message }),
        }
    }
}
