//! Responses on a socket of the test, which takes as few bytes as the test wants.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::Waker;

use http::header::{DATE, HeaderName, HeaderValue};

use super::*;
use crate::fields::Fields;
use crate::proxy::downstream::h1::tests::client;
use crate::proxy::wire::body_error::BodyError;

/// A socket that takes up to `step` bytes and then nothing until it is polled again. With a step of 0 it takes nothing.
struct SlowSocket {
    taken: Vec<u8>,
    step: usize,
    rests: bool,
}

struct SlowOutput(RefCell<SlowSocket>);

impl SlowOutput {
    fn new(step: usize) -> Self {
        Self(RefCell::new(SlowSocket { taken: Vec::new(), step, rests: false }))
    }
}

impl Output for SlowOutput {
    type Socket = SlowSocket;

    fn socket(&self) -> RefMut<'_, SlowSocket> {
        self.0.borrow_mut()
    }
}

impl AsyncWrite for SlowSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.rests = !this.rests;
        if !this.rests || this.step == 0 {
            return Poll::Pending;
        }
        let before = this.taken.len();
        for slice in slices {
            let room = this.step - (this.taken.len() - before);
            this.taken.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        Poll::Ready(Ok(this.taken.len() - before))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A frame of a body.
#[derive(Clone, Copy)]
enum Piece {
    Data(usize),
    Trailers,
    Panic,
}

/// A body of unknown length.
struct Pieces(VecDeque<Piece>);

impl Pieces {
    fn of(pieces: &[Piece]) -> Self {
        Self(pieces.iter().copied().collect())
    }
}

impl ResponseContent for Pieces {}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.pop_front().map(|piece| match piece {
            Piece::Data(length) => Ok(Frame::data((b'a'..b'x').cycle().take(length).collect())),
            Piece::Trailers => {
                let sum = (HeaderName::from_static("x-sum"), HeaderValue::from_static("1"));
                Ok(Frame::trailers(HeaderMap::from_iter([sum])))
            }
            Piece::Panic => panic!("of the test"),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// A response with these pieces, and a field of `bytes`.
fn response(pieces: &[Piece], bytes: usize) -> ClientResponse<Pieces> {
    let mut fields = Fields::new();
    fields.append(&DATE, &HeaderValue::from_static("today"));
    fields.append(&HeaderName::from_static("x-long"), &HeaderValue::from_str(&"x".repeat(bytes)).unwrap());
    ClientResponse::new(StatusCode::OK, fields, Pieces::of(pieces))
}

/// A connection's writer on a slow socket.
struct Rig {
    writer: ResponseWriter<Pieces>,
    output: SlowOutput,
    client: Rc<Client>,
}

impl Rig {
    fn new(step: usize) -> Self {
        let mut writer = ResponseWriter::new();
        writer.form.accepts_trailers = true;
        Self { writer, output: SlowOutput::new(step), client: client() }
    }

    fn poll_body(&mut self) -> Poll<Result<(), ResponseFault>> {
        self.writer.poll_body(&mut Context::from_waker(Waker::noop()), &self.output, &self.client)
    }

    fn poll_flush(&mut self) -> Poll<io::Result<()>> {
        self.writer.poll_flush(&mut Context::from_waker(Waker::noop()), &self.output, &self.client)
    }

    /// Writes a response. Returns the most memory that was in use.
    fn write(&mut self, pieces: &[Piece]) -> usize {
        self.writer.begin(response(pieces, 10), &self.client);
        let mut most = 0;
        loop {
            let polled = self.poll_body();
            most = most.max(self.writer.out.capacity());
            match polled {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => return most,
                Poll::Ready(Err(_)) => panic!("the body is whole"),
            }
        }
    }

    /// All that was written.
    fn finish(mut self) -> Vec<u8> {
        while !matches!(self.poll_flush(), Poll::Ready(Ok(()))) {}
        self.output.0.into_inner().taken
    }
}

/// What the client gets if its socket takes `step` bytes at a time.
fn pipeline(step: usize) -> Vec<u8> {
    let mut rig = Rig::new(step);
    rig.write(&[Piece::Data(5000), Piece::Data(3), Piece::Data(6000)]);
    rig.write(&[Piece::Data(4100), Piece::Trailers]);
    rig.write(&[Piece::Data(4100), Piece::Data(0)]);
    rig.write(&[Piece::Data(4100), Piece::Data(4100)]);
    rig.write(&[Piece::Data(3)]);
    rig.finish()
}

#[test]
fn a_pipeline_is_the_same_wherever_its_writes_end() {
    let whole = pipeline(usize::MAX);
    let text = String::from_utf8(whole.clone()).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 5);
    assert_eq!(text.matches("\r\n0\r\n").count(), 5);
    assert!(text.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{text}");
    // Each step ends its writes at other places. The first one ends one at every byte.
    for step in (1..16).chain([97, 1009, 4093, 4105, 5003]) {
        assert!(pipeline(step) == whole, "{step} bytes at a time");
    }
}

#[test]
fn responses_without_a_body_wait_for_a_client_that_does_not_read() {
    for bytes in [10, 4096] {
        let mut rig = Rig::new(0);
        rig.writer.form.is_head = true;
        let mut answered = 0;
        while answered < 600 {
            rig.writer.begin(response(&[], bytes), &rig.client);
            if rig.poll_body().is_pending() {
                break;
            }
            answered += 1;
        }
        let gathered = rig.writer.out.len();
        assert!(gathered < GATHERED_BYTES_MAX + bytes + 256, "{gathered} bytes of {answered} responses");
        rig.output.0.borrow_mut().step = 1000;
        while rig.poll_body().is_pending() {}
        assert_eq!(String::from_utf8(rig.finish()).unwrap().matches("200 OK").count(), answered + 1);
    }
}

#[test]
fn what_a_slow_client_has_is_not_kept() {
    let mut rig = Rig::new(1000);
    let most = rig.write(&vec![Piece::Data(1000); 2000]);
    assert!(most <= 4 * GATHERED_BYTES_MAX, "{most} bytes for 16 KiB that wait");
    assert!(rig.finish().len() > 2_000_000);
}

#[test]
fn informational_responses_do_not_pile_up() {
    let early = [b'x'; 1000];
    let mut rig = Rig::new(0);
    for _ in 0..1000 {
        rig.writer.add_early(&early, &rig.client);
        assert!(rig.poll_flush().is_pending());
    }
    assert!(rig.writer.out.len() < GATHERED_BYTES_MAX + early.len());
    // The client waits for this one.
    rig.writer.add_continue(&rig.client);
    assert!(rig.writer.out.ends_with(CONTINUE));
}

#[test]
fn a_panic_of_a_body_ends_as_a_cut() {
    let mut rig = Rig::new(usize::MAX);
    rig.write(&[Piece::Data(3)]);
    rig.writer.begin(response(&[Piece::Data(5), Piece::Panic], 10), &rig.client);
    assert!(matches!(rig.poll_body(), Poll::Ready(Err(ResponseFault::Body))));
    assert_eq!(rig.client.worker.meter().refused.of(Refusal::Internal).value(), 1);
    let written = String::from_utf8(rig.output.0.into_inner().taken).unwrap();
    assert!(written.contains("\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n"), "the response before it: {written}");
    assert!(written.ends_with("5\r\nabcde\r\n"), "{written}");
}
