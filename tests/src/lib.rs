//! What the end-to-end tests share. The tests themselves are in `tests/tests`, one file a subject.

pub mod callers;
pub mod nodes;
pub mod prometheus;
pub mod queriers;
pub mod questions;
pub mod remote_read;

use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::{S3, Server, Store, tools};

/// Runs one of `tests/python`'s scripts to its end and prints what it prints.
pub async fn python(script: &str, args: Vec<OsString>, env: Vec<(String, String)>) -> Result<()> {
    let mut command = Command::new(tools::python()?);
    command.arg(tools::tests_dir().join("python").join(script)).args(args).envs(env);
    // Python would leave its byte code in the source tree.
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await?.context("starting Python")?;
    let text = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    ensure!(output.status.success(), "{script} ended with {}:\n{text}", output.status);
    print!("{text}");
    Ok(())
}

/// The kinds of object store that every functional test runs on.
#[derive(Clone, Copy, Debug)]
pub enum On {
    /// A local directory: the default.
    Local,
    /// An S3 server.
    S3,
}

impl On {
    /// A fresh store of this kind.
    pub async fn store(self) -> Result<Store> {
        Ok(match self {
            On::Local => Store::Local,
            On::S3 => Store::S3(S3::start(0).await?),
        })
    }

    /// A server on a fresh store of this kind.
    pub async fn server(self) -> Result<Server> {
        Server::start(self.store().await?).await
    }
}

/// Makes a test of an async function that takes an [`On`], once for each kind of store.
#[macro_export]
macro_rules! on_every_store {
    ($test:ident) => {
        mod $test {
            #[tokio::test(flavor = "multi_thread")]
            async fn on_a_local_directory() -> anyhow::Result<()> {
                super::$test($crate::On::Local).await
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_s3() -> anyhow::Result<()> {
                super::$test($crate::On::S3).await
            }
        }
    };
}
