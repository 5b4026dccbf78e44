//! A cluster of processes under load, broken in every way that the design promises to bear:
//! `tests/cluster/chaos.py` does it, and ends with a table and a verdict.

use anyhow::{Result, ensure};
use bonghwa_testkit::tools;
use tokio::process::Command;

#[tokio::test]
async fn no_acked_record_is_lost_or_doubled_whatever_breaks() -> Result<()> {
    let script = tools::tests_dir().join("cluster/chaos.py");
    let mut command = Command::new(tools::python()?);
    command.arg(script).arg("--binary").arg(tools::bonghwa()?).kill_on_drop(true);
    // The table goes where the test's output goes.
    ensure!(command.status().await?.success(), "something did not hold: see the table and what is WRONG");
    Ok(())
}
