//! The commands about metrics: `query promql` and `check metrics`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::tools;
use bonghwa_tests::On;
use bonghwa_tests::prometheus::messages::{sample, series};
use bonghwa_tests::prometheus::{now, store};
use serde_json::Value;

async fn run(args: &[&str]) -> Result<String> {
    let args: Vec<&std::ffi::OsStr> = args.iter().map(|arg| (*arg).as_ref()).collect();
    tools::run(&args).await
}

#[tokio::test(flavor = "multi_thread")]
async fn promql_is_a_table_and_a_line() -> Result<()> {
    let mut server = On::Local.server().await?;
    let end = now() / 60_000 * 60_000;
    let of = |pod: &str, factor: f64| {
        let samples = (0..60).map(|n| sample(n as f64 * factor, end - (59 - n) * 60_000));
        series(&[("__name__", "climbs"), ("pod", pod)], samples.collect())
    };
    store(&server, vec![of("a", 1.0), of("b", -2.0)]).await?;
    let address = server.url("");
    let at = (end / 1_000).to_string();
    let ask = async |more: &[&str]| run(&[&["query", "promql", "--address", &address], more].concat()).await;

    let table = ask(&["climbs", "--time", &at]).await?;
    let lines: Vec<&str> = table.lines().collect();
    ensure!(
        lines[0].starts_with("series") && lines[2].starts_with("climbs{pod=\"a\"}") && lines[2].ends_with("59"),
        "{table}"
    );
    ensure!(lines[3].ends_with("-118") && lines[4] == "(2 rows)", "{table}");

    let start = (end / 1_000 - 59 * 60).to_string();
    let range = ask(&["climbs", "--start", &start, "--end", &at, "--step", "1m"]).await?;
    let lines: Vec<&str> = range.lines().collect();
    let blocks = |line: &str| line.chars().filter(|c| ('▁'..='█').contains(c)).collect::<String>();
    let (up, down) = (blocks(lines[2]), blocks(lines[3]));
    ensure!(up.chars().count() == 60 && up.starts_with('▁') && up.ends_with('█'), "{range}");
    ensure!(down.starts_with('█') && down.ends_with('▁') && lines[3].contains("-118"), "{range}");

    let json: Value = serde_json::from_str(&ask(&["sum(climbs)", "--time", &at, "--output", "json"]).await?)?;
    ensure!(json["data"]["result"][0]["value"][1] == "-59", "{json}");
    for (more, word) in [
        (&["sum("][..], "parse error"),
        (&["1", "--time", "now+1h"], "no time"),
        (&["1", "--end", "now"], "--start"),
        (&["1", "--time", "now", "--start", "now-1h"], "cannot be used with"),
    ] {
        let refused = ask(more).await.err().with_context(|| format!("{more:?} is answered"))?;
        ensure!(format!("{refused:#}").contains(word), "{more:?}: {refused:#}");
    }
    server.stop().await
}

/// Checks a text: exit code and what is said.
fn check(text: &str) -> Result<(i32, String)> {
    let mut command = Command::new(tools::bonghwa()?);
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn()?;
    process.stdin.take().context("no standard input")?.write_all(text.as_bytes())?;
    let output = process.wait_with_output()?;
    let said = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    Ok((output.status.code().unwrap_or(-1), said))
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_checked() -> Result<()> {
    for (text, code, word) in [
        ("# HELP a_total A.\n# TYPE a_total counter\na_total 1\n", 0, "1 metrics, 0 problems"),
        ("a 1\n", 3, "a no help text"),
        ("# HELP b B.\n# TYPE b counter\nb 1\n", 3, "b counters should have the suffix"),
        ("a 1\na 2\n", 1, "line 2: the series a{} is there twice"),
        ("a{x=1} 1\n", 1, "line 1"),
        ("", 0, "0 metrics"),
    ] {
        let (found, said) = check(text)?;
        ensure!(found == code && said.contains(word), "{text:?}: {found} {said}");
    }
    // Its own are as they should be.
    let mut server = On::Local.server().await?;
    let own = server.http().get(server.url("/metrics")).send().await?.text().await?;
    let (code, said) = check(&own)?;
    ensure!(matches!(code, 0 | 3), "{code}: {said}");
    println!("of Bonghwa's own: {said}");
    server.stop().await
}
