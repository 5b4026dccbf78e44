//! The corpus in parts: what a divisible query gives at some steps is what it gives at them among others, and of any
//! query series may be folded elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod script;

use std::path::PathBuf;

use bonghwa_promql::{Params, Query};
use script::check::{in_parts, in_shares};
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

/// Does something with every case, over the data that is loaded by then; gives what is said of it.
fn each(mut check: impl FnMut(&Store, &Case) -> Vec<String>) -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut failures = vec![];
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let mut store = Store::default();
        for command in parse(&std::fs::read_to_string(&file).unwrap()).unwrap() {
            match command {
                Command::Clear => store = Store::default(),
                Command::Load(loaded) => store.load(loaded),
                Command::Eval(case) => {
                    let said = check(&store, &case).into_iter();
                    failures
                        .extend(said.map(|error| format!("{}:{}: {}: {error}", file.display(), case.line, case.query)));
                }
            }
        }
    }
    failures
}

#[test]
fn every_divisible_case_is_the_same_in_parts() {
    let mut cases = 0;
    let failures = each(|store, case| {
        let params = range(case);
        let divisible = Query::parse(&case.query).is_ok_and(|query| query.is_divisible());
        if !divisible || params.end_ms == params.start_ms {
            return vec![];
        }
        cases += 1;
        let last = (params.end_ms - params.start_ms) / params.step_ms;
        // Each step alone, in the middle, and after the first.
        let cuts = [(1..=last.min(20)).collect(), vec![last.div_euclid(2).max(1)], vec![1]];
        cuts.iter().filter_map(|cuts| in_parts(store, &case.query, params.clone(), cuts).err()).collect()
    });
    println!("{cases} cases in parts, {} failures", failures.len());
    assert!(failures.is_empty(), "{}:\n{}", failures.len(), failures.join("\n"));
    assert!(cases >= CASES, "only {cases} cases of {CASES}");
}

#[test]
fn every_case_is_the_same_in_shares_of_the_series() {
    let failures = each(|store, case| {
        let at_once = [Params::instant(case.start), range(case)].map(|params| in_shares(store, &case.query, params));
        at_once.into_iter().filter_map(Result::err).collect()
    });
    assert!(failures.is_empty(), "{}:\n{}", failures.len(), failures.join("\n"));
}
