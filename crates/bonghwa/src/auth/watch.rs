//! The file of callers while the process runs: read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bonghwa_cluster::seam;
use parking_lot::RwLock;
use prometheus::{IntGauge, register_int_gauge};

use super::callers::{Callers, Digest};
use super::file::{self, FileError};

/// How often the file is looked at. It is small, and in the page cache: its content tells more surely
/// than its time whether it changed, also where it is a link that moves, as in a mounted secret.
const LOOK: Duration = Duration::from_secs(1);

static BROKEN: LazyLock<Option<IntGauge>> = LazyLock::new(|| {
    let help = "1 while the newest version of auth.file cannot be used and the one before it holds";
    register_int_gauge!("bonghwa_auth_file_broken", help).ok()
});

/// The callers of the newest version of the file that makes sense.
pub(super) struct Watched {
    callers: Arc<RwLock<Arc<Callers>>>,
    _task: seam::Task,
}

impl Watched {
    /// Reads the file, which must be good now; later versions that are not are reported, and passed over.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let callers = Arc::new(RwLock::new(Arc::new(file::read(path)?)));
        let task = seam::spawn(follow(path.to_owned(), callers.clone()));
        Ok(Watched { callers, _task: task })
    }

    /// The callers now.
    pub(super) fn current(&self) -> Arc<Callers> {
        self.callers.read().clone()
    }
}

async fn follow(path: PathBuf, callers: Arc<RwLock<Arc<Callers>>>) {
    // None: unreadable. Read once more than needed at first: it may have changed since.
    let mut seen: Option<Option<Digest>> = None;
    loop {
        let bytes = tokio::fs::read(&path).await;
        let now = bytes.as_ref().ok().map(|bytes| Digest::of(bytes));
        let same = match (&seen, &now) {
            (Some(Some(before)), Some(now)) => bool::from(before.same(now)),
            (Some(None), None) => true,
            _ => false,
        };
        if !same {
            let read = match bytes {
                Ok(bytes) => file::of_bytes(&path, &bytes),
                Err(source) => Err(FileError::Unreadable { path: path.display().to_string(), source }),
            };
            let broken = read.is_err();
            match read {
                Ok(read) => {
                    let count = read.callers.len();
                    *callers.write() = Arc::new(read);
                    tracing::info!(file = %path.display(), callers = count, "auth.file is read");
                }
                Err(error) => tracing::error!(%error, "auth.file: the callers stay as they were before it changed"),
            }
            if let Some(gauge) = &*BROKEN {
                gauge.set(i64::from(broken));
            }
            seen = Some(now);
        }
        seam::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn until(watched: &Watched, token: &str, known: bool) {
        let authorization = format!("Bearer {token}");
        let wait = async {
            while watched.current().find(authorization.as_bytes()).is_some() != known {
                seam::sleep(LOOK).await;
            }
        };
        seam::timeout(30 * LOOK, wait).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_taken_and_a_broken_one_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        let of = |tokens: &[&str]| {
            let caller = |t: &&str| format!("  - {{ name: {t}, token: {t}, tenants: [a], rights: [read] }}\n");
            format!("callers:\n{}", tokens.iter().map(caller).collect::<String>())
        };
        write("callers: 7");
        assert!(Watched::open(file.path()).is_err(), "a start with a broken file is refused");
        write(&of(&["one"]));
        let watched = Watched::open(file.path()).unwrap();
        until(&watched, "one", true).await;
        write(&of(&["two"]));
        until(&watched, "two", true).await;
        until(&watched, "one", false).await;
        write("callers: 7");
        let broken = async {
            while BROKEN.as_ref().unwrap().get() == 0 {
                seam::sleep(LOOK).await;
            }
        };
        seam::timeout(30 * LOOK, broken).await.unwrap();
        until(&watched, "two", true).await;
        write(&of(&["three"]));
        until(&watched, "three", true).await;
    }
}
