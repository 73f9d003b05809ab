//! Closes the streams of killed variants. With `kill.close_streams`, tunnels, response bodies and waiting requests of a
//! killed variant end after that time. A kill that is revoked before closes nothing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::snapshot_view::SnapshotView;
use crate::proxy::downstream::client::Client;
use crate::proxy::worker::Worker;
use crate::proxy::worker::response_reader::ResponseReader;
use crate::route::{RouteId, Rules, StreamPlace, VariantId};
use crate::snapshot::Snapshot;

const NEVER: u64 = u64::MAX;

/// The streams of one worker that a kill can close: those of all variants but stable.
#[derive(Default)]
pub(crate) struct KillableStreams {
    list: RefCell<Vec<Rc<Entry>>>,
    /// When the first stream must be closed.
    next_ms: Cell<u64>,
}

struct Entry {
    scope: StreamScope,
    /// The position of the stream's variant in the rules that it was last looked up in, if not its own.
    found: RefCell<Option<(Arc<Rules>, Option<RulesPosition>)>>,
    killed_ms: Cell<Option<u64>>,
    due_ms: Cell<u64>,
    waker: RefCell<Option<Waker>>,
    carrier: Carrier,
    place: Cell<usize>,
}

/// A route, and the variant if the route still has it.
type RulesPosition = (RouteId, Option<VariantId>);

/// The route, variant and tenant by which a kill selects a stream.
pub(crate) struct StreamScope {
    pub(crate) view: Rc<SnapshotView>,
    pub(crate) route: RouteId,
    pub(crate) variant: VariantId,
    pub(crate) tenant: Option<Box<str>>,
}

/// The task to wake when a stream is closed. A task that only waits for its reader does not poll the body: then the
/// connection or the reader must end it.
pub(crate) enum Carrier {
    /// The task that registered polls it.
    Polled,
    Connection(Rc<Client>),
    Stream(Rc<ResponseReader>),
}

/// The registration of a stream; removed when dropped.
pub(crate) struct KillableStream {
    worker: Rc<Worker>,
    streams: Rc<KillableStreams>,
    stream: Rc<Entry>,
}

impl Entry {
    /// Where current kills look for the stream; `None` when no kill selects it.
    fn killed_at<'a>(&'a self, now: &ActiveSnapshot<'_>) -> Option<StreamPlace<'a>> {
        let (route, variant) = now.place(self)?;
        let tenant = self.scope.tenant.as_deref();
        now.snapshot.overlay.kills(route, variant, tenant).then_some(StreamPlace { route, variant, tenant })
    }

    fn follow(&self, now: &ActiveSnapshot<'_>, now_ms: u64) {
        let killed = self.killed_at(now);
        let since = killed.map(|_| self.killed_ms.get().unwrap_or(now_ms));
        self.killed_ms.set(since);
        let after = killed.and_then(|place| now.snapshot.overlay.close_streams(place));
        let after = after.map(|after| u64::try_from(after.as_millis()).unwrap_or(NEVER));
        self.due_ms.set(since.zip(after).map_or(NEVER, |(since, after)| since.saturating_add(after)));
    }
}

/// The current snapshot, in which streams of earlier snapshots are looked up.
struct ActiveSnapshot<'a> {
    snapshot: &'a Snapshot,
}

impl<'a> ActiveSnapshot<'a> {
    const fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot }
    }

    /// The position of a stream's variant in the current rules. It is looked up once for each rules: a new overlay or
    /// DNS result keeps them.
    fn place(&self, stream: &Entry) -> Option<RulesPosition> {
        let new = &self.snapshot.rules;
        if Arc::ptr_eq(&stream.scope.view.snapshot.rules, new) {
            return Some((stream.scope.route, Some(stream.scope.variant)));
        }
        let mut found = stream.found.borrow_mut();
        match &*found {
            Some((rules, place)) if Arc::ptr_eq(rules, new) => *place,
            Some(_) | None => {
                let place = self.look_up(stream);
                *found = Some((Arc::clone(new), place));
                place
            }
        }
    }

    /// Finds the variant of other rules by the names of route and variant.
    fn look_up(&self, stream: &Entry) -> Option<RulesPosition> {
        let (old, new) = (&stream.scope.view.snapshot.rules, &self.snapshot.rules);
        let before = old.route(stream.scope.route);
        let variant = before.split()?.variants.get(usize::from(stream.scope.variant.0))?;
        let route = new.find_route(&before.name, stream.scope.route)?;
        let mut variants = new.route(route).split()?.variants.iter().zip(0..).skip(1);
        Some((route, variants.find(|(known, _)| known.name == variant.name).map(|(_, id)| VariantId(id))))
    }
}

impl KillableStreams {
    /// Follows a new snapshot.
    pub(crate) fn follow(&self, snapshot: &Snapshot, now_ms: u64) {
        let list = self.list.borrow();
        if list.is_empty() {
            return;
        }
        let now = ActiveSnapshot::new(snapshot);
        list.iter().for_each(|stream| stream.follow(&now, now_ms));
        self.next_ms.set(list.iter().map(|stream| stream.due_ms.get()).min().unwrap_or(NEVER));
    }

    /// Wakes the streams that must be closed.
    pub(crate) fn sweep(&self, now_ms: u64) {
        if now_ms < self.next_ms.get() {
            return;
        }
        let list = self.list.borrow();
        for stream in list.iter().filter(|stream| stream.due_ms.get() <= now_ms) {
            match &stream.carrier {
                Carrier::Polled => {}
                Carrier::Connection(client) => {
                    client.killed.set(true);
                    client.deadlines.wake();
                }
                Carrier::Stream(reader) => reader.kill(),
            }
            if let Some(waker) = stream.waker.take() {
                waker.wake();
            }
        }
        self.next_ms
            .set(list.iter().map(|stream| stream.due_ms.get()).filter(|due| *due > now_ms).min().unwrap_or(NEVER));
    }

    /// Registers a stream.
    pub(crate) fn register(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        scope: StreamScope,
        carrier: Carrier,
    ) -> KillableStream {
        let stream = {
            let mut list = self.list.borrow_mut();
            let stream = Rc::new(Entry {
                scope,
                found: RefCell::new(None),
                killed_ms: Cell::new(None),
                due_ms: Cell::new(NEVER),
                waker: RefCell::new(None),
                carrier,
                place: Cell::new(list.len()),
            });
            list.push(Rc::clone(&stream));
            stream
        };
        let in_force = worker.snapshot();
        if !Arc::ptr_eq(&in_force, &stream.scope.view.snapshot) {
            // The kill may have arrived after this stream's decision.
            stream.follow(&ActiveSnapshot::new(&in_force), worker.now_ms());
            self.next_ms.set(self.next_ms.get().min(stream.due_ms.get()));
        }
        drop(in_force);
        KillableStream { worker: Rc::clone(worker), streams: Rc::clone(self), stream }
    }
}

impl KillableStream {
    /// Whether the stream must be closed now. Registers the task to be woken when it must.
    pub(crate) fn must_close(&self, cx: &Context<'_>) -> bool {
        let due = self.worker.now_ms() >= self.stream.due_ms.get();
        if due {
            self.worker.meter().killed_streams.inc();
        } else {
            match &mut *self.stream.waker.borrow_mut() {
                Some(known) => known.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        due
    }
}

impl Drop for KillableStream {
    fn drop(&mut self) {
        if let Carrier::Connection(client) = &self.stream.carrier {
            client.killed.set(false);
        }
        let mut list = self.streams.list.borrow_mut();
        let place = self.stream.place.get();
        debug_assert!(Rc::ptr_eq(&list[place], &self.stream), "the stream knows its index");
        list.swap_remove(place);
        if let Some(moved) = list.get(place) {
            moved.place.set(place);
        }
    }
}
