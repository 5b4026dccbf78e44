//! Keeps a copy of one kind of objects: a list, and then a watch of what changes, until the list has to be read again.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::seam;
use bytes::BytesMut;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use url::form_urlencoded::Serializer;

use super::groups::ByName;
use super::objects::Object;
use crate::client::{Client, describe, read_all};

/// Objects of one page of a list.
const PAGE: usize = 500;
/// The largest page, and the largest line of a watch.
const MOST_BYTES: usize = 64 << 20;
/// How long the server keeps a watch.
const WATCH: Duration = Duration::from_secs(300);
/// How long other answers may take, and a watch beyond its time.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between tries, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Copies of objects by namespace and name, from one place each: a namespace, or all of them.
pub(super) struct Copies<T> {
    places: Mutex<Vec<Option<ByName<T>>>>,
}

impl<T> Default for Copies<T> {
    fn default() -> Self {
        Copies { places: Mutex::default() }
    }
}

impl<T: Object> Copies<T> {
    /// Room for another place.
    pub fn place(&self) -> usize {
        let mut places = self.places.lock();
        places.push(None);
        places.len() - 1
    }

    /// Whether all places were listed.
    pub fn is_complete(&self) -> bool {
        self.places.lock().iter().all(Option::is_some)
    }

    /// All objects.
    pub fn all(&self) -> ByName<T> {
        self.places.lock().iter().flatten().flatten().map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    fn replace(&self, place: usize, objects: ByName<T>) {
        self.places.lock()[place] = Some(objects);
    }

    fn change(&self, place: usize, object: T, gone: bool) {
        let mut places = self.places.lock();
        let copies = places[place].get_or_insert_default();
        let key = key(&object);
        if gone {
            copies.remove(&key);
        } else {
            copies.insert(key, Arc::new(object));
        }
    }
}

fn key<T: Object>(object: &T) -> (String, String) {
    let meta = object.meta();
    (meta.namespace.clone(), meta.name.clone())
}

/// What is watched, and where.
pub(super) struct Watch<T> {
    pub job: String,
    pub client: Arc<Client>,
    /// URL of the API server, without a slash at its end.
    pub server: String,
    /// None: everywhere.
    pub namespace: Option<String>,
    pub label_selector: String,
    pub field_selector: String,
    pub copies: Arc<Copies<T>>,
    pub place: usize,
    pub changed: Arc<Notify>,
    pub kind: PhantomData<T>,
}

#[derive(Deserialize)]
#[serde(bound = "T: Object")]
struct List<T> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Box<RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Bookmark {
    metadata: ListMeta,
}

impl<T: Object> Watch<T> {
    /// Works until it is dropped.
    pub async fn run(self) {
        let mut pause = RETRY.0;
        loop {
            let begun = seam::now();
            let Err(error) = self.list_and_watch().await;
            super::failed(&self.job, "kubernetes", &format!("{}{}: {error}", self.server, self.path()));
            pause = if begun.elapsed() > WATCH { RETRY.0 } else { pause };
            seam::sleep(seam::jitter(pause)).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// Lists, and watches for as long as changes come without a gap.
    async fn list_and_watch(&self) -> Result<std::convert::Infallible, String> {
        loop {
            let mut version = self.list().await?;
            loop {
                let begun = seam::now();
                // None: too much has changed since, as the server does not remember.
                let Some(newer) = self.watch(version).await? else { break };
                version = newer;
                if begun.elapsed() < RETRY.0 {
                    seam::sleep(RETRY.0).await;
                }
            }
        }
    }

    fn path(&self) -> String {
        let (prefix, name) = T::PATH;
        match &self.namespace {
            Some(namespace) => format!("{prefix}/namespaces/{namespace}/{name}"),
            None => format!("{prefix}/{name}"),
        }
    }

    fn url(&self, more: &[(&str, &str)]) -> String {
        let mut query = Serializer::new(String::new());
        for (name, value) in [("labelSelector", &self.label_selector), ("fieldSelector", &self.field_selector)] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        format!("{}{}?{}", self.server, self.path(), query.extend_pairs(more).finish())
    }

    /// Reads the list. Its version.
    async fn list(&self) -> Result<String, String> {
        let mut objects = BTreeMap::new();
        let mut next = String::new();
        loop {
            let limit = PAGE.to_string();
            let mut query = vec![("limit", limit.as_str())];
            if !next.is_empty() {
                query.push(("continue", &next));
            }
            let page = seam::timeout(PATIENCE, self.page(&self.url(&query))).await;
            let page = page.map_err(|_| format!("no list within {PATIENCE:?}"))??;
            objects.extend(page.items.into_iter().map(|object| (key(&object), Arc::new(object))));
            next = page.metadata.next;
            if next.is_empty() {
                self.copies.replace(self.place, objects);
                self.changed.notify_one();
                return Ok(page.metadata.resource_version);
            }
        }
    }

    async fn page(&self, url: &str) -> Result<List<T>, String> {
        let answer = self.ask(url).await?;
        let body = read_all(answer, MOST_BYTES as u64).await?;
        serde_json::from_slice(&body).map_err(|error| format!("its list cannot be read: {error}"))
    }

    async fn ask(&self, url: &str) -> Result<reqwest::Response, String> {
        let answer = self.client.get(url, &[("accept", "application/json")]).await?;
        let status = answer.status();
        if status == http::StatusCode::OK {
            return Ok(answer);
        }
        let said = read_all(answer, 1 << 20).await.unwrap_or_default();
        let said: Status = serde_json::from_slice(&said).unwrap_or_default();
        Err(format!("it answers {status}: {}", said.message))
    }

    /// Follows changes from a version on, until the server ends it. The version then; none if it must be listed anew.
    async fn watch(&self, version: String) -> Result<Option<String>, String> {
        let seconds = WATCH.as_secs().to_string();
        let url = self.url(&[
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", &seconds),
            ("resourceVersion", &version),
        ]);
        let answer = seam::timeout(PATIENCE, self.client.get(&url, &[("accept", "application/json")])).await;
        let mut answer = answer.map_err(|_| format!("no watch within {PATIENCE:?}"))??;
        match answer.status() {
            http::StatusCode::OK => {}
            http::StatusCode::GONE => return Ok(None),
            status => return Err(format!("it answers {status} to a watch")),
        }
        let mut version = Some(version);
        let follow = async {
            let mut buffer = BytesMut::new();
            // A watch that a proxy cut is begun again like one that ended.
            while let Some(chunk) = answer.chunk().await.map_err(|error| describe(&error))? {
                buffer.extend_from_slice(&chunk);
                while let Some(end) = memchr::memchr(b'\n', &buffer) {
                    let line = buffer.split_to(end + 1);
                    version = self.event(&line)?.or(version.take());
                    if version.as_deref() == Some("") {
                        return Ok(());
                    }
                }
                if buffer.len() > MOST_BYTES {
                    return Err(format!("an object has more than {MOST_BYTES} bytes"));
                }
            }
            Ok(())
        };
        // A connection that died without a word is given up.
        if let Ok(followed) = seam::timeout(WATCH + PATIENCE, follow).await {
            followed?;
        }
        Ok(version.filter(|version| !version.is_empty()))
    }

    /// Takes an event. The version that it leads to; empty where the watch is of no use any more.
    fn event(&self, line: &[u8]) -> Result<Option<String>, String> {
        let wrong = |error: serde_json::Error| format!("an event cannot be read: {error}");
        let event: Event = serde_json::from_slice(line).map_err(wrong)?;
        let object = event.object.get();
        match event.kind.as_str() {
            "ADDED" | "MODIFIED" | "DELETED" => {
                let object: T = serde_json::from_str(object).map_err(wrong)?;
                let version = object.meta().resource_version.clone();
                self.copies.change(self.place, object, event.kind == "DELETED");
                self.changed.notify_one();
                Ok(Some(version))
            }
            "BOOKMARK" => {
                let bookmark: Bookmark = serde_json::from_str(object).map_err(wrong)?;
                Ok(Some(bookmark.metadata.resource_version))
            }
            "ERROR" => {
                let status: Status = serde_json::from_str(object).unwrap_or_default();
                match status.code {
                    410 => Ok(Some(String::new())),
                    _ => Err(format!("the watch ended: {}", status.message)),
                }
            }
            _ => Ok(None),
        }
    }
}
