//! Variables in a text, as Go's `os.Expand` fills them in.

/// Fills in `$NAME` and `${NAME}`. A `$` that no name follows stays.
pub(super) fn expand(text: &str, variable: impl Fn(&str) -> String) -> String {
    let (mut expanded, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, end) = name(after);
        match name {
            Some(name) => expanded.push_str(&variable(name)),
            None if end == 0 => expanded.push('$'),
            // Braces around nothing, or without an end.
            None => {}
        }
        rest = &after[end..];
    }
    expanded + rest
}

/// The name at the start of a text, and where what follows it begins.
fn name(text: &str) -> (Option<&str>, usize) {
    // Variables of a shell have these names.
    let special = |first: char| first.is_ascii_digit() || "*#$@!?-".contains(first);
    match text.chars().next() {
        Some('{') => match text.find('}') {
            Some(1) => (None, 2),
            Some(end) => (Some(&text[1..end]), end + 1),
            None => (None, 1),
        },
        Some(first) if special(first) => (Some(&text[..1]), 1),
        _ => {
            let end = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
            ((end > 0).then(|| &text[..end]), end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let variable = |name: &str| match name {
            "ZONE" => "z1".to_owned(),
            "$" => "$".to_owned(),
            _ => String::new(),
        };
        for (text, expected) in [
            ("plain", "plain"),
            ("$ZONE", "z1"),
            ("a-${ZONE}b-$ZONE/", "a-z1b-z1/"),
            ("$NONE${NONE}.", "."),
            ("$$ZONE", "$ZONE"),
            ("5$ $-. é$", "5$ . é$"),
            ("${}a${ZONE", "aZONE"),
        ] {
            assert_eq!(expand(text, variable), expected, "{text}");
        }
    }
}
