//! A body on its way to an upstream, once: its end when nobody wants an answer any more.
//!
//! hyper sends what is left of a body on a stream of HTTP/2 in a task of its own, which waits for the other side to
//! read even when the answer was let go. [`StreamExecutor`] gives that task the end that its request has.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

/// One try to send one body.
pub(crate) struct SendTask {
    last_started: Rc<LastStarted>,
    started: Cell<bool>,
    ended: Cell<bool>,
    cancelled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl std::fmt::Debug for SendTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendTask")
            .field("ended", &self.ended)
            .field("cancelled", &self.cancelled)
            .finish_non_exhaustive()
    }
}

/// The body that was pulled from last for the first time. Whatever hyper spawns next is what sends the rest of it.
#[derive(Default)]
pub(crate) struct LastStarted(RefCell<Weak<SendTask>>);

impl LastStarted {
    /// Nothing that was begun before matters any more.
    pub(crate) fn forget(&self) {
        self.0.take();
    }
}

impl SendTask {
    /// For a body of which nothing was pulled.
    pub(crate) fn new(last_started: &Rc<LastStarted>) -> Rc<Self> {
        Rc::new(Self {
            last_started: Rc::clone(last_started),
            started: Cell::new(false),
            ended: Cell::new(false),
            cancelled: Cell::new(false),
            waker: RefCell::new(None),
        })
    }

    /// All of it was pulled, or there is nothing to pull.
    pub(crate) fn end(&self) {
        self.ended.set(true);
    }

    /// It is pulled from.
    pub(crate) fn start(self: &Rc<Self>) {
        if !self.started.replace(true) {
            *self.last_started.0.borrow_mut() = Rc::downgrade(self);
        }
    }

    /// Whether all of it was pulled.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// No more of it is sent.
    pub(crate) fn cancel(&self) {
        self.cancelled.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll_cancelled(&self, cx: &Context<'_>) -> Poll<()> {
        if self.cancelled.get() {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Runs what hyper spawns for an HTTP/2 connection to an upstream.
#[derive(Clone)]
pub(crate) struct StreamExecutor(Rc<LastStarted>);

impl StreamExecutor {
    pub(crate) fn new(last_started: &Rc<LastStarted>) -> Self {
        Self(Rc::clone(last_started))
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        if let Some(send_task) = self.0.0.take().upgrade() {
            tokio::task::spawn_local(until_cancelled(send_task, future));
        } else {
            tokio::task::spawn_local(async move {
                future.await;
            });
        }
    }
}

/// Runs `future` to its end, or until `send_task` is cancelled.
async fn until_cancelled(send_task: Rc<SendTask>, future: impl Future) {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match send_task.poll_cancelled(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => future.as_mut().poll(cx).map(drop),
    })
    .await;
}
