//! Damaged and truncated objects give errors that name the object, and never a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod support;

use std::sync::Arc;

use bonghwa_block::{
    BlockError, BlockReader, Column, EncodedBlock, FooterCache, Predicate, ScanRequest, base_columns, read_footer,
};
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

async fn read_all(block: &EncodedBlock, signal: Signal) -> Result<usize, BlockError> {
    let store = support::store(block).await;
    let description = v1::Block { bytes: block.bytes.len() as u64, ..block.block.clone() };
    let reader = BlockReader::open(store, Arc::new(description), &FooterCache::new(1 << 20)).await?;
    let mut rows = 0;
    for tenant in ["default", "team-a", "Team-B"] {
        let request = ScanRequest {
            tenant: TenantId::new(tenant).unwrap(),
            columns: base_columns(signal).iter().map(|c| Column::Base(c.name)).collect(),
            predicate: Predicate { tokens: vec!["GET".into()], min_time: 0, ..Default::default() },
        };
        let plan = reader.plan(&request).await?;
        rows += reader.scan(plan).try_fold(0, |n, b| async move { Ok(n + b.num_rows()) }).await?;
    }
    Ok(rows)
}

fn sample(signal: Signal, rng: &mut StdRng) -> EncodedBlock {
    loop {
        let batches = support::batches(signal, rng);
        if batches.iter().map(|(_, b)| b.rows()).sum::<usize>() > 40 {
            return support::write(signal, &batches, &support::small_options(rng));
        }
    }
}

#[tokio::test]
async fn damage_is_an_error_or_harmless() {
    let mut rng = StdRng::seed_from_u64(11);
    let mut errors = 0;
    for signal in Signal::ALL {
        let whole = sample(signal, &mut rng);
        for _ in 0..250 {
            let mut bytes = whole.bytes.to_vec();
            if rng.random_bool(0.3) {
                bytes.truncate(rng.random_range(0..bytes.len()));
            } else {
                // Half of the damage hits the footer, where the reader trusts most.
                let from = if rng.random() { 0 } else { bytes.len() - bytes.len() / 4 };
                for _ in 0..rng.random_range(1..4) {
                    let at = rng.random_range(from..bytes.len());
                    bytes[at] = rng.random();
                }
            }
            let damaged = EncodedBlock { bytes: bytes.into(), ..whole.clone() };
            // Panics inside the Parquet crate would be ours to hide from the process.
            if let Err(error) = tokio::spawn(async move { read_all(&damaged, signal).await }).await.expect("no panic") {
                assert!(!error.retryable(), "{error}");
                assert!(error.to_string().contains(support::PATH), "{error}");
                errors += 1;
            }
        }
    }
    assert!(errors > 300, "{errors}");
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let missing = read_footer(&store, support::PATH).await.unwrap_err();
    assert!(!missing.retryable() && missing.to_string().contains(support::PATH), "{missing}");

    store.put(&support::PATH.into(), "no parquet at all, but long enough".into()).await.unwrap();
    let text = read_footer(&store, support::PATH).await.unwrap_err().to_string();
    assert!(text.contains("is damaged"), "{text}");

    let foreign = {
        let schema =
            arrow_schema::Schema::new(vec![arrow_schema::Field::new("a", arrow_schema::DataType::Int32, true)]);
        let writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), Arc::new(schema), None).unwrap();
        writer.into_inner().unwrap()
    };
    store.put(&support::PATH.into(), foreign.into()).await.unwrap();
    let text = read_footer(&store, support::PATH).await.unwrap_err().to_string();
    assert!(text.contains("no block of Bonghwa"), "{text}");

    let mut rng = StdRng::seed_from_u64(5);
    let logs = sample(Signal::Logs, &mut rng);
    let wrong = bonghwa_block::write_l0(
        Signal::Metrics,
        "p",
        0,
        1,
        support::PATH.into(),
        &support::batches(Signal::Logs, &mut rng),
        &Default::default(),
    );
    assert!(wrong.unwrap_err().to_string().contains("logs"));
    drop(logs);
}
