//! The bytes of requests on sockets, and what is known after a failure.

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use bytes::Bytes;
use http::{HeaderMap, Request};
use tokio::runtime;

use super::*;
use crate::fields::Fields;
use crate::proxy::body::copy_body::CopyBody;

/// The worker's buffer.
fn scratch() -> RefCell<Box<[u8]>> {
    RefCell::new(vec![0; 64 * 1024].into())
}

/// A request that owns its parts.
struct Sent {
    head: Head,
    body: RequestBody,
}

impl Sent {
    fn of(request: Request<RequestBody>) -> Self {
        let (parts, body) = request.into_parts();
        Self { head: Head::of_parts(&parts, Fields::new()), body }
    }

    fn outgoing(&mut self) -> OutgoingRequest<'_> {
        OutgoingRequest { head: &self.head, body: &mut self.body }
    }
}

async fn write(socket: &mut Socket, request: &mut Sent) -> Result<(), WriteError> {
    let (mut writer, scratch) = (RequestWriter::default(), scratch());
    writer.begin();
    let mut request = request.outgoing();
    poll_fn(|cx| writer.poll(cx, socket, &mut request, &scratch)).await
}

/// A connected socket, and its peer.
fn pair() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    (tokio::net::TcpStream::from_std(near).unwrap().into(), far)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

fn body(pieces: &[&'static [u8]], trailers: Option<HeaderMap>, length: Option<u64>) -> RequestBody {
    let pieces = pieces.iter().map(|piece| Bytes::from_static(piece)).collect();
    RequestBody::Copy(Box::new(CopyBody::new(pieces, trailers, length)))
}

fn post(framing: &str, value: &str, body: RequestBody) -> Sent {
    Sent::of(Request::post("/a").header(framing, value).body(body).unwrap())
}

/// What arrives of a request, and the result of writing it.
fn written(mut request: Sent) -> (String, Result<(), WriteError>) {
    run(async {
        let (mut near, mut far) = pair();
        let result = write(&mut near, &mut request).await;
        drop(near);
        let mut text = String::new();
        far.read_to_string(&mut text).unwrap();
        (text, result)
    })
}

#[test]
fn a_request_without_a_body_is_its_head() {
    let request = Sent::of(Request::get("/a?b").header("host", "test").body(RequestBody::Empty).unwrap());
    assert_eq!(written(request), ("GET /a?b HTTP/1.1\r\nhost: test\r\n\r\n".to_owned(), Ok(())));
}

#[test]
fn a_body_has_the_framing_of_its_head() {
    let head = |framing: &str| format!("POST /a HTTP/1.1\r\n{framing}\r\n\r\n");
    let known = post("content-length", "5", body(&[b"he", b"", b"llo"], None, Some(5)));
    assert_eq!(written(known), (format!("{}hello", head("content-length: 5")), Ok(())));
    let chunked = || head("transfer-encoding: chunked");
    let pieces = post("transfer-encoding", "chunked", body(&[b"hello", b"", b"0123456789abcdefg"], None, None));
    let chunks = "5\r\nhello\r\n11\r\n0123456789abcdefg\r\n0\r\n\r\n";
    assert_eq!(written(pieces), (format!("{}{chunks}", chunked()), Ok(())));
    let none = post("transfer-encoding", "chunked", body(&[], None, None));
    assert_eq!(written(none), (format!("{}0\r\n\r\n", chunked()), Ok(())));
    let mut trailers = HeaderMap::new();
    trailers.append("x-sum", "1".parse().unwrap());
    let with_trailers = post("transfer-encoding", "chunked", body(&[b"ok"], Some(trailers.clone()), None));
    assert_eq!(written(with_trailers), (format!("{}2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n", chunked()), Ok(())));
    let only_trailers = post("transfer-encoding", "chunked", body(&[], Some(trailers), None));
    assert_eq!(written(only_trailers), (format!("{}0\r\nx-sum: 1\r\n\r\n", chunked()), Ok(())));
}

#[test]
fn the_head_and_the_first_piece_leave_in_one_write() {
    run(async {
        let (mut near, mut far) = pair();
        let mut request = post("content-length", "10", body(&[b"first", b"later"], None, Some(10)));
        let (mut writer, scratch) = (RequestWriter::default(), scratch());
        writer.begin();
        poll_fn(|cx| Poll::Ready(writer.build(cx, &mut request.outgoing()))).await.unwrap();
        poll_fn(|cx| writer.poll_first_write(cx, &mut near, &mut request.body, &scratch)).await.unwrap();
        let mut room = [0; 256];
        let n = far.read(&mut room).unwrap();
        assert!(room[..n].starts_with(b"POST /a ") && room[..n].ends_with(b"\r\n\r\nfirst"));
    });
}

#[test]
fn a_body_that_is_not_as_long_as_stated_fails() {
    for (stated, pieces) in [("4", [&b"hello"[..]]), ("6", [&b"hello"[..]])] {
        let request = post("content-length", stated, body(&pieces, None, Some(5)));
        let (text, result) = written(request);
        assert_eq!(result, Err(WriteError::Body), "{stated}");
        assert!(!text.ends_with("hello") || stated == "6", "no byte is sent beyond the stated length");
    }
}

#[test]
fn a_large_body_waits_for_its_reader() {
    let piece: &'static [u8] = vec![7; 100_000].leak();
    run(async {
        let (mut near, mut far) = pair();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            all
        });
        let mut request = post("transfer-encoding", "chunked", body(&[piece; 100], None, None));
        assert_eq!(write(&mut near, &mut request).await, Ok(()));
        assert!(matches!(request.body, RequestBody::Empty), "a sent body is dropped");
        drop(near);
        let all = reader.join().unwrap();
        let framing = 100 * "186a0\r\n\r\n".len() + "0\r\n\r\n".len();
        let head = "POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".len();
        assert_eq!(all.len(), head + framing + 100 * piece.len());
        assert_eq!(all.split(|byte| *byte != 7).map(<[u8]>::len).sum::<usize>(), 100 * piece.len());
    });
}

#[test]
fn a_request_of_which_nothing_was_written_is_as_before() {
    run(async {
        let mut request = post("content-length", "5", body(&[b"he", b"llo"], None, Some(5)));
        for _ in 0..3 {
            let (mut near, far) = pair();
            // A reset: the peer closes with a byte unread.
            let Socket::Plain(stream) = &near else { unreachable!() };
            let stream = stream.tcp();
            stream.writable().await.unwrap();
            stream.try_write(b"x").unwrap();
            far.peek(&mut [0]).unwrap();
            drop(far);
            stream.readable().await.unwrap();
            assert_eq!(write(&mut near, &mut request).await, Err(WriteError::Unsent));
            assert!(matches!(request.body, RequestBody::Returned(_)));
            assert_eq!(request.body.size_hint().exact(), Some(5));
        }
        let (mut near, mut far) = pair();
        assert_eq!(write(&mut near, &mut request).await, Ok(()));
        drop(near);
        let mut text = String::new();
        far.read_to_string(&mut text).unwrap();
        assert_eq!(text, "POST /a HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello");
    });
}

#[test]
fn a_request_of_which_a_part_was_written_is_not_unsent() {
    let piece: &'static [u8] = vec![7; 16 << 20].leak();
    run(async {
        let (mut near, mut far) = pair();
        let peer = std::thread::spawn(move || {
            let mut some = [0; 64];
            far.read_exact(&mut some).unwrap();
            // The peer answers, and closes with bytes unread.
            far.write_all(b"HTTP/1.1 413 Content Too Large\r\n\r\n").unwrap();
        });
        let mut request = post("content-length", "16777216", body(&[piece], None, Some(piece.len() as u64)));
        assert_eq!(write(&mut near, &mut request).await, Err(WriteError::Socket));
        peer.join().unwrap();
    });
}
