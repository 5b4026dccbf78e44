// What holds for every decoded request, whatever its bytes were.

use bonghwa_model::Kind;
use bonghwa_model::batch::Batch;
use bonghwa_model::codec;
use bonghwa_model::refs::Ref;
use bonghwa_wire::{AttributeLimits, DecodeOptions, Decoded, WireError};

pub fn options() -> DecodeOptions {
    let attributes = AttributeLimits { count: 16, value_bytes: 64, ..Default::default() };
    DecodeOptions {
        now_ns: 1_795_000_000_000_000_000,
        attributes,
        labels: attributes,
        max_line_bytes: 128,
        max_keys: 64,
        max_buckets: 64,
        max_records: 1000,
        max_entries: 10_000,
        max_text_bytes: 1 << 20,
        ..Default::default()
    }
}

pub fn check(decoded: Result<Decoded, WireError>) {
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(error) => {
            assert!(matches!(error.status(), 400 | 413));
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(decoded.rejected, decoded.reasons.iter().map(|r| r.count).sum::<u64>());
    let as_it_came = decoded.rejected == 0 && decoded.cut_values == 0 && decoded.dropped_ids == 0;
    assert_eq!(decoded.message().is_empty(), as_it_came);
    let common = decoded.batch.common();
    assert_eq!(common.groups.last().map_or(0, |g| g.end) as usize, decoded.batch.rows());
    let text = |r: Ref| assert!(std::str::from_utf8(common.arena.bytes(r)).is_ok());
    let json = |r: Ref| {
        if !r.is_empty() {
            serde_json_is_valid(common.arena.bytes(r));
        }
    };
    match &decoded.batch {
        Batch::Logs(b) => {
            b.body.iter().chain(&b.severity_text).chain(&b.event_name).for_each(|r| text(*r));
            let kinds = b.body.iter().zip(&b.body_kind);
            kinds.filter(|(_, kind)| **kind == Kind::Json as u8).for_each(|(r, _)| json(*r));
        }
        Batch::Traces(b) => {
            b.name.iter().chain(&b.trace_state).chain(&b.status_message).for_each(|r| text(*r));
            b.events.iter().chain(&b.links).for_each(|r| json(*r));
            assert!(b.trace_id.iter().all(|id| *id != [0; 16]));
        }
        Batch::Metrics(b) => b.buckets.iter().chain(&b.exemplars).for_each(|r| json(*r)),
    }
    for row in 0..decoded.batch.rows() {
        let attributes = decoded.batch.attributes();
        let mut keys: Vec<u32> = attributes.keys[attributes.range(row)].to_vec();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), attributes.range(row).len());
    }
    for (kind, bits) in decoded.batch.attributes().kinds.iter().zip(&decoded.batch.attributes().values) {
        match Kind::from_u8(*kind).expect("a known kind") {
            Kind::Str => text(Ref(*bits)),
            Kind::Json => json(Ref(*bits)),
            _ => {}
        }
    }
    let again = codec::decode(&codec::encode(&decoded.batch)).expect("the codec reads what it wrote");
    assert_eq!(again.rows(), decoded.batch.rows());
}

fn serde_json_is_valid(bytes: &[u8]) {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).expect("valid JSON");
}
