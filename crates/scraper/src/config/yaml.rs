//! YAML, in which a text may look like a number.

use std::collections::HashMap;

use serde_yaml_ng::Value;

/// Reads a text. A number with a fraction is the text that it was written as, where that is certain: `1.10` may be a
/// version, and is not to become `1.1`. Where the same number is written in several ways, it stays a number.
pub(crate) fn yaml(text: &str) -> Result<Value, String> {
    let mut value: Value = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    value.apply_merge().map_err(|error| error.to_string())?;
    let mut written = None;
    restore(&mut value, &mut |number: f64| {
        written.get_or_insert_with(|| floats(text)).get(&number.to_bits()).copied()?
    });
    Ok(value)
}

/// By the bits of a number how the text writes it; none where it does so in several ways.
fn floats(text: &str) -> HashMap<u64, Option<&str>> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '+' | '-' | '_'));
    let mut written = HashMap::new();
    for word in words.filter(|word| word.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))) {
        let Ok(Value::Number(number)) = serde_yaml_ng::from_str(word) else { continue };
        if let Some(float) = number.is_f64().then(|| number.as_f64()).flatten() {
            let known = written.entry(float.to_bits()).or_insert(Some(word));
            *known = known.filter(|known| *known == word);
        }
    }
    written
}

fn restore<'t>(value: &mut Value, written: &mut impl FnMut(f64) -> Option<&'t str>) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(word) = number.as_f64().and_then(written) {
                *value = Value::String(word.to_owned());
            }
        }
        Value::Sequence(list) => list.iter_mut().for_each(|value| restore(value, written)),
        Value::Mapping(pairs) => pairs.values_mut().for_each(|value| restore(value, written)),
        Value::Tagged(tagged) => restore(&mut tagged.value, written),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_fractions_are_the_texts_that_they_were() {
        let read = yaml("{a: 1.10, b: [2.5, 1e3, 7, x.y], c: 3.0, d: 3.00, e: '4.0', <<: {f: .5}} # 9.9").unwrap();
        let list: Vec<Value> = vec!["2.5".into(), "1e3".into(), 7.into(), "x.y".into()];
        let plain: [(&str, Value); 6] = [
            ("a", "1.10".into()),
            ("b", Value::Sequence(list)),
            ("c", 3.0.into()),
            ("d", 3.0.into()),
            ("e", "4.0".into()),
            ("f", ".5".into()),
        ];
        for (key, expected) in plain {
            assert_eq!(read.get(key), Some(&expected), "{key}");
        }
    }
}
