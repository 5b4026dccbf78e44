//! Formats in which targets expose their metrics, and what they may be called.

use serde::Deserialize;

/// A format, by Prometheus' name of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// Protobuf: the only one with native histograms.
    PrometheusProto,
    /// The text format.
    #[serde(rename = "PrometheusText0.0.4")]
    PrometheusText0_0_4,
    /// The text format with names in UTF-8.
    #[serde(rename = "PrometheusText1.0.0")]
    PrometheusText1_0_0,
    /// OpenMetrics before it was standardized.
    #[serde(rename = "OpenMetricsText0.0.1")]
    OpenMetricsText0_0_1,
    /// OpenMetrics.
    #[serde(rename = "OpenMetricsText1.0.0")]
    OpenMetricsText1_0_0,
}

impl Protocol {
    /// What is asked for where nothing is said.
    pub const DEFAULT: [Protocol; 4] = [
        Protocol::OpenMetricsText1_0_0,
        Protocol::OpenMetricsText0_0_1,
        Protocol::PrometheusText1_0_0,
        Protocol::PrometheusText0_0_4,
    ];

    /// What is asked for where native histograms are wanted.
    pub const WITH_NATIVE_HISTOGRAMS: [Protocol; 5] = [
        Protocol::PrometheusProto,
        Protocol::OpenMetricsText1_0_0,
        Protocol::OpenMetricsText0_0_1,
        Protocol::PrometheusText1_0_0,
        Protocol::PrometheusText0_0_4,
    ];

    fn media(self) -> (&'static str, bool) {
        match self {
            Protocol::PrometheusProto => {
                let media =
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
                (media, false)
            }
            Protocol::PrometheusText0_0_4 => ("text/plain;version=0.0.4", false),
            Protocol::PrometheusText1_0_0 => ("text/plain;version=1.0.0", true),
            Protocol::OpenMetricsText0_0_1 => ("application/openmetrics-text;version=0.0.1", false),
            Protocol::OpenMetricsText1_0_0 => ("application/openmetrics-text;version=1.0.0", true),
        }
    }
}

/// The header `Accept` for formats of which the first is the best.
pub fn accept(protocols: &[Protocol], escaping: Escaping) -> String {
    let weight = protocols.len() + 1;
    let mut entries: Vec<String> = protocols
        .iter()
        .enumerate()
        .map(|(at, protocol)| {
            let (media, escapes) = protocol.media();
            let escaping = if escapes { format!(";escaping={}", escaping.name()) } else { String::new() };
            format!("{media}{escaping};q=0.{}", weight - at)
        })
        .collect();
    entries.push("*/*;q=0.1".into());
    entries.join(",")
}

/// How a target is asked to write names that the older character set has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Escaping {
    /// As they are.
    #[default]
    #[serde(rename = "allow-utf-8")]
    AllowUtf8,
    /// `_` for each other character.
    #[serde(rename = "underscores")]
    Underscores,
    /// `_dot_` for a dot.
    #[serde(rename = "dots")]
    Dots,
    /// Characters by their numbers.
    #[serde(rename = "values")]
    Values,
}

impl Escaping {
    fn name(self) -> &'static str {
        match self {
            Escaping::AllowUtf8 => "allow-utf-8",
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
        }
    }
}

/// Which names are good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameScheme {
    /// Any text.
    #[default]
    Utf8,
    /// ASCII letters, digits, `_`, and for metrics `:`.
    Legacy,
}

impl NameScheme {
    /// The escaping that fits.
    pub(super) fn escaping(self) -> Escaping {
        match self {
            NameScheme::Utf8 => Escaping::AllowUtf8,
            NameScheme::Legacy => Escaping::Underscores,
        }
    }

    /// Whether a metric may have this name.
    pub fn is_metric(self, name: &str) -> bool {
        match self {
            NameScheme::Utf8 => !name.is_empty(),
            NameScheme::Legacy => is_legacy(name, true),
        }
    }

    /// Whether a label may have this name.
    pub fn is_label(self, name: &str) -> bool {
        match self {
            NameScheme::Utf8 => !name.is_empty(),
            NameScheme::Legacy => is_legacy(name, false),
        }
    }
}

fn is_legacy(name: &str, colon: bool) -> bool {
    let start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (colon && byte == b':');
    let mut bytes = name.bytes();
    bytes.next().is_some_and(start) && bytes.all(|byte| start(byte) || byte.is_ascii_digit())
}
