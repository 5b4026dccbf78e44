//! The direction of dependencies: `bonghwa -> roles -> {query, replog, cluster} -> {block,
//! wire, ring} -> protocol -> model`. Roles never see each other; RocksDB only what hosts a
//! log, DataFusion only what answers queries.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

const ROLES: [&str; 7] = ["distributor", "ingester", "meta", "querier", "ruler", "compactor", "scraper"];
/// Crates that nothing of the product may depend on.
const TOOLS: [&str; 5] = ["testkit", "sim", "xtask", "tests", "benches"];

/// The layers from the top; a crate sees only what lies in layers below its own.
const LAYERS: [&[&str]; 6] = [
    &["bonghwa", "console"],
    &ROLES,
    &["query", "alerting", "replog", "cluster"],
    &["promql", "logql", "traceql", "gotemplate", "block", "wire", "ring"],
    &["protocol"],
    &["model", "seam"],
];

/// Exceptions from the layers, each with its reason.
const ALSO: [(&str, &str); 2] = [
    // The ring of partitions is a part of what a role knows of the cluster; query reads its catalog.
    ("query", "cluster"),
    // The pages of the binary show what a role knows.
    ("bonghwa", "console"),
];

/// External crates that only some crates may have: (dependency, who).
const RESERVED: [(&str, &[&str]); 4] = [
    ("rocksdb", &["replog"]),
    ("openraft", &["replog", "ingester", "meta"]),
    ("datafusion", &["query", "querier", "ruler", "bonghwa"]),
    ("tikv-jemallocator", &["bonghwa"]),
];

/// Crates without I/O and async.
const PURE: [&str; 6] = ["model", "wire", "ring", "promql", "logql", "traceql"];
const IMPURE: [&str; 7] = ["tokio", "hyper", "axum", "tonic", "reqwest", "object_store", "rocksdb"];

/// Workspace crate (without the `bonghwa-` prefix) -> its normal dependencies, prefix removed too.
fn dependencies() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    packages
        .iter()
        .map(|package| {
            let name = package["name"].as_str().context("no name")?;
            let normal = package["dependencies"].as_array().context("no dependencies")?;
            let normal = normal.iter().filter(|d| d["kind"].is_null()).filter_map(|d| d["name"].as_str());
            Ok((short(name), normal.map(short).collect()))
        })
        .collect()
}

fn short(name: &str) -> String {
    name.strip_prefix("bonghwa-").unwrap_or(name).to_owned()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[test]
fn dependencies_point_down() -> Result<()> {
    let crates = dependencies()?;
    let mut wrong = vec![];
    for (name, dependencies) in crates.iter().filter(|(name, _)| !TOOLS.contains(&name.as_str())) {
        let own = layer(name).with_context(|| format!("{name} has no layer: give it one in this test"))?;
        for dependency in dependencies.iter().filter(|d| crates.contains_key(*d)) {
            let below = layer(dependency).is_some_and(|l| l > own);
            if !below && !ALSO.contains(&(name, dependency)) {
                wrong.push(format!("{name} -> {dependency}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "against the direction: {}", wrong.join(", "));
    Ok(())
}

/// The binary beside them opens the one store of a node, which both share.
#[test]
fn only_ingester_and_meta_see_the_replicated_log() -> Result<()> {
    for (name, dependencies) in dependencies()? {
        if dependencies.contains("replog") {
            let allowed = ["ingester", "meta", "bonghwa"].contains(&name.as_str()) || TOOLS.contains(&name.as_str());
            ensure!(allowed, "{name} sees replog");
        }
    }
    Ok(())
}

#[test]
fn reserved_crates_stay_where_they_belong() -> Result<()> {
    for (name, dependencies) in dependencies()?.iter().filter(|(name, _)| !TOOLS.contains(&name.as_str())) {
        for (dependency, who) in RESERVED {
            ensure!(!dependencies.contains(dependency) || who.contains(&name.as_str()), "{name} sees {dependency}");
        }
    }
    Ok(())
}

#[test]
fn pure_crates_have_no_io() -> Result<()> {
    let crates = dependencies()?;
    for name in PURE {
        let Some(dependencies) = crates.get(name) else { continue };
        for impure in IMPURE {
            ensure!(!dependencies.contains(impure), "{name} is pure and sees {impure}");
        }
    }
    Ok(())
}
