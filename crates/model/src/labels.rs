//! Tenants as labels of metrics, so that made-up names cost no memory for good.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::TenantId;

/// Names come from headers: anybody can make up new ones, and a label costs memory for good.
const MAX_TENANTS: usize = 1_000;

/// The tenants that have a label of their own.
#[derive(Debug, Default)]
pub struct TenantLabels {
    known: Mutex<HashSet<TenantId>>,
}

impl TenantLabels {
    /// The tenant's label: its name, or `other` for those that came after the first thousand.
    pub fn of(&self, tenant: &TenantId) -> String {
        // The set is whole after every step: a panic elsewhere does not spoil it.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let room = known.len() < MAX_TENANTS;
        if known.contains(tenant) || (room && known.insert(tenant.clone())) {
            return tenant.to_string();
        }
        "other".to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_thousand_have_names() {
        let labels = TenantLabels::default();
        let of = |n: usize| labels.of(&TenantId::new(&format!("t{n}")).unwrap());
        for n in 0..MAX_TENANTS {
            assert_eq!(of(n), format!("t{n}"));
        }
        assert_eq!((of(MAX_TENANTS), of(0)), ("other".to_owned(), "t0".to_owned()));
    }
}
