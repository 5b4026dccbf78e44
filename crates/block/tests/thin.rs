//! What a head keeps of batches shows, and becomes, what the batches themselves do.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use bonghwa_block::{Column, Predicate, SeriesIndex, SeriesRequest, to_record_batch, write_l0};
use bonghwa_model::batch::Batch;
use bonghwa_model::thin::Piece;
use bonghwa_model::told::Told;
use bonghwa_model::{Signal, TenantId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Batches whose rows came in several requests each.
fn requests(rng: &mut StdRng) -> support::TenantBatches {
    let mut requests = Vec::new();
    for (tenant, batch) in support::batches(Signal::Metrics, rng) {
        let senders = rng.random_range(1..6u32);
        let sender: Vec<u32> = (0..batch.rows()).map(|_| rng.random_range(0..senders)).collect();
        for number in 0..senders {
            let rows: Vec<u32> = (0..).zip(&sender).filter(|(_, of)| **of == number).map(|(row, _)| row).collect();
            requests.push((tenant.clone(), Arc::new(batch.take(&rows))));
        }
    }
    requests
}

/// What a head keeps of each request.
fn kept(requests: &[(TenantId, Arc<Batch>)]) -> Vec<Vec<(TenantId, Piece)>> {
    let mut told: HashMap<&TenantId, Told> = HashMap::new();
    let of_request = |(tenant, batch): &'_ (TenantId, Arc<Batch>), told: &mut Told| {
        told.thin(batch).into_iter().map(|piece| (tenant.clone(), piece)).collect::<Vec<_>>()
    };
    requests.iter().map(|request| of_request(request, told.entry(&request.0).or_default())).collect()
}

fn is_thin((_, piece): &&(TenantId, Piece)) -> bool {
    matches!(piece, Piece::Thin(_))
}

#[test]
fn a_block_is_the_same_to_the_byte() {
    let mut thin = 0;
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let requests = requests(&mut rng);
        let options = support::small_options(&mut rng);
        let kept = kept(&requests).concat();
        thin += kept.iter().filter(is_thin).count();
        let whole = support::write(Signal::Metrics, &requests, &options);
        let block = write_l0(Signal::Metrics, "p-0001", 3, 17, support::PATH.into(), &kept, &options).unwrap();
        assert_eq!(block.block, whole.block, "seed {seed}");
        assert!(block.bytes == whole.bytes, "seed {seed}");
    }
    assert!(thin > 200, "{thin}");
}

/// The first requests may be flushed already, by another leader: what told of series is not among the pieces then.
#[tokio::test]
async fn the_last_requests_show_the_same_in_a_block_and_in_a_tail() {
    let rows = |shown: Vec<_>| {
        let mut rows = support::rows(&shown);
        rows.sort();
        rows
    };
    for seed in 0..100 {
        let mut rng = StdRng::seed_from_u64(1000 + seed);
        let all = requests(&mut rng);
        let from = rng.random_range(0..all.len());
        let kept = kept(&all)[from..].concat();
        let columns = support::columns(Signal::Metrics, &mut rng);
        let options = support::small_options(&mut rng);
        let whole = support::write(Signal::Metrics, &all[from..].to_vec(), &options);
        let block = write_l0(Signal::Metrics, "p-0001", 3, 17, support::PATH.into(), &kept, &options).unwrap();
        let stores = [support::store(&whole).await, support::store(&block).await];
        for tenant in whole.block.tenants.iter().map(|rows| TenantId::new(&rows.tenant).unwrap()) {
            let expected = support::scan(&stores[0], &whole, &tenant, &columns, Predicate::default()).await.0;
            let expected = rows(expected);
            let of_block = support::scan(&stores[1], &block, &tenant, &columns, Predicate::default()).await.0;
            assert_eq!(rows(of_block), expected, "seed {seed}");
            let tail = kept.iter().filter(|(of, _)| *of == tenant);
            let tail = tail.map(|(_, piece)| to_record_batch(piece, &columns).unwrap()).collect();
            assert_eq!(rows(tail), expected, "seed {seed}");
        }
        let described = |block: &bonghwa_block::EncodedBlock| {
            let mut tenants = block.block.tenants.clone();
            tenants.iter_mut().for_each(|rows| rows.row_groups.clear());
            tenants
        };
        assert_eq!(described(&block), described(&whole), "seed {seed}");
    }
}

#[test]
fn an_index_of_series_is_the_same() {
    let lists = ["times", "values", "ints", "counts", "sums", "flags", "buckets", "exemplars"];
    let told =
        ["series_id", "name", "type", "unit", "description", "service_name", "scope_name", "resource", "attributes"];
    let columns = told.iter().map(|name| Column::Base(name)).chain(lists.iter().map(|name| Column::List(name)));
    let columns: Vec<Column> = columns.collect();
    for seed in 0..100 {
        let mut rng = StdRng::seed_from_u64(2000 + seed);
        let mut requests = requests(&mut rng);
        requests.iter_mut().for_each(|(tenant, _)| *tenant = TenantId::default_tenant());
        let forgotten = rng.random_range(0..=requests.len() as u64);
        let (mut thin, mut whole) = (SeriesIndex::new(0), SeriesIndex::new(0));
        for ((position, (_, batch)), pieces) in (1..).zip(&requests).zip(kept(&requests)) {
            whole.push(position, batch.clone()).unwrap();
            pieces.into_iter().for_each(|(_, piece)| thin.push(position, piece).unwrap());
            if position == forgotten {
                thin.forget(position / 2).unwrap();
                whole.forget(position / 2).unwrap();
            }
        }
        let time = (i64::MIN, i64::MAX);
        let positions = (whole.after(), requests.len() as u64);
        let request = SeriesRequest { positions, time, columns: &columns, names: &|_| true, services: &[], ids: &[] };
        let [thin, whole] = [thin, whole].map(|index| {
            let mut rows = support::rows(&index.read(&request).unwrap());
            rows.sort();
            rows
        });
        assert_eq!(thin, whole, "seed {seed}");
    }
}
