//! Informational responses (RFC 8297 and its kin) on their way from an HTTP/1.1 upstream to an HTTP/1.1 client. hyper's
//! server cannot send them, so that they are written between two of its flushes, where nothing of its own is half sent.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::BytesMut;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::proxy::worker::connection_deadlines::ConnectionDeadlines;

/// Bytes of informational responses that one request may pass on.
const BYTES_MAX: usize = 16 * 1024;

/// Informational responses that wait to be written on a connection.
#[derive(Debug)]
pub(crate) struct InformationalResponses {
    waiting: Cell<bool>,
    bytes: RefCell<BytesMut>,
    /// The connection, which writes them.
    deadlines: Rc<ConnectionDeadlines>,
}

/// Whether a response of this status is passed on. `100 Continue` is not: the client gets ours when its body is first
/// asked for. Nor is `101`, which nobody has asked for.
pub(crate) fn is_forwarded(code: u16) -> bool {
    (102..200).contains(&code)
}

impl InformationalResponses {
    /// None wait on this connection.
    pub(crate) fn new(deadlines: &Rc<ConnectionDeadlines>) -> Rc<Self> {
        Rc::new(Self { waiting: Cell::new(false), bytes: RefCell::default(), deadlines: Rc::clone(deadlines) })
    }

    /// Takes what waits.
    pub(crate) fn take(&self) -> Option<BytesMut> {
        self.waiting.replace(false).then(|| self.bytes.take())
    }

    /// Adds a response, unless too many wait already, and wakes the connection.
    pub(crate) fn push(&self, code: u16, fields: &[httparse::Header<'_>]) {
        let Ok(status) = StatusCode::from_u16(code) else { return };
        let mut bytes = self.bytes.borrow_mut();
        let before = bytes.len();
        let reason = status.canonical_reason().unwrap_or("Informational");
        bytes.extend_from_slice(format!("HTTP/1.1 {code} {reason}\r\n").as_bytes());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_bytes(field.value);
            if let (Ok(name), Ok(value)) = (name, value)
                && crate::proxy::wire::field_rules::is_allowed_in_trailers(&name)
            {
                for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    bytes.extend_from_slice(part);
                }
            }
        }
        bytes.extend_from_slice(b"\r\n");
        if bytes.len() > BYTES_MAX {
            bytes.truncate(before);
        }
        self.waiting.set(!bytes.is_empty());
        self.deadlines.wake();
    }
}
