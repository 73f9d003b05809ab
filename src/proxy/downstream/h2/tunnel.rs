//! An HTTP/2 stream as a stream of bytes, after an extended CONNECT (RFC 8441).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::ReadBuf;
use tokio::sync::oneshot;

/// Most bytes that are passed to h2 at once.
const PIECE_BYTES: usize = 16 * 1024;

/// The stream of a CONNECT, which opens with the head of its response.
#[derive(Debug)]
pub(crate) struct OpeningStream(oneshot::Receiver<ClientStream>);

/// Opens the stream when the head of the response is sent.
#[derive(Debug)]
pub(super) struct StreamOpener {
    opened: oneshot::Sender<ClientStream>,
    receiving: RecvStream,
}

/// The stream that a CONNECT with the receiving half `receiving` becomes.
pub(super) fn opening(receiving: RecvStream) -> (StreamOpener, OpeningStream) {
    let (opened, opening) = oneshot::channel();
    (StreamOpener { opened, receiving }, OpeningStream(opening))
}

impl StreamOpener {
    /// Opens the stream. If no one waits for it, it is reset.
    pub(super) fn open(self, sending: SendStream<Bytes>) {
        let stream = ClientStream { sending, receiving: self.receiving, unread: Bytes::new(), ended: false };
        drop(self.opened.send(stream));
    }
}

impl Future for OpeningStream {
    /// `None` if the client has left before the stream was open.
    type Output = Option<ClientStream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ClientStream>> {
        Pin::new(&mut self.0).poll(cx).map(Result::ok)
    }
}

/// A stream of bytes from and to a client. It is reset when it is dropped before both directions have ended.
#[derive(Debug)]
pub(crate) struct ClientStream {
    sending: SendStream<Bytes>,
    receiving: RecvStream,
    /// The rest of a piece.
    unread: Bytes,
    /// The sending direction has ended.
    ended: bool,
}

impl ClientStream {
    /// Reads some bytes; none at the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.receiving.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(piece)) => self.unread = piece,
                Some(Err(error)) => {
                    let is_end = matches!(error.reason(), Some(Reason::NO_ERROR | Reason::CANCEL));
                    return Poll::Ready(if is_end { Ok(()) } else { Err(broken(error)) });
                }
            }
        }
        let taken = self.unread.len().min(room.remaining());
        room.put_slice(&self.unread[..taken]);
        self.unread.advance(taken);
        // An error means that the stream has ended, which the next call reports.
        let _ = self.receiving.flow_control().release_capacity(taken);
        Poll::Ready(Ok(()))
    }

    /// Writes some of these bytes, once the client's window is open.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.sending.capacity() == 0 {
            // One byte, so that a stream that waits holds nothing of the connection's window.
            self.sending.reserve_capacity(1);
            while self.sending.capacity() == 0 {
                match ready!(self.sending.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                }
            }
        }
        let piece = &bytes[..bytes.len().min(PIECE_BYTES)];
        let sent = self.sending.send_data(Bytes::copy_from_slice(piece), false);
        Poll::Ready(sent.map(|()| piece.len()).map_err(broken))
    }

    /// Ends the sending direction.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        self.sending.send_data(Bytes::new(), true).map_err(broken)
    }

    /// Whether the client has reset the stream, or its connection has ended. Otherwise the task is woken when that
    /// happens.
    pub(crate) fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        self.sending.poll_reset(cx).is_ready()
    }

    /// Resets the stream (RFC 8441 §5), unless the sending direction has ended.
    pub(crate) fn reset(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.sending.send_reset(Reason::CANCEL);
        }
    }
}

fn broken(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    }
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::super::pair::pair;
    use super::*;

    /// An open stream, and the client's halves.
    async fn open() -> (ClientStream, SendStream<Bytes>, RecvStream) {
        let (sending, receiving, client_sends, client_receives) = pair().await.open().await;
        let (opener, opening) = opening(receiving);
        opener.open(sending);
        (opening.await.unwrap(), client_sends, client_receives)
    }

    async fn read(stream: &mut ClientStream) -> io::Result<Vec<u8>> {
        let mut room = [0; 1000];
        let mut buffer = ReadBuf::new(&mut room);
        poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await?;
        Ok(buffer.filled().to_vec())
    }

    /// What the client gets to the end of the stream, or why that was reset.
    async fn rest(receives: &mut RecvStream) -> Result<Vec<u8>, Option<Reason>> {
        let mut all = Vec::new();
        while let Some(data) = receives.data().await {
            all.extend_from_slice(&data.map_err(|error| error.reason())?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn bytes_pass_in_both_directions_and_each_ends_by_itself() {
        let (mut stream, mut sends, mut receives) = open().await;
        sends.send_data(Bytes::from(vec![b'a'; 1500]), false).unwrap();
        sends.send_data(Bytes::new(), true).unwrap();
        let mut sizes = Vec::new();
        while let Some(size) = read(&mut stream).await.ok().map(|bytes| bytes.len()).filter(|size| *size > 0) {
            sizes.push(size);
        }
        assert_eq!(sizes.iter().sum::<usize>(), 1500);
        assert_eq!(poll_fn(|cx| stream.poll_write(cx, b"after the end")).await.unwrap(), 13);
        stream.end().unwrap();
        assert!(stream.end().is_ok(), "once is enough");
        assert_eq!(rest(&mut receives).await.unwrap(), b"after the end");
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_blocks_writes() {
        let (mut stream, _sends, mut receives) = open().await;
        let piece = vec![b'x'; 1 << 16];
        let mut written = 0;
        let blocked = poll_fn(|cx| {
            while let Poll::Ready(sent) = stream.poll_write(cx, &piece) {
                written += sent.unwrap();
            }
            Poll::Ready(())
        });
        blocked.await;
        assert!((1..1 << 18).contains(&written), "{written} bytes");
        let reading = tokio::spawn(async move {
            let mut seen = 0;
            while let Some(data) = receives.data().await {
                let data = data.unwrap();
                seen += data.len();
                receives.flow_control().release_capacity(data.len()).unwrap();
            }
            seen
        });
        let more = poll_fn(|cx| stream.poll_write(cx, b"more")).await.unwrap();
        stream.end().unwrap();
        assert_eq!(reading.await.unwrap(), written + more);
    }

    #[tokio::test]
    async fn a_reset_is_seen_on_both_sides() {
        let (mut stream, mut sends, _receives) = open().await;
        assert!(poll_fn(|cx| Poll::Ready(!stream.is_gone(cx))).await);
        sends.send_reset(Reason::CANCEL);
        poll_fn(|cx| if stream.is_gone(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        assert!(poll_fn(|cx| stream.poll_write(cx, b"x")).await.is_err());

        let (mut stream, _sends, mut receives) = open().await;
        stream.reset();
        assert_eq!(rest(&mut receives).await, Err(Some(Reason::CANCEL)));
        let (mut stream, _sends, mut receives) = open().await;
        stream.end().unwrap();
        stream.reset();
        assert_eq!(rest(&mut receives).await, Ok(Vec::new()), "the direction had ended in order");
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_is_reset() {
        let (stream, _sends, mut receives) = open().await;
        drop(stream);
        assert_eq!(rest(&mut receives).await, Err(Some(Reason::CANCEL)));
    }
}
