//! Who a node is: its name, and the incarnation by which a copy of its disk is told from it.
//!
//! The disk keeps the name of the first start, since the log's votes are that node's, and the
//! incarnation that meta knows. Each start draws a new one, writes it beside the old, registers, and
//! then forgets the old: a crash in between leaves both, and meta knows one of them. A copied disk
//! holds one that meta has left behind.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bonghwa_cluster::{node_id, seam};

use crate::config::Config;
use crate::storage;

/// Who this node is in the cluster.
#[derive(Clone, Debug)]
pub struct Identity {
    /// By which the log's votes are counted; follows from the name.
    pub id: u64,
    /// The name that the data directory has known since its first start.
    pub name: String,
    /// This start; 0 for a node without a disk.
    pub incarnation: u64,
    /// Those that meta may know; empty on a first start.
    pub previous: Vec<u64>,
}

impl Identity {
    /// A node that keeps nothing: whoever has the name is the node.
    pub fn without_disk(config: &Config) -> Self {
        let name = configured_name(config);
        Identity { id: node_id(&name), name, incarnation: 0, previous: Vec::new() }
    }

    /// The node of a data directory, with a new incarnation on it.
    pub fn of_disk(config: &Config) -> Result<Self> {
        storage::create_directory(&config.data_dir)
            .with_context(|| format!("data_dir: creating {}", config.data_dir.display()))?;
        let name = remembered_name(config)?;
        let path = config.data_dir.join("node-incarnation");
        let previous = incarnations(&path)?;
        let identity = Identity { id: node_id(&name), name, incarnation: seam::random() | 1, previous };
        identity.write(&path, true)?;
        Ok(identity)
    }

    /// Meta knows this incarnation: the earlier ones are none any more.
    pub fn registered(&self, config: &Config) -> Result<()> {
        if self.incarnation == 0 {
            return Ok(());
        }
        self.write(&config.data_dir.join("node-incarnation"), false)
    }

    fn write(&self, path: &Path, with_previous: bool) -> Result<()> {
        let mut text = format!("{:x}\n", self.incarnation);
        // The last few are enough: each unfinished start adds one.
        for previous in self.previous.iter().take(8).filter(|_| with_previous) {
            text += &format!("{previous:x}\n");
        }
        remember(&text, path).with_context(|| format!("writing {}", path.display()))
    }
}

fn incarnations(path: &Path) -> Result<Vec<u64>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let parse = |line: &str| u64::from_str_radix(line, 16);
    text.lines().map(parse).collect::<Result<_, _>>().with_context(|| format!("{} is damaged", path.display()))
}

/// The name of a node that starts for the first time.
fn configured_name(config: &Config) -> String {
    if config.node_name.is_empty() { host_name() } else { config.node_name.clone() }
}

/// This machine's name.
pub fn host_name() -> String {
    // Every Linux has it; elsewhere one node is told from another by its configuration.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if host.trim().is_empty() { "bonghwa".into() } else { host.trim().to_owned() }
}

/// The name of the first start: the host's may be another by now, as a container's that was recreated.
fn remembered_name(config: &Config) -> Result<String> {
    let path = config.data_dir.join("node-name");
    let kept = match std::fs::read_to_string(&path) {
        Ok(kept) => kept.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    if kept.is_empty() {
        let name = configured_name(config);
        remember(&name, &path).with_context(|| format!("writing {}", path.display()))?;
        return Ok(name);
    }
    if !config.node_name.is_empty() && config.node_name != kept {
        bail!(
            "node_name is {:?}, but {} belongs to node {kept:?}: use that name, or another data directory",
            config.node_name,
            config.data_dir.display()
        );
    }
    Ok(kept)
}

/// Writes a file so that a crash leaves all of it or what was there.
pub fn remember(text: &str, path: &Path) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), storage::sync)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(data_dir: &Path) -> Config {
        Config { data_dir: data_dir.to_owned(), ..Config::default() }
    }

    #[test]
    fn a_name_outlives_the_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node-name");
        let first = remembered_name(&config(dir.path())).unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap(), !first.is_empty()), (first.clone(), true));

        std::fs::write(&path, "other-host\n").unwrap();
        assert_eq!(remembered_name(&config(dir.path())).unwrap(), "other-host");
        let named = Config { node_name: "third".into(), ..config(dir.path()) };
        let error = remembered_name(&named).unwrap_err().to_string();
        assert!(error.contains("node_name is \"third\"") && error.contains("other-host"), "{error}");
    }

    #[test]
    fn an_empty_name_is_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("node-name"), "").unwrap();
        let named = Config { node_name: "third".into(), ..config(dir.path()) };
        assert_eq!(remembered_name(&named).unwrap(), "third");
        assert_eq!(remembered_name(&config(dir.path())).unwrap(), "third");
    }

    #[test]
    fn a_start_that_was_not_registered_forgets_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::of_disk(&config(dir.path())).unwrap();
        assert!(first.previous.is_empty());
        first.registered(&config(dir.path())).unwrap();
        let second = Identity::of_disk(&config(dir.path())).unwrap();
        let third = Identity::of_disk(&config(dir.path())).unwrap();
        assert_eq!(third.previous, [second.incarnation, first.incarnation]);
        third.registered(&config(dir.path())).unwrap();
        assert_eq!(Identity::of_disk(&config(dir.path())).unwrap().previous, [third.incarnation]);
    }
}
