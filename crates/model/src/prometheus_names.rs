//! OpenTelemetry's names as Prometheus shows them, by the specification "Prometheus and OpenMetrics
//! Compatibility" and the four translation strategies of Prometheus 3's OTLP receiver.

use crate::metrics::{Metric, MetricType};

/// How names are shown (Prometheus' `otlp.translation_strategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// `http_server_request_duration_seconds`, `requests_total`.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// `http_server_request_duration`, `requests`.
    UnderscoreEscapingWithoutSuffixes,
    /// `http.server.request.duration_seconds`, `requests_total`.
    NoUtf8EscapingWithSuffixes,
    /// As OpenTelemetry has them.
    NoTranslation,
}

impl Strategy {
    /// All, by the names that a configuration gives them.
    pub const ALL: [(&'static str, Strategy); 4] = [
        ("UnderscoreEscapingWithSuffixes", Strategy::UnderscoreEscapingWithSuffixes),
        ("UnderscoreEscapingWithoutSuffixes", Strategy::UnderscoreEscapingWithoutSuffixes),
        ("NoUTF8EscapingWithSuffixes", Strategy::NoUtf8EscapingWithSuffixes),
        ("NoTranslation", Strategy::NoTranslation),
    ];

    fn escapes(self) -> bool {
        matches!(self, Strategy::UnderscoreEscapingWithSuffixes | Strategy::UnderscoreEscapingWithoutSuffixes)
    }

    /// Whether it leaves something of a metric's name.
    pub fn can_name(self, metric: &str) -> bool {
        !self.escapes() || !self.adds_suffixes() || metric.contains(|c: char| c.is_ascii_alphanumeric() || c == ':')
    }

    fn adds_suffixes(self) -> bool {
        matches!(self, Strategy::UnderscoreEscapingWithSuffixes | Strategy::NoUtf8EscapingWithSuffixes)
    }
}

/// UCUM units and what the names of Prometheus call them.
const UNITS: [(&str, &str); 27] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
    ("kBy", "kilobytes"),
];

/// What units per time are called.
const PER: [(&str, &str); 7] =
    [("s", "second"), ("m", "minute"), ("h", "hour"), ("d", "day"), ("w", "week"), ("mo", "month"), ("y", "year")];

fn named<'a>(table: &'a [(&str, &'a str)], unit: &'a str) -> &'a str {
    table.iter().find(|(ucum, _)| *ucum == unit).map_or(unit, |(_, name)| name)
}

/// The name of a metric, without the suffixes of a histogram's or summary's parts.
pub fn metric_name(metric: &Metric, strategy: Strategy) -> String {
    if strategy == Strategy::NoTranslation {
        return metric.name.clone();
    }
    let is_part = |c: char| !strategy.escapes() || c.is_ascii_alphanumeric() || c == ':';
    if !strategy.adds_suffixes() {
        // Each character that Prometheus does not allow becomes an underscore.
        let name: String = metric.name.chars().map(|c| if is_part(c) || c == '_' { c } else { '_' }).collect();
        return not_starting_with_a_digit(name);
    }
    let suffixes = suffixes(metric);
    if !strategy.escapes() {
        let mut name = metric.name.clone();
        for suffix in suffixes.units.iter().filter(|s| !s.is_empty()).chain(suffixes.kind.iter()) {
            let present = name.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with(['_', '.']));
            if !present {
                name = format!("{name}_{suffix}");
            }
        }
        return name;
    }
    let mut parts: Vec<String> =
        metric.name.split(|c| !is_part(c)).filter(|part| !part.is_empty()).map(str::to_owned).collect();
    for unit in suffixes.units {
        let unit: Vec<&str> = unit.split('_').filter(|part| !part.is_empty()).collect();
        // `per` and what follows count as one.
        let present = unit.last().is_none_or(|last| parts.iter().any(|part| part == last));
        if !present {
            parts.extend(unit.into_iter().map(str::to_owned));
        }
    }
    if let Some(kind) = suffixes.kind {
        parts.retain(|part| *part != kind);
        parts.push(kind);
    }
    not_starting_with_a_digit(parts.join("_"))
}

struct Suffixes {
    /// The unit, then `per_` and another; possibly empty.
    units: [String; 2],
    /// `total` of counters, `ratio` of gauges without a dimension.
    kind: Option<String>,
}

fn suffixes(metric: &Metric) -> Suffixes {
    let (main, per) = metric.unit.split_once('/').unwrap_or((&metric.unit, ""));
    let clean = |unit: &str| -> String {
        let parts = unit.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join("_")
    };
    // An annotation such as `{request}` is no unit.
    let main = Some(main.trim()).filter(|unit| !unit.contains(['{', '}'])).unwrap_or_default();
    let per = Some(per.trim()).filter(|unit| !unit.contains(['{', '}'])).unwrap_or_default();
    let main = clean(named(&UNITS, main));
    let per = if per.is_empty() { String::new() } else { clean(named(&PER, per)) };
    let per = if per.is_empty() { per } else { format!("per_{per}") };
    let kind = match metric.metric_type {
        MetricType::Sum if metric.monotonic => Some("total".to_owned()),
        MetricType::Gauge if metric.unit == "1" => Some("ratio".to_owned()),
        _ => None,
    };
    Suffixes { units: [main, per], kind }
}

fn not_starting_with_a_digit(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// The name of an attribute's label.
pub fn label_name(key: &str, strategy: Strategy) -> String {
    if !strategy.escapes() {
        return key.to_owned();
    }
    let name: String = key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    match name.as_bytes() {
        [first, ..] if first.is_ascii_digit() => format!("key_{name}"),
        [b'_', second, ..] if *second != b'_' => format!("key{name}"),
        _ => name,
    }
}

/// Whether a metric of this name may be called so in Prometheus, itself or a part of it
/// (`_bucket`), whatever its unit and type and by whatever strategy. Never wrongly false: storage
/// passes over series by it that a query cannot mean.
pub fn may_be_called(metric: &str, wanted: &str) -> bool {
    let mut wanted = letters(wanted);
    letters(metric).all(|letter| wanted.next() == Some(letter))
}

/// What no translation takes away or moves.
fn letters(name: &str) -> impl Iterator<Item = u8> {
    let parts = name.split(|c: char| !c.is_ascii_alphanumeric());
    parts.filter(|part| !matches!(*part, "total" | "ratio")).flat_map(str::bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, unit: &str, kind: &str) -> Metric {
        let (metric_type, monotonic) = match kind {
            "counter" => (MetricType::Sum, true),
            "updown" => (MetricType::Sum, false),
            "histogram" => (MetricType::Histogram, false),
            _ => (MetricType::Gauge, false),
        };
        Metric { name: name.into(), unit: unit.into(), metric_type, monotonic, ..Default::default() }
    }

    #[test]
    fn names_of_metrics() {
        for (name, unit, kind, escaped, utf8) in [
            ("system.cpu.time", "s", "counter", "system_cpu_time_seconds_total", "system.cpu.time_seconds_total"),
            (
                "http.server.request.duration",
                "s",
                "histogram",
                "http_server_request_duration_seconds",
                "http.server.request.duration_seconds",
            ),
            ("system.memory.usage", "By", "updown", "system_memory_usage_bytes", "system.memory.usage_bytes"),
            ("system.cpu.utilization", "1", "gauge", "system_cpu_utilization_ratio", "system.cpu.utilization_ratio"),
            ("requests", "{request}", "counter", "requests_total", "requests_total"),
            ("requests.total.count", "", "counter", "requests_count_total", "requests.total.count_total"),
            ("io.total", "", "counter", "io_total", "io.total"),
            ("disk.io", "By/s", "gauge", "disk_io_bytes_per_second", "disk.io_bytes_per_second"),
            ("wait_seconds", "s", "gauge", "wait_seconds", "wait_seconds"),
            ("2xx", "", "gauge", "_2xx", "2xx"),
            ("ns:rule", "", "gauge", "ns:rule", "ns:rule"),
            ("größe", "", "gauge", "gr_e", "größe"),
        ] {
            let metric = metric(name, unit, kind);
            let by = |strategy| metric_name(&metric, strategy);
            assert_eq!(by(Strategy::UnderscoreEscapingWithSuffixes), escaped, "{name}");
            assert_eq!(by(Strategy::NoUtf8EscapingWithSuffixes), utf8, "{name}");
            assert_eq!(by(Strategy::NoTranslation), name);
            for (_, strategy) in Strategy::ALL {
                for part in ["", "_bucket", "_sum", "_count"] {
                    let shown = by(strategy) + part;
                    assert!(may_be_called(name, &shown), "{name} as {shown}");
                }
            }
        }
        let plain = metric_name(&metric("http.requests", "s", "counter"), Strategy::UnderscoreEscapingWithoutSuffixes);
        assert_eq!(plain, "http_requests");
        assert!(!may_be_called("http.requests", "rpc_requests_total"));
    }

    #[test]
    fn names_of_labels() {
        for (key, expected) in
            [("http.method", "http_method"), ("2nd", "key_2nd"), ("_x", "key_x"), ("__x", "__x"), ("a-b", "a_b")]
        {
            assert_eq!(label_name(key, Strategy::default()), expected);
            assert_eq!(label_name(key, Strategy::NoTranslation), key);
        }
    }
}
