//! The demo's own callers: an even stream of requests, enough for the guards to judge a canary within a second.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tower::ServiceExt as _;

use crate::net::{self, Destination};

/// How many callers there are; each has its own `uid` cookie.
const CALLERS: u32 = 2000;
/// How many connections they share. Enough that a slow canary does not thin the stream.
const LINES: u32 = 250;
/// Every so many requests of a line, one asks the API, which is launched in the dark.
const API_EVERY: u32 = 5;
/// Between two requests on one connection: 400 requests a second in all, each caller once in five seconds.
const PAUSE: Duration = Duration::from_millis(625);
/// Bound on the time to connect.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts the callers on the current local set. They go on until it ends.
pub(super) fn start(proxy: SocketAddr) {
    for line in 0..LINES {
        tokio::task::spawn_local(send_requests(proxy, line));
    }
}

async fn send_requests(proxy: SocketAddr, line: u32) {
    let mut ticks = interval_at(Instant::now() + PAUSE * line / LINES, PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection = None;
    for turn in 0_u32.. {
        ticks.tick().await;
        let caller = (turn % (CALLERS / LINES)) * LINES + line;
        if connection.is_none() {
            connection = connect(proxy).await;
        }
        let Some(sender) = &mut connection else { continue };
        let is_api = turn % API_EVERY == API_EVERY - 1;
        let path = if is_api { format!("/api/items/{}", turn + line) } else { "/".to_owned() };
        if send(sender, proxy, caller, &path).await.is_err() {
            connection = None;
        }
    }
}

async fn connect(proxy: SocketAddr) -> Option<SendRequest<Empty<Bytes>>> {
    let socket = net::connector(PATIENCE).oneshot(Destination::address(proxy)).await.ok()?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.ok()?;
    tokio::task::spawn_local(connection);
    Some(sender)
}

async fn send(
    sender: &mut SendRequest<Empty<Bytes>>,
    proxy: SocketAddr,
    caller: u32,
    path: &str,
) -> anyhow::Result<()> {
    sender.ready().await?;
    let request = Request::get(path)
        .header(header::HOST, proxy.to_string())
        .header(header::COOKIE, format!("uid=caller-{caller}"))
        .header(header::USER_AGENT, "pointsman-demo")
        .body(Empty::new())?;
    let mut body = sender.send_request(request).await?.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}
