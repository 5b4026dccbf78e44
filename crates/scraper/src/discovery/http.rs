//! `http_sd_configs`: a server that lists groups in JSON.

use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::seam;

use super::{Found, Group, GroupSection, failed};
use crate::client::Client;
use crate::config::HttpDiscovery;

/// The largest answer.
const MOST_BYTES: u64 = 64 << 20;

/// Asks again and again.
pub(super) async fn run(job: String, options: HttpDiscovery, found: Arc<Found>) {
    let client = Client::new(options.http.clone());
    let timeout = options.refresh.min(Duration::from_secs(60)).max(Duration::from_secs(1));
    loop {
        match seam::timeout(timeout, ask(&client, &options)).await {
            Ok(Ok(groups)) => found.replace(groups),
            Ok(Err(error)) => failed(&job, "http", &format!("{}: {error}", options.url)),
            Err(_) => failed(&job, "http", &format!("{}: no answer within {timeout:?}", options.url)),
        }
        seam::sleep(options.refresh).await;
    }
}

async fn ask(client: &Client, options: &HttpDiscovery) -> Result<Vec<Group>, String> {
    let refresh = options.refresh.as_secs_f64().to_string();
    let headers = [("accept", "application/json"), ("x-prometheus-refresh-interval-seconds", refresh.as_str())];
    let answer = client.get(&options.url, &headers).await?;
    let status = answer.status();
    if status != http::StatusCode::OK {
        return Err(format!("it answers {status}"));
    }
    let content_type = answer.headers().get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|media| media.to_ascii_lowercase().starts_with("application/json")) {
        return Err(format!("its Content-Type is {:?}: it must be application/json", content_type.unwrap_or("")));
    }
    let body = crate::client::read_all(answer, MOST_BYTES).await?;
    let sections = super::read_json(&body)?;
    let group = |(at, section): (usize, GroupSection)| {
        let mut group = section.group(format!("{}:{at}", options.url));
        group.labels.set("__meta_url", options.url.clone());
        group
    };
    Ok(sections.into_iter().enumerate().map(group).collect())
}
