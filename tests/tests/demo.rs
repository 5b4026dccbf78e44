//! The demo's shop fills a server with all three signals and shows answers.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use bonghwa_testkit::tools;
use bonghwa_tests::On;

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_shows_answers_from_all_three_signals() -> Result<()> {
    let mut server = On::Local.server().await?;
    let mut shop = Command::new(tools::python()?);
    shop.arg(tools::tests_dir().join("demo/shop.py"));
    shop.args(["--api", &server.url(""), "--otlp-grpc", &server.otlp_grpc(), "--otlp-http", &server.otlp_http()]);
    shop.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || shop.output()).await??;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    for answer in ["Which services fail", "| payment ", "card declined: amex", "http.server.request.duration", "curl"] {
        ensure!(text.contains(answer), "no {answer:?} in\n{text}");
    }
    server.stop().await
}
