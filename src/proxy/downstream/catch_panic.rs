//! The outermost layer around the requests of a connection: a panic ends its own request and no other. The layer
//! catches panics of the service's future, so `call` of the service must only build the future.
//!
//! The layer of tower-http is not used: it boxes the body of every response.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{Either, Empty};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::client_request::ClientResponse;
use crate::fields::Fields;

/// Responds to requests whose service panics.
pub(crate) struct CatchPanicLayer<C> {
    count: C,
}

/// A service whose panics become responses.
pub(crate) struct CatchPanic<S, C> {
    service: S,
    count: C,
}

pin_project! {
    /// The response of a service, or the response to its panic.
    pub(crate) struct Caught<F, C> {
        #[pin]
        answering: F,
        count: C,
    }
}

impl<C: Fn() + Clone> CatchPanicLayer<C> {
    /// A layer that calls `count` for each panic.
    pub(crate) fn new(count: C) -> Self {
        Self { count }
    }
}

impl<S, C: Clone> Layer<S> for CatchPanicLayer<C> {
    type Service = CatchPanic<S, C>;

    fn layer(&self, service: S) -> CatchPanic<S, C> {
        CatchPanic { service, count: self.count.clone() }
    }
}

impl<S, C, R, B> Service<R> for CatchPanic<S, C>
where
    S: Service<R, Response = ClientResponse<Either<B, Empty<Bytes>>>>,
    C: Fn() + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Caught<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: R) -> Caught<S::Future, C> {
        Caught { answering: self.service.call(request), count: self.count.clone() }
    }
}

impl<F, C, B, E> Future for Caught<F, C>
where
    F: Future<Output = Result<ClientResponse<Either<B, Empty<Bytes>>>, E>>,
    C: Fn(),
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        catch_unwind(AssertUnwindSafe(|| this.answering.poll(cx))).unwrap_or_else(|_| {
            (this.count)();
            Poll::Ready(Ok(failed()))
        })
    }
}

/// The response to a panic. The exchange was recorded when it was dropped during the unwinding.
#[cold]
fn failed<B>() -> ClientResponse<Either<B, Empty<Bytes>>> {
    ClientResponse::new(StatusCode::INTERNAL_SERVER_ERROR, Fields::new(), Either::Right(Empty::new()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;
    use std::rc::Rc;

    use http_body_util::Full;
    use tower::ServiceBuilder;

    use super::*;

    /// When a request panics.
    enum Panics {
        Never,
        AtOnce,
        /// After its first wait.
        Later,
    }

    type Answer = ClientResponse<Either<Full<Bytes>, Empty<Bytes>>>;

    #[test]
    fn a_panic_is_counted_and_ends_only_its_request() {
        let panics = Rc::new(Cell::new(0));
        let counted = Rc::clone(&panics);
        let mut service = ServiceBuilder::new()
            .layer(CatchPanicLayer::new(move || counted.set(counted.get() + 1)))
            .service_fn(|panics: Panics| async move {
                match panics {
                    Panics::Never => {}
                    Panics::AtOnce => panic!("of the test"),
                    Panics::Later => {
                        tokio::task::yield_now().await;
                        panic!("of the test");
                    }
                }
                Ok::<Answer, Infallible>(ClientResponse::new(
                    StatusCode::OK,
                    Fields::new(),
                    Either::Left(Full::from("fine")),
                ))
            });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut status = |panics| runtime.block_on(service.call(panics)).unwrap().status.as_u16();
        assert_eq!([status(Panics::Never), status(Panics::AtOnce), status(Panics::Never)], [200, 500, 200]);
        assert_eq!(panics.get(), 1);
        assert_eq!([status(Panics::Later), status(Panics::Never)], [500, 200]);
        assert_eq!(panics.get(), 2);
    }
}
