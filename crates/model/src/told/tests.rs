#![allow(clippy::panic)]
use super::*;
use crate::Kind;
use crate::batch::{Resource, Scope};
use crate::metrics::{Metric, MetricRow};

const NUMBER: MetricRow = MetricRow {
    metric: 0,
    series: [0, 0],
    time: 0,
    start_time: 5,
    point_kind: PointKind::Double,
    value: 0,
    count: 0,
    sum: 0.0,
    flags: 0,
    buckets: crate::refs::Ref::EMPTY,
    exemplars: crate::refs::Ref::EMPTY,
};

fn batch(help: &str, rows: &[MetricRow]) -> Arc<Batch> {
    let mut batch = MetricBatch::default();
    batch.common.resources.push(Resource { service_name: "shop".into(), ..Default::default() });
    batch.common.scopes.push(Scope::default());
    batch.metrics.push(Metric { name: "requests".into(), description: help.into(), ..Default::default() });
    for row in rows {
        for key in ["method", "path", "pod"] {
            let key = batch.common.keys.id(key);
            let value = batch.common.arena.push(format!("a value of some length, {}", row.series[1]).as_bytes());
            batch.attributes.push(key, Kind::Str, value.0);
        }
        batch.push_row(*row);
    }
    batch.common.close_group(0, 0, rows.len() as u32);
    Arc::new(Batch::Metrics(batch))
}

/// Of each piece whether it is thin, and series, time, start and value of its rows.
fn shown(pieces: &[Piece]) -> Vec<(bool, Vec<[i64; 4]>)> {
    let piece = |piece: &Piece| match piece {
        Piece::Whole(batch) => {
            let Batch::Metrics(b) = &**batch else { panic!("metrics") };
            let row = |row: usize| [b.series[row][1] as i64, b.time[row], b.start_time[row], b.value[row] as i64];
            (false, (0..b.rows()).map(row).collect())
        }
        Piece::Thin(thin) => {
            let sample = |sample: usize| {
                let (teller, row) = thin.told(sample);
                let series = thin.teller(teller).series[row][1] as i64;
                [series, thin.time(sample), thin.start_time(sample), thin.value(sample) as i64]
            };
            (true, (0..thin.rows()).map(sample).collect())
        }
    };
    pieces.iter().map(piece).collect()
}

fn number(series: u64, time: i64, value: u64) -> MetricRow {
    MetricRow { series: [0, series], time, value, ..NUMBER }
}

#[test]
fn a_series_is_told_of_once() {
    let mut told = Told::default();
    let first = told.thin(&batch("", &[number(1, 10, 1), number(2, 10, 2)]));
    assert_eq!(shown(&first), [(false, vec![[1, 10, 5, 1], [2, 10, 5, 2]])]);
    let second = told.thin(&batch("", &[number(2, 20, 3), number(3, 20, 4), number(1, 20, 5)]));
    assert_eq!(shown(&second), [(false, vec![[3, 20, 5, 4]]), (true, vec![[2, 20, 5, 3], [1, 20, 5, 5]])]);
    // Another start, as after a restart, needs no labels.
    let restarted = MetricRow { start_time: 25, ..number(1, 30, 6) };
    let third = told.thin(&batch("", &[number(3, 30, 7), restarted, number(1, 9, 8)]));
    assert_eq!(shown(&third), [(true, vec![[3, 30, 5, 7], [1, 30, 25, 6], [1, 9, 5, 8]])]);
}

#[test]
fn what_is_more_than_a_number_stays_whole_with_the_rest_of_its_series() {
    let ended = MetricRow { point_kind: PointKind::None, flags: 1, ..number(1, 20, 0) };
    let other_kind = MetricRow { point_kind: PointKind::Int, ..number(1, 20, 0) };
    let counted = MetricRow { count: 1, ..number(1, 20, 0) };
    for odd in [ended, other_kind, counted] {
        let mut told = Told::default();
        told.thin(&batch("", &[number(1, 10, 1), number(2, 10, 2)]));
        // All of one time: their order is to stay.
        let pieces = told.thin(&batch("", &[number(1, 20, 3), number(2, 20, 4), odd, number(1, 20, 5)]));
        let expected = [(false, vec![[1, 20, 5, 3], [1, 20, 5, 0], [1, 20, 5, 5]]), (true, vec![[2, 20, 5, 4]])];
        assert_eq!(shown(&pieces), expected);
        let after = told.thin(&batch("", &[number(1, 30, 6)]));
        assert_eq!(shown(&after), [(true, vec![[1, 30, 5, 6]])]);
    }
}

#[test]
fn another_description_is_told() {
    let mut told = Told::default();
    for (help, is_thin) in
        [("Requests.", false), ("Requests.", true), ("All requests.", false), ("All requests.", true)]
    {
        let pieces = told.thin(&batch(help, &[number(1, 10, 1)]));
        assert_eq!(shown(&pieces), [(is_thin, vec![[1, 10, 5, 1]])], "{help}");
    }
}

#[test]
fn a_sample_takes_few_bytes() {
    let mut told = Told::default();
    let rows = |time: i64| (0..1000).map(|series| number(series, time + series as i64 % 7, series)).collect::<Vec<_>>();
    let first: usize = told.thin(&batch("", &rows(0))).iter().map(Piece::heap_bytes).sum();
    assert!(first > 100_000, "{first}");
    let others: usize = (1..=10).flat_map(|at| told.thin(&batch("", &rows(at)))).map(|piece| piece.heap_bytes()).sum();
    assert!(others <= 21 * 10_000, "{others}");
    assert!(told.heap_bytes() <= 60 * 1000, "{}", told.heap_bytes());
}
