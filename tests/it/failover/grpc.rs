//! gRPC: statuses that eject, statuses that are tried again, and push-back.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, Request, Response};
use pointsman::clock::Clock;

use super::{BRIEF, NO_EJECTION};
use crate::harness::fleet::state_of;
use crate::harness::h2_client::{End, H2Answer, send_all};
use crate::harness::h2c::whole;
use crate::harness::upstream::Got;
use crate::harness::{H2, Proxy, Upstream, until};

/// What an endpoint does with a call.
#[derive(Clone, Copy, Debug)]
enum Reply {
    /// The message comes back, with OK.
    Echo,
    /// This status in the head, which ends the response, with these further fields.
    TrailersOnly(&'static str, &'static [(&'static str, &'static str)]),
    /// A message, and then this status in the trailers.
    Message(&'static str),
    /// A message; then the stream is reset.
    MessageAndReset,
    /// This HTTP status, no gRPC.
    Http(u16),
    /// The stream is reset.
    Reset(Reason),
}

const UNAVAILABLE: Reply = Reply::TrailersOnly("14", &[]);

#[derive(Default)]
struct Plan {
    next: Mutex<VecDeque<Reply>>,
    standing: Mutex<Vec<Reply>>,
    tries: Mutex<Vec<(usize, Got)>>,
}

/// Endpoints of a gRPC service.
struct Service {
    endpoints: Vec<Upstream>,
    plan: Arc<Plan>,
}

fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

async fn answer(plan: Arc<Plan>, endpoint: usize, got: Got, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let body = Bytes::from(got.body.clone());
    plan.tries.lock().unwrap().push((endpoint, got));
    let next = plan.next.lock().unwrap().pop_front();
    let reply = next.unwrap_or_else(|| plan.standing.lock().unwrap()[endpoint]);
    let head = || Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    match reply {
        Reply::Echo => {
            let mut stream = respond.send_response(head(), false)?;
            send_all(&mut stream, body, End::Later).await?;
            stream.send_trailers(fields(&[("grpc-status", "0")]))
        }
        Reply::TrailersOnly(status, more) => {
            let mut response = head();
            response.headers_mut().extend(fields(&[("grpc-status", status)]));
            response.headers_mut().extend(fields(more));
            respond.send_response(response, true).map(drop)
        }
        Reply::Message(status) => {
            let mut stream = respond.send_response(head(), false)?;
            send_all(&mut stream, Bytes::from_static(b"one"), End::Later).await?;
            stream.send_trailers(fields(&[("grpc-status", status)]))
        }
        Reply::MessageAndReset => {
            let mut stream = respond.send_response(head(), false)?;
            send_all(&mut stream, Bytes::from_static(b"one"), End::Later).await?;
            stream.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        Reply::Http(status) => {
            respond.send_response(Response::builder().status(status).body(()).unwrap(), true).map(drop)
        }
        Reply::Reset(reason) => {
            respond.send_reset(reason);
            Ok(())
        }
    }
}

impl Service {
    fn of(count: usize) -> Self {
        let plan = Arc::new(Plan::default());
        plan.standing.lock().unwrap().resize(count, Reply::Echo);
        let endpoint = |at: usize| {
            let plan = Arc::clone(&plan);
            let script = move |_, connection, request: Request<RecvStream>, respond| -> crate::harness::h2c::Handling {
                let plan = Arc::clone(&plan);
                Box::pin(async move {
                    if let Ok(got) = whole(connection, request).await {
                        // A proxy that has closed needs no response.
                        drop(answer(plan, at, got, respond).await);
                    }
                })
            };
            Upstream::h2c_script(&h2::server::Builder::new(), script)
        };
        Self { endpoints: (0..count).map(endpoint).collect(), plan }
    }

    fn answers(&self, endpoint: usize, reply: Reply) {
        self.plan.standing.lock().unwrap()[endpoint] = reply;
    }

    fn next_tries_get(&self, replies: &[Reply]) {
        *self.plan.next.lock().unwrap() = replies.iter().copied().collect();
    }

    fn take_tries(&self) -> Vec<(usize, Got)> {
        std::mem::take(&mut self.plan.tries.lock().unwrap())
    }

    fn address(&self, endpoint: usize) -> SocketAddr {
        self.endpoints[endpoint].address()
    }

    #[track_caller]
    fn behind(&self, upstream: &str, route: &str) -> Proxy {
        let urls: Vec<_> = self.endpoints.iter().map(|one| format!("\"h2c://{}\"", one.address())).collect();
        Proxy::start(&format!(
            "[upstream.main]\nendpoints = [{}]\nbalance = \"round_robin\"\n{upstream}\n\
             [[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\nstable = \"main\"\n{route}\n",
            urls.join(", ")
        ))
    }
}

/// Calls, and returns the status and the message.
#[track_caller]
fn call(client: &mut H2, body: &[u8]) -> (String, Vec<u8>) {
    let request = H2::request("POST", "/x/Y").header("content-type", "application/grpc").header("te", "trailers");
    let answer: H2Answer = client.send(request.body(()).unwrap(), &[body], None);
    let trailer = answer.trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
    let status = trailer.map_or_else(|| answer.field("grpc-status"), |value| value.to_str().ok());
    (status.unwrap_or("none").to_owned(), answer.body)
}

#[test]
fn unavailable_ejects_in_the_head_and_in_the_trailers_and_other_statuses_do_not() {
    for (reply, ejects) in [
        (UNAVAILABLE, true),
        (Reply::Message("14"), true),
        (Reply::MessageAndReset, true),
        (Reply::Http(503), true),
        (Reply::Reset(Reason::INTERNAL_ERROR), true),
        (Reply::Message("13"), false),
        (Reply::TrailersOnly("8", &[]), false),
        (Reply::TrailersOnly("0", &[]), false),
        (Reply::Http(404), false),
    ] {
        let service = Service::of(2);
        service.answers(0, reply);
        let proxy = service.behind("", "");
        let mut client = H2::connect(proxy.address());
        let state = || state_of(&proxy, "main", service.address(0));
        if ejects {
            until("it is ejected", || {
                call(&mut client, b"x");
                (state() == "ejected").then_some(())
            });
            let failed = service.take_tries().iter().filter(|(endpoint, _)| *endpoint == 0).count();
            assert_eq!(failed, 5, "{reply:?}");
        } else {
            for _ in 0..30 {
                call(&mut client, b"x");
            }
            assert_eq!(state(), "usable", "{reply:?}");
        }
    }
}

#[test]
fn a_call_tries_an_ejected_endpoint_a_quarter_later() {
    let service = Service::of(2);
    service.answers(0, Reply::Message("14"));
    let proxy = service.behind(BRIEF, "");
    let mut client = H2::connect(proxy.address());
    let state = || state_of(&proxy, "main", service.address(0));
    until("it is ejected", || {
        call(&mut client, b"x");
        (state() == "ejected").then_some(())
    });
    service.answers(0, Reply::Echo);
    until("it is admitted", || {
        assert_eq!(call(&mut client, b"x").0, "0");
        (state() == "usable").then_some(())
    });
}

const ON_UNAVAILABLE: &str = "retry = { on = [\"connect\", \"refused_stream\", \"grpc:unavailable\"] }";

#[test]
fn a_trailers_only_status_that_the_route_names_is_tried_again() {
    let service = Service::of(2);
    for (route, reply, again) in [
        (ON_UNAVAILABLE, UNAVAILABLE, true),
        (ON_UNAVAILABLE, Reply::TrailersOnly("8", &[]), false),
        (ON_UNAVAILABLE, Reply::Message("14"), false),
        ("", UNAVAILABLE, false),
        ("retry = { on = \"grpc:resource_exhausted\" }", Reply::TrailersOnly("8", &[]), true),
        ("retry = { on = \"grpc:unavailable\", attempts = 0 }", UNAVAILABLE, false),
        (ON_UNAVAILABLE, Reply::Reset(Reason::REFUSED_STREAM), true),
        (ON_UNAVAILABLE, Reply::Reset(Reason::INTERNAL_ERROR), false),
        (ON_UNAVAILABLE, Reply::MessageAndReset, false),
    ] {
        let proxy = service.behind(NO_EJECTION, route);
        let mut client = H2::connect(proxy.address());
        let body = vec![7; 10_000];
        service.next_tries_get(&[reply]);
        let (status, message) = call(&mut client, &body);
        let tries = service.take_tries();
        assert_eq!(tries.len(), if again { 2 } else { 1 }, "{route}, {reply:?}: {status}");
        assert_eq!((status == "0", message == body), (again, again), "{route}, {reply:?}: {status}");
        assert!(tries.iter().all(|(_, got)| got.body == body), "{route}, {reply:?}: whole and once");
        let attempts: Vec<_> = tries.iter().map(|(_, got)| got.field("x-pointsman-attempt")).collect();
        assert_eq!(attempts, [None, Some("2")][..tries.len()], "{route}, {reply:?}");
        if again {
            assert_ne!(tries[0].0, tries[1].0, "{route}, {reply:?}: elsewhere");
        }
    }
}

#[test]
fn a_message_that_was_sent_on_ends_the_tries() {
    let service = Service::of(2);
    let proxy = service.behind(NO_EJECTION, ON_UNAVAILABLE);
    let mut client = H2::connect(proxy.address());
    service.next_tries_get(&[Reply::Message("14")]);
    assert_eq!(call(&mut client, b"x"), ("14".to_owned(), b"one".to_vec()));
    assert_eq!(service.take_tries().len(), 1);
}

#[test]
fn endpoints_push_back() {
    let service = Service::of(2);
    let proxy = service.behind(NO_EJECTION, &format!("timeout = {{ request = \"20s\" }}\n{ON_UNAVAILABLE}"));
    let mut client = H2::connect(proxy.address());
    for (reply, again, least_ms) in [
        (Reply::TrailersOnly("14", &[("grpc-retry-pushback-ms", "-1")]), false, 0),
        (Reply::TrailersOnly("14", &[("grpc-retry-pushback-ms", "never")]), false, 0),
        (Reply::TrailersOnly("14", &[("grpc-retry-pushback-ms", "30000")]), false, 0),
        (Reply::TrailersOnly("14", &[("grpc-retry-pushback-ms", "700")]), true, 690),
        (Reply::TrailersOnly("14", &[("grpc-retry-pushback-ms", "0")]), true, 0),
    ] {
        service.next_tries_get(&[reply]);
        let began = Clock.now();
        let (status, _) = call(&mut client, b"x");
        let took = Clock.now().duration_since(began);
        assert_eq!(
            (status.as_str(), service.take_tries().len()),
            if again { ("0", 2) } else { ("14", 1) },
            "{reply:?}"
        );
        assert!(took >= Duration::from_millis(least_ms), "{reply:?} after {took:?}");
        assert!(took < Duration::from_secs(15), "{reply:?} after {took:?}");
    }
}
