//! The right that each route asks for. A path that is not here is not served, by any listener, with
//! authentication or without: a route needs a decision before anybody reaches it.

use std::sync::LazyLock;

use matchit::Router;

/// What a caller must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: anybody may ask.
    Nothing,
    /// The right `read`, for the tenants that the request names.
    Read,
    /// The right `write`, for the one tenant that the request names.
    Write,
    /// The right `admin`, or `read` for all tenants: the answer names nodes and tenants, but shows no records.
    Overview,
    /// The right `admin`, for the tenants that the request names, whoever they are, or for the whole cluster.
    Admin,
}

impl Needs {
    /// As `bonghwa config rights` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Needs::Nothing => "nothing",
            Needs::Read => "read",
            Needs::Write => "write",
            Needs::Overview => "overview",
            Needs::Admin => "admin",
        }
    }
}

/// Every route of every public listener, in the notation of axum's router.
pub const ROUTES: &[(&str, Needs)] = &[
    ("/health", Needs::Nothing),
    ("/ready", Needs::Nothing),
    ("/-/healthy", Needs::Nothing),
    ("/-/ready", Needs::Nothing),
    ("/version", Needs::Nothing),
    ("/metrics", Needs::Overview),
    ("/ring", Needs::Overview),
    ("/config", Needs::Admin),
    ("/admin/compact", Needs::Admin),
    ("/admin/deletes", Needs::Admin),
    ("/admin/deletes/{id}", Needs::Admin),
    ("/admin/flush", Needs::Admin),
    ("/admin/limits", Needs::Admin),
    ("/admin/limits/{tenant}", Needs::Admin),
    ("/admin/nodes/{name}/drain", Needs::Admin),
    ("/api/v1/sql", Needs::Read),
    ("/api/v1/query", Needs::Read),
    ("/api/v1/query_range", Needs::Read),
    ("/api/v1/labels", Needs::Read),
    ("/api/v1/label/{name}/values", Needs::Read),
    ("/api/v1/series", Needs::Read),
    ("/api/v1/metadata", Needs::Read),
    ("/api/v1/format_query", Needs::Read),
    ("/api/v1/parse_query", Needs::Read),
    ("/api/v1/status/buildinfo", Needs::Read),
    ("/api/v1/targets", Needs::Read),
    ("/api/v1/targets/metadata", Needs::Read),
    ("/api/v1/scrape_pools", Needs::Read),
    ("/prometheus/api/v1/query", Needs::Read),
    ("/prometheus/api/v1/query_range", Needs::Read),
    ("/prometheus/api/v1/labels", Needs::Read),
    ("/prometheus/api/v1/label/{name}/values", Needs::Read),
    ("/prometheus/api/v1/series", Needs::Read),
    ("/prometheus/api/v1/metadata", Needs::Read),
    ("/prometheus/api/v1/format_query", Needs::Read),
    ("/prometheus/api/v1/parse_query", Needs::Read),
    ("/prometheus/api/v1/status/buildinfo", Needs::Read),
    ("/api/v1/query_exemplars", Needs::Read),
    ("/api/v1/read", Needs::Read),
    ("/api/v1/cardinality/label_names", Needs::Read),
    ("/api/v1/cardinality/label_values", Needs::Read),
    ("/api/v1/cardinality/active_series", Needs::Read),
    ("/api/v1/status/tsdb", Needs::Read),
    ("/federate", Needs::Read),
    ("/api/v1/status/runtimeinfo", Needs::Overview),
    ("/api/v1/status/config", Needs::Admin),
    ("/api/v1/status/flags", Needs::Admin),
    ("/api/v1/admin/tsdb/delete_series", Needs::Admin),
    ("/api/v1/admin/tsdb/clean_tombstones", Needs::Admin),
    ("/api/v1/admin/tsdb/snapshot", Needs::Admin),
    ("/prometheus/api/v1/query_exemplars", Needs::Read),
    ("/prometheus/api/v1/read", Needs::Read),
    ("/prometheus/api/v1/cardinality/label_names", Needs::Read),
    ("/prometheus/api/v1/cardinality/label_values", Needs::Read),
    ("/prometheus/api/v1/cardinality/active_series", Needs::Read),
    ("/prometheus/api/v1/status/tsdb", Needs::Read),
    ("/prometheus/federate", Needs::Read),
    ("/prometheus/api/v1/status/runtimeinfo", Needs::Overview),
    ("/prometheus/api/v1/status/config", Needs::Admin),
    ("/prometheus/api/v1/status/flags", Needs::Admin),
    ("/prometheus/api/v1/admin/tsdb/delete_series", Needs::Admin),
    ("/prometheus/api/v1/admin/tsdb/clean_tombstones", Needs::Admin),
    ("/prometheus/api/v1/admin/tsdb/snapshot", Needs::Admin),
    ("/prometheus/api/v1/targets", Needs::Read),
    ("/prometheus/api/v1/targets/metadata", Needs::Read),
    ("/prometheus/api/v1/scrape_pools", Needs::Read),
    ("/api/echo", Needs::Read),
    ("/api/traces/{id}", Needs::Read),
    ("/api/v2/traces/{id}", Needs::Read),
    ("/tempo/api/echo", Needs::Read),
    ("/tempo/api/traces/{id}", Needs::Read),
    ("/tempo/api/v2/traces/{id}", Needs::Read),
    ("/v1/logs", Needs::Write),
    ("/v1/metrics", Needs::Write),
    ("/v1/traces", Needs::Write),
    ("/otlp/v1/logs", Needs::Write),
    ("/otlp/v1/metrics", Needs::Write),
    ("/otlp/v1/traces", Needs::Write),
    ("/api/v1/otlp/v1/metrics", Needs::Write),
    ("/api/v1/write", Needs::Write),
    ("/api/v1/push", Needs::Write),
    ("/prometheus/api/v1/write", Needs::Write),
    ("/prometheus/api/v1/push", Needs::Write),
    ("/opentelemetry.proto.collector.logs.v1.LogsService/Export", Needs::Write),
    ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", Needs::Write),
    ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", Needs::Write),
];

static BY_PATH: LazyLock<Router<Needs>> = LazyLock::new(|| {
    let mut router = Router::new();
    for (path, needs) in ROUTES {
        if let Err(error) = router.insert(*path, *needs) {
            unreachable!("the paths are constants of this file, and a test inserts them: {path}: {error}");
        }
    }
    router
});

/// What this path needs, found as axum's router finds its route; none where nothing may be served.
pub fn needs(path: &str) -> Option<Needs> {
    BY_PATH.at(path).ok().map(|found| *found.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_as_they_are_routed() {
        for (path, expected) in [
            ("/ready", Some(Needs::Nothing)),
            ("/api/traces/0a", Some(Needs::Read)),
            ("/admin/limits/shop", Some(Needs::Admin)),
            ("/admin/nodes/n-1/drain", Some(Needs::Admin)),
            ("/v1/logs", Some(Needs::Write)),
            ("/prometheus/api/v1/push", Some(Needs::Write)),
            ("/v1/logs/", None),
            ("//v1/logs", None),
            ("/V1/logs", None),
            ("/v1/%6cogs", None),
            ("/ready/../config", None),
            ("/api/traces/", None),
            ("/api/traces/a/b", None),
            ("/admin", None),
            ("/", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(needs(path), expected, "{path}");
        }
    }
}
