//! Upstreams: one that reports the requests it got, and ones that send exactly the bytes of a test.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use super::until;
use super::wire::{Broken, Fields, Wire, field};

/// How many requests are remembered.
const REMEMBERED: usize = 4096;

/// A request as an upstream got it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Got {
    /// The connection's number, from 0.
    pub connection: u64,
    /// The method.
    pub method: String,
    /// The target, as it was written.
    pub target: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// Fields in their order.
    pub headers: Fields,
    /// The body.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Fields,
}

impl Got {
    /// The value of the one field of this name.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.headers, name)
    }

    /// What an echo answers.
    pub fn json(&self, name: &str) -> serde_json::Value {
        json!({
            "name": name,
            "connection": self.connection,
            "method": self.method,
            "target": self.target,
            "version": self.version,
            "headers": self.headers,
            "body_bytes": self.body.len(),
            "body_hash": hash(&self.body),
            "body": String::from_utf8_lossy(&self.body[..self.body.len().min(4096)]),
            "trailers": self.trailers,
        })
    }
}

/// The hash of a body in an echo's response.
pub fn hash(body: &[u8]) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(body))
}

/// An upstream. Stops when dropped.
pub struct Upstream {
    pub(super) shared: Arc<Shared>,
    pub(super) address: SocketAddr,
    pub(super) thread: Option<JoinHandle<()>>,
    /// Ends it if it is not made of threads.
    pub(super) end: Option<Box<dyn FnOnce() + Send>>,
}

/// The state that the connections of an upstream share.
#[derive(Default)]
pub struct Shared {
    pub(super) stopping: AtomicBool,
    pub(super) held: AtomicBool,
    pub(super) manner: Mutex<Manner>,
    pub(super) got: Mutex<VecDeque<Got>>,
    pub(super) requests: AtomicU64,
    pub(super) accepted: AtomicU64,
    open: Mutex<BTreeMap<u64, TcpStream>>,
}

impl Shared {
    fn answers(&self) -> bool {
        !self.held.load(SeqCst) || self.stopping.load(SeqCst)
    }

    /// Keeps a request for the test to look at.
    pub fn remember(&self, got: Got) {
        self.requests.fetch_add(1, SeqCst);
        let mut all = self.got.lock().unwrap();
        all.push_back(got);
        if all.len() > REMEMBERED {
            all.pop_front();
        }
    }
}

/// How an echo behaves.
#[derive(Clone, Debug)]
pub struct Manner {
    pub(super) name: String,
    pub(super) delay: Duration,
    pub(super) status: u16,
    pub(super) lines: String,
}

impl Default for Manner {
    fn default() -> Self {
        Self { name: "echo".to_owned(), delay: Duration::ZERO, status: 200, lines: String::new() }
    }
}

impl Upstream {
    /// Answers each request with JSON about what it got.
    pub fn echo() -> Self {
        Self::echo_on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// The same, on a bound socket.
    pub fn echo_on(listener: TcpListener) -> Self {
        Self::serve_on(listener, |mut conn| {
            while let Ok(got) = conn.request() {
                let manner = conn.shared.manner.lock().unwrap().clone();
                std::thread::sleep(manner.delay);
                until("the test releases the answers", || conn.shared.answers().then_some(()));
                let body = match manner.status {
                    204 | 304 => String::new(),
                    _ => got.json(&manner.name).to_string(),
                };
                let status = manner.status;
                let framing = match status {
                    204 | 304 => String::new(),
                    _ => format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()),
                };
                let head = format!("HTTP/1.1 {status} Echo\r\n{framing}{}\r\n", manner.lines);
                let whole = if got.method == "HEAD" { head } else { head + &body };
                if !conn.send(whole) {
                    return;
                }
            }
        })
    }

    /// Runs `script` for each connection.
    pub fn script(script: impl Fn(Conn) + Send + Sync + 'static) -> Self {
        Self::serve(script)
    }

    /// Answers each request with these bytes and keeps the connection.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::serve(move |mut conn| {
            while conn.request().is_ok() {
                if !conn.send(&bytes) {
                    return;
                }
            }
        })
    }

    /// Answers each request with these bytes and closes the connection.
    pub fn answering_once(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::serve(move |mut conn| {
            if conn.request().is_ok() {
                conn.send(&bytes);
            }
        })
    }

    fn serve(script: impl Fn(Conn) + Send + Sync + 'static) -> Self {
        Self::serve_on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    fn serve_on(listener: TcpListener, script: impl Fn(Conn) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let (shared, script) = (Arc::clone(&shared), Arc::new(script));
            move || {
                for stream in listener.incoming() {
                    if shared.stopping.load(SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let number = shared.accepted.fetch_add(1, SeqCst);
                    shared.open.lock().unwrap().insert(number, stream.try_clone().unwrap());
                    let conn = Conn { wire: Wire::new(stream), number, shared: Arc::clone(&shared) };
                    let script = Arc::clone(&script);
                    std::thread::spawn(move || script(conn));
                }
            }
        });
        Self { shared, address, thread: Some(thread), end: None }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets its name in its responses.
    pub fn named(self, name: &str) -> Self {
        name.clone_into(&mut self.shared.manner.lock().unwrap().name);
        self
    }

    /// Answers after this time.
    pub fn delay(self, delay: Duration) -> Self {
        self.shared.manner.lock().unwrap().delay = delay;
        self
    }

    /// Sends no response before [`Self::release`].
    pub fn held(self) -> Self {
        self.shared.held.store(true, SeqCst);
        self
    }

    /// Sends responses from now on, also to requests that have arrived.
    pub fn release(&self) {
        self.shared.held.store(false, SeqCst);
    }

    /// Answers with this status.
    pub fn status(self, status: u16) -> Self {
        self.answer_with(status);
        self
    }

    /// From now on answers with this status.
    pub fn answer_with(&self, status: u16) {
        self.shared.manner.lock().unwrap().status = status;
    }

    /// Answers with these field lines too; each ends in CRLF.
    pub fn lines(self, lines: &str) -> Self {
        lines.clone_into(&mut self.shared.manner.lock().unwrap().lines);
        self
    }

    /// The requests that it got, oldest first (the last few thousand).
    pub fn got(&self) -> Vec<Got> {
        self.shared.got.lock().unwrap().iter().cloned().collect()
    }

    /// The number of complete requests that it got.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(SeqCst)
    }

    /// The number of connections that it accepted.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(SeqCst)
    }

    /// The number of open connections, as far as it knows.
    pub fn open(&self) -> usize {
        self.shared.open.lock().unwrap().len()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopping.store(true, SeqCst);
        if let Some(end) = self.end.take() {
            end();
        } else {
            // Wakes the accept loop.
            drop(TcpStream::connect(self.address));
        }
        for stream in self.shared.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A connection from the proxy.
pub struct Conn {
    /// The bytes.
    pub wire: Wire,
    /// Its number, from 0.
    pub number: u64,
    pub(super) shared: Arc<Shared>,
}

impl Conn {
    /// Reads a request's head.
    pub fn head(&mut self) -> Result<Got, Broken> {
        let line = String::from_utf8_lossy(&self.wire.line()?).into_owned();
        let words: Vec<&str> = line.split(' ').collect();
        let [method, target, version] = words[..] else {
            return Err(Broken::Malformed(format!("a request line {line:?}")));
        };
        let headers = self.wire.fields()?;
        let (method, target, version) = (method.to_owned(), target.to_owned(), version.to_owned());
        let connection = self.number;
        Ok(Got { connection, method, target, version, headers, ..Got::default() })
    }

    /// Reads and remembers a whole request.
    pub fn request(&mut self) -> Result<Got, Broken> {
        let mut got = self.head()?;
        if got.headers.iter().any(|(name, value)| name == "expect" && value == "100-continue") {
            self.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        if let Some((body, trailers)) = self.wire.framed(&got.headers)? {
            (got.body, got.trailers) = (body, trailers);
        }
        self.shared.remember(got.clone());
        Ok(got)
    }

    /// Sends bytes; false if the proxy takes no more.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.try_send(bytes.as_ref())
    }

    /// Closes with a reset.
    pub fn reset(mut self) {
        self.wire.reset_at_close();
    }

    /// Waits until the proxy closes.
    pub fn wait(mut self) {
        self.wire.patience(Duration::from_mins(2));
        drop(self.wire.rest());
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        // The clone would keep the socket open.
        self.shared.open.lock().unwrap().remove(&self.number);
    }
}
