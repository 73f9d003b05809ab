//! HTTP/2 from clients in odd pieces: frames that are cut anywhere, and many streams in one write.

use std::collections::BTreeMap;

use crate::harness::frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, Fate, Frames, HEADERS, block, frame, get};
use crate::harness::{Proxy, Upstream};

/// A request in several frames: its head in two of them, its body in two, and trailers.
fn upload() -> Vec<u8> {
    let head = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", "/a?b=c"),
        ("x-mine", "1"),
        ("te", "trailers"),
    ]);
    let (first, second) = head.split_at(head.len() / 2);
    [
        frame(HEADERS, 0, 1, first),
        frame(CONTINUATION, END_HEADERS, 1, second),
        frame(DATA, 0, 1, b"hello "),
        frame(DATA, 0, 1, b""),
        frame(DATA, 0, 1, b"world"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-sum", "2")])),
    ]
    .concat()
}

#[test]
fn frames_are_read_alike_wherever_they_are_cut() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut bystander = proxy.connect();
    let bytes = upload();
    for cut in 1..bytes.len() {
        let mut client = Frames::connect(proxy.address(), &[]);
        assert!(client.write(&bytes[..cut]));
        // The one worker takes what has arrived before it answers the bystander.
        assert_eq!(bystander.get("/between", "").status, 200);
        assert!(client.write(&bytes[cut..]));
        let Fate::Answered(200, body) = client.fate(1) else { panic!("no response, cut at {cut}") };
        let got: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((got["target"].as_str(), got["body"].as_str()), (Some("/a?b=c"), Some("hello world")), "{cut}");
        assert_eq!(got["trailers"][0][1], "2", "cut at {cut}");
    }
    drop(bystander);
    proxy.settles();
    assert_eq!(echo.requests(), 2 * (bytes.len() as u64 - 1));
}

#[test]
fn a_hundred_streams_of_one_write_get_their_own_responses() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = Frames::connect(proxy.address(), &[]);
    let streams = || (1..200_u32).step_by(2);
    let all = streams().map(|stream| {
        let flags = END_HEADERS | END_STREAM;
        frame(HEADERS, flags, stream, &get("test", &format!("/{stream}")))
    });
    assert!(client.write(&all.collect::<Vec<_>>().concat()));
    let mut bodies: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut ended = 0;
    while ended < streams().count() {
        let frame = client.next().expect("the connection stays open");
        if frame.kind == DATA {
            bodies.entry(frame.stream).or_default().extend(&frame.payload);
        }
        if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
            ended += 1;
        }
    }
    for stream in streams() {
        let got: serde_json::Value = serde_json::from_slice(&bodies[&stream]).unwrap();
        assert_eq!(got["target"], format!("/{stream}"));
    }
    drop(client);
    proxy.settles();
    assert_eq!(echo.requests(), 100);
}
