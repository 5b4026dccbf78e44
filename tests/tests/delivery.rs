//! Real OpenTelemetry SDKs, directly and through a real Collector: every record comes back
//! from SQL and from the trace API with every field as it was sent.

use std::ffi::OsString;

use anyhow::Result;
use bonghwa_testkit::Server;
use bonghwa_testkit::collector::{Collector, Onward};
use bonghwa_tests::{On, on_every_store, python};

on_every_store!(every_field_comes_back);

async fn every_field_comes_back(on: On) -> Result<()> {
    let mut server = on.server().await?;
    deliver(&server, "grpc", server.otlp_grpc(), "direct-grpc", &[]).await?;
    deliver(&server, "http", server.otlp_http(), "direct-http", &[]).await?;
    // OTLP/HTTP is served on the API port too.
    deliver(&server, "http", server.url(""), "api-port", &[]).await?;

    let collector = Collector::start(&server, Onward::Grpc).await?;
    deliver(&server, "grpc", collector.otlp_grpc(), "collector-grpc", &[]).await?;
    collector.stop().await?;

    let collector = Collector::start(&server, Onward::Http).await?;
    deliver(&server, "http", collector.otlp_http(), "collector-http", &[]).await?;
    collector.stop().await?;

    let collector = Collector::start(&server, Onward::HttpJson).await?;
    deliver(&server, "grpc", collector.otlp_grpc(), "collector-json", &["--no-minus-zero"]).await?;
    collector.stop().await?;
    server.stop().await
}

async fn deliver(server: &Server, protocol: &str, endpoint: String, run: &str, more: &[&str]) -> Result<()> {
    let api = server.url("");
    let mut args: Vec<OsString> = vec![];
    for (flag, value) in [("--protocol", protocol), ("--endpoint", &endpoint), ("--api", &api), ("--run", run)] {
        args.extend([flag.into(), value.into()]);
    }
    args.extend(more.iter().map(OsString::from));
    println!("{run}:");
    python("deliver.py", args, vec![]).await
}
