//! Informational responses (RFC 8297 and its kin) on their way from an HTTP/1.1 upstream to an HTTP/1.1 client. hyper's
//! server cannot send them, so that they are written between two of its flushes, where nothing of its own is half sent.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;
use http::{Request, StatusCode, Version};

use super::body::RequestBody;
use super::exchange::Exchange;

/// Bytes of informational responses that one request may pass on.
const BYTES_MAX: usize = 16 * 1024;

/// Informational responses that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Early {
    waiting: AtomicBool,
    bytes: Mutex<BytesMut>,
}

impl Early {
    /// Takes what waits.
    pub(super) fn take(&self) -> Option<BytesMut> {
        if !self.waiting.load(Relaxed) {
            return None;
        }
        self.waiting.store(false, Relaxed);
        Some(std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn push(&self, status: StatusCode, headers: &http::HeaderMap) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = bytes.len();
        let reason = status.canonical_reason().unwrap_or("Informational");
        bytes.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
        for (name, value) in headers {
            if super::fields::is_allowed_in_trailers(name) {
                for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    bytes.extend_from_slice(part);
                }
            }
        }
        bytes.extend_from_slice(b"\r\n");
        if bytes.len() > BYTES_MAX {
            bytes.truncate(before);
        }
        self.waiting.store(true, Relaxed);
    }
}

/// Has the informational responses to `request` passed on. `100 Continue` is not: the client gets ours when its body is
/// first asked for.
pub(super) fn pass(exchange: &Exchange, request: &mut Request<RequestBody>) {
    if exchange.version != Version::HTTP_11 || request.version() == Version::HTTP_2 {
        return;
    }
    let early = std::sync::Arc::clone(&exchange.client.early);
    let waker = exchange.client.watched.waker();
    hyper::ext::on_informational(request, move |response| {
        if response.status() != StatusCode::CONTINUE {
            early.push(response.status(), response.headers());
            if let Some(waker) = &waker {
                waker.wake_by_ref();
            }
        }
    });
}
