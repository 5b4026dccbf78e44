//! Child processes on cores of their own, and what they cost.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bonghwa_testkit::wait;
use serde::Serialize;

/// The server's core. The sender has the other one.
pub const SERVER: &str = "0";
/// Both cores, for the peak.
pub const BOTH: &str = "0,1";
const SENDER: &str = "1";

/// The kernel shows CPU time to programs in hundredths of a second on every architecture.
const TICK: Duration = Duration::from_millis(10);
const STOP: Duration = Duration::from_secs(60);

/// Pins this process, the sender, to its core.
pub fn pin_sender() -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    ensure!(cores >= 2, "the benchmark needs two cores: one for the server, one for the sender");
    let pid = std::process::id().to_string();
    let output = Command::new("taskset").args(["-a", "-c", "-p", SENDER, &pid]).output().context("starting taskset")?;
    ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What a process used so far.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Usage {
    /// User and system time of all its threads.
    pub cpu: Duration,
    /// Resident memory now, bytes.
    pub memory: u64,
    /// Resident memory at most, bytes.
    pub peak: u64,
}

/// What to start.
pub struct Program {
    /// For messages.
    pub name: &'static str,
    pub file: PathBuf,
    pub args: Vec<OsString>,
    /// As for `taskset -c`.
    pub cores: &'static str,
    /// Takes its output.
    pub log: PathBuf,
}

/// A running child. Dropped, it is killed: it and no other.
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn start(program: Program) -> Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(&program.log)?;
        // taskset becomes the program: the process id stays.
        let child = Command::new("taskset")
            .args(["-c", program.cores])
            .arg(&program.file)
            .args(&program.args)
            // Meant for the tools that start the benchmark, unknown to a server.
            .env_remove("BONGHWA_CACHE")
            .env_remove("BONGHWA_BIN")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", program.file.display()))?;
        Ok(Process { name: program.name, child, log: program.log })
    }

    pub fn usage(&self) -> Result<Usage> {
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", self.child.id());
            std::fs::read_to_string(path).with_context(|| format!("{} does not run\n{}", self.name, self.log()))
        };
        let (memory, peak) = memory(&read("status")?)?;
        Ok(Usage { cpu: cpu(&read("stat")?)?, memory, peak })
    }

    /// Polls `url` until it answers well.
    pub async fn ready(&mut self, http: &reqwest::Client, url: &str, within: Duration) -> Result<()> {
        let what = format!("{} becomes ready", self.name);
        let answer = wait::until(&what, within, || {
            let ended = self.child.try_wait();
            let request = http.get(url).send();
            async move {
                // An exit is final: no reason to poll on.
                if let Ok(Some(status)) = ended {
                    return Ok(Err(status));
                }
                match request.await {
                    Ok(answer) if answer.status().is_success() => Ok(Ok(())),
                    Ok(answer) => Err(answer.status().to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
        });
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => bail!("{} ended with {status}\n{}", self.name, self.log()),
            Err(error) => Err(error.context(self.log())),
        }
    }

    /// Memory once it no longer moves: within 1 % over five looks, a second apart.
    pub async fn settled_memory(&self, within: Duration) -> Result<u64> {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        let mut looks: Vec<u64> = vec![];
        for _ in 0..within.as_secs() {
            seconds.tick().await;
            looks.push(self.usage()?.memory);
            if let Some(last) = looks.last_chunk::<5>() {
                let (low, high) = last.iter().fold((u64::MAX, 0), |(low, high), m| (low.min(*m), high.max(*m)));
                if high - low <= high / 100 {
                    return Ok(high);
                }
            }
        }
        bail!("the memory of {} still moves after {within:?}: {looks:?}", self.name)
    }

    /// Waits for the process to end by itself, and well.
    pub async fn end(&mut self, within: Duration) -> Result<()> {
        let what = format!("{} ends", self.name);
        let status = wait::until(&what, within, || {
            let status = self.child.try_wait();
            async move { status.map_err(|e| e.to_string())?.ok_or_else(|| "it still runs".to_owned()) }
        });
        let status = status.await.with_context(|| self.log())?;
        ensure!(status.success(), "{} ended with {status}\n{}", self.name, self.log());
        Ok(())
    }

    /// Asks the process to end and waits until it has.
    pub async fn stop(mut self) -> Result<()> {
        // The standard library can only send SIGKILL.
        let pid = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status()?;
        ensure!(sent.success(), "could not signal {}", self.name);
        let what = format!("{} ends after SIGTERM", self.name);
        let ended = wait::until(&what, STOP, || {
            let status = self.child.try_wait();
            async move { status.map_err(|e| e.to_string())?.ok_or_else(|| "it still runs".to_owned()) }
        });
        ended.await.with_context(|| self.log()).map(drop)
    }

    /// The end of what it printed.
    fn log(&self) -> String {
        let text = std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time from `/proc/PID/stat`.
pub fn cpu(stat: &str) -> Result<Duration> {
    // The second field is the program's name in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
    let ticks = |nth: usize| -> Result<u32> {
        Ok(fields.split_whitespace().nth(nth).context("/proc/PID/stat is short")?.parse()?)
    };
    Ok(TICK * (ticks(11)? + ticks(12)?))
}

/// VmRSS and VmHWM from `/proc/PID/status`, in bytes.
pub fn memory(status: &str) -> Result<(u64, u64)> {
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find(|l| l.starts_with(name)).with_context(|| format!("no {name}"))?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse::<u64>()? * 1024)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// A loopback port that nobody listens on.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Bytes of all files below a directory.
pub fn directory_size(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for file in files(dir)? {
        match file.metadata() {
            Ok(metadata) => bytes += metadata.len(),
            // A server merges and deletes while it is looked at.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        }
    }
    Ok(bytes)
}

/// All files below a directory.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        entries => entries.with_context(|| dir.display().to_string())?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() -> Result<()> {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 2 0 0 0 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu(stat)?, Duration::from_secs(3));
        Ok(())
    }

    #[test]
    fn memory_is_in_bytes() -> Result<()> {
        assert_eq!(memory("Name:\tx\nVmHWM:\t  20 kB\nVmRSS:\t  10 kB\n")?, (10_240, 20_480));
        Ok(())
    }
}
