//! The functions and what they take.

use super::ast::Type;

/// What a function takes and gives.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments.
    pub args: &'static [Type],
    /// How many arguments of the last type may be missing or added: 0 none, -1 any number, n up to n of them.
    pub variadic: i8,
    /// What it gives.
    pub returns: Type,
}

macro_rules! functions {
    ($($name:literal $variant:ident [$($arg:ident)*] $variadic:literal $returns:ident;)*) => {
        /// The functions of the language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Function { $($variant),* }

        impl Function {
            /// The function of a name; names are in lower case.
            pub fn find(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            /// All functions.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// What it takes and gives.
            pub fn signature(self) -> Signature {
                match self { $(Self::$variant => Signature {
                    name: $name, args: &[$(Type::$arg),*], variadic: $variadic, returns: Type::$returns,
                },)* }
            }
        }
    };
}

functions! {
    "abs" Abs [Vector] 0 Vector;
    "absent" Absent [Vector] 0 Vector;
    "absent_over_time" AbsentOverTime [Matrix] 0 Vector;
    "acos" Acos [Vector] 0 Vector;
    "acosh" Acosh [Vector] 0 Vector;
    "asin" Asin [Vector] 0 Vector;
    "asinh" Asinh [Vector] 0 Vector;
    "atan" Atan [Vector] 0 Vector;
    "atanh" Atanh [Vector] 0 Vector;
    "avg_over_time" AvgOverTime [Matrix] 0 Vector;
    "ceil" Ceil [Vector] 0 Vector;
    "changes" Changes [Matrix] 0 Vector;
    "clamp" Clamp [Vector Scalar Scalar] 0 Vector;
    "clamp_max" ClampMax [Vector Scalar] 0 Vector;
    "clamp_min" ClampMin [Vector Scalar] 0 Vector;
    "cos" Cos [Vector] 0 Vector;
    "cosh" Cosh [Vector] 0 Vector;
    "count_over_time" CountOverTime [Matrix] 0 Vector;
    "day_of_month" DayOfMonth [Vector] 1 Vector;
    "day_of_week" DayOfWeek [Vector] 1 Vector;
    "day_of_year" DayOfYear [Vector] 1 Vector;
    "days_in_month" DaysInMonth [Vector] 1 Vector;
    "deg" Deg [Vector] 0 Vector;
    "delta" Delta [Matrix] 0 Vector;
    "deriv" Deriv [Matrix] 0 Vector;
    "double_exponential_smoothing" DoubleExponentialSmoothing [Matrix Scalar Scalar] 0 Vector;
    "end" End [] 0 Scalar;
    "exp" Exp [Vector] 0 Vector;
    "first_over_time" FirstOverTime [Matrix] 0 Vector;
    "floor" Floor [Vector] 0 Vector;
    "histogram_avg" HistogramAvg [Vector] 0 Vector;
    "histogram_count" HistogramCount [Vector] 0 Vector;
    "histogram_fraction" HistogramFraction [Scalar Scalar Vector] 0 Vector;
    "histogram_quantile" HistogramQuantile [Scalar Vector] 0 Vector;
    "histogram_quantiles" HistogramQuantiles [Vector String Scalar Scalar] 9 Vector;
    "histogram_stddev" HistogramStddev [Vector] 0 Vector;
    "histogram_stdvar" HistogramStdvar [Vector] 0 Vector;
    "histogram_sum" HistogramSum [Vector] 0 Vector;
    "hour" Hour [Vector] 1 Vector;
    "idelta" Idelta [Matrix] 0 Vector;
    "increase" Increase [Matrix] 0 Vector;
    "info" Info [Vector Vector] 1 Vector;
    "integral" Integral [Matrix Scalar] 1 Vector;
    "irate" Irate [Matrix] 0 Vector;
    "label_join" LabelJoin [Vector String String String] -1 Vector;
    "label_replace" LabelReplace [Vector String String String String] 0 Vector;
    "last_over_time" LastOverTime [Matrix] 0 Vector;
    "ln" Ln [Vector] 0 Vector;
    "log10" Log10 [Vector] 0 Vector;
    "log2" Log2 [Vector] 0 Vector;
    "mad_over_time" MadOverTime [Matrix] 0 Vector;
    "max_of" MaxOf [Scalar Scalar] 0 Scalar;
    "max_over_time" MaxOverTime [Matrix] 0 Vector;
    "min_of" MinOf [Scalar Scalar] 0 Scalar;
    "min_over_time" MinOverTime [Matrix] 0 Vector;
    "minute" Minute [Vector] 1 Vector;
    "month" Month [Vector] 1 Vector;
    "pi" Pi [] 0 Scalar;
    "predict_linear" PredictLinear [Matrix Scalar] 0 Vector;
    "present_over_time" PresentOverTime [Matrix] 0 Vector;
    "quantile_over_time" QuantileOverTime [Scalar Matrix] 0 Vector;
    "rad" Rad [Vector] 0 Vector;
    "range" Range [] 0 Scalar;
    "rate" Rate [Matrix] 0 Vector;
    "resets" Resets [Matrix] 0 Vector;
    "round" Round [Vector Scalar] 1 Vector;
    "scalar" Scalar [Vector] 0 Scalar;
    "sgn" Sgn [Vector] 0 Vector;
    "sin" Sin [Vector] 0 Vector;
    "sinh" Sinh [Vector] 0 Vector;
    "sort" Sort [Vector] 0 Vector;
    "sort_by_label" SortByLabel [Vector String] -1 Vector;
    "sort_by_label_desc" SortByLabelDesc [Vector String] -1 Vector;
    "sort_desc" SortDesc [Vector] 0 Vector;
    "sqrt" Sqrt [Vector] 0 Vector;
    "start" Start [] 0 Scalar;
    "stddev_over_time" StddevOverTime [Matrix] 0 Vector;
    "stdvar_over_time" StdvarOverTime [Matrix] 0 Vector;
    "step" Step [] 0 Scalar;
    "sum_over_time" SumOverTime [Matrix] 0 Vector;
    "tan" Tan [Vector] 0 Vector;
    "tanh" Tanh [Vector] 0 Vector;
    "time" Time [] 0 Scalar;
    "timestamp" Timestamp [Vector] 0 Vector;
    "ts_of_first_over_time" TsOfFirstOverTime [Matrix] 0 Vector;
    "ts_of_last_over_time" TsOfLastOverTime [Matrix] 0 Vector;
    "ts_of_max_over_time" TsOfMaxOverTime [Matrix] 0 Vector;
    "ts_of_min_over_time" TsOfMinOverTime [Matrix] 0 Vector;
    "vector" Vector [Scalar] 0 Vector;
    "year" Year [Vector] 1 Vector;
}

impl Function {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.signature().name
    }
}
