//! Random PromQL over the same data: what the server answers is held against a real Prometheus and against the
//! reference evaluator of `tests/promql`. Where an answer differs and no listed reason explains it, the smallest query
//! that shows it is printed with both answers.

use anyhow::Result;
use bonghwa_testkit::tools;
use bonghwa_tests::{On, python};

/// The queries of a seed are the same in each run.
async fn ask(theirs: std::ffi::OsString, queries: &str, seed: &str, more: &[&str]) -> Result<()> {
    let mut server = On::Local.server().await?;
    let mut args: Vec<std::ffi::OsString> = vec!["--ours".into(), server.url("").into(), "--theirs".into(), theirs];
    args.extend(["--send", "--queries", queries, "--seed", seed].map(Into::into));
    args.extend(more.iter().map(Into::into));
    python("../promql/random_queries.py", args, vec![]).await?;
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_prometheus() -> Result<()> {
    ask(tools::prometheus()?.into(), "8000", "1", &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_on_native_histograms_are_those_of_the_reference() -> Result<()> {
    ask("reference".into(), "5000", "2", &["--native"]).await
}
