//! The bounds of exponential buckets in the digits that Prometheus' servers and clients have: their tables came from
//! an approximation of powers of two, and a bound that is closer to the root of two is another text in answers.

use std::sync::LazyLock;

/// The finest schema that has a table.
pub(super) const FINEST: i32 = 8;

/// By schema, the bounds from a half to below one.
static TABLES: LazyLock<Vec<Vec<f64>>> = LazyLock::new(|| {
    let mut tables = vec![vec![0.5]];
    for schema in 1..=FINEST {
        let coarser = &tables[tables.len() - 1];
        let factor = power_of_two(power_of_two(-f64::from(schema)));
        let mut bounds = vec![0.5];
        for at in 1..1 << schema {
            bounds.push(if at % 2 == 0 { coarser[at / 2] } else { bounds[at - 1] * factor });
        }
        tables.push(bounds);
    }
    tables
});

/// The upper bound of bucket `index` of a schema from 1 to [`FINEST`].
pub(super) fn of(index: i32, schema: i32) -> f64 {
    let table = &TABLES[schema as usize];
    let bound = table[(index & ((1 << schema) - 1)) as usize];
    // In two steps, so that neither leaves the range of exponents.
    2.0 * bound * f64::from(index >> schema).exp2()
}

/// 2 to the power of `x`, by a polynomial: FreeBSD's `e_exp.c` for powers of two, as Go's `math.Exp2` computes it.
fn power_of_two(x: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    const COEFFICIENTS: [f64; 5] = [
        1.666_666_666_666_666_6e-1,
        -2.777_777_777_701_559_3e-3,
        6.613_756_321_437_934e-5,
        -1.653_390_220_546_525_2e-6,
        4.138_136_797_057_238_5e-8,
    ];
    let whole = (x + 0.5f64.copysign(x)).trunc();
    let rest = x - whole;
    let (high, low) = (rest * LN2_HIGH, -rest * LN2_LOW);
    let reduced = high - low;
    let square = reduced * reduced;
    let series = COEFFICIENTS.iter().rev().fold(0.0, |sum, coefficient| coefficient + square * sum);
    let c = reduced - square * series;
    (1.0 - ((low - (reduced * c) / (2.0 - c)) - high)) * whole.exp2()
}
