//! Traces: contexts that are continued or begun, and the spans that reach a collector, parsed from their bytes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::harness::h2c::whole;
use crate::harness::upstream::Got;
use crate::harness::{ONE_ROUTE, Proxy, RefusingAddress, Upstream, until};
use crate::process::{Running, ask};
use crate::upstream_tls::{Authority, Close, Front, config, files};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A field of a message of Protocol Buffers: its number and content.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in their order.
fn fields(mut rest: &[u8]) -> Vec<(u64, Value<'_>)> {
    fn varint(rest: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, after) = rest.split_first().expect("a byte");
            *rest = after;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    fn take<'a>(rest: &mut &'a [u8], n: usize) -> &'a [u8] {
        let (value, after) = rest.split_at(n);
        *rest = after;
        value
    }
    let mut all = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let value = match key & 7 {
            0 => Value::Number(varint(&mut rest)),
            1 => Value::Number(u64::from_le_bytes(take(&mut rest, 8).try_into().unwrap())),
            5 => Value::Number(u64::from(u32::from_le_bytes(take(&mut rest, 4).try_into().unwrap()))),
            2 => {
                let len = usize::try_from(varint(&mut rest)).unwrap();
                Value::Bytes(take(&mut rest, len))
            }
            kind => panic!("field {} is of kind {kind}", key >> 3),
        };
        all.push((key >> 3, value));
    }
    all
}

fn inside(message: &[u8], field: u64) -> Vec<&[u8]> {
    let of = |(number, value)| match value {
        Value::Bytes(bytes) if number == field => Some(bytes),
        Value::Bytes(_) | Value::Number(_) => None,
    };
    fields(message).into_iter().filter_map(of).collect()
}

fn number(message: &[u8], field: u64) -> u64 {
    let of = |(number, value)| match value {
        Value::Number(value) if number == field => Some(value),
        Value::Bytes(_) | Value::Number(_) => None,
    };
    fields(message).into_iter().find_map(of).unwrap_or(0)
}

fn text(message: &[u8], field: u64) -> String {
    inside(message, field).first().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).unwrap_or_default()
}

fn attributes(message: &[u8], field: u64) -> BTreeMap<String, String> {
    let pair = |pair: &[u8]| {
        let any = inside(pair, 2)[0];
        let value = match fields(any).as_slice() {
            [(2, Value::Number(truth))] => (*truth == 1).to_string(),
            [(3, Value::Number(number))] => number.to_string(),
            _ => text(any, 1),
        };
        (text(pair, 1), value)
    };
    inside(message, field).into_iter().map(pair).collect()
}

/// A span as a collector reads it.
#[derive(Clone, Debug)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    state: String,
    name: String,
    kind: u64,
    from: u64,
    to: u64,
    status: u64,
    flags: u64,
    attributes: BTreeMap<String, String>,
    resource: BTreeMap<String, String>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The spans of one export.
fn spans(got: &Got) -> Vec<Span> {
    let mut all = Vec::new();
    for resource_spans in inside(&got.body, 1) {
        let resource = attributes(inside(resource_spans, 1)[0], 1);
        for scope_spans in inside(resource_spans, 2) {
            assert_eq!(text(inside(scope_spans, 1)[0], 1), "pointsman");
            all.extend(inside(scope_spans, 2).into_iter().map(|span| Span {
                trace: hex(inside(span, 1)[0]),
                id: hex(inside(span, 2)[0]),
                state: text(span, 3),
                parent: inside(span, 4).first().map(|id| hex(id)).unwrap_or_default(),
                name: text(span, 5),
                kind: number(span, 6),
                from: number(span, 7),
                to: number(span, 8),
                attributes: attributes(span, 9),
                status: inside(span, 15).first().map_or(0, |status| number(status, 3)),
                flags: number(span, 16),
                resource: resource.clone(),
            }));
        }
    }
    all
}

/// Waits until the collector has this number of spans.
#[track_caller]
fn collected(collector: &Upstream, count: usize) -> Vec<Span> {
    let all = until("spans reach the collector", || {
        let all: Vec<Span> = collector.got().iter().flat_map(spans).collect();
        (all.len() >= count).then_some(all)
    });
    assert_eq!(all.len(), count, "{all:#?}");
    all
}

fn traced(collector: &Upstream, more: &str, identity: &str) -> String {
    let place = collector.address();
    format!("{ONE_ROUTE}\n[traces]\notlp = \"http://{place}/below\"\n{more}\n[identity]\n{identity}\n")
}

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

#[test]
fn a_trace_is_continued_through_the_proxy() {
    let (echo, collector) = (Upstream::echo(), Upstream::echo());
    let more = "service = \"edge\"\nattributes = { \"deployment.environment.name\" = \"test\" }\n\
                headers = { x-token = \"secret\" }";
    let proxy = Proxy::with("main", &echo).start(&traced(&collector, more, TRUSTED));
    let lines = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: a=1\r\ntracestate: b=2\r\n");
    let answer = proxy.connect().get("/shop/cart?secret=1", &lines);
    assert_eq!(answer.status, 200);
    let all = collected(&collector, 2);
    let (server, client) = (&all[0], &all[1]);
    assert_eq!((server.trace.as_str(), server.parent.as_str(), server.state.as_str()), (TRACE, PARENT, "a=1,b=2"));
    assert_eq!((server.kind, server.name.as_str(), server.status, server.flags), (2, "GET /*", 0, 0x301));
    assert_eq!((client.trace.as_str(), &client.parent, client.kind), (TRACE, &server.id, 3));
    assert_eq!((client.name.as_str(), client.status, client.flags), ("GET", 0, 0x101));
    assert!(server.from <= client.from && client.from < client.to && client.to <= server.to);
    let got = &echo.got()[0];
    assert_eq!(got.field("traceparent"), Some(&*format!("00-{TRACE}-{}-01", client.id)), "the attempt is the parent");
    let states: Vec<_> = got.headers.iter().filter(|(name, _)| name == "tracestate").map(|(_, text)| text).collect();
    assert_eq!(states, ["a=1", "b=2"]);
    let port = proxy.address().port().to_string();
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "/*"),
        ("url.path", "/shop/cart"),
        ("url.scheme", "http"),
        ("server.port", &port),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("feature_flag.key", "all"),
        ("feature_flag.result.variant", "stable"),
        ("feature_flag.result.reason", "stable"),
        ("pointsman.upstream", "main"),
        ("pointsman.generation", "1"),
    ] {
        assert_eq!(server.attributes.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert!(!format!("{all:?}").contains("secret"), "no query is exported");
    let upstream_port = echo.address().port().to_string();
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("server.address", "127.0.0.1"),
        ("server.port", &upstream_port),
        ("feature_flag.key", "all"),
    ] {
        assert_eq!(client.attributes.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(server.resource["service.name"], "edge");
    assert_eq!(server.resource["deployment.environment.name"], "test");
    let export = &collector.got()[0];
    assert_eq!((export.method.as_str(), export.target.as_str()), ("POST", "/below/v1/traces"));
    assert_eq!(export.field("content-type"), Some("application/x-protobuf"));
    assert_eq!(export.field("x-token"), Some("secret"));
    assert_eq!(proxy.logged(1)[0]["trace_id"], TRACE);
    until("it is counted", || (proxy.metric("pointsman_trace_spans_total{outcome=\"exported\"}") == 2.0).then_some(()));
}

#[test]
fn a_trace_begins_where_none_can_be_read() {
    let (echo, collector) = (Upstream::echo(), Upstream::echo());
    let proxy = Proxy::with("main", &echo).start(&traced(&collector, "", TRUSTED));
    let lines = format!("traceparent: 00-{TRACE}-{PARENT}\r\ntracestate: a=1\r\n");
    assert_eq!(proxy.connect().get("/", &lines).status, 200);
    let all = collected(&collector, 2);
    assert_eq!((all[0].parent.as_str(), all[0].state.as_str(), all[0].flags), ("", "", 0x101));
    assert_ne!(all[0].trace, TRACE);
    assert_eq!(all[0].trace.len(), 32);
    let got = &echo.got()[0];
    assert_eq!(got.field("traceparent"), Some(&*format!("00-{}-{}-01", all[0].trace, all[1].id)));
    assert_eq!(got.field("tracestate"), None);
    assert_eq!(proxy.logged(1)[0]["trace_id"], *all[0].trace);
}

#[test]
fn trusted_peers_decide_the_sampling_of_spans() {
    let check = |sample: &str, identity: &str, flags: &str, expected: &str| {
        let (echo, collector) = (Upstream::echo(), Upstream::echo());
        let proxy = Proxy::with("main", &echo).start(&traced(&collector, &format!("sample = {sample}"), identity));
        let lines = format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n");
        assert_eq!(proxy.connect().get("/", &lines).status, 200);
        let parent = echo.got()[0].field("traceparent").unwrap().to_owned();
        assert!(parent.starts_with(&format!("00-{TRACE}-")) && parent.ends_with(expected), "{parent}");
        assert_eq!(proxy.logged(1)[0]["trace_id"], TRACE);
        assert_eq!(proxy.stop(), pointsman::app::Stopped::Drained);
        let spans: usize = collector.got().iter().map(|got| spans(got).len()).sum();
        assert_eq!(spans, if expected == "-01" { 2 } else { 0 }, "sample {sample}, {identity}, flags {flags}");
    };
    check("0", TRUSTED, "01", "-01");
    check("1", TRUSTED, "00", "-00");
    check("0", "", "01", "-00");
    check("1", "", "00", "-01");
}

#[test]
fn without_a_collector_a_trace_passes_untouched() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let line = format!("00-{TRACE}-{PARENT}-01");
    assert_eq!(proxy.connect().get("/", &format!("traceparent: {line}\r\ntracestate: a=1\r\n")).status, 200);
    assert_eq!(proxy.connect().get("/", "").status, 200);
    let got = echo.got();
    assert_eq!((got[0].field("traceparent"), got[0].field("tracestate")), (Some(&*line), Some("a=1")));
    assert_eq!(got[1].field("traceparent"), None);
    assert_eq!(proxy.logged(2)[0]["trace_id"], TRACE);
}

#[test]
fn failures_are_recorded_as_failed_spans() {
    let (echo, collector) = (Upstream::echo().status(503), Upstream::echo());
    let gone = "[upstream.gone]\nendpoints = [\"http://127.0.0.1:1\"]\n[[route]]\nname = \"gone\"\n\
                match = { path = \"/gone\" }\nstable = \"gone\"\n";
    let proxy = Proxy::with("main", &echo).start(&(traced(&collector, "", "") + gone));
    assert_eq!(proxy.connect().get("/", "").status, 503);
    // The request and its two tries.
    let all = collected(&collector, 3);
    assert_eq!(all.iter().map(|span| span.status).collect::<Vec<_>>(), [2, 2, 2]);
    assert!(all.iter().all(|span| span.attributes["error.type"] == "503"), "{all:#?}");
    assert_eq!(proxy.connect().get("/gone", "").status, 502);
    let all = &collected(&collector, 5)[3..];
    assert_eq!(all.iter().map(|span| span.status).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(all[0].name, "GET /gone");
    assert_eq!(all[1].attributes["error.type"], all[0].attributes["error.type"]);
    assert!(!all[1].attributes.contains_key("http.response.status_code"));
    let mut client = proxy.connect();
    client.send("BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_response().status, 503);
    let all = &collected(&collector, 7)[5..];
    assert_eq!(all[0].attributes["http.request.method"], "_OTHER");
    assert_eq!(all[0].attributes["http.request.method_original"], "BREW");
}

#[test]
fn each_attempt_names_its_own_upstream_and_endpoint() {
    let (echo, collector, deaf) = (Upstream::echo(), Upstream::echo(), RefusingAddress::new());
    let canary = format!(
        "[upstream.gone]\nendpoints = [\"http://{}\"]\n[[route]]\nname = \"split\"\nmatch = {{ path = \"/split\" }}\n\
         stable = \"main\"\nsticky = [\"client_ip\"]\ncanary = {{ upstream = \"gone\", weight = 100 }}\n",
        deaf.address()
    );
    let proxy = Proxy::with("main", &echo).start(&(traced(&collector, "", "") + &canary));
    assert_eq!(proxy.connect().get("/split", "").status, 200);
    let all = collected(&collector, 3);
    let of = |at: usize, key: &str| all[at].attributes.get(key).map_or("", String::as_str).to_owned();
    for (at, upstream, port, error) in [
        (0, "main", 0, ""),
        (1, "gone", deaf.address().port(), "connect_refused"),
        (2, "main", echo.address().port(), ""),
    ] {
        assert_eq!((of(at, "pointsman.upstream").as_str(), of(at, "error.type").as_str()), (upstream, error), "{at}");
        assert_eq!(of(at, "feature_flag.result.reason"), "weight+fallback");
        assert_eq!(of(at, "feature_flag.result.variant"), "canary");
        assert!(at == 0 || of(at, "server.port") == port.to_string(), "{:#?}", all[at]);
    }
    assert_eq!(of(2, "http.request.resend_count"), "1");
}

#[test]
fn the_last_attempt_says_why_no_other_one_follows() {
    let collector = Upstream::echo();
    let busy = Upstream::script(move |mut conn| {
        while conn.request().is_ok() {
            conn.send("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let proxy = Proxy::with("main", &busy).start(&traced(&collector, "", ""));
    let mut conn = proxy.connect();
    assert_eq!(conn.get("/", "").status, 503);
    let all = collected(&collector, 3);
    let of = |at: usize, key: &str| all[at].attributes.get(key).map_or("", String::as_str).to_owned();
    let facts = |at| ["error.type", "http.request.resend_count", "pointsman.retry.end"].map(|key| of(at, key));
    assert_eq!((facts(1), facts(2)), (["503", "", ""].map(str::to_owned), ["503", "1", "attempts"].map(str::to_owned)));
    assert_eq!(of(1, "pointsman.upstream"), "main");
    assert_eq!(of(2, "server.port"), busy.address().port().to_string());
}

#[test]
fn a_late_collector_gets_spans_once_and_a_dead_one_delays_no_request() {
    let (echo, tries) = (Upstream::echo(), std::sync::Arc::new(AtomicU64::new(0)));
    let collector = Upstream::script({
        let tries = std::sync::Arc::clone(&tries);
        move |mut conn| {
            while conn.request().is_ok() {
                let answer = match tries.fetch_add(1, SeqCst) {
                    0 => "503 Later",
                    1 => return,
                    2 => "200 OK",
                    _ => "400 Never",
                };
                conn.send(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n"));
            }
        }
    });
    let proxy = Proxy::with("main", &echo).start(&traced(&collector, "", ""));
    let count = |outcome: &str| proxy.metric(&format!("pointsman_trace_spans_total{{outcome=\"{outcome}\"}}"));
    assert_eq!(proxy.connect().get("/", "").status, 200);
    until("the third try is taken", || (count("exported") == 2.0).then_some(()));
    assert_eq!(tries.load(SeqCst), 3);
    assert_eq!(proxy.connect().get("/", "").status, 200);
    until("a refused batch is not sent again", || (count("failed") == 2.0).then_some(()));
    assert_eq!(tries.load(SeqCst), 4);
}

#[test]
fn waiting_spans_are_sent_at_the_end_and_follow_a_reload() {
    let (echo, first, second) = (Upstream::echo(), Upstream::echo(), Upstream::echo());
    let proxy = Proxy::with("main", &echo).start(ONE_ROUTE);
    assert_eq!(proxy.connect().get("/", "").status, 200);
    proxy.rewrite(&traced(&first, "", ""));
    assert_eq!(proxy.connect().get("/", "").status, 200);
    collected(&first, 2);
    proxy.rewrite(&traced(&second, "", ""));
    assert_eq!(proxy.connect().get("/", "").status, 200);
    assert_eq!(proxy.stop(), pointsman::app::Stopped::Drained);
    assert_eq!(second.got().iter().map(|got| spans(got).len()).sum::<usize>(), 2);
    assert_eq!(first.got().len(), 1);
}

/// A collector with TLS that requires a client certificate.
fn secured(front: &Front, protocol: &str, files: &std::path::Path) -> String {
    let (port, files) = (front.address.port(), files.display());
    format!(
        "{ONE_ROUTE}\n[traces]\notlp = \"https://localhost:{port}/below\"\nprotocol = \"{protocol}\"\n[traces.tls]\n\
         ca = \"{files}/ca.pem\"\nserver_name = \"spans.test\"\n\
         client_cert = {{ cert = \"{files}/own.pem\", key = \"{files}/own.key\" }}\n"
    )
}

/// Accepts exports by gRPC.
fn grpc_collector() -> Upstream {
    Upstream::h2c_script(&h2::server::Builder::new(), |shared, number, request, mut respond| {
        Box::pin(async move {
            let got = whole(number, request).await.unwrap();
            shared.remember(Got { body: got.body[5..].to_vec(), ..got });
            let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
            stream.send_trailers(crate::grpc::fields(&[("grpc-status", "0")])).unwrap();
        })
    })
}

#[test]
fn a_collector_behind_tls_is_verified_and_gets_spans_by_its_protocol() {
    let authority = Authority::new();
    let own = authority.issue("edge.test");
    let dir = files(&[("ca.pem", &authority.pem), ("own.pem", &own.cert), ("own.key", &own.key.serialize_pem())]);
    let grpc = "/below/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    for (protocol, alpn, collector, path) in [
        ("http", &b"http/1.1"[..], Upstream::echo(), "/below/v1/traces".to_owned()),
        ("grpc", b"h2", grpc_collector(), format!("https://localhost:PORT{grpc}")),
    ] {
        let accept = config(&authority.issue("spans.test"), Some(authority.roots()));
        let front = Front::with(&accept, (alpn, collector.address(), Close::Notified));
        let echo = Upstream::echo();
        let proxy = Proxy::with("main", &echo).start(&secured(&front, protocol, dir.path()));
        for requests in 1..3 {
            assert_eq!(proxy.connect().get("/", "").status, 200);
            assert_eq!(collected(&collector, 2 * requests)[0].name, "GET /*", "{protocol}");
        }
        assert_eq!(collector.got()[1].target, path.replace("PORT", &front.address.port().to_string()));
        assert_eq!(collector.accepted(), 1, "its connection is kept");
    }
}

#[test]
fn spans_wait_for_a_collector_that_a_reload_makes_trusted() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let own = authority.issue("edge.test");
    let dir = files(&[("ca.pem", &stranger.pem), ("own.pem", &own.cert), ("own.key", &own.key.serialize_pem())]);
    let (echo, collector) = (Upstream::echo(), Upstream::echo());
    let accept = config(&authority.issue("spans.test"), Some(authority.roots()));
    let front = Front::with(&accept, (b"http/1.1", collector.address(), Close::Notified));
    let proxy = Proxy::with("main", &echo).start(&secured(&front, "http", dir.path()));
    assert_eq!(proxy.connect().get("/", "").status, 200);
    assert!(collector.got().is_empty());
    std::fs::write(dir.path().join("ca.next"), &authority.pem).unwrap();
    std::fs::rename(dir.path().join("ca.next"), dir.path().join("ca.pem")).unwrap();
    collected(&collector, 2);
    assert_eq!(proxy.metric("pointsman_trace_spans_total{outcome=\"failed\"}"), 0.0);
}

/// The reason in the log why spans could not be exported, with these lines in `[traces]`.
fn complaint(front: &Front, dir: &std::path::Path, lines: &str) -> String {
    // The last try has two seconds, which a busy machine may exceed.
    until("the loss of spans is logged", || try_complaint(front, dir, lines))
}

fn try_complaint(front: &Front, dir: &std::path::Path, lines: &str) -> Option<String> {
    let (port, dir_shown) = (front.address.port(), dir.display());
    let rules = format!(
        "schema = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [[route]]\nname = \"all\"\nrespond = {{ status = 204 }}\n\
         [traces]\notlp = \"https://localhost:{port}\"\n{}\n",
        lines.replace("{files}", &dir_shown.to_string())
    );
    std::fs::write(dir.join("routes.toml"), rules).unwrap();
    let mut process = Running::start(dir, &["run", "--workers", "1"]);
    let address = process.word_after("listener");
    assert_eq!(ask(&address, "GET / HTTP/1.1").0, 204);
    // Waiting spans are sent once more and then dropped.
    process.signal("TERM");
    let (code, said) = process.end();
    assert_eq!(code, 0, "{said}");
    let line = said.lines().find(|line| line.contains("spans could not be exported"))?;
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    Some(line["why"].as_str().unwrap().to_owned())
}

#[test]
fn an_invalid_collector_gets_no_spans_and_the_reason_is_logged() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let dir = files(&[("ca.pem", &authority.pem)]);
    let collector = Upstream::echo();
    let behind =
        |config: &rustls::ServerConfig, alpn| Front::with(config, (alpn, collector.address(), Close::Notified));
    let check_as = |alpn, config: &rustls::ServerConfig, lines: &str, expected: &str| {
        let front = behind(config, alpn);
        let reported = complaint(&front, dir.path(), lines);
        let reported = reported.replace(&format!("localhost:{}", front.address.port()), "PLACE");
        assert!(reported.contains(expected), "{reported}");
    };
    let check =
        |config: &rustls::ServerConfig, lines: &str, expected: &str| check_as(b"http/1.1", config, lines, expected);
    let ca = "tls = { ca = \"{files}/ca.pem\" }";
    let other = config(&authority.issue("other.test"), None);
    check(&other, ca, "the certificate of the collector PLACE is for other.test, not localhost");
    check(&config(&stranger.issue("localhost"), None), ca, "which is not trusted: `ca` contains CN=authority");
    let good = config(&authority.issue("localhost"), None);
    check(&good, &format!("{ca}\nprotocol = \"grpc\""), "the collector PLACE does not speak HTTP/2 (ALPN)");
    let unagreed = "the collector does not agree on HTTP/2 (ALPN), which gRPC needs";
    check_as(b"", &good, &format!("{ca}\nprotocol = \"grpc\""), unagreed);
    let asking = config(&authority.issue("localhost"), Some(authority.roots()));
    let wants = "the collector PLACE rejected us: it requires a client certificate (`tls.client_cert` of `[traces]`)";
    check(&asking, ca, wants);
    assert!(collector.got().is_empty());
}

/// With a shadow on the one route.
fn shadowed(text: &str, compare: &str) -> String {
    let shadow = format!(
        "[route.shadow]\nupstream = \"dark\"\nweight = 100\n{compare}\n\
         [upstream.dark]\nendpoints = [\"http://{{dark}}\"]\n"
    );
    text.replacen("stable = \"main\"\n", &format!("stable = \"main\"\n{shadow}"), 1)
}

#[test]
fn a_copy_has_its_own_span() {
    let (main, dark, collector) = (Upstream::echo(), Upstream::echo().status(404), Upstream::echo());
    let text = shadowed(&traced(&collector, "", TRUSTED), "[route.shadow.compare]\ncontrol = 100");
    let proxy = Proxy::with("main", &main).with("dark", &dark).start(&text);
    let lines = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: a=1\r\n");
    assert_eq!(proxy.connect().get("/shop?secret=1", &lines).status, 200);
    let all = collected(&collector, 4);
    let (copies, own): (Vec<_>, Vec<_>) =
        all.iter().partition(|span| span.attributes.get("pointsman.shadow").map(String::as_str) == Some("true"));
    let [server, client] = own[..] else { panic!("{all:#?}") };
    assert_eq!(
        (server.kind, client.kind, &client.parent),
        (2, 3, &server.id),
        "the spans of the request are unchanged"
    );
    assert!(own.iter().all(|span| !format!("{:?}", span.attributes).contains("shadow")), "{own:#?}");
    let copy = |which: &str| {
        let found = copies.iter().copied().find(|span| span.attributes["pointsman.shadow.copy"] == which);
        found.unwrap_or_else(|| panic!("no {which}: {all:#?}"))
    };
    let (candidate, control) = (copy("candidate"), copy("control"));
    for (span, upstream, place, status) in [(candidate, "dark", &dark, "404"), (control, "main", &main, "200")] {
        assert_eq!((span.trace.as_str(), &span.parent, span.kind), (TRACE, &server.id, 3));
        assert_eq!((span.state.as_str(), span.name.as_str(), span.flags), ("a=1", "GET", 0x101));
        assert!(server.from <= span.from && span.from < span.to, "{span:?}");
        assert_eq!(span.status, if status == "404" { 2 } else { 0 });
        for (key, value) in [
            ("http.request.method", "GET"),
            ("http.response.status_code", status),
            ("server.port", &place.address().port().to_string()),
            ("url.full", &format!("http://{}/shop", place.address())),
            ("pointsman.upstream", upstream),
        ] {
            assert_eq!(span.attributes.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert!(!span.attributes.keys().any(|key| key.starts_with("feature_flag")), "{span:?}");
        let parent = format!("00-{TRACE}-{}-01", span.id);
        let got = place.got().into_iter().find(|got| got.field("x-pointsman-shadow").is_some()).unwrap();
        assert_eq!((got.field("traceparent"), got.field("tracestate")), (Some(&*parent), Some("a=1")));
    }
    let parents: Vec<_> = main.got().iter().filter_map(|got| got.field("traceparent").map(str::to_owned)).collect();
    assert!(parents.contains(&format!("00-{TRACE}-{}-01", client.id)), "{parents:?}");
    assert!(!format!("{all:?}").contains("secret"), "no query is exported");
}

#[test]
fn a_failed_copy_has_a_failed_span_and_an_unsampled_one_has_none() {
    let (main, gone, collector) = (Upstream::echo(), RefusingAddress::new(), Upstream::echo());
    let text = shadowed(&traced(&collector, "", TRUSTED), "").replace("{dark}", &gone.address().to_string());
    let proxy = Proxy::with("main", &main).start(&text);
    assert_eq!(proxy.connect().get("/", "").status, 200);
    let all = collected(&collector, 3);
    let copy = all.iter().find(|span| span.attributes.contains_key("pointsman.shadow")).unwrap();
    assert_eq!((copy.status, copy.attributes["error.type"].as_str()), (2, "connect"));
    assert!(!copy.attributes.contains_key("http.response.status_code"));

    let dark = Upstream::echo();
    let text = shadowed(&traced(&collector, "", TRUSTED), "").replace("{dark}", &dark.address().to_string());
    let proxy = Proxy::with("main", &main).start(&text);
    let lines = format!("traceparent: 00-{TRACE}-{PARENT}-00\r\n");
    assert_eq!(proxy.connect().get("/", &lines).status, 200);
    let copy = until("its copy", || dark.got().pop());
    let parent = copy.field("traceparent").unwrap();
    assert!(parent.starts_with(&format!("00-{TRACE}-")) && parent.ends_with("-00"), "{parent}");
    assert!(!parent.contains(PARENT), "it has its own id: {parent}");
    proxy.logged(2);
    assert_eq!(proxy.stop(), pointsman::app::Stopped::Drained);
    assert_eq!(collector.got().iter().map(|got| spans(got).len()).sum::<usize>(), 3, "no more than before");
}

#[test]
fn without_a_collector_a_copy_has_the_trace_of_its_request() {
    let (main, dark) = (Upstream::echo(), Upstream::echo());
    let proxy = Proxy::with("main", &main).with("dark", &dark).start(&shadowed(ONE_ROUTE, ""));
    let line = format!("00-{TRACE}-{PARENT}-01");
    assert_eq!(proxy.connect().get("/", &format!("traceparent: {line}\r\ntracestate: a=1\r\n")).status, 200);
    let copy = until("its copy", || dark.got().pop());
    assert_eq!((copy.field("traceparent"), copy.field("tracestate")), (Some(&*line), Some("a=1")));
}
