//! Names that look like the one that someone meant.

/// The known names nearest to one that is not known, at most five, nearest first.
pub(crate) fn names<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let unknown = unknown.to_lowercase();
    // Attribute columns are there because the query spoke of them.
    let known = known.filter(|name| !name.ends_with("']"));
    let mut scored: Vec<(usize, &str)> = known
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let distance = strsim::damerau_levenshtein(&unknown, &lower);
            let close = distance <= unknown.len().max(lower.len()).div_ceil(2);
            let within = unknown.len() > 2 && (lower.contains(&unknown) || unknown.contains(lower.as_str()));
            (close || within).then_some((distance, name))
        })
        .collect();
    scored.sort_unstable();
    scored.dedup();
    scored.into_iter().take(5).map(|(_, name)| name.to_owned()).collect()
}

/// The sentence for a column that does not exist.
pub(crate) fn no_column(name: &str, near: &[String]) -> String {
    let meant = match near {
        [] => ".".to_owned(),
        [one] => format!("; did you mean {one}?"),
        many => format!("; the nearest are {}.", many.join(", ")),
    };
    format!(
        "there is no column {name:?}{meant} Attributes are written attributes['key'], resource['key'], \
         or \"key\" where some record has it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_first() {
        let known = ["time", "service_name", "severity_text", "severity_number", "body"];
        assert_eq!(names("servce_name", known.into_iter())[0], "service_name");
        assert_eq!(names("severity", known.into_iter()), ["severity_text", "severity_number"]);
        assert!(names("zzzzzzzz", known.into_iter()).is_empty());
    }
}
