//! gRPC through the proxy: calls of every kind, deadlines, cancellation, errors in gRPC's form, routes by service and
//! method, and metrics of calls. The end-to-end scripts do the same with real clients and servers.

use std::future::poll_fn;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderName, Request, Response};
use pointsman::clock::Clock;

use crate::harness::h2_client::{End, H2Answer, send_all};
use crate::harness::upstream::Got;
use crate::harness::{H2, ONE_ROUTE, PATIENCE, Proxy, Upstream, until};

pub fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn call(path: &str) -> http::request::Builder {
    H2::request("POST", path).header("content-type", "application/grpc").header("te", "trailers")
}

fn to_h2c(upstream: &Upstream) -> Proxy {
    Proxy::with("main", upstream).start(&ONE_ROUTE.replace("http://", "h2c://"))
}

fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

/// A service: `/x/Echo` sends each message back at once, `/x/Collect` and `/shop.…` respond when all have arrived,
/// `/x/Status/N` ends with that status at once, `/x/Html/N` responds with that HTTP status, `/x/Sleep` never responds,
/// and `/x/Stuck` never ends. The receiver gets the reason of each cancelled call.
fn service() -> (Upstream, Receiver<Reason>) {
    let (cancelled, cancellations) = channel();
    let cancelled = Mutex::new(cancelled);
    let upstream = Upstream::h2c_script(&h2::server::Builder::new(), move |shared, _, request, mut respond| {
        let cancelled = cancelled.lock().unwrap().clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let (parts, mut body) = request.into_parts();
            if let Some(status) = path.strip_prefix("/x/Status/") {
                let message = [("grpc-status", status), ("grpc-message", "so it is"), ("x-bin", "AAH/")];
                let mut response = head();
                response.headers_mut().extend(fields(&message));
                respond.send_response(response, true).unwrap();
                return;
            }
            if let Some(status) = path.strip_prefix("/x/Html/") {
                respond.send_response(Response::builder().status(status).body(()).unwrap(), true).unwrap();
                return;
            }
            if path == "/x/Sleep" {
                shared.remember(Got { target: path, ..Got::default() });
                let reason = poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
                cancelled.send(reason).unwrap();
                return;
            }
            let collects = path == "/x/Collect" || path.starts_with("/shop.");
            let mut response = head();
            for (name, value) in parts.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-")) {
                response.headers_mut().append(name, value.clone());
            }
            let mut all = Vec::new();
            let mut answer =
                if collects { None } else { Some(respond.send_response(response.clone(), false).unwrap()) };
            while let Some(data) = body.data().await {
                let data = match data {
                    Ok(data) => data,
                    Err(error) => {
                        // The test may not look at it.
                        let _ = error.reason().map(|reason| cancelled.send(reason));
                        return;
                    }
                };
                body.flow_control().release_capacity(data.len()).unwrap();
                match &mut answer {
                    Some(answer) => send_all(answer, data, End::Later).await.unwrap(),
                    None => all.extend_from_slice(&data),
                }
            }
            if path == "/x/Stuck" {
                let reason = poll_fn(|cx| answer.as_mut().unwrap().poll_reset(cx)).await.unwrap();
                cancelled.send(reason).unwrap();
                return;
            }
            let mut answer = answer.unwrap_or_else(|| respond.send_response(response, false).unwrap());
            send_all(&mut answer, all.into(), End::Later).await.unwrap();
            answer.send_trailers(fields(&[("grpc-status", "0"), ("x-last-bin", "AP8=")])).unwrap();
        })
    });
    (upstream, cancellations)
}

fn status(answer: &H2Answer) -> Option<&str> {
    let trailer = answer.trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
    trailer.map_or_else(|| answer.field("grpc-status"), |value| value.to_str().ok())
}

fn counted(proxy: &Proxy, status: &str) -> f64 {
    let series = format!("pointsman_grpc_requests_total{{grpc_status=\"{status}\",route=\"all\",variant=\"stable\"}}");
    proxy.metric(&series)
}

#[test]
fn messages_pass_both_ways_one_by_one() {
    let (upstream, _) = service();
    let proxy = to_h2c(&upstream);
    let mut client = H2::connect(proxy.address());
    let (response, mut upload) = client.open(call("/x/Echo").header("x-a-bin", "AAEC").body(()).unwrap(), End::Later);
    let mut response = client.block_on(response).unwrap();
    assert_eq!(response.headers()["x-a-bin"], "AAEC");
    for n in 0..50_u8 {
        let message = Bytes::from(vec![n; 100]);
        client.block_on(send_all(&mut upload, message.clone(), End::Later)).unwrap();
        let got = client.block_on(response.body_mut().data()).unwrap().unwrap();
        assert_eq!(got, message, "before the next one is sent");
        response.body_mut().flow_control().release_capacity(got.len()).unwrap();
    }
    client.block_on(send_all(&mut upload, Bytes::new(), End::Now)).unwrap();
    assert!(client.block_on(response.body_mut().data()).is_none());
    let trailers = client.block_on(response.body_mut().trailers()).unwrap().unwrap();
    assert_eq!(trailers, fields(&[("grpc-status", "0"), ("x-last-bin", "AP8=")]));

    let large = vec![7; 4 << 20];
    let answer = client.send(call("/x/Collect").body(()).unwrap(), &[&large, b"end"], None);
    assert_eq!((answer.body.len(), status(&answer)), (large.len() + 3, Some("0")));
    drop(client);
    proxy.settles();
    assert_eq!(counted(&proxy, "0"), 2.0);
}

#[test]
fn statuses_are_counted_and_logged() {
    let (upstream, _) = service();
    let proxy = to_h2c(&upstream);
    let mut client = H2::connect(proxy.address());
    for (path, label) in
        [("Status/5", "5"), ("Status/99", "2"), ("Html/503", "14"), ("Html/404", "12"), ("Html/200", "unknown")]
    {
        client.send(call(&format!("/x/{path}")).body(()).unwrap(), &[b"x"], None);
        until("it is counted", || (counted(&proxy, label) == 1.0).then_some(()));
    }
    let answer = client.send(call("/x/Status/16").body(()).unwrap(), &[b"x"], None);
    assert_eq!(
        (answer.status, answer.field("grpc-message"), answer.field("x-bin")),
        (200, Some("so it is"), Some("AAH/"))
    );
    client.get("/x/Html/200");
    client.send(
        H2::request("POST", "/x/Html/200").header("content-type", "application/grpc-web").body(()).unwrap(),
        &[b"x"],
        None,
    );
    let codes: Vec<_> = proxy.logged(8).iter().map(|line| line["grpc_status"].as_u64()).collect();
    assert_eq!(codes, [Some(5), Some(2), Some(14), Some(12), None, Some(16), None, None]);
    assert_eq!(proxy.metric_sum("pointsman_grpc_requests_total"), 6.0, "only calls are counted");
}

#[test]
fn a_deadline_ends_a_call_in_every_phase() {
    let (upstream, cancelled) = service();
    let proxy = to_h2c(&upstream);
    let mut client = H2::connect(proxy.address());
    let answer = client.send(call("/x/Sleep").header("grpc-timeout", "1S").body(()).unwrap(), &[b"x"], None);
    assert_eq!((answer.status, status(&answer), answer.body.len()), (200, Some("4"), 0), "{answer:?}");
    assert_eq!(answer.field("grpc-message"), Some("The call's deadline has passed."));
    assert_eq!(cancelled.recv_timeout(PATIENCE), Ok(Reason::CANCEL), "the server gets the cancellation");

    let answer = client.send(call("/x/Stuck").header("grpc-timeout", "1S").body(()).unwrap(), &[b"abc"], None);
    assert_eq!((answer.status, answer.body.as_slice(), status(&answer)), (200, &b"abc"[..], Some("4")), "{answer:?}");
    assert_eq!(cancelled.recv_timeout(PATIENCE), Ok(Reason::CANCEL), "after its head too");

    let answer = client.send(call("/x/Echo").header("grpc-timeout", "60S").body(()).unwrap(), &[b"abc"], None);
    assert_eq!(status(&answer), Some("0"));
    for nonsense in ["1s", "", "123456789S"] {
        let answer = client.send(call("/x/Echo").header("grpc-timeout", nonsense).body(()).unwrap(), &[b"abc"], None);
        assert_eq!(status(&answer), Some("0"), "{nonsense:?} is not a deadline");
    }
    let lines = proxy.logged(6);
    assert_eq!((lines[0]["grpc_status"].as_u64(), lines[0]["detail"].as_str()), (Some(4), Some("call_timeout")));
    assert_eq!((lines[1]["termination"].as_str(), lines[1]["grpc_status"].as_u64()), (Some("UB"), Some(4)));
}

#[test]
fn the_shorter_of_two_deadlines_applies() {
    let (upstream, _cancelled) = service();
    let text = ONE_ROUTE.replace("http://", "h2c://") + "timeout = { request = \"50ms\" }\n";
    let proxy = Proxy::with("main", &upstream).start(&text);
    let mut client = H2::connect(proxy.address());
    let answer = client.send(call("/x/Sleep").header("grpc-timeout", "1H").body(()).unwrap(), &[b"x"], None);
    assert_eq!(status(&answer), Some("4"), "{answer:?}");
    assert_eq!(proxy.logged(1)[0]["detail"], "response_timeout");
}

#[test]
fn a_silent_server_times_out_while_its_client_may_send_more() {
    let (upstream, cancelled) = service();
    let text = ONE_ROUTE.replace("http://", "h2c://") + "timeout = { request = \"2s\" }\n";
    let proxy = Proxy::with("main", &upstream).start(&text);
    let mut client = H2::connect(proxy.address());
    let began = Clock.now();
    let (response, mut upload) = client.open(call("/x/Sleep").body(()).unwrap(), End::Later);
    for _ in 0..4 {
        client.block_on(async { tokio::time::sleep(Duration::from_millis(700)).await });
        upload.send_data(Bytes::from_static(b"x"), false).unwrap();
    }
    let answer = client.finish(response);
    assert_eq!(status(&answer), Some("4"), "{answer:?}");
    let took = Clock.now().duration_since(began);
    assert!(took >= Duration::from_millis(4800), "{took:?}: the timeout runs from the last message");
    assert_eq!(cancelled.recv_timeout(PATIENCE), Ok(Reason::CANCEL));
    assert_eq!(proxy.logged(1)[0]["detail"], "response_timeout");
}

#[test]
fn a_client_that_cancels_reaches_the_server() {
    let (upstream, cancelled) = service();
    let proxy = to_h2c(&upstream);
    let mut client = H2::connect(proxy.address());
    for path in ["/x/Sleep", "/x/Stuck"] {
        let (response, mut upload) = client.open(call(path).body(()).unwrap(), End::Later);
        client.block_on(send_all(&mut upload, Bytes::from_static(b"x"), End::Now)).unwrap();
        if path == "/x/Stuck" {
            let mut response = client.block_on(response).unwrap();
            assert_eq!(client.block_on(response.body_mut().data()).unwrap().unwrap(), "x");
        } else {
            until("the server has the call", || (upstream.requests() == 1).then_some(()));
        }
        upload.send_reset(Reason::CANCEL);
        assert_eq!(cancelled.recv_timeout(PATIENCE), Ok(Reason::CANCEL), "{path}");
    }
    until("it is counted", || (counted(&proxy, "1") == 2.0).then_some(()));
    assert_eq!(client.send(call("/x/Echo").body(()).unwrap(), &[b"y"], None).body, b"y", "the connection stays");
}

#[test]
fn local_responses_to_calls_have_a_grpc_status() {
    let (upstream, _) = service();
    let text = r#"
[upstream.main]
endpoints = ["h2c://{main}"]
[upstream.gone]
endpoints = ["h2c://127.0.0.1:1"]
[[route]]
name = "pay"
match = { grpc = { service = "shop.Checkout", method = ["Pay", "Refund"] } }
stable = "main"
limits = { body = "10B" }
[[route]]
name = "checkout"
match = { grpc = { service = "shop.Checkout" } }
stable = "gone"
[[route]]
name = "closed"
match = { path = "/closed" }
respond = { status = 503, body = "50 % schön\n" }
"#;
    let proxy = Proxy::with("main", &upstream).start(text);
    let mut client = H2::connect(proxy.address());
    for (path, expected, message) in [
        ("/shop.Checkout/Pay", "8", "The request's body is too large."),
        ("/shop.Checkout/Other", "14", "The service could not be reached."),
        ("/shop.Other/Pay", "12", "No route serves this host and path."),
        ("/closed", "14", "50 %25 sch%C3%B6n"),
    ] {
        let answer = client.send(call(path).body(()).unwrap(), &[b"more than ten bytes"], None);
        assert_eq!((answer.status, answer.body.len(), &answer.trailers), (200, 0, &None), "{path}: {answer:?}");
        assert_eq!((status(&answer), answer.field("grpc-message")), (Some(expected), Some(message)), "{path}");
        assert_eq!(answer.field("content-type"), Some("application/grpc"), "{path}");
    }
    for request in [
        H2::request("POST", "/shop.Checkout/Pay").header("content-type", "application/json"),
        H2::request("GET", "/shop.Checkout/Pay").header("content-type", "application/grpc"),
        H2::request("POST", "/shop.Checkout/Pay").header("content-type", "application/grpc-web+proto"),
    ] {
        let request: Request<()> = request.body(()).unwrap();
        let answer = client.send(request, &[b"x"], None);
        assert_eq!(answer.status, 404, "only valid calls match, and only they get a gRPC response: {answer:?}");
    }
}

#[test]
fn a_silent_call_is_not_a_slow_upload() {
    let (upstream, _) = service();
    let proxy = Proxy::with("main", &upstream)
        .limits("stall_timeout = \"300ms\"")
        .start(&ONE_ROUTE.replace("http://", "h2c://"));
    let mut client = H2::connect(proxy.address());
    let (response, mut upload) = client.open(call("/x/Echo").body(()).unwrap(), End::Later);
    let mut response = client.block_on(response).unwrap();
    // Another request of the same connection stalls and is ended for it: the call has been silent for as long.
    let (plain, mut half) = client.open(H2::request("POST", "/x/Collect").body(()).unwrap(), End::Later);
    client.block_on(send_all(&mut half, Bytes::from_static(b"x"), End::Later)).unwrap();
    assert_ne!(client.finish(plain).status, 200);
    client.block_on(send_all(&mut upload, Bytes::from_static(b"still here"), End::Now)).unwrap();
    assert_eq!(client.block_on(response.body_mut().data()).unwrap().unwrap(), "still here");
}
