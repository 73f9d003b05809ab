//! The streams of a connection. A place is used again by the next stream, with its waker and its reader.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use http_body::Body;

use super::stream::Stream;
use super::turn::{ConnectionTurn, GROUP, Group};
use crate::proxy::downstream::client::Client;
use crate::proxy::downstream::client_request::ClientResponse;
use crate::proxy::worker::response_reader::ResponseReader;
use crate::telemetry::Refusal;

/// Most streams that are polled in a turn: then other connections of the worker have theirs.
const POLLS_A_TURN: usize = 32;

/// The streams of a connection.
pub(super) struct Streams<F, B> {
    places: Vec<Place<F, B>>,
    free: Vec<usize>,
    groups: Vec<Arc<Group>>,
    turn: Arc<ConnectionTurn>,
    /// The place that the next round begins with.
    next: usize,
    /// Streams polled in this turn.
    polls: usize,
}

struct Place<F, B> {
    stream: Option<Stream<F, B>>,
    waker: Waker,
    reader: Rc<ResponseReader>,
}

impl<F, B> Streams<F, B>
where
    F: Future<Output = Result<ClientResponse<B>, Infallible>>,
    B: Body<Data = Bytes> + Unpin,
{
    /// No streams.
    pub(super) fn new(turn: &Arc<ConnectionTurn>) -> Self {
        Self { places: Vec::new(), free: Vec::new(), groups: Vec::new(), turn: Arc::clone(turn), next: 0, polls: 0 }
    }

    /// Adds a stream, which is ready.
    pub(super) fn add(&mut self, stream: Stream<F, B>) {
        let at = self.free.pop().unwrap_or_else(|| self.new_place());
        let place = &mut self.places[at];
        debug_assert!(place.stream.is_none(), "the place is free");
        place.stream = Some(stream);
        place.waker.wake_by_ref();
    }

    /// Makes a place.
    fn new_place(&mut self) -> usize {
        let at = self.places.len();
        if at.is_multiple_of(GROUP) {
            self.groups.push(Group::new(&self.turn));
        }
        let waker = self.groups[at / GROUP].waker(at % GROUP);
        self.places.push(Place { stream: None, waker, reader: Rc::default() });
        at
    }

    /// Begins a turn.
    pub(super) fn begin_turn(&mut self) {
        self.polls = 0;
    }

    /// Whether this turn may poll more streams.
    pub(super) fn may_poll(&self) -> bool {
        self.polls < POLLS_A_TURN
    }

    /// Whether a stream is ready.
    pub(super) fn is_any_ready(&self) -> bool {
        self.groups.iter().any(|group| group.is_any_ready())
    }

    /// Polls each ready stream once, within the limit of the turn. A round begins where the last one was cut off, so that
    /// each stream has its turn.
    pub(super) fn poll_ready(&mut self, client: &Rc<Client>) {
        let (first, begin) = (self.next / GROUP, self.next % GROUP);
        self.poll_group(first, u64::MAX << begin, client);
        for group in (first + 1..self.groups.len()).chain(0..first) {
            self.poll_group(group, u64::MAX, client);
        }
        self.poll_group(first, !(u64::MAX << begin), client);
    }

    /// Polls the ready streams of a group that are in `mask`.
    fn poll_group(&mut self, group: usize, mask: u64, client: &Rc<Client>) {
        let Some(known) = self.groups.get(group).filter(|group| group.is_any_ready()) else { return };
        let all = known.take_ready();
        let (mut ready, mut left) = (all & mask, all & !mask);
        while ready != 0 {
            let at = group * GROUP + ready.trailing_zeros() as usize;
            if !self.may_poll() {
                self.next = at;
                left |= ready;
                break;
            }
            ready &= ready - 1;
            self.poll(at, client);
        }
        if left != 0 {
            self.groups[group].put_back(left);
        }
    }

    fn poll(&mut self, at: usize, client: &Rc<Client>) {
        let Some(Place { stream: place, waker, reader }) = self.places.get_mut(at) else { return };
        // A waker may outlive its stream.
        let Some(stream) = place else { return };
        self.polls += 1;
        let mut cx = Context::from_waker(waker);
        // `CatchPanic` is around the handler alone. A panic of a body ends its own stream and no other.
        let polled = catch_unwind(AssertUnwindSafe(|| stream.poll(&mut cx, client, reader)));
        if polled.as_ref().is_ok_and(std::task::Poll::is_pending) {
            return;
        }
        if polled.is_err() {
            client.worker.meter().refuse(Refusal::Internal);
            client.reader.take();
        }
        *place = None;
        client.worker.stalled_readers.remove(reader);
        self.free.push(at);
        match Rc::get_mut(reader) {
            Some(reader) => *reader = ResponseReader::default(),
            // A tunnel has it.
            None => *reader = Rc::default(),
        }
    }

    /// Frees the memory of the places, if there is no stream.
    pub(super) fn shrink(&mut self) {
        if self.free.len() == self.places.len() {
            (self.places, self.free, self.groups) = (Vec::new(), Vec::new(), Vec::new());
            self.next = 0;
        }
    }
}

impl<F, B> Streams<F, B> {
    /// Drops all streams.
    pub(super) fn clear(&mut self, client: &Client) {
        for Place { stream, reader, .. } in &mut self.places {
            *stream = None;
            client.worker.stalled_readers.remove(reader);
        }
    }
}
