//! The S3 server of the tests as a process: `s3 ADDRESS DIRECTORY SEED`.
//!
//! Its first line says, as JSON, how to reach it: `object_store`, `endpoint` and the environment with
//! the credentials. Then it does what lines on its input say: `weather` (a few requests of a hundred
//! fail), `outage`, `clear`. At the end of its input it says how often each fault struck, and ends.

use anyhow::{Context, Result, bail};
use bonghwa_testkit::{FaultMix, S3};
use serde_json::{Map, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, directory, seed] = arguments.as_slice() else { bail!("usage: s3 ADDRESS DIRECTORY SEED") };
    let address = address.parse().with_context(|| format!("ADDRESS is {address:?}: it must be IP:PORT"))?;
    let seed = seed.parse().with_context(|| format!("SEED is {seed:?}: it must be a number"))?;
    let s3 = S3::start_on(address, directory.into(), seed).await?;
    let env: Map<_, _> = s3.env().into_iter().map(|(name, value)| (name, value.into())).collect();
    println!("{}", json!({ "object_store": s3.url(), "endpoint": s3.endpoint(), "env": env }));

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        s3.faults().set(match line.as_str() {
            "weather" => FaultMix::weather(),
            "outage" => FaultMix::outage(),
            "clear" => FaultMix::default(),
            other => bail!("{other:?} is none of weather, outage, clear"),
        });
    }
    println!("{}", s3.faults());
    Ok(())
}
