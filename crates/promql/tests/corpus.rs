//! Every script of `tests/corpus`: data, queries, what comes of them.
//!
//! `PROMQL_CORPUS=/folder` runs the scripts of another folder instead.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod script;

use std::path::{Path, PathBuf};
use std::process::Command as Process;

use script::{Command, Store, check::check, parse};

/// How many cases there are at least: none may get lost.
const CASES: usize = 1_500;

/// How many random cases there are beside them.
const RANDOM_CASES: usize = 2_000;

/// The number of cases of a folder's scripts, and what failed.
fn run(folder: &Path) -> (usize, Vec<String>) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
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
    (cases, failures)
}

#[test]
fn every_script_holds() {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let other = std::env::var_os("PROMQL_CORPUS").map(PathBuf::from);
    let (cases, failures) = run(other.as_ref().unwrap_or(&own));
    assert!(failures.is_empty(), "{} of {cases} cases failed:\n{}", failures.len(), failures.join("\n"));
    assert!(other.is_some() || cases >= CASES, "only {cases} cases of {CASES}");
}

/// Random queries, answered by the reference evaluator of `tests/promql`, over series that a server would have.
#[test]
fn random_scripts_hold() {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/promql/random_corpus.py");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("random_corpus");
    let mut python = Process::new("python3");
    python.arg(script).args(["--seed", "1", "--queries", &RANDOM_CASES.to_string()]).arg(&folder);
    // Python would leave its byte code in the source tree.
    let status = python.env("PYTHONDONTWRITEBYTECODE", "1").status().expect("python3 of the path writes the cases");
    assert!(status.success(), "random_corpus.py: {status}");
    let (cases, failures) = run(&folder);
    assert!(failures.is_empty(), "{} of {cases} cases failed:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(cases, RANDOM_CASES);
}
