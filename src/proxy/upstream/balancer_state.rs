//! The state of the balancer of an upstream between requests of one worker.

use std::cell::{Cell, OnceCell, RefCell};

use crate::balance::{Members, Rotation, RotationPlace, RoundRobin};

/// A list of at most this length is made anew at each change.
const SHORT: usize = 512;
/// A longer one is made anew at the next tick, or after one request for so many endpoints: a fleet that flaps does not
/// make each request pay for a whole list. Until then each endpoint that is drawn is looked at.
const ENDPOINTS_A_PICK: usize = 64;

/// When the first turns of endpoints are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstTurns {
    /// In the order of the list.
    InOrder,
    /// At random times: the list replaces another one. Where a list changes often, all serve.
    Random,
}

/// The state of the balancer of an upstream.
pub(crate) struct BalancerState {
    /// The endpoints in rotation, as of its number.
    pub(super) rotation: RefCell<Rotation>,
    /// Until this time, in milliseconds of the process, a choice looks at nothing but the number of the rotation.
    pub(super) look_again_ms: Cell<u64>,
    /// When the first turns of `round_robin` are.
    pub(super) first_turns: FirstTurns,
    /// The turns for `round_robin`.
    pub(super) turns: RefCell<RoundRobin>,
    /// All endpoints, for the last resort.
    everyone: OnceCell<Members>,
    made_ms: Cell<u64>,
    picks_since: Cell<usize>,
    /// Where the next search for an endpoint that is due for its try begins.
    pub(super) searched: Cell<usize>,
    /// Whether the upstream panics, as of a time and a number of the rotation.
    pub(super) panics: Cell<(u64, u64, bool)>,
}

impl BalancerState {
    /// The initial state: the first request makes the list.
    pub(crate) fn new(first_turns: FirstTurns) -> Self {
        Self {
            first_turns,
            rotation: RefCell::new(Rotation { number: u64::MAX, ..Rotation::default() }),
            look_again_ms: Cell::new(0),
            turns: RefCell::default(),
            everyone: OnceCell::new(),
            made_ms: Cell::new(0),
            picks_since: Cell::new(0),
            searched: Cell::new(0),
            panics: Cell::new((0, u64::MAX, false)),
        }
    }

    /// Whether the list is to be made anew now, for this number of the rotation.
    pub(super) fn is_due(&self, number: u64, now_ms: u64) -> bool {
        let rotation = self.rotation.borrow();
        let is_new_tick = self.made_ms.get() != now_ms;
        if rotation.number == number {
            return rotation.ramps && is_new_tick;
        }
        let picks = self.picks_since.get();
        self.picks_since.set(picks + 1);
        let endpoints = rotation.members.endpoints();
        rotation.number == u64::MAX || endpoints <= SHORT || is_new_tick || picks * ENDPOINTS_A_PICK >= endpoints
    }

    /// Makes the list anew; the turns for `round_robin` by random words.
    pub(super) fn renew(
        &self,
        number: u64,
        places: impl Iterator<Item = RotationPlace>,
        now_ms: u64,
        turns: Option<&mut impl FnMut() -> u64>,
    ) {
        let rotation = Rotation::new(number, places);
        if let Some(draw) = turns {
            self.turns.borrow_mut().set_members(&rotation.members, draw);
        }
        *self.rotation.borrow_mut() = rotation;
        self.made_ms.set(now_ms);
        self.picks_since.set(0);
    }

    /// All endpoints, by these weights.
    pub(super) fn everyone(&self, weights: impl FnOnce() -> Box<[f64]>) -> &Members {
        self.everyone.get_or_init(|| Members::all(weights()))
    }
}
