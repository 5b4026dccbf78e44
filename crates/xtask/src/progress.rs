//! What a person sees while a long task runs: each step with the time it started and took.

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const SIGN_OF_LIFE: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(100);

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// Prints a line with the time since the start.
pub fn say(text: &str) {
    let seconds = start().elapsed().as_secs();
    eprintln!("[{:2}:{:02}] {text}", seconds / 60, seconds % 60);
}

/// Runs a command whose output the person wants to see.
pub fn show(command: &mut Command) -> Result<()> {
    say(&line(command));
    let status = command.status().with_context(|| format!("starting {:?}", command.get_program()))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// Runs a command whose output matters only if it fails.
pub fn quietly(what: &str, command: &mut Command) -> Result<()> {
    say(what);
    let began = Instant::now();
    let log = std::env::temp_dir().join(format!("xtask-{}.log", std::process::id()));
    let file = File::create(&log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    let mut next = SIGN_OF_LIFE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if began.elapsed() >= next {
            say(&format!("  ... {} s", next.as_secs()));
            next += SIGN_OF_LIFE;
        }
        std::thread::sleep(TICK);
    };
    let output = std::fs::read(&log)?;
    std::fs::remove_file(&log)?;
    if !status.success() {
        std::io::stderr().write_all(&output)?;
        bail!("`{}` ended with {status}", line(command));
    }
    say(&format!("  done in {} s", began.elapsed().as_secs()));
    Ok(())
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|w| w.to_string_lossy()).collect();
    words.join(" ")
}
