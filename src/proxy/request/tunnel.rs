//! A tunnel carries the bytes of another protocol unchanged in both directions. A direction reads only after it has
//! written what it read before, so back-pressure reaches the sender. Each direction ends by itself and passes its end
//! on. A tunnel without bytes in either direction ends after the idle timeout.

use std::future::poll_fn;
use std::io;
use std::mem::take;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use http::Version;

use super::exchange::{Exchange, ExchangeStage};
use super::judge;
use super::kill_streams::{Carrier, KillableStream};
use crate::proxy::upstream::tunnel_end::{InOrder, TunnelEnd};
use crate::proxy::worker::connection_deadlines::Wakeup;
use crate::proxy::worker::deadline::CoarseTimer;
use crate::telemetry::EndedBy;

/// The tunnel of an upgraded connection or stream.
pub(crate) struct Tunnel {
    exchange: Box<Exchange>,
    upstream: Box<TunnelEnd>,
    /// The directions to the upstream and to the client.
    up: Direction,
    down: Direction,
    idle: Option<Idle>,
    /// The detail for the log: which side closed first.
    closed: Option<&'static str>,
    /// Registration for kills.
    kill: Option<KillableStream>,
}

/// The timer for a tunnel without bytes.
struct Idle {
    timer: CoarseTimer,
    after: Duration,
}

impl Idle {
    fn restart(&mut self) {
        self.timer.restart(self.after);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.poll(cx)
    }
}

/// One direction of a tunnel.
#[derive(Default)]
struct Direction {
    flow: Flow,
    /// Bytes that were read and not yet written.
    rest: BytesMut,
    /// The receiver may buffer bytes: it must be flushed before the direction waits.
    unflushed: bool,
    /// Bytes read since the tunnel last counted them.
    bytes: u64,
    /// Something was read or written since the tunnel last looked.
    moved: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flow {
    #[default]
    Open,
    /// The sender has ended: write the rest, then shut down the receiver.
    Ending,
    Ended,
}

/// The side that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Sender,
    Receiver,
}

impl Direction {
    /// Copies bytes until the sender or the receiver is not ready. Ready when the end was passed on.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TunnelEnd,
        to: &mut TunnelEnd,
        scratch: &mut [u8],
    ) -> Poll<Result<(), Broken>> {
        let receiver = |_: io::Error| Broken::Receiver;
        loop {
            while !self.rest.is_empty() {
                let n = ready!(to.poll_write(cx, &self.rest)).map_err(receiver)?;
                self.rest.advance(n);
                self.moved = true;
            }
            match self.flow {
                Flow::Ended => return Poll::Ready(Ok(())),
                Flow::Ending => {
                    ready!(to.poll_flush(cx)).map_err(receiver)?;
                    ready!(to.poll_shutdown(cx)).map_err(receiver)?;
                    self.flow = Flow::Ended;
                    return Poll::Ready(Ok(()));
                }
                Flow::Open => {}
            }
            // An idle tunnel holds no buffer. Reads go to the worker's scratch buffer.
            self.rest = BytesMut::new();
            let Poll::Ready(read) = from.poll_read(cx, scratch) else {
                if self.unflushed {
                    ready!(to.poll_flush(cx)).map_err(receiver)?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            };
            let bytes = read.map_err(|_| Broken::Sender)?;
            self.bytes += bytes.len() as u64;
            self.moved = true;
            if bytes.is_empty() {
                self.flow = Flow::Ending;
                continue;
            }
            self.unflushed = true;
            let written = match to.poll_write(cx, bytes) {
                Poll::Ready(written) => written.map_err(receiver)?,
                Poll::Pending => 0,
            };
            self.rest.extend_from_slice(&bytes[written..]);
        }
    }
}

impl Tunnel {
    /// The tunnel of an exchange whose response head is sent.
    pub(crate) fn new(mut exchange: Box<Exchange>, upstream: Box<TunnelEnd>) -> Self {
        exchange.progress.stage = ExchangeStage::Tunnel;
        let tunnels = &exchange.client.worker.tunnels;
        tunnels.set(tunnels.get() + 1);
        let kill = exchange.killable(|| Carrier::Polled);
        let rules = &exchange.view.snapshot.rules;
        let idle = exchange.routing.route.and_then(|route| rules.route(route).timeouts.idle);
        let idle = idle.map(|after| Idle { timer: CoarseTimer::new(&exchange.client.worker, after), after });
        Self { exchange, upstream, up: Direction::default(), down: Direction::default(), idle, closed: None, kill }
    }

    /// Copies bytes until both directions have ended, one side has failed, or the tunnel is cut.
    pub(crate) async fn run(mut self, mut client_end: TunnelEnd) {
        let client = Rc::clone(&self.exchange.client);
        // On HTTP/2, the connection's own task handles its wakeups.
        let watches = self.exchange.request.head.version != Version::HTTP_2;
        if watches {
            client.deadlines.clear_read();
            client.deadlines.clear_write();
            client.deadlines.cancel_hibernation();
        }
        let (ender, detail) = poll_fn(|cx| {
            if watches {
                client.deadlines.register(cx);
                match client.deadlines.take_wakeup() {
                    Wakeup::Nothing | Wakeup::Hibernate | Wakeup::Expired | Wakeup::Drain | Wakeup::Close => {}
                    Wakeup::Cut => {
                        client.cut.set(true);
                        return Poll::Ready((EndedBy::Proxy, "drain_deadline"));
                    }
                }
            }
            self.poll(cx, &mut client_end)
        })
        .await;
        let (ender, detail) = if client.cut.get() { (EndedBy::Proxy, "drain_deadline") } else { (ender, detail) };
        client_end.close(if ender == EndedBy::Done { InOrder::Yes } else { InOrder::No });
        if ender == EndedBy::Upstream {
            judge::tunnel_reset(&mut self.exchange);
        }
        self.exchange.record_end(ender, detail);
        if ender == EndedBy::Done {
            self.exchange.progress.stage = ExchangeStage::Done;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, client_end: &mut TunnelEnd) -> Poll<(EndedBy, &'static str)> {
        if self.kill.as_ref().is_some_and(|kill| kill.must_close(cx)) {
            return Poll::Ready((EndedBy::Proxy, "killed"));
        }
        if self.down.flow == Flow::Open && client_end.is_reset(cx) {
            return Poll::Ready((EndedBy::Client, "client_gone"));
        }
        let worker = Rc::clone(&self.exchange.client.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let upstream = &mut *self.upstream;
        let up = self.up.poll(cx, client_end, upstream, &mut scratch);
        let down = self.down.poll(cx, upstream, client_end, &mut scratch);
        drop(scratch);
        self.exchange.count_tunnel_bytes(take(&mut self.up.bytes), take(&mut self.down.bytes));
        // Both are taken: a direction that moved alone must not count as movement in a later poll.
        let moves = take(&mut self.up.moved) | take(&mut self.down.moved);
        if self.closed.is_none() {
            let ended = [(self.up.flow, "client_closed"), (self.down.flow, "upstream_closed")];
            self.closed = ended.iter().find(|(flow, _)| *flow != Flow::Open).map(|(_, closed)| *closed);
        }
        let broken = match (up, down) {
            (Poll::Ready(Err(Broken::Sender)), _) | (_, Poll::Ready(Err(Broken::Receiver))) => {
                (EndedBy::Client, "client_gone")
            }
            (_, Poll::Ready(Err(Broken::Sender))) | (Poll::Ready(Err(Broken::Receiver)), _) => {
                (EndedBy::Upstream, "upstream_reset")
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => (EndedBy::Done, ""),
            (Poll::Pending, _) | (_, Poll::Pending) => {
                let Some(idle) = &mut self.idle else { return Poll::Pending };
                if moves {
                    idle.restart();
                }
                return idle.poll(cx).map(|()| (EndedBy::Proxy, "idle_timeout"));
            }
        };
        // After one side has closed, a failure of the other side is not an error.
        Poll::Ready(self.closed.map_or(broken, |closed| (EndedBy::Done, closed)))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let tunnels = &self.exchange.client.worker.tunnels;
        debug_assert!(tunnels.get() > 0, "every tunnel was counted");
        tunnels.set(tunnels.get().saturating_sub(1));
    }
}
