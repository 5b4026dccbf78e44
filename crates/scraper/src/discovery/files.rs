//! `file_sd_configs`: files in JSON or YAML that list groups.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::seam;

use super::{Found, Group, GroupSection, failed};
use crate::config::FileDiscovery;

/// How often the files are looked at. They are small, and in the page cache.
const LOOK: Duration = Duration::from_secs(2);

/// Reads the files again and again.
pub(super) async fn run(job: String, options: FileDiscovery, found: Arc<Found>) {
    // Text of each file, and the groups of its last version that made sense.
    let mut known: BTreeMap<PathBuf, (String, Vec<Group>)> = BTreeMap::new();
    // Why files cannot be read, as far as it was told.
    let mut told: BTreeMap<PathBuf, String> = BTreeMap::new();
    loop {
        let patterns = options.files.clone();
        let files = seam::blocking(move || read(&patterns)).await.unwrap_or_default();
        known.retain(|path, _| files.contains_key(path));
        told.retain(|path, _| files.get(path).is_some_and(Result::is_err));
        for (path, text) in files {
            let seen = known.get(&path);
            match text {
                Ok(text) if seen.is_some_and(|(before, _)| *before == text) => {}
                Ok(text) => {
                    let groups = parse(&path, &text).unwrap_or_else(|error| {
                        failed(&job, "file", &format!("{}: {error}", path.display()));
                        seen.map(|(_, groups)| groups.clone()).unwrap_or_default()
                    });
                    known.insert(path, (text, groups));
                }
                Err(error) if told.get(&path) == Some(&error) => {}
                Err(error) => {
                    failed(&job, "file", &format!("{}: {error}", path.display()));
                    told.insert(path, error);
                }
            }
        }
        found.replace(known.values().flat_map(|(_, groups)| groups.iter().cloned()));
        seam::sleep(LOOK.min(options.refresh)).await;
    }
}

/// The files that match, and what is in them.
fn read(patterns: &[String]) -> BTreeMap<PathBuf, Result<String, String>> {
    let matching = patterns.iter().filter_map(|pattern| glob::glob(pattern).ok()).flatten().flatten();
    matching
        .map(|path| {
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
            (path, text)
        })
        .collect()
}

/// The groups of a file; JSON is YAML too.
fn parse(path: &std::path::Path, text: &str) -> Result<Vec<Group>, String> {
    let sections: Vec<GroupSection> = match path.extension().is_some_and(|end| end == "json") {
        true => super::read_json(text.as_bytes())?,
        false => {
            let read = serde_yaml_ng::from_value::<Option<_>>(crate::config::yaml(text)?);
            read.map_err(|error| error.to_string())?.unwrap_or_default()
        }
    };
    let group = |(at, section): (usize, GroupSection)| {
        let mut group = section.group(format!("{}:{at}", path.display()));
        group.labels.set("__meta_filepath", path.to_string_lossy().into_owned());
        group
    };
    Ok(sections.into_iter().enumerate().map(group).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn lists_may_be_null_and_texts_look_like_numbers() {
        // (name, text, targets and the label `v` of each group)
        for (name, text, expected) in [
            ("t.json", "null", &[][..]),
            ("t.json", r#"[{"targets": null, "labels": {"v": "1"}}]"#, &[(0, "1")]),
            ("t.json", r#"[{"targets": ["a:1"], "labels": null}]"#, &[(1, "")]),
            ("t.yml", "", &[]),
            ("t.yml", "[{targets: ['a:1', 'b:1'], labels: {v: 1.10}}]", &[(2, "1.10")]),
            ("t.yml", "- targets: [a:1]\n  labels:\n", &[(1, "")]),
        ] {
            let groups = parse(Path::new(name), text).unwrap();
            let found: Vec<_> = groups.iter().map(|group| (group.targets.len(), group.labels.get("v"))).collect();
            assert_eq!(found, expected, "{text}");
        }
        let error = parse(Path::new("t.json"), r#"[{"targets": [], "labels": {"v": 1.10}}]"#).unwrap_err();
        assert!(error.contains("put it in quotes"), "{error}");
    }
}
