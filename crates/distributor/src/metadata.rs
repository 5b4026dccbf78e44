//! Which metadata of metrics was stored lately. Senders repeat it every minute or with every sample.

use std::collections::HashMap;
use std::time::Duration;

use bonghwa_cluster::seam::Instant;
use bonghwa_model::TenantId;
use bonghwa_model::prometheus::Metadata;
use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

/// What is repeated after so long is stored again: queries need not look back farther.
const AGAIN: Duration = Duration::from_secs(3600);
/// Families of all tenants that are remembered, about 10 MB. Those beyond are stored whenever they come.
const MOST: usize = 200_000;

/// The metadata that was stored lately, by hash. Only saves work: a node that forgets it stores it again.
#[derive(Default)]
pub(crate) struct Described {
    known: Mutex<HashMap<u128, Instant>>,
}

impl Described {
    /// The number of the period in which a time (Unix nanoseconds) lies.
    pub(crate) fn period(unix_nanos: i64) -> u64 {
        unix_nanos.max(0) as u64 / AGAIN.as_nanos() as u64
    }

    /// Whether it is to be stored.
    pub(crate) fn is_new(&self, tenant: &TenantId, metadata: &Metadata, now: Instant) -> bool {
        let known = self.known.lock();
        known.get(&hash(tenant, metadata)).is_none_or(|at| now.saturating_duration_since(*at) > AGAIN)
    }

    /// Remembers what was stored.
    pub(crate) fn remember(&self, tenant: &TenantId, stored: &[Metadata], now: Instant) {
        let mut known = self.known.lock();
        if known.len() + stored.len() > MOST {
            known.retain(|_, at| now.saturating_duration_since(*at) <= AGAIN);
        }
        let room = MOST.saturating_sub(known.len());
        known.extend(stored.iter().take(room).map(|metadata| (hash(tenant, metadata), now)));
    }
}

fn hash(tenant: &TenantId, metadata: &Metadata) -> u128 {
    let mut hasher = Xxh3::new();
    for text in [tenant.as_str(), &metadata.family, &metadata.help, &metadata.unit] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(&[metadata.metric_type]);
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bonghwa_cluster::seam;

    use super::*;

    #[test]
    fn metadata_is_stored_once_an_hour() {
        let described = Described::default();
        let (shop, bank) = (TenantId::new("shop").unwrap(), TenantId::new("bank").unwrap());
        let up = Metadata { family: "up".into(), metric_type: 2, ..Default::default() };
        let other = Metadata { help: "whether it is up".into(), ..up.clone() };
        let start = seam::now();
        assert!(described.is_new(&shop, &up, start));
        assert!(described.is_new(&shop, &up, start), "until it is stored");
        described.remember(&shop, std::slice::from_ref(&up), start);
        assert!(!described.is_new(&shop, &up, start + AGAIN));
        assert!(described.is_new(&shop, &up, start + 2 * AGAIN));
        assert!(described.is_new(&bank, &up, start), "tenants have their own");
        assert!(described.is_new(&shop, &other, start), "what changed is new");
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let described = Described::default();
        let tenant = TenantId::default_tenant();
        let family = |n: usize| Metadata { family: format!("m{n}"), ..Default::default() };
        let many: Vec<Metadata> = (0..MOST + 10).map(family).collect();
        let start = seam::now();
        described.remember(&tenant, &many, start);
        assert_eq!(described.known.lock().len(), MOST);
        assert!(described.is_new(&tenant, &many[MOST], start));
        described.remember(&tenant, &many[MOST..], start + 2 * AGAIN);
        assert_eq!(described.known.lock().len(), 10, "what is old makes room");
    }
}
