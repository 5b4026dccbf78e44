//! A cluster of processes under load, broken in every way that the design promises to bear:
//! `tests/cluster/chaos.py` does it, and ends with a table and a verdict.

use std::ffi::OsString;

use anyhow::{Result, ensure};
use bonghwa_testkit::tools;
use tokio::process::Command;
use tokio::sync::Mutex;

/// Two clusters at once would disturb each other's times.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

async fn chaos(arguments: &[OsString]) -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let script = tools::tests_dir().join("cluster/chaos.py");
    let mut command = Command::new(tools::python()?);
    command.arg(script).arg("--binary").arg(tools::bonghwa()?).args(arguments).kill_on_drop(true);
    // The table goes where the test's output goes.
    ensure!(command.status().await?.success(), "something did not hold: see the table and what is WRONG");
    Ok(())
}

#[tokio::test]
async fn no_acked_record_is_lost_or_doubled_whatever_breaks() -> Result<()> {
    chaos(&[]).await
}

/// What meets flushes that fail: who leads is killed, and cut off, while they are repeated.
#[tokio::test]
async fn nor_over_an_object_store_that_fails() -> Result<()> {
    let events = "kill -9 an ingester that leads,cut a leader off the network,kill -9 a whole zone";
    chaos(&["--s3".into(), tools::s3()?.into(), "--events".into(), events.into()]).await
}
