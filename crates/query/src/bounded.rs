//! Functions that make a lot out of a number: `repeat('x', 1000000000)` would take
//! memory that no limit counts.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::{DataType, FieldRef};
use datafusion::arrow::compute::cast;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// What one call may make for one batch of rows, roughly in bytes.
const MOST: i64 = 32 * 1024 * 1024;
/// Characters of the padding and repeated texts are counted with this many bytes at least.
const UNIT: i64 = 1;

/// The function as queries may call it. None for those that only make long lists,
/// whose length no argument tells beforehand.
pub(crate) fn allowed(function: Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    let (count, text) = match function.name() {
        "repeat" => (1, Some(0)),
        "lpad" | "rpad" => (1, None),
        "array_repeat" => (1, None),
        "array_resize" => (1, None),
        "space" => (0, None),
        "range" | "generate_series" | "gen_series" => return None,
        _ => return Some(function),
    };
    Some(Arc::new(ScalarUDF::from(Bounded { inner: function, count, text })))
}

/// A function whose result's size is known from an argument.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    /// The argument that says how many.
    count: usize,
    /// The argument that says of what.
    text: Option<usize>,
}

impl Bounded {
    fn check(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let Some(count) = args.args.get(self.count) else { return Ok(()) };
        let rows = if args.args.iter().any(|a| matches!(a, ColumnarValue::Array(_))) { args.number_rows } else { 1 };
        let counts = cast(&count.to_array(rows)?, &DataType::Int64)?;
        let counts = counts.as_primitive::<Int64Type>();
        let texts = match self.text.and_then(|at| args.args.get(at)) {
            Some(text) => Some(cast(&text.to_array(rows)?, &DataType::Utf8)?),
            None => None,
        };
        let mut total = 0i64;
        for row in 0..counts.len() {
            if counts.is_null(row) {
                continue;
            }
            let unit = texts.as_ref().map_or(UNIT, |t| t.as_string::<i32>().value(row).len() as i64);
            total = total.saturating_add(counts.value(row).max(0).saturating_mul(unit));
        }
        if total > MOST {
            return exec_err!(
                "{} would make {total} bytes for one batch of rows: at most {MOST} are made",
                self.name()
            );
        }
        Ok(())
    }
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

    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(args, context)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&args)?;
        self.inner.invoke_with_args(args)
    }
}
