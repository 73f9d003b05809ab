//! One connection of the admin listener: its place among the others, its time limits, HTTP/1.1.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::{HeaderValue, Request, header};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

use super::access::{AdminClient, PlaceKind};
use super::timed_writes::TimedWrites;

/// Time limit for a request head, which also limits idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The same on a reserved place.
const RESERVED_HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// Lifetime of a connection on a reserved place, from its TLS handshake on.
const RESERVED_LIFE_MAX: Duration = Duration::from_secs(10);
/// How long a write may wait for the client.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Lifetime of a connection without event streams: no client occupies one of the few for longer.
const LIFE_MAX: Duration = Duration::from_mins(5);

/// The places of connections. When the shared ones are taken, further connections get a reserved one: they are for the
/// calls that must always work, end after each answer, and do not wait long for a head.
#[derive(Clone, Debug)]
pub(super) struct Places {
    shared: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub kind: PlaceKind,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    /// This many places, of which some are reserved.
    pub fn new(all: usize, reserved: usize) -> Self {
        let shared = Semaphore::new(all.saturating_sub(reserved));
        Self { shared: Arc::new(shared), reserved: Arc::new(Semaphore::new(reserved)) }
    }

    /// Waits for a place.
    pub async fn take(&self) -> Option<Place> {
        if let Ok(permit) = Arc::clone(&self.shared).try_acquire_owned() {
            return Some(Place { kind: PlaceKind::Shared, _permit: permit });
        }
        // The semaphores are never closed.
        tokio::select! {
            biased;
            permit = Arc::clone(&self.shared).acquire_owned() => {
                Some(Place { kind: PlaceKind::Shared, _permit: permit.ok()? })
            }
            permit = Arc::clone(&self.reserved).acquire_owned() => {
                Some(Place { kind: PlaceKind::Reserved, _permit: permit.ok()? })
            }
        }
    }
}

impl PlaceKind {
    /// How long a TLS handshake may take, and a request head after it.
    pub(super) const fn head_timeout(self) -> Duration {
        match self {
            Self::Shared => HEAD_TIMEOUT,
            Self::Reserved => RESERVED_HEAD_TIMEOUT,
        }
    }

    const fn life_max(self) -> Duration {
        match self {
            Self::Shared => LIFE_MAX,
            Self::Reserved => RESERVED_LIFE_MAX,
        }
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, client: AdminClient, router: Router) {
    let (life, place) = (client.life.clone(), client.place);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(client.clone());
        let answering = router.clone().call(request);
        async move {
            answering.await.map(|response| {
                let mut response = without_content_length(response);
                if place == PlaceKind::Reserved {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                response
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(place.head_timeout())
        .max_headers(64)
        .serve_connection(TokioIo::new(TimedWrites::new(stream, WRITE_TIMEOUT)), service);
    // Errors of a client need no log; no connection lives longer than its life.
    tokio::select! {
        _ = connection => {}
        () = life.end(place.life_max()) => {}
    }
}

/// Removes the length of a body: hyper writes it after the fields that it adds. A response to HEAD keeps the field,
/// because hyper has no body to measure.
fn without_content_length(mut response: Response) -> Response {
    if !response.body().is_end_stream() {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_beyond_the_shared_places_get_reserved_ones() {
        let places = Places::new(3, 1);
        let shared = [places.take().await, places.take().await].map(|place| place.expect("a place"));
        assert!(shared.iter().all(|place| place.kind == PlaceKind::Shared));
        let reserved = places.take().await.expect("a place");
        assert_eq!(reserved.kind, PlaceKind::Reserved);
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.take().await.map(|place| place.kind) }
        });
        drop(shared);
        assert_eq!(waiting.await.expect("no panic"), Some(PlaceKind::Shared), "the next one waits for a place");
    }
}
