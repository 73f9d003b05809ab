//! The tests of a guard that are live: the one that began with the revision, and those of the last three windows.

use crate::stats::{WindowNumber, restart_share, with_restarts};

/// How many restarted tests are live.
const RESTARTS_LIVE: u32 = 3;

/// The tests of a guard that are live.
#[derive(Clone, Debug)]
pub(super) struct LiveTests<T> {
    /// How many windows have begun since the first test.
    newest: u32,
    live: Vec<LiveTest<T>>,
}

/// A test.
#[derive(Clone, Debug)]
pub(super) struct LiveTest<T> {
    /// The number of its window since the revision began; its share of the evidence depends on it.
    pub number: u32,
    /// The window with which it began.
    pub began: WindowNumber,
    pub state: TestState<T>,
}

/// Whether a test goes on.
#[derive(Clone, Debug)]
pub(super) enum TestState<T> {
    Runs(T),
    /// Its marks are lost: it stands at this natural logarithm of its evidence.
    Frozen(f64),
}

impl<T: Default> LiveTests<T> {
    /// The test that begins with the revision, in this window.
    pub fn new(began: WindowNumber) -> Self {
        Self { newest: 0, live: vec![LiveTest { number: 0, began, state: TestState::Runs(T::default()) }] }
    }

    /// Tests of a process before, which stand still, and one that begins in this window.
    pub fn restored(newest: u32, frozen: &[(u32, f64)], began: WindowNumber) -> Self {
        let live = frozen.iter().map(|(number, ln)| LiveTest { number: *number, began, state: TestState::Frozen(*ln) });
        let mut restored = Self { newest, live: live.collect() };
        restored.begin(began);
        restored
    }

    /// A window begins; nothing changes if a test has begun with it.
    pub fn begin(&mut self, began: WindowNumber) {
        let is_here = |test: &LiveTest<T>| test.began == began && matches!(test.state, TestState::Runs(_));
        if self.live.last().is_some_and(is_here) {
            return;
        }
        self.newest = self.newest.saturating_add(1);
        let newest = self.newest;
        self.live.retain(|test| test.number == 0 || test.number + RESTARTS_LIVE > newest);
        self.live.push(LiveTest { number: newest, began, state: TestState::Runs(T::default()) });
        debug_assert!(self.live.len() <= 1 + RESTARTS_LIVE as usize, "the first and three restarts");
    }

    /// The tests stand still at their value.
    pub fn freeze(&mut self, ln: impl Fn(&T) -> f64) {
        for test in &mut self.live {
            if let TestState::Runs(running) = &test.state {
                test.state = TestState::Frozen(ln(running));
            }
        }
    }

    /// Those that go on.
    pub fn running(&mut self) -> impl Iterator<Item = (WindowNumber, &mut T)> {
        self.live.iter_mut().filter_map(|test| match &mut test.state {
            TestState::Runs(running) => Some((test.began, running)),
            TestState::Frozen(_) => None,
        })
    }

    /// How many windows have begun since the first test.
    pub const fn newest(&self) -> u32 {
        self.newest
    }

    pub fn all(&self) -> &[LiveTest<T>] {
        &self.live
    }

    /// By number: the natural logarithm of the evidence of each.
    pub fn lns(&self, ln: impl Fn(&LiveTest<T>, &T) -> f64) -> Vec<(u32, f64)> {
        let of = |test: &LiveTest<T>| match &test.state {
            TestState::Runs(running) => ln(test, running),
            TestState::Frozen(ln) => *ln,
        };
        self.live.iter().map(|test| (test.number, of(test))).collect()
    }
}

/// The natural logarithm of the evidence of all tests.
pub(super) fn mixture_ln(lns: &[(u32, f64)]) -> f64 {
    debug_assert!(lns.iter().map(|(number, _)| restart_share(*number)).sum::<f64>() <= 1.0, "shares of one whole");
    with_restarts(lns)
}
