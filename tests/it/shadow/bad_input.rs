//! Bad input while responses are compared, in requests, responses and edits: requests are answered as usual, every case
//! is counted, and nothing grows without bound.

use std::io::Write as _;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::Reason;
use serde_json::Value;

use super::{COMPARED, Figures, SHADOWED, gate, page, setup};
use crate::harness::h2_client::End;
use crate::harness::{H2, Proxy, Raw, Upstream, until};

/// The page is never longer, whatever was compared.
const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

fn compared() -> String {
    format!("{SHADOWED}{COMPARED}")
}

/// A response with a JSON body.
fn json(body: impl AsRef<[u8]>) -> Vec<u8> {
    coded("", body.as_ref())
}

fn coded(lines: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// The comparison after this number of compared responses, and the fields that differ.
#[track_caller]
fn judged(proxy: &Proxy, answers: u64) -> (Value, Vec<(String, String)>) {
    let comparison = until("answers are compared", || {
        let page = page(proxy);
        (page["comparison"]["compared"] == answers).then(|| page["comparison"].clone())
    });
    let word = |field: &Value, name: &str| field[name].as_str().unwrap().to_owned();
    let fields = comparison["fields"].as_array().unwrap();
    let fields = fields.iter().map(|field| (word(field, "path"), word(field, "kind"))).collect();
    (comparison, fields)
}

/// Answers each request when the gate is open.
fn held_back(gate: Arc<Mutex<Receiver<()>>>) -> Upstream {
    Upstream::script(move |mut conn| {
        while conn.request().is_ok() {
            // Sends nothing: the other end closes.
            let _ = gate.lock().unwrap().recv();
            conn.send(json("{}"));
        }
    })
}

#[test]
fn unreadable_responses_are_compared_within_limits() {
    let deep = |leaf: &str| json(format!("{}{leaf}{}", "[".repeat(10_000), "]".repeat(10_000)));
    let deep_object = |leaf: &str| json(format!("{}{leaf}{}", "{\"a\":".repeat(10_000), "}".repeat(10_000)));
    let bomb = |byte: u8| coded("Content-Encoding: gzip\r\n", &gzip(&vec![byte; 64 << 20]));
    let good = || json("{\"a\":1}");
    let cases = [
        ("good", good(), good(), None),
        ("one is no JSON", good(), json("{\"a\":"), Some("$")),
        ("the other is none", json("{\"a\":1}}"), good(), Some("$")),
        ("neither is", json("{\"a\":"), json("{\"b\":"), Some("body")),
        ("both are the same nonsense", json("{\"a\":"), json("{\"a\":"), None),
        ("deep", deep("1"), deep("2"), Some("$")),
        ("deep, and the same", deep("1"), deep("1"), None),
        ("deep objects", deep_object("1"), deep_object("2"), Some("$")),
        ("deep against flat", deep("1"), good(), Some("$")),
        ("a bomb for the client", bomb(b' '), good(), Some("header:content-encoding")),
        ("a bomb from the shadow", good(), bomb(b' '), Some("header:content-encoding")),
        ("two bombs", bomb(b' '), bomb(b'x'), Some("body")),
        ("one bomb twice", bomb(b' '), bomb(b' '), None),
        ("no gzip at all", coded("Content-Encoding: gzip\r\n", b"what"), bomb(b' '), Some("body")),
        ("no UTF-8", json(b"{\"a\":\"\xff\xfe\"}"), good(), Some("")),
        ("no UTF-8 either", json(b"{\"a\":\"\xff\"}"), json(b"{\"a\":\"\xfe\"}"), Some("")),
        ("no UTF-8 in a key", json(b"{\"\xc3\x28\":1}"), json(b"{\"\xa0\xa1\":1}"), Some("")),
        ("half a surrogate", json(b"{\"a\":\"\\ud800\"}"), json(b"{\"a\":\"\\udc00\"}"), Some("")),
    ];
    for (what, own, other, expected) in cases {
        let (main, dark) = (Upstream::answering(own.clone()), Upstream::answering(other));
        let proxy = setup(&main, &dark).start(&compared());
        let mut client = proxy.connect();
        for _ in 0..3 {
            let answer = client.get("/", "");
            assert!(
                answer.status == 200 && own.ends_with(&answer.body),
                "{what}: the client gets the response of the primary"
            );
        }
        let figures = Figures::settled(&proxy, 3);
        assert_eq!((figures.sent, figures.dropped.len()), (3.0, 0), "{what}: {figures:?}");
        let (comparison, fields) = judged(&proxy, 3);
        let text = comparison.to_string();
        match expected {
            None => assert_eq!(comparison["equal"], 3, "{what}: {text}"),
            Some(begins) => {
                assert_eq!(comparison["different"], 3, "{what}: {text}");
                assert!(fields.iter().any(|(path, _)| path.starts_with(begins)), "{what}: {text}");
            }
        }
        assert_eq!(comparison["noisy_controls"], 0, "{what}: {text}");
        assert!(text.len() < 16 * 1024, "{what}: the report has {} bytes", text.len());
        until("no memory is in use", || (proxy.metric("pointsman_shadow_held_bytes") == 0.0).then_some(()));
    }
}

/// A key that does not look like an id.
fn word(mut number: u32) -> String {
    let mut word = "k".to_owned();
    for _ in 0..5 {
        word.push(char::from(b'a' + u8::try_from(number % 23).unwrap()));
        number /= 23;
    }
    word
}

#[test]
fn too_many_fields_are_evicted_and_counted() {
    const ANSWERS: u64 = 410;
    const EACH: u32 = 250;
    let dark = Upstream::script(|mut conn| {
        while let Ok(got) = conn.request() {
            let number: u32 = got.field("x-number").unwrap().parse().unwrap();
            let members = (0..EACH).map(|n| format!("\"{}\":1", word(number * EACH + n)));
            let body = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
            if !conn.send(json(body)) {
                return;
            }
        }
    });
    let main = Upstream::answering(json("{}"));
    let proxy = setup(&main, &dark).start(&compared());
    let mut client = proxy.connect();
    for number in 0..ANSWERS {
        assert_eq!(client.get("/", &format!("x-number: {number}\r\n")).text(), "{}");
        // One after the other, so that permits are free and no comparison times out.
        until("it is compared", || {
            let compared = || page(&proxy)["comparison"]["compared"].as_u64() > Some(number);
            (dark.requests() > number && (number % 20 > 0 || compared())).then_some(())
        });
    }
    let (comparison, _) = judged(&proxy, ANSWERS);
    assert_eq!(comparison["evicted"], ANSWERS * u64::from(EACH) - 1024, "{} are listed", comparison["fields"]);
    assert_eq!(comparison["fields"].as_array().unwrap().len(), 1024, "the table is full");
    assert!(comparison.to_string().len() < PAGE_BYTES_MAX, "the page is {} bytes", comparison.to_string().len());
    let figures = Figures::settled(&proxy, 1);
    assert_eq!((figures.sent, figures.dropped.len()), (ANSWERS as f64, 0), "{figures:?}");
}

#[test]
fn a_shadow_may_be_the_primarys_own_upstream() {
    let (main, unused) = (Upstream::answering(json("{\"a\":1}")), Upstream::echo());
    let proxy = setup(&main, &unused).start(&compared().replace("upstream = \"dark\"", "upstream = \"main\""));
    let mut client = proxy.connect();
    for _ in 0..5 {
        assert_eq!(client.get("/", "").text(), "{\"a\":1}");
    }
    let figures = Figures::settled(&proxy, 5);
    assert_eq!((figures.sent, figures.dropped.len()), (5.0, 0), "{figures:?}");
    let (comparison, _) = judged(&proxy, 5);
    assert_eq!((&comparison["equal"], &comparison["with_control"]), (&5.into(), &5.into()), "{comparison}");
    let marked = main.got().iter().filter(|got| got.field("x-pointsman-shadow") == Some("1")).count();
    assert_eq!((main.requests(), marked), (15, 10), "each once for itself, and twice as a copy");
    assert_eq!(unused.requests(), 0);
}

#[test]
fn a_shadow_of_itself_that_is_compared_ends() {
    let (main, own) = (Upstream::answering(json("{\"a\":1}")), Upstream::echo());
    let proxy = setup(&main, &own).start(&compared());
    let looped = compared().replace("{scheme}://{dark}", &format!("http://{}", proxy.address()));
    proxy.rewrite(&looped);
    assert_eq!(proxy.connect().get("/", "").text(), "{\"a\":1}");
    let figures = Figures::settled(&proxy, 2);
    assert!(figures.sampled <= 4.0, "copies of copies end: {figures:?}");
    assert!(main.requests() <= 16, "{} requests were made of one", main.requests());
}

#[test]
fn weight_0_copies_nothing_and_weight_100_everything() {
    let (main, dark) = (Upstream::answering(json("{}")), Upstream::answering(json("{}")));
    let none = compared().replace("weight = 100", "weight = 0");
    let proxy = setup(&main, &dark).start(&none);
    let mut client = proxy.connect();
    for _ in 0..50 {
        assert_eq!(client.get("/", "").text(), "{}");
    }
    assert_eq!((Figures::of(&proxy), dark.requests(), main.requests()), (Figures::default(), 0, 50));
    proxy.rewrite(&compared());
    for _ in 0..50 {
        assert_eq!(client.get("/", "").text(), "{}");
    }
    let figures = Figures::settled(&proxy, 50);
    assert_eq!((figures.sampled, figures.sent, dark.requests()), (50.0, 50.0, 50), "{figures:?}");
    proxy.rewrite(&none);
    assert_eq!(client.get("/", "").text(), "{}");
    assert_eq!(Figures::of(&proxy), figures, "from the next request on");
}

#[test]
fn an_abandoned_upload_is_never_copied() {
    let (main, dark) = (Upstream::echo(), Upstream::echo());
    let proxy = setup(&main, &dark).start(&compared());
    let in_flight = || (proxy.metric("pointsman_requests_in_flight") == 1.0).then_some(());
    let mut gone = proxy.connect();
    gone.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    until("it is under way", in_flight);
    gone.reset();
    assert_eq!(Figures::settled(&proxy, 1).dropped("incomplete"), 1.0);

    let mut client = H2::connect(proxy.address());
    let (response, mut stream) = client.open(H2::request("POST", "/").body(()).unwrap(), End::Later);
    stream.send_data(Bytes::from_static(b"half"), false).unwrap();
    until("it is under way", in_flight);
    stream.send_reset(Reason::CANCEL);
    assert_eq!(client.finish(response).status, 0);
    assert_eq!(Figures::settled(&proxy, 2).dropped("incomplete"), 2.0);
    assert_eq!((dark.requests(), proxy.metric("pointsman_shadow_held_bytes")), (0, 0.0));

    assert_eq!(client.get("/").status, 200);
    let figures = Figures::settled(&proxy, 3);
    assert_eq!((figures.sent, dark.requests()), (1.0, 1), "{figures:?}");
}

#[test]
fn an_early_response_reaches_the_client() {
    let main = Upstream::script(|mut conn| {
        if conn.head().is_ok() {
            conn.send("HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
            conn.wait();
        }
    });
    let dark = Upstream::echo();
    let proxy = setup(&main, &dark).start(&compared());
    // It still arrives complete, and so does its copy.
    let answer = proxy.connect().post("/", "", b"small");
    assert_eq!((answer.status, answer.text().as_str()), (413, "no"));
    let figures = Figures::settled(&proxy, 1);
    assert_eq!(figures.sent, 1.0, "{figures:?}");
    let (comparison, fields) = judged(&proxy, 1);
    assert_eq!(fields, [("status".to_owned(), "status".to_owned())], "{comparison}");
    // It never arrives complete.
    let mut client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nhalf");
    assert_eq!(client.read_response().status, 413);
    drop(client);
    let figures = Figures::settled(&proxy, 2);
    assert_eq!((figures.sent, figures.dropped("incomplete")), (1.0, 1.0), "{figures:?}");
    assert_eq!((dark.requests(), proxy.metric("pointsman_shadow_held_bytes")), (1, 0.0));
}

#[test]
fn copies_to_a_removed_upstream_end() {
    let (open, opened) = gate();
    let (main, dark) = (Upstream::answering(json("{}")), held_back(opened));
    let proxy = setup(&main, &dark).start(&compared());
    let mut client = proxy.connect();
    for _ in 0..3 {
        assert_eq!(client.post("/", "", b"body").text(), "{}");
    }
    until("copies are under way", || (dark.requests() == 3).then_some(()));
    let without = SHADOWED.split("[route.shadow]").next().unwrap();
    let without = without.replace("[upstream.dark]\nendpoints = [\"{scheme}://{dark}\"]\n", "");
    proxy.rewrite(&without);
    assert_eq!(client.get("/", "").text(), "{}");
    assert!(page(&proxy).is_null(), "a removed shadow is not reported");
    drop(open);
    // Four requests, and three copies.
    let copies: Vec<Value> = proxy.logged(7).into_iter().filter(|line| line["event"] == "shadow").collect();
    assert!(copies.len() == 3 && copies.iter().all(|line| line["status"] == 200), "{copies:#?}");
    assert!(dark.got().iter().all(|got| got.body == b"body"));
    // A shadow that comes back under its name starts again from zero.
    proxy.rewrite(&compared());
    assert_eq!(client.get("/", "").text(), "{}");
    let figures = Figures::settled(&proxy, 1);
    assert_eq!(figures.dropped, [], "{figures:?}");
}

#[test]
fn a_kill_lets_copies_end_and_starts_no_more() {
    let (open, opened) = gate();
    let (main, dark) = (Upstream::answering(json("{}")), held_back(opened));
    let proxy = setup(&main, &dark).start(&compared());
    let mut client = proxy.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/", "").text(), "{}");
    }
    until("copies are under way", || (dark.requests() == 3).then_some(()));
    // A body that is incomplete when the kill comes.
    let mut late = Raw::connect(proxy.address());
    late.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nha");
    until("it is sampled", || (Figures::of(&proxy).sampled == 4.0).then_some(()));
    proxy.rewrite(&format!("[kill]\nall = true\n{}", compared()));
    assert_eq!(late.send("lf").read_response().text(), "{}");
    assert_eq!(client.get("/", "").text(), "{}");
    let figures = Figures::of(&proxy);
    assert_eq!((figures.in_flight, figures.dropped("killed")), (3.0, 2.0), "{figures:?}");
    drop(open);
    let figures = Figures::settled(&proxy, 5);
    assert_eq!((figures.sent, figures.dropped("killed"), dark.requests()), (3.0, 2.0, 3), "{figures:?}");
    proxy.rewrite(&compared());
    assert_eq!(client.get("/", "").text(), "{}");
    assert_eq!(Figures::settled(&proxy, 6).sent, 4.0);
}
