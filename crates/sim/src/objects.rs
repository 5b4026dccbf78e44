//! An object store in memory that is slow, fails, tears uploads, or loses answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bonghwa_seam as seam;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use crate::dice;
use crate::trace::Trace;

/// How the store behaves.
#[derive(Clone, Copy, Debug)]
pub struct StoreWeather {
    /// The shortest and the longest time of a request.
    pub latency: (Duration, Duration),
    /// The share of requests that fail without an effect.
    pub errors: f64,
    /// The share of uploads that are done, but answered with an error.
    pub lost_answers: f64,
    /// The share of uploads that leave a part of the object and fail.
    pub torn: f64,
}

impl Default for StoreWeather {
    fn default() -> Self {
        let latency = (Duration::from_millis(5), Duration::from_millis(40));
        StoreWeather { latency, errors: 0.0, lost_answers: 0.0, torn: 0.0 }
    }
}

impl StoreWeather {
    /// Nothing works.
    pub fn outage() -> Self {
        StoreWeather { errors: 1.0, ..StoreWeather::default() }
    }
}

/// The object store of a run.
pub struct SimStore {
    objects: InMemory,
    weather: Mutex<StoreWeather>,
    trace: Arc<Trace>,
}

impl SimStore {
    /// An empty store.
    pub fn new(trace: Arc<Trace>) -> Arc<Self> {
        Arc::new(SimStore { objects: InMemory::new(), weather: Mutex::default(), trace })
    }

    /// Sets how the store behaves.
    pub fn set_weather(&self, weather: StoreWeather) {
        *self.weather.lock() = weather;
    }

    /// The objects themselves, for oracles.
    pub fn objects(&self) -> &InMemory {
        &self.objects
    }

    fn failed(what: &str) -> Error {
        Error::Generic { store: "simulation", source: format!("{what} failed").into() }
    }

    /// Waits as long as a request takes, and fails as often as requests do.
    async fn request(&self, what: &'static str, location: &str) -> Result<StoreWeather> {
        let weather = *self.weather.lock();
        seam::sleep(dice::between(weather.latency.0, weather.latency.1)).await;
        self.trace.tick(what, location, 0);
        if weather.errors > 0.0 && dice::chance(weather.errors) {
            return Err(Self::failed(what));
        }
        Ok(weather)
    }
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated store")
    }
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let weather = self.request("put", location.as_ref()).await?;
        if weather.torn > 0.0 && dice::chance(weather.torn) {
            let bytes = bytes::Bytes::from(payload);
            let part = bytes.slice(..dice::below(bytes.len() as u64 + 1) as usize);
            self.objects.put_opts(location, part.into(), options).await?;
            return Err(Self::failed("an upload that was torn"));
        }
        let done = self.objects.put_opts(location, payload, options).await?;
        if weather.lost_answers > 0.0 && dice::chance(weather.lost_answers) {
            return Err(Self::failed("the answer to an upload"));
        }
        Ok(done)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.request("put_multipart", location.as_ref()).await?;
        self.objects.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.request("get", location.as_ref()).await?;
        self.objects.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // A deletion that fails leaves an orphan, which is what a crash leaves too.
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.weather.lock().errors >= 1.0 {
            return futures::stream::once(async { Err(Self::failed("list")) }).boxed();
        }
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.request("list", prefix.map_or("", |prefix| prefix.as_ref())).await?;
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.request("copy", from.as_ref()).await?;
        self.objects.copy_opts(from, to, options).await
    }
}
