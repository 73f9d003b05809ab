//! The body of a copy on its way: how far it has come, and its end when nobody wants the copy any more.
//!
//! hyper sends what is left of a body on a stream of HTTP/2 in a task of its own, which waits for the other side to read
//! even when the answer was let go. [`StreamExecutor`] gives that task the end that its copy has.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use http_body::Body as _;

use super::copy_body::CopyBody;

/// The body of one copy on its way to an upstream.
pub(super) struct Sending {
    last_begun: Rc<LastBegun>,
    began: Cell<bool>,
    ended: Cell<bool>,
    cut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending").field("ended", &self.ended).field("cut", &self.cut).finish_non_exhaustive()
    }
}

/// The body that was pulled from last for the first time. Whatever hyper spawns next is what sends the rest of it.
#[derive(Default)]
pub(super) struct LastBegun(RefCell<Weak<Sending>>);

impl LastBegun {
    /// Nothing that was begun before matters any more.
    pub(super) fn forget(&self) {
        self.0.take();
    }
}

impl Sending {
    /// For this body.
    pub(super) fn of(last_begun: &Rc<LastBegun>, body: &CopyBody) -> Rc<Self> {
        Rc::new(Self {
            last_begun: Rc::clone(last_begun),
            began: Cell::new(false),
            ended: Cell::new(body.is_end_stream()),
            cut: Cell::new(false),
            waker: RefCell::new(None),
        })
    }

    /// Something was pulled from `body`.
    pub(super) fn pulled(self: &Rc<Self>, body: &CopyBody) {
        if body.is_end_stream() {
            self.ended.set(true);
        }
        if !self.began.replace(true) {
            *self.last_begun.0.borrow_mut() = Rc::downgrade(self);
        }
    }

    /// Whether all of it was pulled.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// No more of it is sent.
    pub(super) fn cut(&self) {
        self.cut.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll_cut(&self, cx: &Context<'_>) -> Poll<()> {
        if self.cut.get() {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Runs what hyper spawns for an HTTP/2 connection to an upstream.
#[derive(Clone)]
pub(super) struct StreamExecutor(Rc<LastBegun>);

impl StreamExecutor {
    pub(super) fn new(last_begun: &Rc<LastBegun>) -> Self {
        Self(Rc::clone(last_begun))
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        if let Some(sending) = self.0.0.take().upgrade() {
            tokio::task::spawn_local(until_cut(sending, Box::pin(future)));
        } else {
            tokio::task::spawn_local(async move {
                future.await;
            });
        }
    }
}

/// Runs `future` to its end, or until `sending` is cut.
async fn until_cut(sending: Rc<Sending>, mut future: Pin<Box<impl Future>>) {
    std::future::poll_fn(|cx| match sending.poll_cut(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => future.as_mut().poll(cx).map(drop),
    })
    .await;
}
