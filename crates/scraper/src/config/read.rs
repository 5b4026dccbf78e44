//! YAML to structs, with errors that name the key and the nearest one that exists.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_yaml_ng::{Mapping, Value};

/// A scrape configuration that cannot be used. The message is for the person who wrote it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}{message}", .file.display(), .job.as_ref().map(|job| format!("job {job:?}: ")).unwrap_or_default())]
pub struct ConfigError {
    /// Which file.
    pub file: PathBuf,
    /// In which job, by its name or its place.
    pub job: Option<String>,
    /// What is wrong: key, value, remedy.
    pub message: String,
}

/// Reads a value. The message of an error begins with the key's path.
pub(super) fn read<T: DeserializeOwned>(value: Value, path: &str) -> Result<T, String> {
    read_among(value, path, &[])
}

/// As [`read`], where `others` are keys that would have been good too.
pub(super) fn read_among<T: DeserializeOwned>(value: Value, path: &str, others: &[&str]) -> Result<T, String> {
    let value = match value {
        // A section whose keys are all commented out.
        Value::Null => Value::Mapping(Mapping::new()),
        // The same of its keys.
        Value::Mapping(all) => Value::Mapping(all.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        value => value,
    };
    serde_path_to_error::deserialize(value).map_err(|error| {
        let within = error.path().to_string();
        let key = if within == "." { path.to_owned() } else { join(path, &within) };
        let said = error.into_inner().to_string();
        match unknown(&said) {
            Some((name, known)) => {
                // Of a struct, the path ends with the name or with what it stands in.
                let section = key.strip_suffix(name).map_or(key.as_str(), |section| section.trim_end_matches('.'));
                let known = known.into_iter().chain(others.iter().copied());
                unknown_key(section, name, known)
            }
            None if key.is_empty() => said,
            None => format!("`{key}`: {said}"),
        }
    })
}

/// The sentence for a key that does not exist.
pub(super) fn unknown_key<'a>(section: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.len() / 3);
    let key = join(section, name);
    match nearest {
        Some((_, nearest)) => format!("unknown key `{key}`: did you mean `{}`?", join(section, nearest)),
        None => format!("unknown key `{key}`"),
    }
}

/// Takes keys out of a section.
pub(super) fn take(value: &mut Value, keys: &[&str]) -> Value {
    let mut taken = Mapping::new();
    if let Value::Mapping(all) = value {
        for key in keys {
            if let Some((key, value)) = all.remove_entry(*key) {
                taken.insert(key, value);
            }
        }
    }
    Value::Mapping(taken)
}

pub(super) fn join(section: &str, key: &str) -> String {
    match (section, key) {
        ("", key) => key.to_owned(),
        (section, "") => section.to_owned(),
        (section, key) if key.starts_with('[') => format!("{section}{key}"),
        (section, key) => format!("{section}.{key}"),
    }
}

/// The name and the alternatives of serde's "unknown field".
fn unknown(said: &str) -> Option<(&str, Vec<&str>)> {
    let (name, rest) = said.strip_prefix("unknown field `")?.split_once('`')?;
    Some((name, rest.split('`').skip(1).step_by(2).collect()))
}
