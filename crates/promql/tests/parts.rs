//! The corpus in parts: what a divisible query gives at some steps is what it gives at them among others.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod script;

use std::path::PathBuf;

use bonghwa_promql::{Params, Query};
use script::check::in_parts;
use script::{Case, Command, Store, parse};

/// How many cases are divisible at least.
const CASES: usize = 1_000;

/// A case as a range query of several steps.
fn range(case: &Case) -> Params {
    match case.step {
        0 => Params::range(case.start - 120_000, case.start + 120_000, 60_000),
        step => Params::range(case.start, case.end, step),
    }
}

#[test]
fn every_divisible_case_is_the_same_in_parts() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let (mut cases, mut failures) = (0, vec![]);
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let mut store = Store::default();
        for command in parse(&std::fs::read_to_string(&file).unwrap()).unwrap() {
            match command {
                Command::Clear => store = Store::default(),
                Command::Load(loaded) => store.load(loaded),
                Command::Eval(case) => {
                    let params = range(&case);
                    let divisible = Query::parse(&case.query).is_ok_and(|query| query.is_divisible());
                    if !divisible || params.end_ms == params.start_ms {
                        continue;
                    }
                    cases += 1;
                    let last = (params.end_ms - params.start_ms) / params.step_ms;
                    // Each step alone, in the middle, and after the first.
                    let alone: Vec<i64> = (1..=last.min(20)).collect();
                    for cuts in [alone, vec![last.div_euclid(2).max(1)], vec![1]] {
                        if let Err(error) = in_parts(&store, &case.query, params.clone(), &cuts) {
                            failures.push(format!("{}:{}: {}: {error}", file.display(), case.line, case.query));
                        }
                    }
                }
            }
        }
    }
    println!("{cases} cases in parts, {} failures", failures.len());
    assert!(failures.is_empty(), "{}:\n{}", failures.len(), failures.join("\n"));
    assert!(cases >= CASES, "only {cases} cases of {CASES}");
}
