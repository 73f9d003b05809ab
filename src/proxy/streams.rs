//! HTTP/2 streams, each a task of its own. hyper asks for more of an answer only when the client has taken what it was
//! given; a client that does not take it (a window that stays closed) would hold the stream for ever, since flow control
//! stalls no socket. Such a stream is dropped, which resets it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::client::Client;
use super::stalled::{Slot, UpstreamKey, patience_ms};
use super::timers::Coarse;
use super::worker::Worker;
use crate::telemetry::Refusal;

/// When a stream's reader has waited too long, if it is the reader who is waited for.
#[derive(Debug, Default)]
pub(super) struct Reader {
    due_ms: Cell<Option<u64>>,
    /// When what it was last given should have left at a slow pace.
    since_ms: Cell<u64>,
    late: Cell<Option<Refusal>>,
    /// Its place among the requests.
    pub(super) slot: Slot,
    /// Its place among those that are waited for.
    pub(super) place: Cell<Option<usize>>,
    /// The upstream whose connection its answer holds.
    pub(super) upstream: Cell<UpstreamKey>,
    killed: Cell<bool>,
    /// The stream's task, while its reader is waited for.
    task: RefCell<Option<Waker>>,
    /// Where the stream has become a tunnel: how its sending half is.
    sending: Sending,
}

/// The half of a tunnel's stream that sends, a task of hyper's.
#[derive(Debug, Default)]
struct Sending {
    ended: Cell<bool>,
    cut: Cell<bool>,
    task: RefCell<Option<Waker>>,
    tunnel: RefCell<Option<Waker>>,
}

impl Reader {
    /// The reader was given this many bytes and is to ask for more.
    pub(super) fn given(&self, client: &Client, bytes: u64) {
        let limits = &client.listener.spec.limits;
        let stall_ms = u64::try_from(limits.stall_timeout.as_millis()).unwrap_or(u64::MAX);
        let rate = u64::from(limits.body_rate);
        // Bytes that are on their way at the least rate are no stall.
        let flows_ms = bytes.saturating_mul(1000).checked_div(rate).unwrap_or(0);
        self.since_ms.set(client.worker.now_ms() + patience_ms(bytes));
        self.due_ms.set(Some(client.worker.now_ms().saturating_add(stall_ms).saturating_add(flows_ms)));
    }

    /// Since when the reader has stalled, if it has.
    pub(super) fn since_ms(&self) -> u64 {
        self.since_ms.get()
    }

    /// The stream ends: its reader does not read, while memory or an upstream's connections run short.
    pub(super) fn shed(&self, worker: &Worker) {
        self.give_up(worker, Refusal::ReaderShed);
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    fn give_up(&self, worker: &Worker, refusal: Refusal) {
        worker.meter().refuse(refusal);
        self.late.set(Some(refusal));
    }

    /// The reader is not waited for.
    pub(super) fn waits(&self) {
        self.due_ms.set(None);
    }

    /// Whether the stream takes no more bytes from its tunnel, which is woken when that happens.
    pub(super) fn is_gone(&self, cx: &Context<'_>) -> bool {
        *self.sending.tunnel.borrow_mut() = Some(cx.waker().clone());
        self.sending.ended.get()
    }

    /// The tunnel has not ended in good order: the stream is reset (RFC 8441 §5).
    pub(super) fn cut(&self) {
        self.sending.cut.set(true);
        if let Some(task) = self.sending.task.take() {
            task.wake();
        }
    }

    /// The stream is to end, whether its reader asks for more or not.
    pub(super) fn kill(&self) {
        self.killed.set(true);
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Whether the stream was to end.
    pub(super) fn is_killed(&self) -> bool {
        self.killed.get()
    }

    /// Why the stream was given up, if it was because of its reader.
    pub(super) fn late(&self) -> Option<Refusal> {
        self.late.get()
    }
}

/// Runs the streams of one connection on its worker's thread.
#[derive(Clone)]
pub(super) struct Streams(pub(super) Rc<Client>);

impl<F: Future + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, future: F) {
        let client = Rc::clone(&self.0);
        // What a stream begins while it is polled is the sending half of the tunnel that it becomes.
        if let Some(reader) = client.reader.borrow().clone() {
            tokio::task::spawn_local(send(reader, future));
            return;
        }
        tokio::task::spawn_local(async move {
            let reader = Rc::new(Reader::default());
            let mut timer: Option<Coarse> = None;
            let mut future = pin!(future);
            poll_fn(|cx| {
                client.reader.replace(Some(Rc::clone(&reader)));
                let polled = future.as_mut().poll(cx);
                client.reader.take();
                if polled.is_ready() || reader.is_killed() || reader.late().is_some() {
                    return Poll::Ready(());
                }
                let Some(due_ms) = reader.due_ms.get() else {
                    timer = None;
                    client.worker.stalled.remove(&reader);
                    return Poll::Pending;
                };
                // The answer waits for its reader alone.
                reader.slot.give_back(&client);
                if reader.place.get().is_none() {
                    client.worker.stalled.add(&reader);
                }
                match &mut *reader.task.borrow_mut() {
                    Some(known) => known.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                loop {
                    let now_ms = client.worker.now_ms();
                    if now_ms >= due_ms {
                        reader.give_up(&client.worker, Refusal::ReaderStalled);
                        return Poll::Ready(());
                    }
                    let left = Duration::from_millis(due_ms - now_ms);
                    if timer.get_or_insert_with(|| Coarse::new(&client.worker, left)).poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    timer = None;
                }
            })
            .await;
            client.worker.stalled.remove(&reader);
        });
    }
}

/// Runs the sending half of a tunnel's stream. When it is dropped before its end, the stream is reset.
async fn send(reader: Rc<Reader>, future: impl Future) {
    let sending = &reader.sending;
    {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if sending.cut.get() {
                return Poll::Ready(());
            }
            *sending.task.borrow_mut() = Some(cx.waker().clone());
            future.as_mut().poll(cx).map(drop)
        })
        .await;
    }
    sending.ended.set(true);
    if let Some(tunnel) = sending.tunnel.take() {
        tunnel.wake();
    }
}
