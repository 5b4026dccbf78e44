//! What a distributor does for other distributors.

use async_trait::async_trait;

use crate::{RpcError, v1};

/// A distributor that brings the sides of requests together, or whatever stands for it.
#[async_trait]
pub trait GraphClient: Send + Sync {
    /// Takes sides of requests. What is sent again is counted again.
    async fn pair(&self, request: v1::PairRequest) -> Result<(), RpcError>;
}
