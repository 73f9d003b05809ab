//! Informational responses (such as RFC 8297, Early Hints) from an HTTP/1.1 upstream to an HTTP/1.1 client. hyper's
//! server cannot send them: they are written between two of its flushes, when no part of its own output is pending.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::BytesMut;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::fields::Fields;
use crate::proxy::worker::connection_deadlines::ConnectionDeadlines;

/// Most bytes of informational responses that wait on a connection.
const BYTES_MAX: usize = 16 * 1024;

/// The informational responses that wait to be written on a connection.
#[derive(Debug)]
pub(crate) struct InformationalResponses {
    waiting: Cell<bool>,
    bytes: RefCell<BytesMut>,
    /// The connection's deadlines, which have its waker.
    deadlines: Rc<ConnectionDeadlines>,
}

/// Whether a response with this status is forwarded. Not `100 Continue`: the proxy sends its own when it first polls
/// the body. Not `101`: it ends HTTP on the connection.
pub(crate) fn is_forwarded(code: u16) -> bool {
    (102..200).contains(&code)
}

impl InformationalResponses {
    /// An empty queue for the connection with these deadlines.
    pub(crate) fn new(deadlines: &Rc<ConnectionDeadlines>) -> Rc<Self> {
        Rc::new(Self { waiting: Cell::new(false), bytes: RefCell::default(), deadlines: Rc::clone(deadlines) })
    }

    /// Takes the waiting responses.
    pub(crate) fn take(&self) -> Option<BytesMut> {
        self.waiting.replace(false).then(|| self.bytes.take())
    }

    /// Adds a response, within the limit, and wakes the connection.
    pub(crate) fn push(&self, code: u16, fields: &Fields) {
        let Ok(status) = StatusCode::from_u16(code) else { return };
        let mut bytes = self.bytes.borrow_mut();
        let before = bytes.len();
        let reason = status.canonical_reason().unwrap_or("Informational");
        bytes.extend_from_slice(format!("HTTP/1.1 {code} {reason}\r\n").as_bytes());
        for (name, value) in fields.iter() {
            let name = HeaderName::from_bytes(name);
            let value = HeaderValue::from_bytes(value);
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
