//! What brought others down and has no place elsewhere: `docs/security.md` names the advisories.

use crate::harness::frames::{self, DATA, END_STREAM, Fate, Frames};
use crate::harness::{H2, ONE_ROUTE, Proxy, Upstream};

/// CVE-2026-73511: a second block of fields that does not end the stream, to upstreams of either protocol.
#[test]
fn trailers_that_do_not_end_their_stream() {
    let (h1, h2c) = (Upstream::echo(), Upstream::h2c());
    let to_h2c = Proxy::with("main", &h2c).start(&ONE_ROUTE.replace("http://", "h2c://"));
    for (proxy, upstream) in [(Proxy::to(&h1), &h1), (to_h2c, &h2c)] {
        for _ in 0..20 {
            let mut client = Frames::connect(proxy.address(), &[]);
            let head = [(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/")];
            client.headers(1, 0, &frames::block(&head));
            client.send(DATA, 0, 1, b"body");
            client.headers(1, 0, &frames::block(&[("x-trailer", "1")]));
            client.send(DATA, END_STREAM, 1, b"more");
            let fate = client.fate(1);
            assert!(!matches!(fate, Fate::Answered(200, _)), "{fate:?}");
        }
        assert_eq!(upstream.requests(), 0, "a request that never was whole was counted as one");
        assert_eq!(H2::connect(proxy.address()).get("/").status, 200, "everybody else is served");
        proxy.settles();
    }
}

/// CVE-2022-0711: an answer with this field made a proxy loop.
#[test]
fn set_cookie2_passes_like_any_field() {
    let head = "HTTP/1.1 200 OK\r\nset-cookie2: a=1; version=1\r\nset-cookie2: \r\ncontent-length: 2\r\n\r\nok";
    let upstream = Upstream::answering(head);
    let proxy = Proxy::to(&upstream);
    let mut client = proxy.connect();
    for _ in 0..20 {
        let answer = client.get("/", "");
        assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()));
        assert_eq!(answer.fields("set-cookie2"), ["a=1; version=1", ""]);
    }
}
