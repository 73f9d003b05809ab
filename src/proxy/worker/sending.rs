//! A body on its way to an upstream, once: its end when nobody wants an answer any more.
//!
//! hyper sends what is left of a body on a stream of HTTP/2 in a task of its own, which waits for the other side to read
//! even when the answer was let go. [`StreamExecutor`] gives that task the end that its request has.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

/// One try to send one body.
pub(crate) struct Sending {
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
pub(crate) struct LastBegun(RefCell<Weak<Sending>>);

impl LastBegun {
    /// Nothing that was begun before matters any more.
    pub(crate) fn forget(&self) {
        self.0.take();
    }
}

impl Sending {
    /// For a body of which nothing was pulled.
    pub(crate) fn new(last_begun: &Rc<LastBegun>) -> Rc<Self> {
        Rc::new(Self {
            last_begun: Rc::clone(last_begun),
            began: Cell::new(false),
            ended: Cell::new(false),
            cut: Cell::new(false),
            waker: RefCell::new(None),
        })
    }

    /// All of it was pulled, or there is nothing to pull.
    pub(crate) fn end(&self) {
        self.ended.set(true);
    }

    /// It is pulled from.
    pub(crate) fn begins(self: &Rc<Self>) {
        if !self.began.replace(true) {
            *self.last_begun.0.borrow_mut() = Rc::downgrade(self);
        }
    }

    /// Whether all of it was pulled.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// No more of it is sent.
    pub(crate) fn cut(&self) {
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
pub(crate) struct StreamExecutor(Rc<LastBegun>);

impl StreamExecutor {
    pub(crate) fn new(last_begun: &Rc<LastBegun>) -> Self {
        Self(Rc::clone(last_begun))
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        if let Some(sending) = self.0.0.take().upgrade() {
            tokio::task::spawn_local(until_cut(sending, future));
        } else {
            tokio::task::spawn_local(async move {
                future.await;
            });
        }
    }
}

/// Runs `future` to its end, or until `sending` is cut.
async fn until_cut(sending: Rc<Sending>, future: impl Future) {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match sending.poll_cut(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => future.as_mut().poll(cx).map(drop),
    })
    .await;
}
