//! One attempt to send a request body to an upstream, and its cancellation when the response is no longer needed.
//!
//! On HTTP/2, hyper sends the rest of a body in a task of its own. That task waits for the upstream's window even after
//! the response future was dropped. [`StreamExecutor`] ties the task to its request, so that it can be cancelled.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

/// One attempt to send one body.
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

/// The body that was polled for the first time most recently. The next task that hyper spawns sends the rest of it.
#[derive(Default)]
pub(crate) struct LastStarted(RefCell<Weak<SendTask>>);

impl LastStarted {
    /// Forgets the body: a task that hyper spawns from here on does not send it.
    pub(crate) fn forget(&self) {
        self.0.take();
    }
}

impl SendTask {
    /// For a body that was not polled yet.
    pub(crate) fn new(last_started: &Rc<LastStarted>) -> Rc<Self> {
        Rc::new(Self {
            last_started: Rc::clone(last_started),
            started: Cell::new(false),
            ended: Cell::new(false),
            cancelled: Cell::new(false),
            waker: RefCell::new(None),
        })
    }

    /// Notes that the body was polled to its end, or is empty.
    pub(crate) fn end(&self) {
        self.ended.set(true);
    }

    /// Notes that the body is polled.
    pub(crate) fn start(self: &Rc<Self>) {
        if !self.started.replace(true) {
            *self.last_started.0.borrow_mut() = Rc::downgrade(self);
        }
    }

    /// Whether the body was polled to its end.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Stops sending the body.
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

/// Runs the tasks that hyper spawns for an HTTP/2 connection to an upstream.
#[derive(Clone)]
pub(crate) struct StreamExecutor(Rc<LastStarted>);

impl StreamExecutor {
    pub(crate) fn new(last_started: &Rc<LastStarted>) -> Self {
        Self(Rc::clone(last_started))
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, future: F) {
        // hyper's type for all its tasks has the size of the largest, and a task is moved several times in its life.
        let future = Box::pin(future);
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
async fn until_cancelled<F: Future>(send_task: Rc<SendTask>, mut future: Pin<Box<F>>) {
    std::future::poll_fn(|cx| match send_task.poll_cancelled(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => future.as_mut().poll(cx).map(drop),
    })
    .await;
}
