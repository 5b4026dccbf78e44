//! Prometheus' API of targets, where they are scraped; and what other nodes answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bonghwa_cluster::{ClusterView, seam};
use bonghwa_model::{TenantId, TenantSet};
use bonghwa_promql::Matcher;
use http::{StatusCode, Uri, header};
use serde_json::{Value, json};

use crate::config::Span;
use crate::pool::{Pool, Shown};
use crate::scraper::Scraper;
use crate::shards::scrapers;
use crate::target::with_defaults;

/// Time of a target that was not scraped yet, as Prometheus writes it.
const NEVER: &str = "0001-01-01T00:00:00Z";

type Params = Query<BTreeMap<String, String>>;

/// The routes of a node that scrapes.
pub fn router(scraper: Arc<Scraper>) -> Router {
    let mut router = Router::new();
    for prefix in ["", "/prometheus"] {
        router = router
            .route(&format!("{prefix}/api/v1/targets"), get(targets))
            .route(&format!("{prefix}/api/v1/targets/metadata"), get(metadata))
            .route(&format!("{prefix}/api/v1/scrape_pools"), get(pools));
    }
    router.layer(axum::middleware::from_fn_with_state(scraper.clone(), for_tenant)).with_state(scraper)
}

/// Targets are told to whoever reads the tenant that their series are of.
async fn for_tenant(State(scraper): State<Arc<Scraper>>, request: Request, next: Next) -> Response {
    let named = request.headers().get("x-scope-orgid").map(|value| String::from_utf8_lossy(value.as_bytes()));
    let tenants = match named.map(|named| TenantSet::parse(&named)) {
        None => TenantSet::from(&TenantId::default_tenant()),
        Some(Ok(tenants)) => tenants,
        Some(Err(wrong)) => return error(StatusCode::BAD_REQUEST, "bad_data", &wrong.to_string()),
    };
    if tenants.iter().any(|tenant| *tenant == scraper.tenant) {
        return next.run(request).await;
    }
    let warning =
        format!("nothing is scraped for the tenant {tenants}: name the one of scrape.tenant in X-Scope-OrgID");
    nothing(request.uri(), vec![warning])
}

/// The answer of a path where nothing is scraped.
fn nothing(uri: &Uri, warnings: Vec<String>) -> Response {
    let data = match uri.path().rsplit('/').next() {
        Some("metadata") => json!([]),
        Some("scrape_pools") => json!({ "scrapePools": [] }),
        _ => json!({ "activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {} }),
    };
    success(&data, warnings)
}

/// The same routes on a node that does not: they say who does, and are empty where nobody does.
pub fn elsewhere(view: Arc<ClusterView>) -> Router {
    let mut router = Router::new();
    for prefix in ["", "/prometheus"] {
        for path in ["targets", "targets/metadata", "scrape_pools"] {
            router = router.route(&format!("{prefix}/api/v1/{path}"), get(not_here));
        }
    }
    router.with_state(view)
}

async fn not_here(State(view): State<Arc<ClusterView>>, uri: Uri) -> Response {
    let catalog = view.current();
    let who: Vec<String> = scrapers(&catalog).map(|node| format!("{} ({})", node.name, node.address)).collect();
    if who.is_empty() {
        return nothing(&uri, Vec::new());
    }
    let message = format!("this node scrapes nothing: ask the HTTP API of {}", who.join(", "));
    error(StatusCode::NOT_FOUND, "not_found", &message)
}

async fn targets(State(scraper): State<Arc<Scraper>>, Query(params): Params) -> Response {
    let state = params.get("state").map_or("", String::as_str).to_lowercase();
    let (active, dropped) = match state.as_str() {
        "" | "any" => (true, true),
        "active" => (true, false),
        "dropped" => (false, true),
        other => {
            let message = format!("invalid parameter \"state\": {other:?} is none of active, dropped and any");
            return error(StatusCode::BAD_REQUEST, "bad_data", &message);
        }
    };
    let wanted = params.get("scrapePool").filter(|pool| !pool.is_empty());
    let (mut here, mut gone, mut counts, mut others) = (Vec::new(), Vec::new(), BTreeMap::new(), 0);
    scraper.jobs.each(|pool| {
        let job = pool.job();
        let seen = pool.seen();
        others += seen.elsewhere;
        if wanted.is_some_and(|wanted| *wanted != job.name) {
            return;
        }
        if active {
            here.extend(pool.targets().iter().map(|shown| target(pool, shown)));
        }
        if dropped {
            counts.insert(job.name.clone(), seen.dropped_count);
            gone.extend(seen.dropped.iter().map(|labels| {
                let labels = with_defaults(&job, labels);
                json!({ "discoveredLabels": labels.to_map(), "scrapePool": job.name })
            }));
        }
    });
    let data = json!({ "activeTargets": here, "droppedTargets": gone, "droppedTargetCounts": counts });
    success(&data, warnings(&scraper, others))
}

fn target(pool: &Pool, Shown { target, state }: &Shown) -> Value {
    let job = pool.job();
    let status = state.status.lock().clone();
    let labels: BTreeMap<&str, &str> = target.labels().iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    json!({
        "discoveredLabels": with_defaults(&job, &target.discovered).to_map(),
        "labels": labels,
        "scrapePool": job.name,
        "scrapeUrl": target.url.as_str(),
        "globalUrl": target.url.as_str(),
        "lastError": status.error,
        "lastScrape": if status.time == 0 { NEVER.to_owned() } else { rfc3339(status.time) },
        "lastScrapeDuration": status.took.as_secs_f64(),
        "health": status.health.as_str(),
        "scrapeInterval": Span(target.interval).to_string(),
        "scrapeTimeout": Span(target.timeout).to_string(),
    })
}

async fn metadata(State(scraper): State<Arc<Scraper>>, Query(params): Params) -> Response {
    let given = |name: &str| params.get(name).filter(|value| !value.is_empty());
    let matchers: Vec<Matcher> = match given("match_target").map(|text| bonghwa_promql::syntax::parse_matchers(text)) {
        None => Vec::new(),
        Some(Ok(matchers)) => matchers,
        Some(Err(wrong)) => {
            let message = format!("invalid parameter \"match_target\": {wrong}");
            return error(StatusCode::BAD_REQUEST, "bad_data", &message);
        }
    };
    let limit = match given("limit").map(|text| text.parse::<i64>()) {
        None => usize::MAX,
        Some(Ok(limit)) if limit < 0 => usize::MAX,
        Some(Ok(limit)) => limit as usize,
        Some(Err(_)) => {
            return error(StatusCode::BAD_REQUEST, "bad_data", "invalid parameter \"limit\": it is no number");
        }
    };
    let (mut here, mut others) = (Vec::new(), 0);
    scraper.jobs.each(|pool| {
        others += pool.seen().elsewhere;
        here.extend(pool.targets());
    });
    // Each target's last body is unpacked and parsed for it: no lock is held meanwhile.
    let shown = seam::in_place(|| families(&here, &matchers, given("metric"), limit));
    success(&json!(shown), warnings(&scraper, others))
}

/// What targets whose labels match say of a metric, or of all.
fn families(targets: &[Shown], matchers: &[Matcher], metric: Option<&String>, limit: usize) -> Vec<Value> {
    let mut shown = Vec::new();
    for Shown { target, state } in targets {
        let label = |name: &str| target.labels().iter().find(|(n, _)| n == name).map_or("", |(_, value)| value);
        if shown.len() >= limit || !matchers.iter().all(|matcher| matcher.matches(label(&matcher.name))) {
            continue;
        }
        let labels: BTreeMap<&str, &str> = target.labels().iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let last = state.series.lock().last();
        let Some(last) = last else { continue };
        last.metadata(|family| {
            if shown.len() >= limit || metric.is_some_and(|metric| *metric != family.name) {
                return;
            }
            let mut entry = json!({
                "target": labels, "type": family.kind.as_str(), "help": family.help, "unit": family.unit,
            });
            if metric.is_none() {
                entry["metric"] = json!(family.name);
            }
            shown.push(entry);
        });
    }
    shown
}

async fn pools(State(scraper): State<Arc<Scraper>>) -> Response {
    let mut names = Vec::new();
    scraper.jobs.each(|pool| names.push(pool.job().name.clone()));
    success(&json!({ "scrapePools": names }), Vec::new())
}

/// Where several nodes scrape, each knows of its own targets.
fn warnings(scraper: &Scraper, others: usize) -> Vec<String> {
    if others == 0 {
        return Vec::new();
    }
    let catalog = scraper.view.current();
    let names = scrapers(&catalog).filter(|node| node.id != scraper.node);
    let names: Vec<String> = names.map(|node| format!("{} ({})", node.name, node.address)).collect();
    vec![format!("{others} more targets are scraped by other nodes: ask {} for theirs", names.join(", "))]
}

fn success(data: &Value, warnings: Vec<String>) -> Response {
    let mut body = json!({ "status": "success", "data": data });
    if !warnings.is_empty() {
        body["warnings"] = json!(warnings);
    }
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn error(status: StatusCode, kind: &str, message: &str) -> Response {
    let body = json!({ "status": "error", "errorType": kind, "error": message });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// A time in UTC with milliseconds.
fn rfc3339(millis: i64) -> String {
    let (seconds, millis) = (millis.div_euclid(1000), millis.rem_euclid(1000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, in eras of 400 years: Howard Hinnant's civil_from_days.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_704_067_199_001, "2023-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(millis), text);
        }
    }
}
