//! Tests of the slots: order, bounds, and that no request waits in vain, over random sequences and over threads.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::channel;
use std::task::Wake;
use std::thread::{self, Thread};

use fastrand::Rng;

use super::*;

/// How long a test waits for its threads.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a request waits at most.
const LONG: Duration = Duration::from_hours(1);

/// A moment. Only differences matter.
#[expect(clippy::disallowed_methods, reason = "nothing is measured, and `clock` is on the floor of this room")]
fn start() -> Instant {
    Instant::now()
}

fn worker(index: usize) -> Arc<ReleaseRequests> {
    Arc::new(ReleaseRequests::new(index))
}

fn request(worker: &Arc<ReleaseRequests>, limit: u32, since: Instant) -> SlotRequest<'_> {
    SlotRequest { worker, limit, pending: 128, since, until: since + LONG }
}

fn ticket(slots: &ConnectionSlots, worker: &Arc<ReleaseRequests>, limit: u32, since: Instant) -> u64 {
    match slots.join(request(worker, limit, since)) {
        Joined::Ticket(ticket) => ticket,
        Joined::Slot | Joined::Full => panic!("no slot is free, and few requests wait"),
    }
}

/// Takes what a worker is asked for; returns how many upstreams that are.
fn asked(of: &ReleaseRequests) -> usize {
    std::mem::take(&mut *of.names()).len()
}

impl ConnectionSlots {
    fn is_in_time(&self, ticket: u64, now: Instant) -> bool {
        let state = self.lock();
        state.find(ticket).is_some_and(|at| state.requests[at].is_in_time(now))
    }

    fn is_granted(&self, ticket: u64) -> bool {
        let state = self.lock();
        state.find(ticket).is_some_and(|at| state.requests[at].has_slot)
    }

    /// No request waits in its time that may have a slot; all counts agree. `held`: slots that requests have.
    fn check(&self, held: usize) {
        self.check_at(held, start());
    }

    fn check_at(&self, held: usize, now: Instant) {
        let state = self.lock();
        let granted = state.requests.iter().filter(|request| request.has_slot).count();
        assert_eq!(state.taken, held + granted);
        assert_eq!(state.taken, state.workers.iter().map(|of| of.taken).sum::<usize>());
        assert_eq!(self.waiting(), state.requests.len() - granted);
        let forgotten = state.requests.iter().find(|request| request.is_in_time(now) && request.limit > state.taken);
        assert!(forgotten.is_none(), "{forgotten:?} waits although {} slots are taken", state.taken);
    }
}

#[test]
fn slots_are_granted_in_the_order_of_arrival() {
    let (slots, one, two, now) = (ConnectionSlots::new("main"), worker(0), worker(1), start());
    assert!(slots.take(&one, 2) && slots.take(&two, 2) && !slots.take(&one, 2));
    let tickets = [&two, &one, &one].map(|worker| ticket(&slots, worker, 2, now));
    assert!(!slots.take(&two, 2), "no later request is first");
    let granted = || tickets.map(|ticket| slots.is_granted(ticket));
    slots.release(0, start());
    assert_eq!(granted(), [true, false, false]);
    slots.release(1, start());
    assert_eq!(granted(), [true, true, false]);
    assert!(slots.poll(tickets[0], Waker::noop()).is_ready() && slots.poll(tickets[2], Waker::noop()).is_pending());
    slots.leave(tickets[1], start());
    assert!(slots.is_granted(tickets[2]), "a slot that was not used goes on");
    slots.leave(tickets[2], start());
    slots.check(1);
    assert!(slots.take(&one, 2) && !slots.is_wanted());
}

#[test]
fn at_most_so_many_requests_wait() {
    let (slots, one, since) = (ConnectionSlots::new("main"), worker(0), start());
    let join = |pending| slots.join(SlotRequest { worker: &one, limit: 1, pending, since, until: since + LONG });
    assert_eq!(join(0), Joined::Slot);
    assert_eq!(join(0), Joined::Full);
    assert_eq!([join(2), join(2), join(2)], [Joined::Ticket(0), Joined::Ticket(1), Joined::Full]);
    slots.leave(0, start());
    assert_eq!([join(2), join(2)], [Joined::Ticket(2), Joined::Full], "who leaves makes room");
    slots.release(0, start());
    assert!(slots.is_granted(1));
    assert_eq!([join(2), join(2)], [Joined::Ticket(3), Joined::Full], "one with a slot waits no more");
}

#[test]
fn who_cannot_be_served_in_time_leaves_first() {
    let (slots, one, began) = (ConnectionSlots::new("main"), worker(0), start());
    let second = |n| began + Duration::from_secs(n);
    let join = |since, until| {
        let request = SlotRequest { worker: &one, limit: 1, pending: 2, since: second(since), until: second(until) };
        slots.join(request)
    };
    assert_eq!([join(0, 9), join(0, 1), join(0, 9)], [Joined::Slot, Joined::Ticket(0), Joined::Ticket(1)]);
    assert_eq!([join(0, 9), join(1, 9)], [Joined::Full, Joined::Ticket(2)], "the first is late, and makes room");
    assert!(slots.poll(0, Waker::noop()).is_pending(), "its timer ends it");
    slots.leave(0, second(1));
    assert_eq!((slots.waiting(), join(2, 9)), (2, Joined::Full));
    // A slot or a connection is for the first that is in its time.
    slots.leave(1, second(2));
    assert_eq!((join(2, 3), join(2, 9)), (Joined::Ticket(3), Joined::Full));
    slots.leave(2, second(2));
    assert_eq!(join(2, 9), Joined::Ticket(4));
    assert!(slots.serve([3].into_iter(), second(3)).is_none());
    assert!(matches!(slots.hand_over([3].into_iter(), second(3)), FreeConnection::Close));
    slots.release(0, second(3));
    assert!(!slots.is_granted(3) && slots.is_granted(4));
    slots.leave(4, second(3));
    assert!(matches!(slots.hand_over([3].into_iter(), second(3)), FreeConnection::Keep));
    assert!(slots.take(&one, 1), "a late one keeps no slot from others");
    slots.leave(3, second(3));
    slots.check_at(1, second(3));
}

#[test]
fn each_request_has_the_limit_of_its_snapshot() {
    let (slots, one, now) = (ConnectionSlots::new("main"), worker(0), start());
    assert!((0..3).all(|_| slots.take(&one, 3)));
    // A reload lowered the limit: the first waits until two are open, the second has the old limit.
    let (lowered, old) = (ticket(&slots, &one, 2, now), ticket(&slots, &one, 3, now));
    slots.release(0, start());
    assert!(!slots.is_granted(lowered) && slots.is_granted(old));
    slots.release(0, start());
    slots.release(0, start());
    assert!(slots.is_granted(lowered));
    slots.check(0);
    // A reload raised it: a new request does not wait behind those that may have none.
    let stays = ticket(&slots, &one, 1, now);
    assert!(slots.take(&one, 4) && !slots.is_granted(stays));
}

#[test]
fn a_free_connection_goes_to_its_own_worker_unless_another_waits_much_longer() {
    let (slots, one, two) = (ConnectionSlots::new("main"), worker(0), worker(1));
    let began = start();
    assert!(slots.take(&one, 1));
    let give = |own: &[u64]| match slots.hand_over(own.iter().copied(), start()) {
        FreeConnection::Give(ticket, _) => Some(Some(ticket)),
        FreeConnection::Close => Some(None),
        FreeConnection::Keep => None,
    };
    assert_eq!(give(&[]), None);
    let other = ticket(&slots, &two, 1, began);
    let soon = ticket(&slots, &one, 1, began + UNEVEN);
    assert_eq!(give(&[soon]), Some(Some(soon)), "it stays while the times are about even");
    let late = ticket(&slots, &one, 1, began + UNEVEN * 2);
    assert_eq!([give(&[late]), give(&[])], [Some(None); 2], "it is closed");
    slots.release(0, start());
    assert!(slots.is_granted(other) && !slots.is_granted(late));
    assert_eq!(give(&[late]), Some(Some(late)));
    slots.check(0);
}

#[test]
fn workers_are_asked_for_their_idle_connections_once_while_requests_wait() {
    let (slots, one, two, now) = (ConnectionSlots::new("main"), worker(0), worker(1), start());
    assert!(slots.take(&one, 1));
    let first = ticket(&slots, &two, 1, now);
    assert_eq!((asked(&one), asked(&two)), (1, 0), "only a worker that has connections");
    assert!(!slots.answer(0, 0, 0));
    let second = ticket(&slots, &two, 1, now);
    assert_eq!(asked(&one), 0, "it has none, and keeps none while requests wait");
    slots.ask(0);
    assert_eq!(asked(&one), 1, "unless one has become idle");
    assert!(slots.answer(0, 1, 1), "two wait, one is being closed");
    assert!(!slots.answer(0, 2, 1), "enough");
    let third = ticket(&slots, &two, 1, now);
    assert_eq!(asked(&one), 1, "it has more");
    for left in [first, second, third] {
        slots.leave(left, start());
    }
    ticket(&slots, &two, 1, now);
    assert_eq!(asked(&one), 1, "the next time");
}

/// A request of the random test.
enum Held {
    Slot(usize),
    Ticket(u64, usize),
}

#[test]
fn no_request_waits_in_vain() {
    for seed in 0..200 {
        let (mut random, slots, mut now) = (Rng::with_seed(seed), ConnectionSlots::new("main"), start());
        let workers: Vec<_> = (0..3).map(worker).collect();
        let mut held: VecDeque<Held> = VecDeque::new();
        for _ in 0..400 {
            let of = random.usize(..3);
            now += Duration::from_millis(random.u64(..4));
            let until = now + Duration::from_millis(random.u64(..100));
            let limit = if random.u8(..10) == 0 { random.u32(1..6) } else { 3 };
            let any = random.usize(..held.len().max(1));
            match random.u8(..6) {
                0 | 1 => match slots.join(SlotRequest { pending: 5, until, ..request(&workers[of], limit, now) }) {
                    Joined::Slot => held.push_back(Held::Slot(of)),
                    Joined::Ticket(ticket) => held.push_back(Held::Ticket(ticket, of)),
                    Joined::Full => assert!(slots.waiting() >= 5),
                },
                2 => match held.remove(any) {
                    Some(Held::Slot(of)) => slots.release(of, now),
                    Some(Held::Ticket(ticket, _)) => slots.leave(ticket, now),
                    None => {}
                },
                3 | 4 => {
                    for one in &mut held {
                        if let Held::Ticket(ticket, of) = *one
                            && slots.poll(ticket, Waker::noop()).is_ready()
                        {
                            *one = Held::Slot(of);
                        }
                    }
                }
                _ => {
                    let own = |one: &Held| match one {
                        Held::Ticket(ticket, worker) if *worker == of => Some(*ticket),
                        Held::Ticket(..) | Held::Slot(_) => None,
                    };
                    let own: Vec<u64> = held.iter().filter_map(own).collect();
                    if let FreeConnection::Give(given, _) = slots.hand_over(own.iter().copied(), now) {
                        let first = own.into_iter().find(|ticket| *ticket == given || slots.is_in_time(*ticket, now));
                        assert_eq!(first, Some(given), "the first that is in its time and has no slot yet");
                        held.retain(|one| !matches!(one, Held::Ticket(ticket, _) if *ticket == given));
                    }
                }
            }
            slots.check_at(held.iter().filter(|one| matches!(one, Held::Slot(_))).count(), now);
        }
    }
}

/// Wakes a thread.
struct Unpark(Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.store(true, SeqCst);
        self.0.unpark();
    }
}

#[test]
fn threads_never_exceed_the_limit_and_all_get_their_turn() {
    const LIMIT: u32 = 2;
    let (slots, open) = (Arc::new(ConnectionSlots::new("main")), Arc::new(AtomicUsize::new(0)));
    let (done, finished) = channel();
    for index in 0..4 {
        let (slots, open, done) = (Arc::clone(&slots), Arc::clone(&open), done.clone());
        thread::spawn(move || {
            let (worker, mut random) = (worker(index), Rng::with_seed(index as u64));
            let woken = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
            let waker = Waker::from(Arc::clone(&woken));
            for _ in 0..2000 {
                match slots.join(request(&worker, LIMIT, start())) {
                    Joined::Slot => {}
                    Joined::Ticket(ticket) if random.u8(..4) == 0 => {
                        slots.leave(ticket, start());
                        continue;
                    }
                    Joined::Ticket(ticket) => {
                        // Only a wake leads to another look: one that is lost ends the test.
                        while slots.poll(ticket, &waker).is_pending() {
                            while !woken.1.swap(false, SeqCst) {
                                thread::park();
                            }
                        }
                    }
                    Joined::Full => panic!("few wait"),
                }
                assert!(open.fetch_add(1, SeqCst) < LIMIT as usize);
                if random.bool() {
                    thread::yield_now();
                }
                open.fetch_sub(1, SeqCst);
                slots.release(index, start());
            }
            done.send(()).unwrap();
        });
    }
    drop(done);
    for _ in 0..4 {
        finished.recv_timeout(PATIENCE).expect("each thread gets all its turns");
    }
    slots.check(0);
}
