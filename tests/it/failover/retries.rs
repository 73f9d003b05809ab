//! Further tries: after which failures, of which requests, and what the second endpoint gets.

use std::time::Duration;

use super::NO_EJECTION;
use crate::harness::fleet::{Try, UNAVAILABLE};
use crate::harness::upstream::hash;
use crate::harness::{Broken, Fleet, Proxy, Raw, RefusingAddress, Reply, Upstream};

/// Every way in which a try fails before its response is sent on.
const FAILURES: [Reply; 10] = [
    UNAVAILABLE,
    Reply::Status(502, ""),
    Reply::Status(504, ""),
    Reply::Status(503, "retry-after: 0\r\n"),
    Reply::Reset(""),
    Reply::Cut(""),
    Reply::Reset("HTTP/1.1 200 OK\r\ncontent-le"),
    Reply::Cut("garbage\r\n\r\n"),
    Reply::Cut("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok"),
    Reply::Silence,
];

const IMPATIENT: &str = "timeout = { request = \"1m\", per_try = \"500ms\" }";

/// Fails unless the tries went to different endpoints and the later ones had their number.
#[track_caller]
fn went_elsewhere(tries: &[Try], count: usize, case: &str) {
    assert_eq!(tries.len(), count, "{case}: {tries:#?}");
    for (at, one) in tries.iter().enumerate() {
        let number = (at > 0).then(|| (at + 1).to_string());
        assert_eq!(one.got.field("x-pointsman-attempt"), number.as_deref(), "{case}: try {at}");
        let others = tries[..at].iter().all(|before| before.endpoint != one.endpoint);
        assert!(others, "{case}: each at another endpoint: {tries:#?}");
    }
}

#[test]
fn a_get_is_tried_at_another_endpoint_after_every_failure_before_the_response() {
    let fleet = Fleet::of(3);
    for failure in FAILURES {
        // The end of a connection that was used before may cross the request: that is another case.
        let proxy = fleet.behind(NO_EJECTION, IMPATIENT);
        fleet.next_tries_get(&[failure]);
        let answer = proxy.connect().get("/a?b=c", "X-Own: 1\r\n");
        assert_eq!(answer.status, 200, "{failure:?}: {}", answer.text());
        let tries = fleet.take_tries();
        went_elsewhere(&tries, 2, &format!("{failure:?}"));
        for one in tries {
            let got = (one.got.target.as_str(), one.got.field("x-own"), one.got.field("host"));
            assert_eq!(got, ("/a?b=c", Some("1"), Some("test")), "{failure:?}");
        }
        let line = proxy.logged(1).pop().unwrap();
        assert_eq!((&line["attempts"], &line["status"]), (&2.into(), &200.into()), "{line}");
    }
}

#[test]
fn every_idempotent_method_is_tried_again_and_no_other_one() {
    let fleet = Fleet::of(2);
    for failure in [UNAVAILABLE, Reply::Reset("")] {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH", "PROPFIND"] {
            let proxy = fleet.behind(NO_EJECTION, "");
            let mut client = proxy.connect();
            fleet.next_tries_get(&[failure]);
            client.send(format!("{method} / HTTP/1.1\r\nHost: test\r\n\r\n"));
            let status = client.read_response_to(method).status;
            let again = !matches!(method, "POST" | "PATCH" | "PROPFIND");
            let own = if matches!(failure, Reply::Reset(_)) { 502 } else { 503 };
            assert_eq!(status, if again { 200 } else { own }, "{method}, {failure:?}");
            let tries = fleet.take_tries();
            went_elsewhere(&tries, if again { 2 } else { 1 }, &format!("{method}, {failure:?}"));
        }
    }
}

/// A body of so many different bytes.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect()
}

/// Sends a PUT with this body, whole or in chunks.
fn put(client: &mut Raw, body: &[u8], chunk: usize) -> u16 {
    if chunk == 0 {
        client.send(format!("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len())).send(body);
    } else {
        client.send("PUT / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in body.chunks(chunk) {
            client.send(format!("{:x}\r\n", piece.len())).send(piece).send("\r\n");
        }
        client.send("0\r\n\r\n");
    }
    client.read_response().status
}

#[test]
fn a_body_that_is_kept_arrives_whole_and_once_at_the_second_endpoint() {
    let fleet = Fleet::of(2);
    for failure in [UNAVAILABLE, Reply::Reset("")] {
        let proxy = fleet.behind(NO_EJECTION, "");
        for (length, again) in [(1, true), (1024, true), (64 * 1024, true), (64 * 1024 + 1, false), (66_561, false)] {
            for chunk in [0, 1000, 20_000] {
                let (case, sent) = (format!("{length} bytes, chunks of {chunk}, {failure:?}"), body(length));
                fleet.next_tries_get(&[failure]);
                let status = put(&mut proxy.connect(), &sent, chunk);
                let tries = fleet.take_tries();
                went_elsewhere(&tries, if again { 2 } else { 1 }, &case);
                assert_eq!(status == 200, again, "{case}: {status}");
                for one in tries {
                    assert_eq!(hash(&one.got.body), hash(&sent), "{case}: {} arrived", one.got.body.len());
                }
            }
        }
    }
}

#[test]
fn a_smaller_or_no_buffer_keeps_less() {
    let fleet = Fleet::of(2);
    for (buffer, length, again) in [("1KiB", 1024, true), ("1KiB", 1025, false), ("0B", 0, true), ("0B", 1, false)] {
        let proxy = fleet.behind(NO_EJECTION, &format!("retry = {{ body_buffer = \"{buffer}\" }}"));
        fleet.next_tries_get(&[UNAVAILABLE]);
        let status = put(&mut proxy.connect(), &body(length), 0);
        assert_eq!(status == 200, again, "{length} of {buffer}: {status}");
        assert_eq!(fleet.take_tries().len(), if again { 2 } else { 1 }, "{length} of {buffer}");
    }
}

#[test]
fn a_post_goes_elsewhere_only_while_nothing_was_sent() {
    let (refusing, alive) = (RefusingAddress::new(), Upstream::echo());
    let rules = format!(
        "[upstream.main]\nendpoints = [\"http://{}\", \"http://{{alive}}\"]\nbalance = \"round_robin\"\n{NO_EJECTION}\n\
         [[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\nstable = \"main\"\n",
        refusing.address()
    );
    for lines in ["", "retry = { attempts = 0 }", "[upstream.main.retry_budget]\nratio = 0\nmin_per_second = 0"] {
        let proxy = Proxy::with("alive", &alive).start(&format!("{rules}{lines}\n"));
        let mut client = proxy.connect();
        for length in [0, 1000, 200_000] {
            let sent = body(length);
            let answer = client.post("/", "", &sent);
            assert_eq!((answer.status, answer.json()["body_hash"] == hash(&sent)), (200, true), "{lines}");
        }
        assert!(proxy.metric("pointsman_upstream_connect_failures_total{upstream=\"main\"}") >= 1.0, "it was tried");
    }
    let proxy = Proxy::with("alive", &alive).start(&format!("{rules}retry = {{ on = [\"503\"] }}\n"));
    let refused = (0..6).filter(|_| proxy.connect().get("/", "").status == 502).count();
    assert!(refused >= 1, "`on` does not name `connect`");
}

#[test]
fn a_post_is_repeated_where_the_route_says_so() {
    let fleet = Fleet::of(2);
    let proxy = fleet.behind(NO_EJECTION, "retry = { methods = [\"POST\"] }");
    fleet.next_tries_get(&[Reply::Reset("")]);
    let answer = proxy.connect().post("/", "", b"a body");
    assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("a body")));
    went_elsewhere(&fleet.take_tries(), 2, "a POST");
    fleet.next_tries_get(&[UNAVAILABLE]);
    assert_eq!(proxy.connect().get("/", "").status, 503, "and only a POST");
}

#[test]
fn nothing_is_tried_again_after_a_byte_of_the_response_was_sent_on() {
    let fleet = Fleet::of(2);
    let proxy = fleet.behind(NO_EJECTION, IMPATIENT);
    for bytes in
        ["HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"]
    {
        for reply in [Reply::Reset(bytes), Reply::Cut(bytes)] {
            fleet.next_tries_get(&[reply]);
            let mut client = proxy.connect();
            let answer = client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").try_response();
            assert!(matches!(answer, Err(Broken::Closed | Broken::Reset)), "{reply:?}: {answer:?}");
            assert_eq!(fleet.take_tries().len(), 1, "{reply:?}");
        }
    }
    // `per_try` ends with the head of the response: a slow body takes its time.
    let slow = Upstream::script(|mut conn| {
        while conn.request().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsl");
            std::thread::sleep(Duration::from_millis(700));
            conn.send("ow");
        }
    });
    let rules = fleet.rules(NO_EJECTION, IMPATIENT);
    let proxy = Proxy::with("slow", &slow).start(&rules.replace(&fleet.urls(), "[\"http://{slow}\"]"));
    assert_eq!(proxy.connect().get("/", "").text(), "slow");
}

#[test]
fn a_failed_second_try_is_passed_on() {
    let fleet = Fleet::of(3);
    for (first, second, status) in [
        (UNAVAILABLE, Reply::Status(502, "x-own: second\r\n"), 502),
        (Reply::Reset(""), UNAVAILABLE, 503),
        (UNAVAILABLE, Reply::Status(404, ""), 404),
        (UNAVAILABLE, Reply::Reset(""), 502),
        (UNAVAILABLE, Reply::Silence, 504),
    ] {
        let proxy = fleet.behind(NO_EJECTION, IMPATIENT);
        fleet.next_tries_get(&[first, second]);
        let answer = proxy.connect().get("/", "");
        assert_eq!(answer.status, status, "{first:?}, {second:?}: {}", answer.text());
        went_elsewhere(&fleet.take_tries(), 2, &format!("{first:?}, {second:?}"));
    }
}

#[test]
fn a_lone_endpoint_gets_the_second_try_too() {
    let fleet = Fleet::of(1);
    let proxy = fleet.behind("", "");
    for failure in [UNAVAILABLE, Reply::Reset(""), Reply::Cut("")] {
        fleet.next_tries_get(&[failure]);
        assert_eq!(proxy.connect().get("/", "").status, 200, "{failure:?}");
        assert_eq!(fleet.take_tries().len(), 2, "{failure:?}");
    }
}

/// The end of a connection that was used before says little: the request is sent again at once, also where the route
/// makes no further try.
#[test]
fn a_used_connection_that_ends_is_replaced_outside_the_count_of_tries() {
    let fleet = Fleet::of(1);
    let proxy = fleet.behind("", "retry = { attempts = 0 }");
    let mut client = proxy.connect();
    assert_eq!(client.get("/", "").status, 200);
    fleet.next_tries_get(&[Reply::Reset("")]);
    assert_eq!(client.get("/", "").status, 200, "another connection to the same endpoint");
    assert_eq!(fleet.take_tries().len(), 3);
    fleet.next_tries_get(&[Reply::Reset("")]);
    assert_eq!(client.post("/", "", b"a body").status, 502, "a POST may have been processed");
}
