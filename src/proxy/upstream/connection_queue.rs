//! A request waits for a connection, because the limit of its upstream is reached. It gets what comes first: a
//! connection or a stream to its endpoint that becomes free on its worker, or the slot of a connection that ended
//! anywhere in the process. `net::ConnectionSlots` has the order of all requests and the argument why none is
//! forgotten; `EndpointQueue` has those of this worker and endpoint.
//!
//! A request that is dropped while it waits (its client is gone, its time is over, its variant is killed) leaves at
//! once. What it was given meanwhile goes to the next request.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::endpoint_queue::{Reuse, Waiter};
use super::h2_connection::{Freed, H2Stream};
use super::open_connection::ConnectionGuard;
use super::pool::ConnectTarget;
use crate::net::{Joined, SlotRequest};
use crate::proxy::wire::fault::Fault;
use crate::proxy::worker::Worker;

/// What an attempt does when the upstream's limit on connections is reached.
#[derive(Clone, Copy)]
pub(crate) enum WhenFull<'a> {
    /// It fails: a copy is never waited for.
    Fail,
    /// It waits, within the limits of its upstream, and notes that it did.
    Wait(&'a Cell<bool>),
}

impl WhenFull<'_> {
    /// Notes whether the attempt waits.
    pub(super) fn note(self, waits: Waits) {
        if let Self::Wait(noted) = self {
            noted.set(waits == Waits::Yes);
        }
    }
}

/// Whether an attempt has waited for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    Yes,
    No,
}

/// What a request waited for.
pub(super) enum Turn {
    /// A connection or stream that was used before.
    Freed(Freed),
    /// It may open a connection.
    Open(ConnectionGuard),
}

/// A waiting request's place in the queue, until it is dropped.
struct Place<'a> {
    worker: &'a Worker,
    target: ConnectTarget<'a>,
    waiter: Rc<Waiter<Freed>>,
}

/// Waits for a connection, at most until `left` has passed.
///
/// # Errors
/// [`Fault::UpstreamConnections`] at once if too many requests wait, or when the time has passed.
pub(super) async fn wait(
    worker: &Worker,
    target: ConnectTarget<'_>,
    reuse: Reuse,
    when_full: WhenFull<'_>,
    left: Duration,
) -> Result<Turn, Fault> {
    let ConnectTarget { upstream, endpoint } = target;
    let meter = upstream.meter(worker.index);
    let WhenFull::Wait(waits) = when_full else {
        meter.over_connections.inc();
        return Err(Fault::UpstreamConnections);
    };
    // One may have become free since the request looked.
    if let Some(freed) = free(target, &reuse) {
        return Ok(Turn::Freed(freed));
    }
    let limits = &upstream.upstream.limits;
    let (connections, pending) = (limits.connections, limits.pending);
    let since = worker.clock.instant();
    let until = since + left;
    let request = SlotRequest { worker: &worker.releases, limit: connections, pending, since, until };
    let ticket = match upstream.slots().join(request) {
        Joined::Slot => return Ok(Turn::Open(ConnectionGuard::with_slot(worker, upstream.series()))),
        Joined::Full => {
            let refused = if pending == 0 { &meter.over_connections } else { &meter.over_pending };
            refused.inc();
            return Err(Fault::UpstreamConnections);
        }
        Joined::Ticket(ticket) => ticket,
    };
    waits.set(true);
    let place = Place { worker, target, waiter: endpoint.queue.join(ticket, reuse) };
    meter.pended.inc();
    meter.pending.add(1);
    let turn = tokio::time::timeout(left, poll_fn(|cx| place.poll(cx))).await;
    turn.map_err(|_| {
        meter.over_connections.inc();
        Fault::UpstreamConnections
    })
}

/// A connection or stream that is free on this worker.
fn free(ConnectTarget { endpoint, .. }: ConnectTarget<'_>, reuse: &Reuse) -> Option<Freed> {
    if reuse.allows_connection()
        && let Some(connection) = endpoint.pop()
    {
        return Some(Freed::Connection(connection));
    }
    endpoint.multiplexed(reuse).map(|connection| Freed::Stream(H2Stream::new(connection)))
}

impl Place<'_> {
    fn poll(&self, cx: &Context<'_>) -> Poll<Turn> {
        let ConnectTarget { upstream, endpoint } = self.target;
        match self.waiter.take_given() {
            // The server closed it: its slot is for this request's own connection.
            Some(Freed::Connection(connection)) if connection.is_stale() => {
                return Poll::Ready(Turn::Open(connection.into_guard()));
            }
            Some(freed) => return Poll::Ready(Turn::Freed(freed)),
            None => {}
        }
        upstream.slots().poll(self.waiter.ticket, cx.waker()).map(|()| {
            endpoint.queue.leave(&self.waiter);
            Turn::Open(ConnectionGuard::with_slot(self.worker, upstream.series()))
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let ConnectTarget { upstream, endpoint } = self.target;
        upstream.meter(self.worker.index).pending.add(-1);
        endpoint.queue.leave(&self.waiter);
        upstream.slots().leave(self.waiter.ticket, self.worker.clock.instant());
        match self.waiter.take_given() {
            Some(Freed::Connection(connection)) => endpoint.push(connection, self.worker.now_ms()),
            // The drop of a stream passes it on.
            Some(Freed::Stream(_)) | None => {}
        }
    }
}
