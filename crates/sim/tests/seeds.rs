//! A short run of the simulation: other seeds than the long runs', the same at every commit.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn no_seed_violates_an_invariant() {
    let run = sim(&["--first", "1", "--seeds", "40", "--jobs", "2"]);
    assert!(run.status.success(), "{}", text(&run));
}

/// The hash covers every message, every sync and every fault with its time.
#[test]
fn a_seed_is_a_run() {
    for seed in ["3", "77"] {
        let hash = || {
            let run = sim(&["--quiet", "--seed", seed]);
            let line = text(&run).lines().next().unwrap_or_default().to_owned();
            line.split_once(" simulated").map(|(same, _)| same.to_owned()).unwrap_or(line)
        };
        assert_eq!(hash(), hash());
    }
    assert_ne!(text(&sim(&["--quiet", "--seed", "3"])), text(&sim(&["--quiet", "--seed", "4"])));
}

/// The oracles see what they are there for.
#[test]
fn planted_bugs_are_found() {
    for bug in ["ack-before-quorum", "flush-twice", "commit-without-object", "lying-disk"] {
        let run = sim(&["--first", "1", "--seeds", "20", "--jobs", "2", "--stop", "--bug", bug]);
        assert!(!run.status.success(), "{bug} was not found:\n{}", text(&run));
        assert!(text(&run).contains("VIOLATION"), "{bug}:\n{}", text(&run));
    }
}
