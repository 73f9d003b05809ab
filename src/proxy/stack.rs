//! The edge of a connection: what hyper calls for each request. A panic below costs its own request and nothing else.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::Service;

use super::body::ResponseBody;
use super::client::Client;
use super::handle::handle;
use crate::telemetry::Refusal;

/// Serves the requests of one connection.
pub(super) struct Stack(pub(super) Rc<Client>);

impl Service<Request<Incoming>> for Stack {
    type Response = Response<Edge>;
    type Error = std::convert::Infallible;
    type Future = Guarded<Pin<Box<dyn Future<Output = Response<ResponseBody>>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Guarded { inner: Box::pin(handle(Rc::clone(&self.0), request)), client: Rc::clone(&self.0) }
    }
}

/// A future whose panic is an answer of 500.
pub(super) struct Guarded<F> {
    inner: F,
    client: Rc<Client>,
}

/// The body of an answer, or of the answer to a panic.
pub(super) type Edge = http_body_util::Either<ResponseBody, http_body_util::Empty<bytes::Bytes>>;

impl<F: Future<Output = Response<ResponseBody>> + Unpin> Future for Guarded<F> {
    type Output = Result<Response<Edge>, std::convert::Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.inner).poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(response)) => Poll::Ready(Ok(response.map(Edge::Left))),
            Err(_) => {
                this.client.worker.meter().refuse(Refusal::Internal);
                let mut response = Response::new(Edge::Right(http_body_util::Empty::new()));
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                Poll::Ready(Ok(response))
            }
        }
    }
}
