//! The body of a request on an HTTP/2 stream. The window grows as pieces are taken, so that back-pressure reaches the
//! client.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Frame, SizeHint};

use crate::fields::Fields;
use crate::proxy::wire::body_error::BodyError;

const FAILED: BodyError = BodyError("the request's body failed");

/// The body of a request.
#[derive(Debug)]
pub(crate) struct StreamBody {
    stream: RecvStream,
    /// Bytes to come, if the head says how many.
    left: Option<u64>,
    /// All DATA was read: trailers may follow.
    data_ended: bool,
}

impl StreamBody {
    /// The body of the request with these fields.
    pub(super) fn new(stream: RecvStream, fields: &Fields) -> Self {
        Self { stream, left: content_length(fields), data_ended: false }
    }

    /// The next frame. A stream that the client resets for any reason is not a complete body.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // An error means that the stream has ended, which the next call reports.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(FAILED))),
                None => self.data_ended = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(_) => Some(Err(FAILED)),
        })
    }

    /// Whether the whole body was read.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// Bytes to come.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The length in `content-length`. `None` also if lines differ; admission refuses such a head.
pub(super) fn content_length(fields: &Fields) -> Option<u64> {
    let mut lengths = fields.get_all("content-length").map(|line| crate::fields::text(line)?.parse().ok());
    let first: u64 = lengths.next()??;
    lengths.all(|other| other == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::super::pair::{Pair, pair};
    use super::*;

    /// What a body is read as: its pieces together, its trailers, and how it ended.
    async fn read(body: &mut StreamBody) -> (Vec<u8>, Option<String>, &'static str) {
        let (mut data, mut trailers) = (Vec::new(), None);
        loop {
            match poll_fn(|cx| body.poll_frame(cx)).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => data.extend_from_slice(&piece),
                    Err(frame) => trailers = Some(format!("{:?}", frame.into_trailers().unwrap())),
                },
                Some(Err(_)) => return (data, trailers, "failed"),
                None => return (data, trailers, "complete"),
            }
        }
    }

    fn of(stream: RecvStream) -> StreamBody {
        StreamBody::new(stream, &Fields::new())
    }

    #[tokio::test]
    async fn a_body_ends_with_its_stream_or_its_trailers() {
        for trailers in [None, Some(http::HeaderMap::from_iter([(http::header::ETAG, "1".parse().unwrap())]))] {
            let Pair { mut sends, receives, response: _response, respond: _respond } = pair().await;
            let expected = trailers.as_ref().map(|trailers| format!("{trailers:?}"));
            sends.send_data(Bytes::from_static(b"one"), false).unwrap();
            sends.send_data(Bytes::from_static(b"two"), trailers.is_none()).unwrap();
            if let Some(trailers) = trailers {
                sends.send_trailers(trailers).unwrap();
            }
            let mut body = of(receives);
            assert!(!body.is_end_stream());
            assert_eq!(read(&mut body).await, (b"onetwo".to_vec(), expected, "complete"));
            assert!(body.is_end_stream());
        }
    }

    #[tokio::test]
    async fn a_reset_is_not_an_end() {
        for reason in [h2::Reason::NO_ERROR, h2::Reason::CANCEL, h2::Reason::INTERNAL_ERROR] {
            let Pair { mut sends, receives, response: _response, respond: _respond } = pair().await;
            sends.send_data(Bytes::from_static(b"one"), false).unwrap();
            let mut body = of(receives);
            let first = poll_fn(|cx| body.poll_frame(cx)).await.unwrap().unwrap();
            assert_eq!(first.into_data().unwrap(), "one");
            sends.send_reset(reason);
            assert_eq!(read(&mut body).await, (Vec::new(), None, "failed"), "{reason:?}");
            assert!(!body.is_end_stream(), "{reason:?}");
        }
    }

    #[tokio::test]
    async fn the_window_grows_as_pieces_are_taken() {
        let Pair { mut sends, receives, response: _response, respond: _respond } = pair().await;
        // More than all windows together.
        let sender = tokio::spawn(async move {
            let mut left = 1 << 20;
            while left > 0 {
                sends.reserve_capacity(left);
                let room = poll_fn(|cx| sends.poll_capacity(cx)).await.unwrap().unwrap().min(left);
                left -= room;
                sends.send_data(Bytes::from(vec![b'x'; room]), left == 0).unwrap();
            }
        });
        let mut body = of(receives);
        assert_eq!(read(&mut body).await.0.len(), 1 << 20);
        sender.await.unwrap();
    }

    #[test]
    fn a_length_is_one_number() {
        for (lines, expected) in [
            (&[][..], None),
            (&["5"], Some(5)),
            (&["5", "5"], Some(5)),
            (&["5", "6"], None),
            (&["5, 5"], None),
            (&["-1"], None),
            (&["99999999999999999999"], None),
        ] {
            let mut fields = Fields::new();
            for line in lines {
                fields.append_valid(b"content-length", line.as_bytes());
            }
            assert_eq!(content_length(&fields), expected, "{lines:?}");
        }
    }
}
