//! The exporter: one thread that collects spans into batches and sends them to the collector, over HTTP/1.1 or gRPC.
//!
//! A batch is sent when it is a second old or large. When the collector is temporarily unavailable, the batch is sent
//! again a few times with growing pauses; rejected batches, and those that still fail, are dropped and counted. The
//! thread is started by the first configuration that exports traces.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use tokio::sync::{mpsc, watch};

use super::collector::{Collector, CollectorTls, Connection, LATE, connect};
use super::proto::Message;
use super::sender::{Batch, QUEUED_BUFFERS_MAX, SpanCounts, SpanSender};
use crate::clock::Clock;
use crate::route::{ClientTls, OtlpProtocol, TraceExport};

/// How long a batch collects spans.
const GATHER: Duration = Duration::from_secs(1);
/// A batch of this size is sent at once.
const BATCH_BYTES: usize = 512 * 1024;
/// Time limit of one attempt.
const TRY_LIMIT: Duration = Duration::from_secs(10);
/// Maximum number of attempts for a batch.
const TRIES_MAX: u32 = 5;
/// The first pause between attempts; each is twice as long as the one before, ± 25 %.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Interval of log lines about a failing collector.
const REPORT_EVERY: Duration = Duration::from_mins(1);
/// The gRPC method and the HTTP path.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const HTTP_PATH: &str = "/v1/traces";

/// Controls the exporter. The controller is its only owner.
#[derive(Debug)]
pub struct TraceExporter {
    sender: SpanSender,
    received: Option<mpsc::Receiver<Batch>>,
    target: watch::Sender<Option<Arc<Collector>>>,
    ended: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    clock: Clock,
}

/// The next target of the export, with everything it needs; the default is none. Dropping it has no effect.
#[derive(Debug, Default)]
pub struct PreparedExport {
    target: Option<Arc<Collector>>,
    /// Set when the exporter has no thread yet.
    thread: Option<IdleThread>,
}

/// A thread that waits for its task, and ends when the sender is dropped.
#[derive(Debug)]
struct IdleThread {
    task: SyncSender<Task>,
    thread: JoinHandle<()>,
}

/// The task of the thread.
struct Task {
    exporting: ExportTask,
    received: mpsc::Receiver<Batch>,
    queued_bytes: Arc<AtomicUsize>,
}

impl IdleThread {
    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (task, tasks) = sync_channel::<Task>(1);
        let wait = move || {
            if let Ok(Task { exporting, received, queued_bytes }) = tasks.recv() {
                runtime.block_on(exporting.run(received, &queued_bytes));
            }
        };
        let thread = std::thread::Builder::new().name("traces".to_owned()).spawn(wait)?;
        Ok(Self { task, thread })
    }
}

impl TraceExporter {
    /// An exporter without a target.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let (batches, received) = mpsc::channel(QUEUED_BUFFERS_MAX);
        let (queued_bytes, counts) = (Arc::new(AtomicUsize::new(0)), Arc::new(SpanCounts::default()));
        let sender = SpanSender { batches, queued_bytes, counts };
        let (target, ended) = (watch::channel(None).0, watch::channel(false).0);
        Self { sender, received: Some(received), target, ended, thread: None, clock }
    }

    /// A sender for a worker.
    #[must_use]
    pub fn sender(&self) -> SpanSender {
        self.sender.clone()
    }

    /// The counts of spans.
    #[must_use]
    pub fn counts(&self) -> Arc<SpanCounts> {
        Arc::clone(&self.sender.counts)
    }

    /// Prepares the export to a target: does everything that can fail, and changes nothing. `secure` gives the TLS
    /// configuration, if there is one.
    ///
    /// # Errors
    /// When no thread can be started, and the errors of `secure`.
    pub fn prepare(
        &self,
        export: Option<&TraceExport>,
        secure: impl FnOnce(&TraceExport, &ClientTls) -> io::Result<CollectorTls>,
    ) -> io::Result<PreparedExport> {
        let same = self.target.borrow().clone().filter(|target| Some(&target.export) == export);
        let target = match (same, export) {
            (Some(same), _) => Some(same),
            (None, Some(export)) => Some(Arc::new(Collector::new(export, secure)?)),
            (None, None) => None,
        };
        let needs_thread = target.is_some() && self.thread.is_none();
        let thread = if needs_thread { Some(IdleThread::start()?) } else { None };
        Ok(PreparedExport { target, thread })
    }

    /// Exports to the prepared target from now on; queued spans too.
    pub fn adopt(&mut self, prepared: PreparedExport) {
        self.target.send_replace(prepared.target);
        let Some(IdleThread { task, thread }) = prepared.thread else { return };
        let Some(received) = self.received.take() else { return };
        let exporting = ExportTask {
            target: self.target.subscribe(),
            ended: self.ended.subscribe(),
            counts: self.counts(),
            connection: None,
            reported: None,
            clock: self.clock,
        };
        let queued_bytes = Arc::clone(&self.sender.queued_bytes);
        // The thread waits for the task.
        let _ = task.send(Task { exporting, received, queued_bytes });
        self.thread = Some(thread);
    }

    /// Sends the queued spans once, and ends the thread; waits at most `timeout`.
    pub fn stop(&mut self, timeout: Duration) {
        let Some(thread) = self.thread.take() else { return };
        self.ended.send_replace(true);
        let deadline = self.clock.now() + timeout;
        while !thread.is_finished() && self.clock.now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

struct ExportTask {
    target: watch::Receiver<Option<Arc<Collector>>>,
    ended: watch::Receiver<bool>,
    counts: Arc<SpanCounts>,
    connection: Option<(Arc<Collector>, Connection)>,
    /// The collector of the last log line about lost spans, and its time.
    reported: Option<(Arc<Collector>, Instant)>,
    clock: Clock,
}

/// Why a batch was dropped.
enum ExportError {
    /// There is no target any more.
    Unwanted,
    /// The collector did not accept it.
    Failed(Arc<Collector>, String),
}

/// Why an attempt failed.
struct SendError {
    why: String,
    /// Another attempt may succeed.
    again: bool,
}

impl SendError {
    fn later(why: impl std::fmt::Display) -> Self {
        Self { why: format!("{why}"), again: true }
    }
}

impl ExportTask {
    async fn run(mut self, mut received: mpsc::Receiver<Batch>, queued_bytes: &AtomicUsize) {
        while let Some((bytes, spans)) = self.gather(&mut received, queued_bytes).await {
            match self.export(&bytes).await {
                Ok(()) => self.counts.exported.fetch_add(spans, Relaxed),
                Err(ExportError::Unwanted) => continue,
                Err(ExportError::Failed(target, why)) => {
                    self.report_loss(&target, &why);
                    self.counts.failed.fetch_add(spans, Relaxed)
                }
            };
        }
    }

    /// The next batch; `None` at the end.
    async fn gather(
        &mut self,
        received: &mut mpsc::Receiver<Batch>,
        queued_bytes: &AtomicUsize,
    ) -> Option<(Vec<u8>, u64)> {
        let first = tokio::select! {
            biased;
            first = received.recv() => first?,
            _ = self.ended.wait_for(|ended| *ended) => received.try_recv().ok()?,
        };
        let (mut bytes, mut spans) = (first.bytes, first.spans);
        let mut queued = bytes.len();
        let full = tokio::time::sleep(GATHER);
        tokio::pin!(full);
        while bytes.len() < BATCH_BYTES {
            let next = tokio::select! {
                biased;
                next = received.recv() => next,
                _ = self.ended.wait_for(|ended| *ended) => received.try_recv().ok(),
                () = &mut full => break,
            };
            let Some(next) = next else { break };
            queued += next.bytes.len();
            bytes.extend(next.bytes);
            spans += next.spans;
        }
        queued_bytes.fetch_sub(std::mem::take(&mut queued), Relaxed);
        Some((bytes, spans))
    }

    /// Sends a batch, with retries; each attempt goes to the current target.
    async fn export(&mut self, spans: &[u8]) -> Result<(), ExportError> {
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            let target = self.target.borrow_and_update().clone().ok_or(ExportError::Unwanted)?;
            let body = body(&target.export, spans);
            let outcome = tokio::time::timeout(TRY_LIMIT, self.send(&target, body)).await;
            let error = match outcome.unwrap_or_else(|_| Err(SendError::later(LATE))) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.connection = None;
            tries += 1;
            if !error.again || tries >= TRIES_MAX || *self.ended.borrow() {
                return Err(ExportError::Failed(target, error.why));
            }
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(fastrand::f64().mul_add(0.5, 0.75))) => {}
                _ = self.ended.wait_for(|ended| *ended) => {}
            }
            pause *= 2;
        }
    }

    async fn send(&mut self, target: &Arc<Collector>, body: Bytes) -> Result<(), SendError> {
        let known = self.connection.take().filter(|(to, _)| Arc::ptr_eq(to, target)).map(|(_, connection)| connection);
        let mut connection = match known {
            Some(connection) if connection.is_open() => connection,
            Some(_) | None => connect(target, TRY_LIMIT).await.map_err(SendError::later)?,
        };
        let request =
            request(&target.export, body).map_err(|error| SendError { why: error.to_string(), again: false })?;
        let response = connection.send(request).await;
        let (parts, body) = response.map_err(|error| SendError::later(target.describe_error(&error)))?.into_parts();
        let trailers = rest(body).await?;
        self.connection = Some((Arc::clone(target), connection));
        if !parts.status.is_success() {
            let again = matches!(parts.status.as_u16(), 429 | 502 | 503 | 504);
            return Err(SendError { why: format!("the collector answered with {}", parts.status), again });
        }
        match target.export.protocol {
            OtlpProtocol::Http => Ok(()),
            OtlpProtocol::Grpc => grpc_status(&parts.headers, trailers.as_ref()),
        }
    }

    /// Logs that spans are lost, but not for each batch.
    fn report_loss(&mut self, target: &Arc<Collector>, why: &str) {
        let now = self.clock.now();
        let recently = self
            .reported
            .as_ref()
            .is_some_and(|(of, at)| Arc::ptr_eq(of, target) && now.saturating_duration_since(*at) < REPORT_EVERY);
        if !recently {
            self.reported = Some((Arc::clone(target), now));
            let TraceExport { host, port, .. } = &target.export;
            tracing::warn!(host, port, why, "spans could not be exported; they are dropped and counted");
        }
    }
}

/// Builds an `ExportTraceServiceRequest` with these spans; for gRPC with the message prefix.
fn body(target: &TraceExport, spans: &[u8]) -> Bytes {
    let mut request = Message::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |resource| {
            resource.text_attribute(1, "service.name", &target.service);
            resource.text_attribute(1, "service.version", env!("CARGO_PKG_VERSION"));
            resource.int_attribute(1, "process.pid", u64::from(std::process::id()));
            for (key, value) in &target.attributes {
                resource.text_attribute(1, key, value);
            }
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.bytes(1, b"pointsman");
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            scope_spans.0.extend(spans);
        });
    });
    let mut out = BytesMut::with_capacity(request.0.len() + 5);
    if target.protocol == OtlpProtocol::Grpc {
        out.put_u8(0);
        out.put_u32(u32::try_from(request.0.len()).unwrap_or(u32::MAX));
    }
    out.extend_from_slice(&request.0);
    out.freeze()
}

fn request(target: &TraceExport, body: Bytes) -> http::Result<Request<Full<Bytes>>> {
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    let usual = if target.tls.is_some() { 443 } else { 80 };
    let authority = if target.port == usual { host } else { format!("{host}:{}", target.port) };
    let mut request = Request::builder().method(Method::POST).header(USER_AGENT, USER);
    request = match target.protocol {
        OtlpProtocol::Http => {
            let uri: Uri = format!("{}{HTTP_PATH}", target.path).parse()?;
            request.uri(uri).header(HOST, authority).header(CONTENT_TYPE, "application/x-protobuf")
        }
        OtlpProtocol::Grpc => {
            let scheme = if target.tls.is_some() { "https" } else { "http" };
            let uri: Uri = format!("{scheme}://{authority}{}{GRPC_PATH}", target.path).parse()?;
            request.uri(uri).header(CONTENT_TYPE, "application/grpc").header(TE, "trailers")
        }
    };
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    request.body(Full::new(body))
}

const USER: HeaderValue = HeaderValue::from_static(concat!("pointsman/", env!("CARGO_PKG_VERSION")));

/// Reads a response to its end and returns the trailers.
async fn rest(body: Incoming) -> Result<Option<HeaderMap>, SendError> {
    let mut body = Limited::new(body, 64 * 1024);
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        trailers = frame.map_err(SendError::later)?.into_trailers().ok().or(trailers);
    }
    Ok(trailers)
}

fn grpc_status(headers: &HeaderMap, trailers: Option<&HeaderMap>) -> Result<(), SendError> {
    let find = |name: &str| trailers.and_then(|trailers| trailers.get(name)).or_else(|| headers.get(name));
    let status = find("grpc-status").and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u32>().ok());
    match status {
        Some(0) => Ok(()),
        status => {
            let message = find("grpc-message").and_then(|value| value.to_str().ok()).unwrap_or_default();
            let why = format!("the collector answered with gRPC status {status:?} {message}");
            // The statuses that OTLP marks as retryable, and a missing one.
            Err(SendError { why, again: matches!(status, None | Some(1 | 4 | 8 | 10 | 11 | 14 | 15)) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(port: u16, tls: Option<ClientTls>) -> TraceExport {
        TraceExport {
            host: "a.test".to_owned(),
            port,
            path: String::new(),
            tls,
            protocol: OtlpProtocol::Grpc,
            sample: 1.0,
            service: String::new(),
            attributes: Vec::new(),
            headers: Vec::new(),
        }
    }

    #[test]
    fn a_prepared_export_takes_effect_when_it_is_adopted() {
        let no_tls = |_: &TraceExport, _: &ClientTls| Err(io::Error::other("no TLS"));
        let port = |traces: &TraceExporter| traces.target.borrow().as_ref().map(|target| target.export.port);
        let mut traces = TraceExporter::new(Clock);
        let (first, second) = (export(1, None), export(2, None));
        let prepared = traces.prepare(Some(&first), no_tls).expect("prepared");
        let IdleThread { task, thread } = prepared.thread.expect("a thread of its own");
        drop(task);
        thread.join().expect("a thread without a task ends");
        assert_eq!((port(&traces), traces.thread.is_some()), (None, false));

        let prepared = traces.prepare(Some(&first), no_tls).expect("prepared");
        traces.adopt(prepared);
        assert_eq!((port(&traces), traces.thread.is_some()), (Some(1), true));
        drop(traces.prepare(Some(&second), no_tls).expect("prepared"));
        let tls = ClientTls { roots: [].into(), server_name: None, client_cert: None };
        let error = traces.prepare(Some(&export(3, Some(tls))), no_tls).expect_err("refused");
        assert_eq!((error.to_string().as_str(), port(&traces)), ("no TLS", Some(1)));

        traces.adopt(PreparedExport::default());
        assert_eq!(port(&traces), None, "spans go nowhere");
        let again = traces.prepare(Some(&first), no_tls).expect("the next reload tries again");
        traces.adopt(again);
        assert_eq!((port(&traces), traces.thread.is_some()), (Some(1), true));

        let held = traces.target.borrow().clone().expect("a target");
        let same = traces.prepare(Some(&first), no_tls).expect("prepared");
        assert!(same.thread.is_none() && same.target.as_ref().is_some_and(|target| Arc::ptr_eq(target, &held)));
        let second = traces.prepare(Some(&second), no_tls).expect("prepared");
        traces.adopt(second);
        assert_eq!(port(&traces), Some(2));
        let none = traces.prepare(None, no_tls).expect("prepared");
        traces.adopt(none);
        assert_eq!(port(&traces), None);
        traces.stop(Duration::from_secs(20));
    }

    #[test]
    fn the_authority_has_a_port_unless_it_is_the_default() {
        let tls = ClientTls { roots: [].into(), server_name: None, client_cert: None };
        let check = |tls: Option<&ClientTls>, host: &str, port, uri: &str, authority: &str| {
            let (host, path) = (host.to_owned(), "/x".to_owned());
            let mut export = TraceExport { host, path, ..export(port, tls.cloned()) };
            assert_eq!(request(&export, Bytes::new()).unwrap().uri().to_string(), format!("{uri}/x{GRPC_PATH}"));
            export.protocol = OtlpProtocol::Http;
            let request = request(&export, Bytes::new()).unwrap();
            assert_eq!((request.uri().path(), &request.headers()[HOST]), ("/x/v1/traces", &authority.parse().unwrap()));
        };
        check(None, "a.test", 4317, "http://a.test:4317", "a.test:4317");
        check(None, "a.test", 443, "http://a.test:443", "a.test:443");
        check(Some(&tls), "a.test", 443, "https://a.test", "a.test");
        check(Some(&tls), "::1", 443, "https://[::1]", "[::1]");
        check(Some(&tls), "::1", 80, "https://[::1]:80", "[::1]:80");
    }
}
