//! gRPC calls: their status, in the head or in the trailers.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, Request, Response};

use super::{ERROR, EXHAUSTED, Watched};
use crate::harness::h2_client::{End, send_all};
use crate::harness::h2c::{Handling, whole};
use crate::harness::{H2, Setup, Upstream};

/// What the service does with a call.
#[derive(Clone, Copy, Debug)]
enum Reply {
    /// The status in the head, which ends the response.
    Head(&'static str),
    /// A message, and then the status in the trailers.
    Trailers(&'static str),
    /// A message, and no status.
    Missing,
    /// A message; then the stream is reset.
    Broken,
    /// No response.
    Reset(Reason),
    /// This HTTP status.
    Http(u16),
}

fn fields(name: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())])
}

async fn answer(reply: Reply, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    match reply {
        Reply::Head(status) => {
            head.headers_mut().extend(fields("grpc-status", status));
            return respond.send_response(head, true).map(drop);
        }
        Reply::Http(status) => {
            return respond.send_response(Response::builder().status(status).body(()).unwrap(), true).map(drop);
        }
        Reply::Reset(reason) => {
            respond.send_reset(reason);
            return Ok(());
        }
        Reply::Trailers(_) | Reply::Missing | Reply::Broken => {}
    }
    let mut stream = respond.send_response(head, false)?;
    let message = Bytes::from_static(b"one");
    match reply {
        Reply::Trailers(status) => {
            send_all(&mut stream, message, End::Later).await?;
            stream.send_trailers(fields("grpc-status", status))
        }
        Reply::Broken => {
            send_all(&mut stream, message, End::Later).await?;
            stream.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        Reply::Head(_) | Reply::Missing | Reply::Http(_) | Reply::Reset(_) => {
            send_all(&mut stream, message, End::Now).await
        }
    }
}

/// A service, and what it does.
fn service() -> (Upstream, Arc<Mutex<Reply>>) {
    let reply = Arc::new(Mutex::new(Reply::Trailers("0")));
    let script = {
        let reply = Arc::clone(&reply);
        move |_, connection, request: Request<RecvStream>, respond| -> Handling {
            let reply = Arc::clone(&reply);
            Box::pin(async move {
                if whole(connection, request).await.is_ok() {
                    let reply = *reply.lock().unwrap();
                    // A proxy that has closed needs no response.
                    drop(answer(reply, respond).await);
                }
            })
        }
    };
    (Upstream::h2c_script(&h2::server::Builder::new(), script), reply)
}

#[test]
fn statuses_that_blame_the_server_are_errors_wherever_they_stand() {
    let (canary, reply) = service();
    let stable = Upstream::echo();
    let rules = "[upstream.v1]\nendpoints = [\"http://{v1}\"]\n[upstream.v2]\nendpoints = [\"h2c://{v2}\"]\n\
                 outlier = { consecutive_failures = 0 }\n\
                 [[route]]\nname = \"shop\"\nmatch = { path = \"/*\" }\nstable = \"v1\"\nsticky = [\"client_ip\"]\n\
                 retry = { attempts = 0 }\ncanary = { upstream = \"v2\", weight = 100, rescue = false }\n";
    let watched = Watched::start(Setup::default().with("v1", &stable).with("v2", &canary), rules);
    let mut client = H2::connect(watched.proxy.address());
    let mut failures = 0;
    for (next, events) in [
        (Reply::Trailers("0"), vec![]),
        (Reply::Head("0"), vec![]),
        (Reply::Trailers("13"), vec![(1, ERROR)]),
        (Reply::Head("14"), vec![(1, ERROR)]),
        (Reply::Trailers("12"), vec![(1, ERROR)]),
        (Reply::Missing, vec![(1, ERROR)]),
        (Reply::Broken, vec![(1, ERROR)]),
        (Reply::Reset(Reason::INTERNAL_ERROR), vec![(1, ERROR)]),
        (Reply::Http(502), vec![(1, ERROR)]),
        (Reply::Trailers("5"), vec![]),
        (Reply::Trailers("8"), vec![(1, EXHAUSTED)]),
        (Reply::Head("8"), vec![(1, EXHAUSTED)]),
        (Reply::Http(401), vec![]),
    ] {
        *reply.lock().unwrap() = next;
        watched.open();
        let request = H2::request("POST", "/x/Y").header("content-type", "application/grpc").header("te", "trailers");
        client.send(request.body(()).unwrap(), &[b"x"], None);
        assert_eq!(watched.events(), events, "{next:?}");
        failures = if events == [(1, ERROR)] { failures + 1 } else { 0 };
        assert_eq!(watched.watch.run(1).length, failures, "{next:?}: a call succeeds at its status, not before");
    }
}
