//! Pages that take long to build: they run on blocking threads, so that reloads and signals do not wait. Each page has
//! its own limits.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::StatusCode;
use tokio::sync::Semaphore;

use super::problem::{ProblemForm, ProblemKind};
use super::response::text;

/// Concurrent builds of one page; more requests wait. A build runs to its end, even when its client has disconnected.
const BUILDS_MAX: usize = 4;
/// Concurrent requests for one page, being built or waiting: the pages together cannot take the 448 places for
/// connections.
const REQUESTS_MAX: usize = 16;
/// Time limit of a build; the wait for a permit does not count.
const PAGE_TIMEOUT: Duration = Duration::from_mins(1);

/// The limits of one page.
#[derive(Clone)]
pub(super) struct PageLimits {
    path: &'static str,
    timeout: Duration,
    requests: Arc<Semaphore>,
    builds: Arc<Semaphore>,
}

impl PageLimits {
    pub(super) fn new(path: &'static str) -> Self {
        let permits = |count| Arc::new(Semaphore::new(count));
        Self { path, timeout: PAGE_TIMEOUT, requests: permits(REQUESTS_MAX), builds: permits(BUILDS_MAX) }
    }

    /// Builds the page within its limits.
    pub(super) async fn answer(&self, work: impl FnOnce() -> Response + Send + 'static) -> Response {
        let Ok(_request) = self.requests.try_acquire() else {
            return self.unavailable(ProblemKind::Busy, "too many requests for this page at once; try again");
        };
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&self.builds).acquire_owned().await else {
            return self.unavailable(ProblemKind::Stopping, "the proxy is stopping");
        };
        let work = move || {
            // A thread cannot be cancelled: the permit is released with the build, not with the request.
            let _permit = permit;
            work()
        };
        match tokio::time::timeout(self.timeout, on_blocking_thread(work)).await {
            Ok(Some(response)) => return response,
            Ok(None) => return self.unavailable(ProblemKind::Stopping, "the proxy is stopping"),
            Err(_) => {}
        }
        let (path, limit_s) = (self.path, self.timeout.as_secs_f64());
        tracing::warn!(path, limit_s, "the admin listener could not write a page in time");
        self.unavailable(ProblemKind::Busy, "this page could not be written in time")
    }

    fn unavailable(&self, kind: ProblemKind, why: &str) -> Response {
        match ProblemForm::of(self.path) {
            ProblemForm::Text | ProblemForm::Page => text(StatusCode::SERVICE_UNAVAILABLE, why),
            ProblemForm::Document => kind.because(why, "try again").respond(ProblemForm::Document),
        }
    }
}

/// Runs on a blocking thread, so that reloads and signals do not wait. `None` when the runtime ends.
pub(super) async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(made) => Some(made),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::{Mutex, PoisonError, mpsc};

    use axum::body::to_bytes;
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
    use tokio::task::JoinHandle;

    use super::*;

    #[test]
    fn pages_of_v1_are_refused_with_problem_documents() {
        for (path, media) in [("/v1/status", "application/problem+json"), ("/status", "text/plain; charset=utf-8")] {
            let refused = PageLimits::new(path).unavailable(ProblemKind::Busy, "too many");
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert_eq!(refused.headers()[http::header::CONTENT_TYPE], media, "{path}");
        }
    }

    /// A page whose build waits at a gate.
    struct Gated {
        limits: PageLimits,
        /// Releases one build for each message, and all when it is dropped.
        gate: mpsc::Sender<()>,
        opened: Arc<Mutex<mpsc::Receiver<()>>>,
        entered: UnboundedSender<()>,
        entries: UnboundedReceiver<()>,
        inside: Arc<AtomicUsize>,
        inside_max: Arc<AtomicUsize>,
    }

    fn gated() -> Gated {
        let ((gate, opened), (entered, entries)) = (mpsc::channel(), unbounded_channel());
        let (opened, inside, inside_max) = (Arc::new(Mutex::new(opened)), Arc::default(), Arc::default());
        Gated { limits: PageLimits::new("/page"), gate, opened, entered, entries, inside, inside_max }
    }

    impl Gated {
        /// Sends a request, and returns once it has started: it is being built, waits or is answered.
        async fn ask(&self) -> JoinHandle<String> {
            let (limits, opened, entered) = (self.limits.clone(), Arc::clone(&self.opened), self.entered.clone());
            let (inside, inside_max) = (Arc::clone(&self.inside), Arc::clone(&self.inside_max));
            let work = move || {
                inside_max.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                // The test may have ended.
                let _ = entered.send(());
                let _ = opened.lock().unwrap_or_else(PoisonError::into_inner).recv();
                inside.fetch_sub(1, SeqCst);
                text(StatusCode::OK, "page")
            };
            let (start, started) = tokio::sync::oneshot::channel();
            let request = tokio::spawn(async move {
                start.send(()).expect("the test waits");
                let response = limits.answer(work).await;
                let status = response.status().as_u16();
                let body = to_bytes(response.into_body(), usize::MAX).await.expect("a whole body");
                format!("{status} {}", String::from_utf8_lossy(&body))
            });
            // The runtime has one thread: the task runs until it waits.
            started.await.expect("it begins");
            request
        }

        async fn entries(&mut self, count: usize) {
            for _ in 0..count {
                self.entries.recv().await.expect("the work of a request begins");
            }
        }
    }

    #[tokio::test]
    async fn requests_wait_up_to_a_limit_and_more_are_rejected_at_once() {
        let mut page = gated();
        let mut requests = Vec::new();
        for _ in 0..REQUESTS_MAX {
            requests.push(page.ask().await);
        }
        page.entries(BUILDS_MAX).await;
        assert!(page.entries.try_recv().is_err(), "the others wait");
        let refused = page.ask().await.await.expect("no panic");
        assert_eq!(refused, "503 too many requests for this page at once; try again\n");
        let waiting = requests.pop().expect("a waiting request");
        waiting.abort();
        assert!(waiting.await.is_err_and(|error| error.is_cancelled()));
        requests.push(page.ask().await);
        let Gated { gate, inside_max, .. } = page;
        drop(gate);
        for one in requests {
            assert_eq!(one.await.expect("no panic"), "200 page\n", "every other request is answered in the end");
        }
        assert_eq!(inside_max.load(SeqCst), BUILDS_MAX);
    }

    #[tokio::test]
    async fn a_cancelled_request_keeps_its_permit_until_the_build_ends() {
        let mut page = gated();
        for _ in 0..BUILDS_MAX {
            let request = page.ask().await;
            page.entries(1).await;
            request.abort();
            assert!(request.await.is_err_and(|error| error.is_cancelled()));
        }
        let next = page.ask().await;
        assert_eq!(page.limits.builds.available_permits(), 0);
        assert_eq!(page.limits.requests.available_permits(), REQUESTS_MAX - 1, "the next request waits");
        assert!(page.entries.try_recv().is_err(), "its build has not started");
        page.gate.send(()).expect("a work waits");
        page.entries(1).await;
        let Gated { gate, inside_max, .. } = page;
        drop(gate);
        assert_eq!(next.await.expect("no panic"), "200 page\n");
        assert_eq!(inside_max.load(SeqCst), BUILDS_MAX);
    }

    #[tokio::test]
    async fn a_page_that_takes_too_long_is_answered_with_503_and_logged() {
        let mut log = tempfile::tempfile().expect("a file");
        let writer = Arc::new(log.try_clone().expect("a second handle"));
        let _logging = tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(writer).finish());
        let mut page = gated();
        page.limits.timeout = Duration::from_millis(1);
        let late = page.ask().await.await.expect("no panic");
        assert_eq!(late, "503 this page could not be written in time\n");
        let mut logged = String::new();
        log.rewind().and_then(|()| log.read_to_string(&mut logged)).expect("a text");
        let lines: Vec<_> = logged.lines().filter(|line| line.contains("could not write a page in time")).collect();
        let [line] = *lines else { panic!("one line: {logged}") };
        assert!(line.contains("WARN") && line.contains("/page") && line.contains("0.001"), "{line}");
    }
}
