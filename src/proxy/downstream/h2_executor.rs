//! Runs each HTTP/2 stream as a task. hyper polls a response's body only while the client's window is open. A client
//! that keeps its window closed would hold the stream for ever: flow control stalls the stream, not the socket, so the
//! write deadline does not apply. Such a stream is dropped, which resets it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::client::Client;
use crate::proxy::worker::deadline::CoarseTimer;
use crate::proxy::worker::response_reader::ResponseReader;
use crate::telemetry::Refusal;

/// Runs the streams of one connection on its worker's thread.
#[derive(Clone)]
pub(crate) struct H2Executor(pub(crate) Rc<Client>);

impl<F: Future + 'static> hyper::rt::Executor<F> for H2Executor {
    fn execute(&self, future: F) {
        let client = Rc::clone(&self.0);
        // A task that hyper spawns while it polls a stream is the sending half of the tunnel that the stream becomes.
        if let Some(reader) = client.reader.borrow().clone() {
            tokio::task::spawn_local(send(reader, future));
            return;
        }
        tokio::task::spawn_local(async move {
            let reader = Rc::new(ResponseReader::default());
            let mut timer: Option<CoarseTimer> = None;
            let mut future = pin!(future);
            poll_fn(|cx| {
                client.reader.replace(Some(Rc::clone(&reader)));
                let polled = future.as_mut().poll(cx);
                client.reader.take();
                if polled.is_ready() || reader.is_killed() || reader.refusal().is_some() {
                    return Poll::Ready(());
                }
                let Some(due_ms) = reader.due_ms.get() else {
                    timer = None;
                    client.worker.stalled_readers.remove(&reader);
                    return Poll::Pending;
                };
                // The response waits only for its reader: it no longer occupies a request slot.
                client.free_slot(&reader.slot);
                if reader.place.get().is_none() {
                    client.worker.stalled_readers.add(&reader);
                }
                match &mut *reader.task.borrow_mut() {
                    Some(known) => known.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                loop {
                    let now_ms = client.worker.now_ms();
                    if now_ms >= due_ms {
                        reader.abort(client.worker.meter(), Refusal::ReaderStalled);
                        return Poll::Ready(());
                    }
                    let left = Duration::from_millis(due_ms - now_ms);
                    if timer.get_or_insert_with(|| CoarseTimer::new(&client.worker, left)).poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    timer = None;
                }
            })
            .await;
            client.worker.stalled_readers.remove(&reader);
        });
    }
}

/// Runs the sending half of a tunnel's stream. If it is dropped before its end, the stream is reset.
async fn send(reader: Rc<ResponseReader>, future: impl Future) {
    let sender = &reader.sender;
    {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if sender.cut.get() {
                return Poll::Ready(());
            }
            *sender.task.borrow_mut() = Some(cx.waker().clone());
            future.as_mut().poll(cx).map(drop)
        })
        .await;
    }
    sender.ended.set(true);
    if let Some(tunnel) = sender.tunnel.take() {
        tunnel.wake();
    }
}
