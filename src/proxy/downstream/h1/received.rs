//! A request's head as a connection receives it: it is scanned where its bytes lie, and they are copied once.

use crate::fields::Fields;
use crate::proxy::wire::grammar::Bounds;
use crate::proxy::wire::head::Head;
use crate::proxy::wire::scan::{Framing, HeadScanner, ScannedHead};
use crate::proxy::worker::Worker;
use crate::telemetry::Refusal;

/// A complete head, and what the connection has to know of it.
pub(super) struct ReceivedHead {
    pub(super) head: Head,
    pub(super) framing: Framing,
    /// The client lets the connection carry another request.
    pub(super) persistent: bool,
    /// The client may wait for `100 Continue`.
    pub(super) expects_continue: bool,
    pub(super) accepts_trailers: bool,
}

/// Reads the heads of a connection, one after another.
pub(super) struct HeadReader {
    pub(super) bounds: Bounds,
    /// The head whose bytes have not all arrived.
    partial: Option<Box<PartialHead>>,
}

struct PartialHead {
    bytes: Vec<u8>,
    scanner: HeadScanner,
    fields: Fields,
}

impl HeadReader {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, partial: None }
    }

    /// Whether no byte of a head has arrived.
    pub(super) fn is_empty(&self) -> bool {
        self.partial.is_none()
    }

    /// Drops the bytes of an incomplete head.
    pub(super) fn discard(&mut self, worker: &Worker) {
        if let Some(partial) = self.partial.take() {
            worker.take_back_fields(partial.fields);
        }
    }

    /// Reads `bytes`, which follow those of the last call. Returns the head if it is complete, and how many of `bytes`
    /// belong to it. Otherwise it keeps them all.
    #[inline]
    pub(super) fn read(&mut self, bytes: &[u8], worker: &Worker) -> Result<Option<(ReceivedHead, usize)>, Refusal> {
        if self.partial.is_some() {
            return self.go_on(bytes, worker);
        }
        let (mut scanner, mut fields) = (HeadScanner::default(), worker.spare_fields());
        match scanner.scan(bytes, &self.bounds, &mut fields) {
            ScannedHead::Complete(length, framing) => {
                let head = complete(&scanner, &bytes[..length], framing, &mut fields);
                give_back(&head, fields, worker);
                Ok(Some((head?, length)))
            }
            ScannedHead::Partial => {
                self.partial = Some(Box::new(PartialHead { bytes: bytes.to_vec(), scanner, fields }));
                Ok(None)
            }
            ScannedHead::Refused(refusal) => {
                worker.take_back_fields(fields);
                Err(refusal)
            }
        }
    }

    /// Reads more bytes of an incomplete head.
    #[cold]
    fn go_on(&mut self, bytes: &[u8], worker: &Worker) -> Result<Option<(ReceivedHead, usize)>, Refusal> {
        let Some(mut partial) = self.partial.take() else { return Ok(None) };
        let before = partial.bytes.len();
        partial.bytes.extend_from_slice(bytes);
        match partial.scanner.scan(&partial.bytes, &self.bounds, &mut partial.fields) {
            ScannedHead::Complete(length, framing) => {
                debug_assert!(length > before, "the earlier bytes are no complete head");
                let PartialHead { bytes, scanner, mut fields } = *partial;
                let head = complete(&scanner, &bytes[..length], framing, &mut fields);
                give_back(&head, fields, worker);
                Ok(Some((head?, length - before)))
            }
            ScannedHead::Partial => {
                self.partial = Some(partial);
                Ok(None)
            }
            ScannedHead::Refused(refusal) => {
                worker.take_back_fields(partial.fields);
                Err(refusal)
            }
        }
    }
}

/// Gives back the fields of a head that is refused. Another head has taken them.
#[inline]
fn give_back(head: &Result<ReceivedHead, Refusal>, fields: Fields, worker: &Worker) {
    if head.is_err() {
        worker.take_back_fields(fields);
    }
}

/// The head with these bytes, which the scanner has accepted.
#[inline]
fn complete(
    scanner: &HeadScanner,
    bytes: &[u8],
    framing: Framing,
    fields: &mut Fields,
) -> Result<ReceivedHead, Refusal> {
    Ok(ReceivedHead {
        head: Head::received(scanner, bytes, fields)?,
        framing,
        persistent: scanner.is_persistent(),
        expects_continue: scanner.expects_continue(),
        accepts_trailers: scanner.accepts_trailers(),
    })
}
