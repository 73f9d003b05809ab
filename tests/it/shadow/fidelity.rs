//! Copies as they arrive: byte for byte the bytes of the request's own upstream, on HTTP/1.1, HTTP/2 and in gRPC.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::{Figures, SHADOWED, setup, shadowed};
use crate::harness::h2_client::{End, send_all};
use crate::harness::h2c::whole;
use crate::harness::upstream::{Got, hash};
use crate::harness::{H2, Proxy, Raw, Upstream, until};

/// A request without the parts of the connection and without the mark of a copy.
fn essence(mut got: Got) -> Got {
    got.connection = 0;
    got.headers.retain(|(name, _)| name != "x-pointsman-shadow");
    // The hash of its body, which is shorter to print.
    got.headers.push(("body".to_owned(), format!("{} {}", got.body.len(), hash(&got.body))));
    got.body.clear();
    got
}

fn noise(random: &mut fastrand::Rng, most: usize) -> String {
    (0..random.usize(0..=most)).map(|_| random.alphanumeric()).collect()
}

fn odd_target(random: &mut fastrand::Rng) -> String {
    let path = ["/", "/a//b/", "/%C3%A9t%C3%A9/%E2%82%AC", "/x;y=1/z", "/a%2Fb", "/%FF%FE"][random.usize(0..6)];
    let query = ["", "?", "?a=1&a=2&b=", "?q=%F0%9F%92%A9&&=", "?x=a+b%20c"][random.usize(0..5)];
    format!("{path}{query}")
}

/// Field lines that occur more than once, are empty, or are not ASCII.
fn odd_lines(random: &mut fastrand::Rng) -> Vec<(&'static str, Vec<u8>)> {
    let line = |random: &mut fastrand::Rng| {
        let name = ["x-twice", "x-empty", "accept", "x-odd.name", "cookie", "x-utf8", "x-latin"][random.usize(0..7)];
        let value = match name {
            "x-empty" => Vec::new(),
            "x-utf8" => "été, 東京".as_bytes().to_vec(),
            "x-latin" => (0..random.usize(1..20)).map(|_| random.u8(0x80..)).collect(),
            _ => noise(random, 40).into_bytes(),
        };
        (name, value)
    };
    (0..random.usize(0..8)).map(|_| line(random)).collect()
}

/// A random, unusual request.
fn odd_request(random: &mut fastrand::Rng, number: usize) -> Vec<u8> {
    let method = ["GET", "HEAD", "POST", "PUT"][random.usize(0..4)];
    let origin = if random.u8(0..10) == 0 { "http://test" } else { "" };
    let target = odd_target(random);
    let mut request =
        format!("{method} {origin}{target} HTTP/1.1\r\nHost: test\r\nx-number: {number}\r\n").into_bytes();
    if !matches!(method, "GET" | "HEAD") && random.u8(0..5) == 0 {
        request.extend(b"Expect: 100-continue\r\n");
    }
    for (name, value) in odd_lines(random) {
        request.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
    }
    let body = if random.u8(0..8) == 0 { String::new() } else { noise(random, 30_000) };
    match (method, random.u8(0..3)) {
        ("GET" | "HEAD", 0) => request.extend(b"Content-Length: 3\r\n\r\nabc"),
        ("GET" | "HEAD", _) => request.extend(b"\r\n"),
        (_, 0) => request.extend(b"Content-Length: 0\r\n\r\n"),
        (_, 1) => request.extend(format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()),
        _ => {
            request.extend(b"Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n");
            for piece in body.as_bytes().chunks(random.usize(1..9000)) {
                request.extend([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
            }
            request.extend(b"0\r\n");
            for name in ["x-sum", "x-sum", "x-none"].iter().take(random.usize(0..4)) {
                let value = if *name == "x-none" { String::new() } else { noise(random, 10) };
                request.extend(format!("{name}: {value}\r\n").into_bytes());
            }
            request.extend(b"\r\n");
        }
    }
    request
}

/// A request for an HTTP/2 stream.
struct Odd {
    request: Request<()>,
    pieces: Vec<Vec<u8>>,
    trailers: Option<HeaderMap>,
}

impl Odd {
    fn send(self, client: &mut H2) -> u16 {
        let pieces: Vec<&[u8]> = self.pieces.iter().map(Vec::as_slice).collect();
        let answer = client.send(self.request, &pieces, self.trailers);
        assert_eq!(answer.reset, None, "{}", answer.error);
        answer.status
    }

    fn general(random: &mut fastrand::Rng, number: usize) -> Self {
        let method = ["GET", "HEAD", "POST", "PUT"][random.usize(0..4)];
        let mut request = H2::request(method, &odd_target(random)).header("x-number", number.to_string());
        if random.bool() {
            request = request.header("te", "trailers");
        }
        for (name, value) in odd_lines(random) {
            request = request.header(name, HeaderValue::from_bytes(&value).unwrap());
        }
        let body = if random.u8(0..8) == 0 { Vec::new() } else { noise(random, 50_000).into_bytes() };
        let (mut pieces, mut trailers) = (Vec::new(), None);
        if !matches!(method, "GET" | "HEAD") || random.u8(0..4) == 0 {
            if random.bool() {
                request = request.header("content-length", body.len());
            }
            pieces = pieces_of(random, &body);
            if random.bool() {
                if number.is_multiple_of(2) {
                    request = request.header("trailer", "x-sum, x-none");
                }
                let mut fields = HeaderMap::new();
                for _ in 0..random.usize(1..4) {
                    fields.append("x-sum", noise(random, 10).parse().unwrap());
                }
                fields.append("x-none", HeaderValue::from_static(""));
                trailers = Some(fields);
            }
        }
        Self { request: request.body(()).unwrap(), pieces, trailers }
    }

    /// A call with any number of messages.
    fn call(random: &mut fastrand::Rng, number: usize) -> Self {
        let kind = ["application/grpc", "application/grpc+proto"][random.usize(0..2)];
        let mut request = H2::request("POST", &format!("/pkg.Service/Method{}", number % 3))
            .header("te", "trailers")
            .header("content-type", kind)
            .header("user-agent", "grpc-test/1");
        for _ in 0..random.usize(0..4) {
            let binary = ["AAEC/w==", "AAEC/w", "AAEC/w==,AQ,Ag==", "", "////"][random.usize(0..5)];
            request = request.header(["x-thing-bin", "grpc-trace-bin"][random.usize(0..2)], binary);
        }
        if random.bool() {
            request = request.header("grpc-timeout", ["30S", "20000m", "1H"][random.usize(0..3)]);
        }
        let compressed = random.bool();
        if compressed {
            request = request.header("grpc-encoding", "gzip").header("grpc-accept-encoding", "identity,gzip");
        }
        let mut body = Vec::new();
        for _ in 0..random.usize(0..5) {
            let most = [0, 10, 1000, 100_000][random.usize(0..4)];
            let message: Vec<u8> = (0..random.usize(0..=most)).map(|_| random.u8(..)).collect();
            body.push(u8::from(compressed && random.bool()));
            body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
            body.extend(message);
        }
        Self { request: request.body(()).unwrap(), pieces: pieces_of(random, &body), trailers: None }
    }
}

/// A body in one or more pieces of any size.
fn pieces_of(random: &mut fastrand::Rng, mut body: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while !body.is_empty() && pieces.len() < 20 {
        let (piece, rest) = body.split_at(random.usize(1..=body.len()));
        pieces.push(piece.to_vec());
        body = rest;
    }
    pieces.push(body.to_vec());
    pieces
}

/// Records requests on HTTP/2, and answers with only a head.
fn recorder() -> Upstream {
    Upstream::h2c_script(&h2::server::Builder::new(), |shared, number, request, mut respond| {
        Box::pin(async move {
            let Ok(got) = whole(number, request).await else { return };
            shared.remember(got);
            // A proxy that has closed needs no response.
            let _ = respond.send_response(Response::new(()), true);
        })
    })
}

/// Compares all requests of both sides, and the counts.
#[track_caller]
fn agree(proxy: &Proxy, main: &Upstream, dark: &Upstream, requests: usize) {
    let (all, copies) = (main.got(), dark.got());
    assert_eq!((all.len(), copies.len()), (requests, requests));
    for (own, copy) in all.into_iter().zip(copies) {
        assert_eq!(copy.field("x-pointsman-shadow"), Some("1"));
        assert_eq!(own.field("x-pointsman-shadow"), None);
        assert_eq!(essence(copy), essence(own));
    }
    let figures = Figures::settled(proxy, u32::try_from(requests).unwrap());
    assert_eq!((figures.sampled, figures.sent), (requests as f64, requests as f64), "{figures:?}");
}

/// Sends one after the other, so that permits are free.
fn each(proxy: &Proxy, dark: &Upstream, requests: usize, mut send: impl FnMut(usize) -> u16) {
    for number in 0..requests {
        assert_eq!(send(number), 200);
        until("its copy", || {
            // The response has been read, so that the connection is free for the next one.
            let there = dark.requests() > number as u64;
            let figures = Figures::of(proxy);
            assert!(figures.dropped.is_empty(), "{number}: {figures:?}");
            (there && figures.in_flight == 0.0).then_some(())
        });
    }
}

fn over_h2(main: &Upstream, dark: &Upstream) -> Proxy {
    let text = SHADOWED.replace("http://{main}", "h2c://{main}").replace("methods =", "max_body = \"1MiB\"\nmethods =");
    Proxy::with("main", main).with("dark", dark).place("scheme", "h2c").start(&text)
}

fn send_odd(client: &mut Raw, request: Vec<u8>) -> u16 {
    let method = String::from_utf8_lossy(request.split(|byte| *byte == b' ').next().unwrap()).into_owned();
    client.send(request).read_response_to(&method).status
}

#[test]
fn a_copy_equals_its_request() {
    let (main, dark) = (Upstream::echo(), Upstream::echo());
    let proxy = shadowed(&main, &dark);
    let mut random = fastrand::Rng::with_seed(7);
    let mut client = proxy.connect();
    each(&proxy, &dark, 400, |number| send_odd(&mut client, odd_request(&mut random, number)));
    agree(&proxy, &main, &dark, 400);
}

#[test]
fn a_copy_equals_its_request_on_http2() {
    let (main, dark) = (recorder(), recorder());
    let proxy = over_h2(&main, &dark);
    let mut random = fastrand::Rng::with_seed(8);
    let mut client = H2::connect(proxy.address());
    each(&proxy, &dark, 300, |number| Odd::general(&mut random, number).send(&mut client));
    agree(&proxy, &main, &dark, 300);
    assert!(dark.got().iter().all(|got| got.target.starts_with("http://test/")), "scheme and authority are kept");
    assert!(proxy.logged(600).iter().all(|line| line["protocol"] == "HTTP/2.0"), "copies are logged like requests");
}

#[test]
fn a_copy_equals_its_request_across_versions() {
    let (main, dark) = (recorder(), recorder());
    let proxy = over_h2(&main, &dark);
    let mut random = fastrand::Rng::with_seed(9);
    let mut client = proxy.connect();
    each(&proxy, &dark, 100, |number| send_odd(&mut client, odd_request(&mut random, number)));
    agree(&proxy, &main, &dark, 100);
    let (main, dark) = (Upstream::echo(), Upstream::echo());
    let proxy = shadowed(&main, &dark);
    let mut client = H2::connect(proxy.address());
    each(&proxy, &dark, 100, |number| Odd::general(&mut random, number).send(&mut client));
    agree(&proxy, &main, &dark, 100);
    assert_eq!(main.accepted(), 1, "its connection is used again");
}

#[test]
fn a_copy_can_use_another_version_than_its_request() {
    let (main, dark) = (Upstream::echo(), recorder());
    let proxy = Proxy::with("main", &main).with("dark", &dark).place("scheme", "h2c").start(SHADOWED);
    let mut random = fastrand::Rng::with_seed(10);
    let mut client = H2::connect(proxy.address());
    each(&proxy, &dark, 100, |number| Odd::general(&mut random, number).send(&mut client));
    for (own, copy) in main.got().into_iter().zip(dark.got()) {
        let comparable = |got: Got| {
            let mut got = essence(got);
            got.version.clear();
            // The host is in the target, or the other way round; HTTP/2 does not send an unknown length.
            let host = got.headers.iter().find(|(name, _)| name == "host").map(|(_, host)| host.clone());
            if let Some(host) = host {
                got.target = format!("http://{host}{}", got.target);
            }
            got.headers.retain(|(name, _)| !matches!(name.as_str(), "host" | "transfer-encoding"));
            // A joined cookie may end in a blank, which HTTP/1.1 strips.
            got.headers.iter_mut().for_each(|(_, value)| value.truncate(value.trim_ascii_end().len()));
            got.headers.sort();
            got
        };
        assert_eq!(comparable(copy), comparable(own));
    }
}

#[test]
fn a_grpc_call_is_copied_unchanged() {
    let (main, dark) = (recorder(), recorder());
    let proxy = over_h2(&main, &dark);
    let mut random = fastrand::Rng::with_seed(11);
    let mut client = H2::connect(proxy.address());
    each(&proxy, &dark, 250, |number| Odd::call(&mut random, number).send(&mut client));
    agree(&proxy, &main, &dark, 250);
    let all = dark.got();
    assert!(all.iter().any(|got| got.body.len() > 100_000), "some are large");
    assert!(all.iter().any(|got| got.field("grpc-timeout").is_some()));
    assert!(all.iter().all(|got| got.field("te") == Some("trailers")));
}

#[test]
fn a_sized_body_with_unusable_trailers_is_copied() {
    let (main, dark) = (Upstream::echo(), Upstream::echo());
    let proxy = shadowed(&main, &dark);
    let mut client = H2::connect(proxy.address());
    let request = H2::request("POST", "/orders").header("content-length", "6");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    assert_eq!(client.send(request.body(()).unwrap(), &[b"one", b"two"], Some(trailers)).status, 200);
    let copy = until("its copy", || dark.got().pop());
    let own = main.got().pop().unwrap();
    assert_eq!((copy.body.as_slice(), &copy.trailers), (&b"onetwo"[..], &own.trailers));
    assert_eq!(copy.field("content-length"), Some("6"));
    Figures::settled(&proxy, 1);
}

#[test]
fn a_request_without_a_host_is_copied_with_the_same_authority() {
    let (main, dark) = (Upstream::echo(), Upstream::echo());
    let proxy = shadowed(&main, &dark);
    proxy.connect().send("GET / HTTP/1.0\r\n\r\n").read_response();
    let (own, copy) = (main.got().pop().unwrap(), until("its copy", || dark.got().pop()));
    assert_eq!(own.field("host"), Some(&*main.address().to_string()));
    assert_eq!(copy.field("host"), Some(&*dark.address().to_string()), "HTTP/1.1 requires one");
}

/// Answers each call with these messages and this status.
fn streaming(messages: Vec<Vec<u8>>, status: &'static str) -> Upstream {
    Upstream::h2c_script(&h2::server::Builder::new(), move |shared, number, request, mut respond| {
        let messages = messages.clone();
        Box::pin(async move {
            let Ok(got) = whole(number, request).await else { return };
            shared.remember(got);
            let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let Ok(mut stream) = respond.send_response(head, false) else { return };
            for message in messages {
                let length = u32::try_from(message.len()).unwrap().to_be_bytes();
                let framed = Bytes::from([&[0], &length[..], &message].concat());
                if send_all(&mut stream, framed, End::Later).await.is_err() {
                    return;
                }
            }
            let mut trailers = HeaderMap::new();
            trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static(status));
            let _ = stream.send_trailers(trailers);
        })
    })
}

#[test]
fn a_streaming_response_is_not_compared() {
    let messages: Vec<Vec<u8>> = (0..20u8).map(|n| vec![n; usize::from(n) * 5000]).collect();
    let expected: usize = messages.iter().map(|message| message.len() + 5).sum();
    let (main, dark) = (streaming(messages, "0"), streaming(vec![vec![b'!'; 70_000]; 3], "13"));
    let proxy = over_h2(&main, &dark);
    let mut random = fastrand::Rng::with_seed(12);
    let mut client = H2::connect(proxy.address());
    for number in 0..20 {
        let odd = Odd::call(&mut random, number);
        let pieces: Vec<&[u8]> = odd.pieces.iter().map(Vec::as_slice).collect();
        let answer = client.send(odd.request, &pieces, None);
        assert_eq!((answer.status, answer.reset, answer.body.len()), (200, None, expected), "{}", answer.error);
        assert!(!answer.body.contains(&b'!'));
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
        until("its copy", || (dark.requests() > number as u64).then_some(()));
    }
    let figures = Figures::settled(&proxy, 20);
    assert_eq!((figures.sent, figures.dropped.len()), (20.0, 0), "{figures:?}");
}

#[test]
fn edits_and_a_host_leave_the_rest_unchanged_on_http2() {
    let (main, dark) = (recorder(), recorder());
    let text = SHADOWED.replace("http://{main}", "h2c://{main}").replace(
        "methods =",
        "host = \"shadow.internal\"\nheaders = { set = { x-is = \"{variant}\" }, remove = [\"authorization\"] }\nmethods =",
    );
    let proxy = setup(&main, &dark).place("scheme", "h2c").start(&text.replace("{scheme}", "h2c"));
    let request = H2::request("GET", "/").header("authorization", "Basic eA==").header("x-kept", "1").body(()).unwrap();
    assert_eq!(H2::connect(proxy.address()).send(request, &[], None).status, 200);
    let (own, copy) = (main.got().pop().unwrap(), until("its copy", || dark.got().pop()));
    assert_eq!((own.target.as_str(), copy.target.as_str()), ("http://test/", "http://shadow.internal/"));
    assert_eq!(
        (copy.field("authorization"), copy.field("x-is"), copy.field("x-kept")),
        (None, Some("stable"), Some("1"))
    );
    assert_eq!((own.field("authorization"), own.field("x-is")), (Some("Basic eA=="), None));
}
