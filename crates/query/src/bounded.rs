//! Functions that make a lot out of little: `repeat('x', 1000000000)` would take
//! memory that no limit counts. What they will make is reckoned before they are
//! called, and what they made is charged to the query until it is dropped.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, StringArray};
use arrow_schema::{DataType, FieldRef};
use datafusion::arrow::compute::cast;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use crate::charge::Charge;

/// What one call may make for one batch of rows, in bytes, where an argument says how much.
const MOST: usize = 32 * 1024 * 1024;
/// The same where the arguments only say how much it is at most.
const MOST_ROUGHLY: usize = 256 * 1024 * 1024;
/// The least that an element of a list counts.
const ELEMENT: usize = 8;

/// The function as queries may call it. None for those that only make long lists,
/// whose length no argument tells beforehand.
pub(crate) fn allowed(function: Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    let growth = match function.name() {
        "repeat" => Growth::Times { count: 1, of: Some(0), least: 0 },
        "lpad" | "rpad" => Growth::Times { count: 1, of: Some(2), least: 1 },
        "array_repeat" => Growth::Times { count: 1, of: Some(0), least: ELEMENT },
        "array_resize" => Growth::Times { count: 1, of: Some(2), least: ELEMENT },
        "space" => Growth::Times { count: 0, of: None, least: 1 },
        "replace" => Growth::Replace,
        "regexp_replace" => Growth::Pattern,
        "array_to_string" => Growth::Elements,
        "concat_ws" => Growth::Between,
        "concat" | "overlay" | "translate" | "array_concat" | "array_append" | "array_prepend" | "make_array"
        | "struct" | "named_struct" | "upper" | "lower" | "initcap" => Growth::Sum,
        "range" | "generate_series" | "gen_series" => return None,
        _ => return Some(function),
    };
    Some(Arc::new(ScalarUDF::from(Bounded { inner: function, growth })))
}

/// How much a function makes of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Growth {
    /// One argument so many times, each time at least so many bytes.
    Times { count: usize, of: Option<usize>, least: usize },
    /// The first argument with each occurrence of the second replaced by the third.
    Replace,
    /// The first argument with what a pattern finds replaced by the third.
    Pattern,
    /// The elements of the first argument, each followed by the others.
    Elements,
    /// All arguments, with the first between them.
    Between,
    /// All arguments.
    Sum,
}

/// A function whose result's size is reckoned.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

impl Bounded {
    fn check(&self, args: &ScalarFunctionArgs, charge: Option<&Charge>) -> Result<()> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let bytes = self.growth.bytes(&arrays)?;
        let most = if matches!(self.growth, Growth::Times { .. } | Growth::Replace) { MOST } else { MOST_ROUGHLY };
        if bytes > most {
            return exec_err!(
                "{} would make {bytes} bytes for one batch of rows: at most {most} are made",
                self.name()
            );
        }
        match charge {
            Some(charge) if constant => charge.constant(self.name(), bytes),
            _ => Ok(()),
        }
    }
}

impl Growth {
    /// The bytes of the result for these arguments, roughly or at most.
    fn bytes(self, args: &[ArrayRef]) -> Result<usize> {
        let all = args.iter().map(size).fold(0, usize::saturating_add);
        let Some(first) = args.first() else { return Ok(all) };
        match self {
            Growth::Times { count, of, least } => {
                let Some(counts) = args.get(count) else { return Ok(all) };
                times(counts, of.and_then(|at| args.get(at)), least)
            }
            Growth::Replace => match args {
                [text, from, to] => replaced(text, from, to),
                _ => Ok(all),
            },
            Growth::Pattern => match args {
                [text, _, to, rest @ ..] => found(text, to, !rest.is_empty()),
                _ => Ok(all),
            },
            Growth::Elements => {
                let elements = first.as_list_opt::<i32>().map_or(first.len(), |list| list.values().len());
                let between = args[1..].iter().map(longest).fold(0, usize::saturating_add);
                Ok(all.saturating_mul(3).saturating_add(elements.saturating_mul(between)))
            }
            Growth::Between => Ok(all.saturating_add(size(first).saturating_mul(args.len()))),
            Growth::Sum => Ok(all),
        }
    }
}

fn size(array: &ArrayRef) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or(usize::MAX)
}

fn texts(array: &ArrayRef) -> Result<StringArray> {
    Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn longest(array: &ArrayRef) -> usize {
    texts(array).map_or_else(|_| size(array), |texts| texts.iter().flatten().map(str::len).max().unwrap_or(0))
}

fn times(counts: &ArrayRef, of: Option<&ArrayRef>, least: usize) -> Result<usize> {
    let counts: Int64Array = cast(counts, &DataType::Int64)?.as_primitive::<Int64Type>().clone();
    let one = |row: usize| of.map_or(Ok(0), |of| of.slice(row, 1).to_data().get_slice_memory_size());
    let text = of.and_then(|of| texts(of).ok()).filter(|_| of.is_some_and(|of| of.data_type().is_string()));
    let mut bytes = 0usize;
    for (row, count) in counts.iter().enumerate() {
        let count = usize::try_from(count.unwrap_or(0)).unwrap_or(0);
        let each = match &text {
            Some(text) => text.value(row).len(),
            None => one(row)?,
        };
        bytes = bytes.saturating_add(count.saturating_mul(each.max(least)));
    }
    Ok(bytes)
}

fn replaced(text: &ArrayRef, from: &ArrayRef, to: &ArrayRef) -> Result<usize> {
    let (text, from, to) = (texts(text)?, texts(from)?, texts(to)?);
    let rows = text.iter().zip(from.iter()).zip(to.iter());
    let bytes = rows.map(|((text, from), to)| {
        let (text, from, to) = (text.unwrap_or_default(), from.unwrap_or_default(), to.unwrap_or_default());
        text.len().saturating_add(text.matches(from).count().saturating_mul(to.len().saturating_sub(from.len())))
    });
    Ok(bytes.fold(0, usize::saturating_add))
}

/// A replacement may hold what was found, as often as it has a `\`.
fn found(text: &ArrayRef, to: &ArrayRef, everywhere: bool) -> Result<usize> {
    let (text, to) = (texts(text)?, texts(to)?);
    let bytes = text.iter().zip(to.iter()).map(|(text, to)| {
        let (text, to) = (text.unwrap_or_default().len(), to.unwrap_or_default());
        let places = if everywhere { text.saturating_add(1) } else { 1 };
        let groups = to.matches(['\\', '$']).count().saturating_add(1);
        text.saturating_mul(groups).saturating_add(places.saturating_mul(to.len()))
    });
    Ok(bytes.fold(0, usize::saturating_add))
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let options = args.config_options.clone();
        let charge = options.extensions.get::<Charge>();
        self.check(&args, charge)?;
        let made = self.inner.invoke_with_args(args)?;
        match charge {
            Some(charge) => charge.hold(self.name(), made),
            None => Ok(made),
        }
    }
}
