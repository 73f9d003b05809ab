//! The body of a request that can be sent again. The sent part of its body is kept, up to a limit, until the response's head
//! arrives. All attempts share the body, so that a later attempt first replays the kept part and then continues with
//! the rest.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};

use super::request_body::{ClientBody, RequestBody, ReturnedBody};
use crate::failover::Resendable;
use crate::proxy::wire::body_error::BodyError;

/// Smaller pieces are joined: each would keep the whole buffer that it was read into.
const SMALL_BYTES_MAX: usize = 4 * 1024;

/// The state that the attempts to send one body share.
struct ReplayState {
    body: Box<ClientBody>,
    kept: ReplayBuffer,
    /// The number of the current attempt, the only one that may pull.
    turn: u32,
}

/// The part of a body that was pulled and is kept for another attempt. The current attempt sends it first.
#[derive(Debug, Default)]
struct ReplayBuffer {
    pieces: Vec<Bytes>,
    /// The last small pieces, joined.
    small: BytesMut,
    /// Bytes in `pieces` and `small`.
    bytes: usize,
    /// Bytes of them that the current attempt has sent.
    sent: usize,
    /// Most bytes that are kept.
    limit: usize,
    /// Nothing more is kept: the limit is exceeded, or there will be no other attempt.
    ended: bool,
}

/// The body of one attempt to send a request.
pub(crate) struct AttemptBody {
    shared: Rc<RefCell<ReplayState>>,
    turn: u32,
    /// Bytes left to send, if the length is known.
    left: Option<u64>,
    length: Option<u64>,
}

/// The state of the attempts, and the length of the body if it is known.
type SharedReplay = (Rc<RefCell<ReplayState>>, Option<u64>);

/// What is kept of a body.
enum KeptBody {
    /// There is no body.
    None,
    /// The part that the attempts have sent.
    Shared(SharedReplay),
    /// Nothing: a part of it was taken before it was kept.
    Lost,
}

/// The body of a request that can be sent again.
pub(crate) struct ReplayableBody(KeptBody);

impl ReplayableBody {
    /// Captures a body so that it can be sent again, if it has at most `limit` bytes. From now on it is pulled through an
    /// [`AttemptBody`].
    pub(crate) fn capture(sent: &mut RequestBody, limit: usize) -> Self {
        let (kept, body) = match mem::take(sent) {
            RequestBody::Empty => (KeptBody::None, RequestBody::Empty),
            RequestBody::Client(body) => {
                let (shared, first) = AttemptBody::first(body, &Bytes::new(), limit);
                (KeptBody::Shared(shared), RequestBody::Attempt(Box::new(first)))
            }
            RequestBody::Returned(returned) => match *returned {
                ReturnedBody { piece, rest: RequestBody::Client(body) } => {
                    let (shared, first) = AttemptBody::first(body, &piece, limit);
                    (KeptBody::Shared(shared), RequestBody::Attempt(Box::new(first)))
                }
                // A kept body whose attempt took a piece: its buffer is not what was sent, so it is sent once more only.
                other => (KeptBody::Lost, RequestBody::Returned(Box::new(other))),
            },
            RequestBody::Copy(body) => (KeptBody::Lost, RequestBody::Copy(body)),
            // The later attempt shares the kept part of the earlier one.
            RequestBody::Attempt(body) => {
                (KeptBody::Shared((Rc::clone(&body.shared), body.length)), RequestBody::Attempt(body))
            }
        };
        *sent = body;
        Self(kept)
    }

    /// Whether the body can be sent again, for the retry decision.
    pub(crate) fn resendable(&self) -> Resendable {
        match &self.0 {
            KeptBody::None => Resendable::Bodiless,
            KeptBody::Lost => Resendable::No,
            KeptBody::Shared((shared, _)) if shared.borrow().kept.ended => Resendable::No,
            KeptBody::Shared(_) => Resendable::Whole,
        }
    }

    /// The body for another attempt, from the beginning. The earlier attempt gets nothing more of it.
    pub(crate) fn into_body(self) -> RequestBody {
        debug_assert!(self.resendable() != Resendable::No, "the body is kept");
        if let KeptBody::Shared((shared, length)) = self.0 {
            // With the new turn the earlier attempt fails: two attempts never pull from one client.
            let turn = shared.borrow().turn + 1;
            shared.borrow_mut().turn = turn;
            shared.borrow_mut().kept.sent = 0;
            RequestBody::Attempt(Box::new(AttemptBody { shared, turn, left: length, length }))
        } else {
            RequestBody::Empty
        }
    }

    /// Gives up further attempts: the kept part is freed once the current attempt has sent it.
    pub(crate) fn discard(self) {
        if let KeptBody::Shared((shared, _)) = self.0 {
            shared.borrow_mut().kept.end();
        }
    }
}

impl ReplayBuffer {
    /// Keeps a piece that the current attempt sends for the first time.
    fn keep(&mut self, data: &Bytes) {
        let bytes = self.bytes + data.len();
        if self.ended || bytes > self.limit {
            return self.end();
        }
        if data.len() < SMALL_BYTES_MAX {
            self.small.extend_from_slice(data);
        } else {
            // In order: the small pieces came before this one.
            self.join();
            self.pieces.push(data.clone());
        }
        debug_assert!(self.is_sent(), "new pieces follow the replayed ones");
        // Sent as well: the current attempt gets this piece now.
        (self.bytes, self.sent) = (bytes, bytes);
    }

    fn join(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(mem::take(&mut self.small).freeze());
        }
    }

    /// Whether the current attempt has sent all kept bytes.
    fn is_sent(&self) -> bool {
        self.sent == self.bytes
    }

    /// The next kept piece that the current attempt has not sent.
    fn next_unsent(&mut self) -> Option<Bytes> {
        if self.is_sent() {
            return None;
        }
        // First, so that the offsets below count over `pieces` alone.
        self.join();
        let mut end = 0;
        let piece = self.pieces.iter().find(|piece| {
            end += piece.len();
            end > self.sent
        })?;
        debug_assert!(end <= self.bytes, "`bytes` counts all pieces");
        let unsent = piece.slice(piece.len() - (end - self.sent)..);
        self.sent = end;
        // `discard` waited for the last replayed piece.
        if self.ended {
            self.end();
        }
        Some(unsent)
    }

    /// Keeps nothing more, and frees the kept part unless the current attempt still sends it.
    fn end(&mut self) {
        if self.is_sent() {
            *self = Self::default();
        }
        self.ended = true;
    }
}

impl AttemptBody {
    /// The first attempt to send a body of which `taken` was pulled already, and the state for later ones.
    fn first(body: Box<ClientBody>, taken: &Bytes, limit: usize) -> (SharedReplay, Self) {
        let length = body.size_hint().exact().map(|left| left + taken.len() as u64);
        let mut kept = ReplayBuffer { limit, ..ReplayBuffer::default() };
        // What was taken is in no other place: it is sent, also where nothing is kept.
        if !taken.is_empty() {
            kept.bytes = taken.len();
            kept.pieces.push(taken.clone());
        }
        kept.ended = kept.bytes > limit || length.is_some_and(|length| length > limit as u64);
        let shared = Rc::new(RefCell::new(ReplayState { body, kept, turn: 0 }));
        let first = Self { shared: Rc::clone(&shared), turn: 0, left: length, length };
        ((shared, length), first)
    }

    /// The next frame.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let shared = &mut *self.shared.borrow_mut();
        if shared.turn != self.turn {
            return Poll::Ready(Some(Err(BodyError("replaced by another attempt"))));
        }
        shared.body.upload.mark_started();
        if let Some(data) = shared.kept.next_unsent() {
            self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let polled = shared.body.poll(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            match frame.data_ref() {
                Some(data) => {
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    shared.kept.keep(data);
                }
                // Trailers are not kept: after them the request cannot be sent again.
                None => shared.kept.end(),
            }
        }
        polled
    }

    /// Whether the whole body was sent.
    pub(crate) fn is_end_stream(&self) -> bool {
        let shared = self.shared.borrow();
        shared.turn == self.turn && shared.kept.is_sent() && shared.body.is_end_stream()
    }

    /// Bytes left to send.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64 * 1024;

    fn buffer() -> ReplayBuffer {
        ReplayBuffer { limit: LIMIT, ..ReplayBuffer::default() }
    }

    fn all(kept: &mut ReplayBuffer) -> Vec<u8> {
        std::iter::from_fn(|| kept.next_unsent()).flatten().collect()
    }

    #[test]
    fn kept_pieces_are_replayed_in_order() {
        let bytes: Vec<u8> = (0..40_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut kept = buffer();
        let (mut at, mut sizes) = (0, [1, SMALL_BYTES_MAX, 5, 7, 0, 3 * SMALL_BYTES_MAX, 100].into_iter().cycle());
        while at < bytes.len() {
            let end = bytes.len().min(at + sizes.next().unwrap());
            kept.keep(&Bytes::copy_from_slice(&bytes[at..end]));
            at = end;
        }
        assert!(kept.is_sent() && kept.next_unsent().is_none());
        kept.sent = 0;
        assert_eq!(all(&mut kept), bytes);
        kept.keep(&Bytes::from_static(b"more"));
        (kept.sent, kept.ended) = (0, false);
        assert_eq!(all(&mut kept), [&bytes[..], b"more"].concat(), "a second replay has the later pieces too");
    }

    #[test]
    fn a_body_of_which_a_part_is_taken_is_not_kept() {
        let rest = RequestBody::default();
        let returned = ReturnedBody { piece: Bytes::from_static(b"taken"), rest };
        let mut body = RequestBody::Returned(Box::new(returned));
        assert_eq!(ReplayableBody::capture(&mut body, LIMIT).resendable(), Resendable::No);
        assert_eq!(ReplayableBody::capture(&mut RequestBody::Empty, LIMIT).resendable(), Resendable::Bodiless);
    }

    #[test]
    fn unsent_pieces_stay_after_the_end_of_keeping() {
        let mut kept = buffer();
        kept.keep(&Bytes::from(vec![1; SMALL_BYTES_MAX]));
        kept.keep(&Bytes::from(vec![2; SMALL_BYTES_MAX]));
        kept.sent = 0;
        assert_eq!(kept.next_unsent().unwrap(), vec![1; SMALL_BYTES_MAX]);
        kept.end();
        assert!(!kept.is_sent());
        assert_eq!(kept.next_unsent().unwrap(), vec![2; SMALL_BYTES_MAX]);
        assert!(kept.is_sent() && kept.pieces.is_empty());
        kept.keep(&Bytes::from_static(b"more"));
        assert!(kept.is_sent() && kept.small.is_empty(), "nothing more is kept");
    }

    #[test]
    fn small_pieces_need_no_more_memory_than_large_ones() {
        let mut kept = buffer();
        for _ in 0..LIMIT {
            kept.keep(&Bytes::from_static(b"x"));
        }
        assert!(!kept.ended && kept.pieces.is_empty() && kept.small.capacity() <= 2 * LIMIT);
        kept.keep(&Bytes::from_static(b"x"));
        assert!(kept.ended && kept.small.capacity() == 0, "over the limit, everything is freed");
    }
}
