//! YAML in which every scalar is the text that it was written as: a label `1.10`, `0x10` or `True` keeps its value.
//! What is to be a number or a boolean is read from the text by whoever wants one.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_yaml_ng::{Mapping, Value};

/// Reads a text. Its scalars are texts, or nothing.
pub(crate) fn yaml(text: &str) -> Result<Value, String> {
    // A reader gives a scalar's text only to who knows that there is one: the first walk tells where they are.
    let shape: Shape = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    let read = shape.deserialize(serde_yaml_ng::Deserializer::from_str(text));
    let mut value = read.map_err(|error| error.to_string())?;
    value.apply_merge().map_err(|error| error.to_string())?;
    Ok(value)
}

/// What a document holds, without the texts.
enum Shape {
    Nothing,
    Scalar,
    List(Vec<Shape>),
    /// In the document's order.
    Pairs(Vec<Shape>),
    /// A value with a tag of its own.
    Tagged,
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Shapes)
    }
}

struct Shapes;

/// A number or boolean, whatever it is.
macro_rules! scalars {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E>(self, _: $kind) -> Result<Shape, E> {
            Ok(Shape::Scalar)
        })*
    };
}

impl<'de> Visitor<'de> for Shapes {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    scalars!(visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_u128: u128, visit_f64: f64,
             visit_str: &str);

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Nothing)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
        let mut shapes = Vec::new();
        while let Some(shape) = list.next_element()? {
            shapes.push(shape);
        }
        Ok(Shape::List(shapes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Shape, A::Error> {
        let mut shapes = Vec::new();
        while let Some((_, shape)) = pairs.next_entry::<IgnoredAny, Shape>()? {
            shapes.push(shape);
        }
        Ok(Shape::Pairs(shapes))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Shape, A::Error> {
        let (IgnoredAny, rest) = tagged.variant()?;
        de::VariantAccess::newtype_variant::<IgnoredAny>(rest)?;
        Ok(Shape::Tagged)
    }
}

/// Reads a document that has this shape.
impl<'de> DeserializeSeed<'de> for Shape {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self {
            Shape::Scalar => String::deserialize(deserializer).map(Value::String),
            Shape::List(shapes) => deserializer.deserialize_seq(Texts(shapes)),
            Shape::Pairs(shapes) => deserializer.deserialize_map(Texts(shapes)),
            Shape::Nothing | Shape::Tagged => Value::deserialize(deserializer),
        }
    }
}

/// Reads a list or pairs of these shapes.
struct Texts(Vec<Shape>);

impl<'de> Visitor<'de> for Texts {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was there before")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::with_capacity(self.0.len());
        for shape in self.0 {
            values.extend(list.next_element_seed(shape)?);
        }
        Ok(Value::Sequence(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut values = Mapping::with_capacity(self.0.len());
        for shape in self.0 {
            let Some(key) = pairs.next_key::<String>()? else { break };
            let value = pairs.next_value_seed(shape)?;
            if values.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} is there twice")));
            }
            values.insert(Value::String(key), value);
        }
        Ok(Value::Mapping(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_the_texts_that_they_were() {
        let written =
            ["1.10", "3.0", "3.00", "1e3", ".5", "7", "0x10", "0o17", "0b11", "+5", "-0", "True", "yes", "1_0"];
        let big = ["12345678901234567890123", "-99999999999999999999", "99999999999999999999999999999999999999999"];
        for text in written.into_iter().chain(big) {
            let read = yaml(&format!("a: {text} # 9.9\nb: [{text}, '{text}', \"{text}\"]\n")).unwrap();
            assert_eq!(read.get("a"), Some(&text.into()), "{text}");
            assert_eq!(read.get("b"), Some(&Value::Sequence(vec![text.into(); 3])), "{text}");
        }
    }

    #[test]
    fn the_rest_of_yaml_is_read_as_ever() {
        let read = yaml("a: &x {b: 1, n: ~}\nc: {<<: *x, d: *x}\ne: |\n  1\n  2\nf:\n1: null\n").unwrap();
        let x: Value = serde_yaml_ng::from_str("{b: '1', n: ~}").unwrap();
        assert_eq!(read.get("a"), Some(&x));
        assert_eq!(read.get("c").and_then(|c| c.get("b")), Some(&"1".into()));
        assert_eq!(read.get("c").and_then(|c| c.get("d")), Some(&x));
        assert_eq!(read.get("e"), Some(&"1\n2\n".into()));
        assert_eq!((read.get("f"), read.get("1")), (Some(&Value::Null), Some(&Value::Null)));
        assert_eq!(yaml(""), Ok(Value::Null));
        assert_eq!(yaml("5"), Ok("5".into()));
        for (wrong, said) in
            [("a: [", "at line"), ("a: 1\nb: 2\na: 3", "\"a\" is there twice"), ("a: 1\n---\nb: 2", "document")]
        {
            let error = yaml(wrong).unwrap_err();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }
}
