//! Every script of `tests/corpus`: data, queries, what comes of them.
//!
//! `PROMQL_CORPUS=/folder` runs the scripts of another folder instead.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod script;

use std::path::PathBuf;

use script::{Command, Store, check::check, parse};

/// How many cases there are at least: none may get lost.
const CASES: usize = 1_500;

#[test]
fn every_script_holds() {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let other = std::env::var_os("PROMQL_CORPUS").map(PathBuf::from);
    let folder = other.clone().unwrap_or(own);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "test"));
    files.sort();
    let (mut cases, mut failures) = (0, vec![]);
    for file in &files {
        let name = file.file_name().unwrap().to_string_lossy();
        let commands = match parse(&std::fs::read_to_string(file).unwrap()) {
            Ok(commands) => commands,
            Err(error) => {
                failures.push(format!("{name}:{error}"));
                continue;
            }
        };
        let mut store = Store::default();
        for command in commands {
            match command {
                Command::Clear => store = Store::default(),
                Command::Load(loaded) => store.load(loaded),
                Command::Eval(case) => {
                    cases += 1;
                    if let Err(error) = check(&store, &case) {
                        failures.push(format!("{name}:{}: {}: {error}", case.line, case.query));
                    }
                }
            }
        }
    }
    println!("{cases} cases of {} files, {} failed", files.len(), failures.len());
    assert!(failures.is_empty(), "{} of {cases} cases failed:\n{}", failures.len(), failures.join("\n"));
    // The core alone is small; the corpus beside it is not.
    let complete = other.is_none() && files.iter().any(|f| !f.to_string_lossy().contains("core_"));
    assert!(!complete || cases >= CASES, "only {cases} cases of {CASES}");
}
