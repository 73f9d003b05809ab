//! A request that may have to be sent again: what was sent of its body is kept, up to a bound, until the answer's head
//! has come. The body itself stays where it is, so that whoever sends it last goes on where it stands.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use hyper::ext::Protocol;

use super::body::{ClientBody, Cut, RequestBody};

/// Bytes of a body that are kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// What several tries to send one body have in common.
struct Shared {
    body: Box<ClientBody>,
    /// What was pulled so far; nothing when it was too much.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    /// The try that may pull.
    turn: u32,
}

/// One try to send a body.
pub(super) struct Try {
    shared: Rc<RefCell<Shared>>,
    turn: u32,
    /// Pieces of what is kept that were sent.
    sent: usize,
    /// Bytes still to be sent, when that is known.
    left: Option<u64>,
    length: Option<u64>,
}

/// A request as it can be sent again.
pub(super) struct Again {
    head: Request<()>,
    body: Option<(Rc<RefCell<Shared>>, Option<u64>)>,
}

impl Again {
    /// What it takes to send this request again. Its body is pulled through here from now on.
    pub(super) fn of(request: &mut Request<RequestBody>) -> Self {
        let mut head = Request::new(());
        *head.method_mut() = request.method().clone();
        *head.uri_mut() = request.uri().clone();
        *head.version_mut() = request.version();
        head.headers_mut().clone_from(request.headers());
        if let Some(protocol) = request.extensions().get::<Protocol>() {
            head.extensions_mut().insert(protocol.clone());
        }
        let (kept, body) = match mem::replace(request.body_mut(), RequestBody::Empty) {
            RequestBody::Empty => (None, RequestBody::Empty),
            RequestBody::Client(body) => {
                let length = body.size_hint().exact();
                let shared = Shared { body, kept: Some(Vec::new()), kept_bytes: 0, turn: 0 };
                let shared = Rc::new(RefCell::new(shared));
                let first = Try { shared: Rc::clone(&shared), turn: 0, sent: 0, left: length, length };
                (Some((shared, length)), RequestBody::Try(Box::new(first)))
            }
            RequestBody::Copy(body) => (None, RequestBody::Copy(body)),
            RequestBody::Try(body) => (Some((Rc::clone(&body.shared), body.length)), RequestBody::Try(body)),
        };
        *request.body_mut() = body;
        Self { head, body: kept }
    }

    /// Whether nothing was lost of what it takes.
    pub(super) fn is_whole(&self) -> bool {
        self.body.as_ref().is_none_or(|(shared, _)| shared.borrow().kept.is_some())
    }

    /// Whether there is no body.
    pub(super) const fn is_bodiless(&self) -> bool {
        self.body.is_none()
    }

    /// The request from its beginning; whoever sent it before gets nothing more of its body.
    pub(super) fn request(self) -> Request<RequestBody> {
        let body = self.body.map_or(RequestBody::Empty, |(shared, length)| {
            let turn = shared.borrow().turn + 1;
            shared.borrow_mut().turn = turn;
            RequestBody::Try(Box::new(Try { shared, turn, sent: 0, left: length, length }))
        });
        self.head.map(|()| body)
    }

    /// It will not be sent again: what was kept is let go.
    pub(super) fn forget(self) {
        if let Some((shared, _)) = self.body {
            shared.borrow_mut().kept = None;
        }
    }
}

impl Shared {
    fn keep(&mut self, data: &Bytes) -> bool {
        let bytes = self.kept_bytes + data.len();
        match &mut self.kept {
            Some(kept) if bytes <= KEPT_BYTES_MAX => {
                kept.push(data.clone());
                self.kept_bytes = bytes;
                true
            }
            Some(_) | None => {
                self.kept = None;
                false
            }
        }
    }
}

impl Try {
    /// The next frame.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let shared = &mut *self.shared.borrow_mut();
        if shared.turn != self.turn {
            return Poll::Ready(Some(Err(Cut("the request is sent anew"))));
        }
        if let Some(data) = shared.kept.as_ref().and_then(|kept| kept.get(self.sent)) {
            self.sent += 1;
            self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        let polled = shared.body.poll(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            match frame.data_ref() {
                Some(data) => {
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    if shared.keep(data) {
                        self.sent += 1;
                    }
                }
                // Trailers are not kept.
                None => shared.kept = None,
            }
        }
        polled
    }

    /// Whether all of it was sent.
    pub(super) fn is_end_stream(&self) -> bool {
        let shared = self.shared.borrow();
        let pending = shared.kept.as_ref().is_some_and(|kept| self.sent < kept.len());
        !pending && shared.body.is_end_stream()
    }

    /// How much is to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
