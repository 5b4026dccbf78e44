//! An API server of Kubernetes, as far as Helm and the drain script ask it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Without the query.
    pub path: String,
    /// The header, as it was sent.
    pub authorization: String,
}

/// Answers on loopback until it is dropped.
pub struct ApiServer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Starts; `answer` gives status and body for a path.
    pub fn start(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let (seen, stopped) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<AtomicBool>::default());
        let (requests, stop) = (seen.clone(), stopped.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                // A client that hung up gets no answer.
                let Ok(request) = stream.map_err(Into::into).and_then(|stream| serve(stream, &answer)) else {
                    continue;
                };
                requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            }
        });
        Ok(ApiServer { address, seen, stopped, thread: Some(thread) })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread; if that fails it has ended.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(mut stream: TcpStream, answer: &impl Fn(&str) -> (u16, String)) -> Result<Request> {
    let mut request = Request { path: String::new(), authorization: String::new() };
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if request.path.is_empty() {
            let target = line.split(' ').nth(1).context("a request without a target")?;
            request.path = target.split('?').next().unwrap_or_default().to_owned();
        } else if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("authorization")
        {
            request.authorization = value.to_owned();
        }
    }
    let (status, body) = answer(&request.path);
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n");
    stream.write_all((head + "connection: close\r\n\r\n" + &body).as_bytes())?;
    Ok(request)
}
