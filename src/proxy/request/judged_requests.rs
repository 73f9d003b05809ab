//! The judged requests of a worker. The sweep finds those that have become slow before the head of their response. A
//! place is used again by the next request, so that nothing is allocated while as many are under way as before.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use super::snapshot_view::SnapshotView;
use crate::clock::Timestamp;
use crate::proxy::body::upload::Upload;
use crate::route::RouteId;
use crate::telemetry::{GuardTicket, HeadWait, ReportedSignals};

/// The judged requests of a worker.
#[derive(Default)]
pub(super) struct JudgedRequests {
    places: RefCell<Vec<Place>>,
    /// The first free place.
    free: Cell<Option<JudgedPlace>>,
    used: Cell<usize>,
}

/// The place of a request: its index and one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JudgedPlace(NonZeroU32);

enum Place {
    Used(JudgedRequest),
    /// The next free place.
    Free(Option<JudgedPlace>),
}

/// A judged request.
pub(super) struct JudgedRequest {
    /// The number of the watch; 0 when no snapshot has it any more.
    pub(super) watch: u32,
    pub(super) route: RouteId,
    /// Where and when it was sent.
    pub(super) ticket: GuardTicket,
    /// When its current try was sent, until the head of the response.
    pub(super) sent_at: Option<Timestamp>,
    pub(super) upload: Option<Rc<Upload>>,
    /// The events that it has made.
    pub(super) reported: ReportedSignals,
}

impl JudgedPlace {
    fn of(index: usize) -> Self {
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        debug_assert!(number.is_some(), "a worker has fewer requests than addresses");
        Self(number.unwrap_or(NonZeroU32::MAX))
    }

    const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl JudgedRequest {
    /// How long the upstream has had all that the client sent; `None` while nothing is awaited, or the proxy waits for the
    /// client.
    pub(super) fn waited(&self, now: Timestamp) -> Option<Duration> {
        let sent_at = self.sent_at?;
        let Some(upload) = &self.upload else { return Some(now.duration_since(sent_at)) };
        if upload.pace.waits_for_client() {
            return None;
        }
        let since = upload.pace.moved().map_or(sent_at, |moved| moved.max(sent_at));
        Some(now.duration_since(since))
    }
}

impl JudgedRequests {
    /// Adds a request.
    #[inline]
    pub(super) fn insert(&self, request: JudgedRequest) -> JudgedPlace {
        let mut places = self.places.borrow_mut();
        self.used.set(self.used.get() + 1);
        if let Some(free) = self.free.get()
            && let Some(place @ Place::Free(_)) = places.get_mut(free.index())
        {
            if let Place::Free(next) = std::mem::replace(place, Place::Used(request)) {
                self.free.set(next);
            }
            return free;
        }
        places.push(Place::Used(request));
        JudgedPlace::of(places.len() - 1)
    }

    /// Changes a request.
    #[inline]
    pub(super) fn with<T>(&self, place: JudgedPlace, change: impl FnOnce(&mut JudgedRequest) -> T) -> Option<T> {
        match self.places.borrow_mut().get_mut(place.index()) {
            Some(Place::Used(request)) => Some(change(request)),
            Some(Place::Free(_)) | None => None,
        }
    }

    /// Removes a request.
    #[inline]
    pub(super) fn remove(&self, at: JudgedPlace) {
        let mut places = self.places.borrow_mut();
        if let Some(place @ Place::Used(_)) = places.get_mut(at.index()) {
            *place = Place::Free(self.free.replace(Some(at)));
            self.used.set(self.used.get() - 1);
        }
    }

    /// Reports the requests that have become slow or lost.
    pub(super) fn sweep(&self, view: &SnapshotView, worker: usize, now: Timestamp) {
        if self.used.get() == 0 {
            return;
        }
        for place in self.places.borrow_mut().iter_mut() {
            let Place::Used(request) = place else { continue };
            let Some(waited) = request.waited(now) else { continue };
            let Some((route, watch)) = view.find_watch(request.route, request.watch) else {
                request.watch = 0;
                continue;
            };
            request.route = route;
            if watch.is_slow(waited) {
                watch.report_wait(worker, &request.ticket, HeadWait::Client(waited), &mut request.reported);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;
    use crate::clock::WorkerClock;

    fn head(upload: Option<Rc<Upload>>) -> JudgedRequest {
        let (sent_at, reported) = (Some(WorkerClock::of_test().now()), ReportedSignals::default());
        JudgedRequest { watch: 1, route: RouteId(0), ticket: GuardTicket::sample(), sent_at, upload, reported }
    }

    #[test]
    fn places_are_used_again() {
        let heads = JudgedRequests::default();
        let [first, second, third] = [0; 3].map(|_| heads.insert(head(None)));
        assert_eq!([first, second, third], [0, 1, 2].map(JudgedPlace::of));
        heads.remove(second);
        heads.remove(second);
        assert!(heads.with(second, |_| ()).is_none() && heads.with(third, |_| ()).is_some());
        heads.remove(first);
        assert_eq!([0; 3].map(|_| heads.insert(head(None))), [0, 1, 3].map(JudgedPlace::of));
        assert_eq!((heads.used.get(), heads.places.borrow().len()), (4, 4));
    }

    #[test]
    fn a_request_waits_from_the_end_of_its_body_and_not_for_its_client() {
        let upload = Rc::new(Upload::default());
        let head = head(Some(Rc::clone(&upload)));
        let at = |seconds| head.sent_at.unwrap() + Duration::from_secs(seconds);
        let waited = |seconds| head.waited(at(seconds)).map(|waited| waited.as_secs());
        assert_eq!(waited(2), Some(2), "nothing of the body was asked for: the upstream does not read");
        upload.pace.record_poll(&Poll::<()>::Pending, at(3));
        assert_eq!(waited(100), None, "the client is slow");
        upload.pace.record_poll(&Poll::Ready(()), at(100));
        assert_eq!(waited(105), Some(5));
        upload.pace.record_poll(&Poll::Ready(()), at(110));
        assert_eq!((waited(110), waited(112)), (Some(0), Some(2)));
        let bodiless = self::head(None);
        assert_eq!(bodiless.waited(bodiless.sent_at.unwrap()), Some(Duration::ZERO));
    }
}
