//! Functions that SQL does not have: words of a text, values of a JSON object.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow_schema::{DataType, Field, FieldRef};
use bonghwa_block::tokens;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use serde_json::value::RawValue;

use crate::mixed;

/// `json_value(object, key)`: the key's value as text, or null.
pub(crate) fn json_value() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> =
        LazyLock::new(|| Arc::new(ScalarUDF::from(TextFunction { kind: Kind::JsonValue, signature: two_texts() })));
    FUNCTION.clone()
}

/// `has_token(text, words)`: whether each word occurs in the text as a whole
/// word: a run of letters, digits and `_`. Case counts.
pub(crate) fn has_token() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> =
        LazyLock::new(|| Arc::new(ScalarUDF::from(TextFunction { kind: Kind::HasToken, signature: two_texts() })));
    FUNCTION.clone()
}

/// The name of [`json_value`] in plans.
pub(crate) const JSON_VALUE: &str = "json_value";
/// The name of [`has_token`] in plans.
pub(crate) const HAS_TOKEN: &str = "has_token";

fn two_texts() -> Signature {
    Signature::one_of(
        vec![TypeSignature::Exact(vec![DataType::Utf8, DataType::Utf8]), TypeSignature::String(2)],
        Volatility::Immutable,
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    JsonValue,
    HasToken,
}

/// A function of two texts.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TextFunction {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for TextFunction {
    fn name(&self) -> &str {
        match self.kind {
            Kind::JsonValue => JSON_VALUE,
            Kind::HasToken => HAS_TOKEN,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::JsonValue => DataType::Utf8,
            Kind::HasToken => DataType::Boolean,
        })
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(match self.kind {
            Kind::JsonValue => mixed::marked(Field::new(JSON_VALUE, DataType::Utf8, true)),
            Kind::HasToken => Field::new(HAS_TOKEN, DataType::Boolean, true),
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [text, second] = args.args.as_slice() else {
            return exec_err!("{} takes two texts", self.name());
        };
        let text = as_text(&text.to_array(args.number_rows)?)?;
        let second = as_text(&second.to_array(args.number_rows)?)?;
        let pairs = text.as_string::<i32>().iter().zip(second.as_string::<i32>().iter());
        let pairs = pairs.map(|(text, second)| text.zip(second));
        let result: ArrayRef = match self.kind {
            Kind::JsonValue => {
                Arc::new(pairs.map(|p| p.and_then(|(t, key)| value_of(t, key))).collect::<StringArray>())
            }
            Kind::HasToken => {
                Arc::new(pairs.map(|p| p.map(|(t, words)| has_words(t, words))).collect::<BooleanArray>())
            }
        };
        Ok(ColumnarValue::Array(result))
    }
}

fn as_text(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Utf8 => Ok(array.clone()),
        _ => Ok(datafusion::arrow::compute::cast(array, &DataType::Utf8)?),
    }
}

fn value_of(object: &str, key: &str) -> Option<String> {
    let object: HashMap<String, &RawValue> = serde_json::from_str(object).ok()?;
    let raw = object.get(key)?.get();
    match raw.as_bytes().first() {
        Some(b'n') => None,
        Some(b'"') => serde_json::from_str(raw).ok(),
        _ => Some(raw.to_owned()),
    }
}

fn has_words(text: &str, words: &str) -> bool {
    tokens(words).all(|word| tokens(text).any(|token| token == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_objects() {
        let object = r#"{"a":"x\"y","b":1,"c":[1,"z"],"d":null,"e":{"f":true}}"#;
        for (key, expected) in [
            ("a", Some("x\"y")),
            ("b", Some("1")),
            ("c", Some("[1,\"z\"]")),
            ("d", None),
            ("e", Some("{\"f\":true}")),
            ("g", None),
        ] {
            assert_eq!(value_of(object, key).as_deref(), expected, "{key}");
        }
        assert_eq!(value_of("no json", "a"), None);
    }

    #[test]
    fn words() {
        assert!(has_words("payment failed: timeout", "timeout"));
        assert!(has_words("payment failed: timeout", "failed payment"));
        assert!(!has_words("payment failed: timeout", "time"));
    }
}
