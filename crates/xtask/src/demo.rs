//! `cargo xtask demo`: a server on the default ports, and a small shop that sends to it.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::progress::{say, show};
use crate::{cargo, setup};

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub struct Args {
    /// End after the first answers, and keep no data
    #[arg(long)]
    once: bool,
    /// Where the server keeps its data
    #[arg(long, default_value = "bonghwa-data")]
    data_dir: PathBuf,
    /// Added to all ports, where the defaults are taken
    #[arg(long, default_value_t = 0)]
    port_offset: u16,
    /// The shop's seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Args {
    fn listen(&self, default: u16) -> String {
        format!("127.0.0.1:{}", default + self.port_offset)
    }

    fn server(&self, data: &Path) -> Result<Command> {
        std::fs::create_dir_all(data)?;
        let log = File::create(data.join("demo.log"))?;
        say(&format!("data in {}, the server's log in {}", data.display(), data.join("demo.log").display()));
        let mut command = Command::new(cargo::server()?);
        command.arg("serve").arg("--data-dir").arg(data);
        // Set-up's, not the server's, which would refuse a setting that it does not know.
        command.env_remove("BONGHWA_CACHE");
        for (flag, port) in [
            ("--http-listen", 7800),
            ("--grpc-listen", 7801),
            ("--otlp-grpc-listen", 4317),
            ("--otlp-http-listen", 4318),
        ] {
            command.args([flag, &self.listen(port)]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    fn shop(&self) -> Result<Command> {
        let mut command = Command::new(setup::cache()?.join("venv/bin/python"));
        command.arg(cargo::root().join("tests/demo/shop.py"));
        command.args(["--api", &format!("http://{}", self.listen(7800))]);
        command.args(["--otlp-grpc", &self.listen(4317)]);
        command.args(["--otlp-http", &format!("http://{}", self.listen(4318))]);
        command.args(["--seed", &self.seed.to_string()]);
        Ok(command)
    }
}

/// Builds, starts, feeds, shows.
pub fn run(args: &Args) -> Result<()> {
    setup::build_tools()?;
    setup::python()?;
    cargo::build_server()?;
    if args.once { once(args) } else { foreground(args) }
}

/// The server becomes this process, so that Ctrl-C ends it as it ends any server; the shop
/// goes on beside it until the same Ctrl-C.
fn foreground(args: &Args) -> Result<()> {
    let data = std::env::current_dir()?.join(&args.data_dir);
    let mut server = args.server(&data)?;
    args.shop()?.arg("--forever").stdin(Stdio::null()).spawn().context("starting the shop")?;
    say("starting the server; Ctrl-C ends it");
    Err(server.exec()).context("starting the server")
}

fn once(args: &Args) -> Result<()> {
    let data = std::env::temp_dir().join(format!("bonghwa-demo-{}", std::process::id()));
    let mut server = Running(args.server(&data)?.spawn().context("starting the server")?);
    let shop = show(&mut args.shop()?);
    let ended = server.0.try_wait()?;
    if shop.is_err() || ended.is_some() {
        eprintln!("{}", std::fs::read_to_string(data.join("demo.log"))?);
    }
    drop(server);
    std::fs::remove_dir_all(&data)?;
    ensure!(ended.is_none(), "the server ended by itself");
    shop
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
