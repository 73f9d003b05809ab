//! The edge of a connection: what hyper calls for each request. A panic below costs its own request and nothing else.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::{Request, Response, StatusCode};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::service::Service;

use super::client::Client;
use super::handle::handle;
use super::response_body::ResponseBody;
use crate::telemetry::Refusal;

/// The body of an answer, or of the answer to a panic.
pub(super) type Edge = Either<ResponseBody, Empty<bytes::Bytes>>;

/// Serves the requests of one connection.
pub(super) fn stack(
    client: &Rc<Client>,
) -> impl Service<Request<Incoming>, Response = Response<Edge>, Error = Infallible> + use<> {
    let client = Rc::clone(client);
    hyper::service::service_fn(move |request| guarded(Rc::clone(&client), request))
}

/// Serves the requests of one connection of HTTP/2. The handler of a stream is gone when its answer's head has left, and is
/// moved by hyper more than once: boxed, a stream that waits for its reader does not carry its size.
pub(super) fn boxed_stack(
    client: &Rc<Client>,
) -> impl Service<Request<Incoming>, Response = Response<Edge>, Error = Infallible, Future: 'static> + use<> {
    let client = Rc::clone(client);
    hyper::service::service_fn(move |request| Box::pin(guarded(Rc::clone(&client), request)))
}

async fn guarded(client: Rc<Client>, request: Request<Incoming>) -> Result<Response<Edge>, Infallible> {
    let mut handling = pin!(handle(Rc::clone(&client), request));
    let handled = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(response)) => Poll::Ready(Ok(response)),
        Err(_) => Poll::Ready(Err(())),
    });
    Ok(handled.await.unwrap_or_else(|()| failed(&client)))
}

/// The answer to a panic. What had been counted of the exchange was recorded while it unwound.
fn failed(client: &Client) -> Response<Edge> {
    client.worker.meter().refuse(Refusal::Internal);
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
