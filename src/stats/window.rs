//! The vocabulary of release windows: what the data plane counts about the callers of two arms, and what the tests of a
//! release read.
//!
//! A *slot* is at most one second in which requests are sent. A *window* is about 60 s, a number of slots; tests begin anew
//! with each. The *mark* of a key is the window of its last event. A key is *at risk* in a test that began with window `k`
//! while its mark is older than `k`: so each caller counts at most once in a test.

/// How many ages of marks are distinguished: the window of the slot itself, the two before it, and all before those.
pub const MARK_AGES: usize = 4;

/// The number of a slot: from 1, without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotNumber(pub u32);

/// The number of a window: from 1, without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowNumber(pub u32);

/// The shape of the counts of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowShape {
    /// The deciding rules: the weights, then each target with a weight.
    pub strata: usize,
    /// The variants; the first is stable.
    pub arms: usize,
    /// The kinds of events.
    pub signals: usize,
}

/// The exposures of one slot: distinct keys by deciding rule and variant, and how many of them had a mark, by its age.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotExposures {
    shape: WindowShape,
    counts: Box<[u32]>,
}

/// Where the counts of a route lie in those of several routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceMap {
    /// The place of its first deciding rule; the others follow.
    pub first_stratum: u16,
    /// By variant: the place.
    pub arms: Vec<u16>,
    /// By signal: the place.
    pub signals: Vec<usize>,
}

/// Where an exposure was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArmPlace {
    /// The deciding rule: 0 is the weights.
    pub stratum: u16,
    /// The variant: 0 is stable.
    pub arm: u16,
}

/// What happened to a request, for the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgedEvent {
    /// The slot in which the request was sent.
    pub slot: SlotNumber,
    /// The window of that slot.
    pub window: WindowNumber,
    /// The deciding rule and the variant.
    pub place: ArmPlace,
    /// What happened.
    pub kind: JudgedKind,
}

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JudgedKind {
    /// A signal, and the mark that its key had before; `None`: the key had no event so far.
    Signal {
        /// The index of the signal.
        signal: u8,
        /// The window of the key's event before this one.
        mark: Option<WindowNumber>,
    },
    /// The first exposure of a key.
    FirstKey,
}

impl WindowShape {
    /// The number of counts of a slot.
    #[must_use]
    pub const fn len(self) -> usize {
        self.strata * self.arms * self.per_place()
    }

    /// Whether nothing is counted.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The counts of one place: the keys, and for each signal those with a mark, by age.
    #[must_use]
    pub const fn per_place(self) -> usize {
        1 + self.signals * MARK_AGES
    }

    /// The index of the number of keys of a place; that of the marked keys of a signal follow.
    #[must_use]
    pub const fn index(self, place: ArmPlace) -> usize {
        (place.stratum as usize * self.arms + place.arm as usize) * self.per_place()
    }

    /// The index of the keys of a place whose mark of this signal has this age.
    #[must_use]
    pub const fn marked_index(self, place: ArmPlace, signal: usize, age: usize) -> usize {
        self.index(place) + 1 + signal * MARK_AGES + age
    }
}

/// The age of a mark in a slot's window: its index among the [`MARK_AGES`].
#[must_use]
pub const fn mark_age(mark: WindowNumber, window: WindowNumber) -> usize {
    let age = window.0.saturating_sub(mark.0) as usize;
    if age < MARK_AGES { age } else { MARK_AGES - 1 }
}

impl PlaceMap {
    /// Whether the counts of a route are those of the whole, which has this shape.
    #[must_use]
    pub fn is_identity(&self, shape: WindowShape) -> bool {
        let counts_up = |places: &mut dyn Iterator<Item = usize>| places.enumerate().all(|(at, place)| at == place);
        self.first_stratum == 0
            && (self.arms.len(), self.signals.len()) == (shape.arms, shape.signals)
            && counts_up(&mut self.arms.iter().map(|arm| usize::from(*arm)))
            && counts_up(&mut self.signals.iter().copied())
    }

    /// The place of an exposure; `None`: there is no such variant.
    #[must_use]
    pub fn place(&self, place: ArmPlace) -> Option<ArmPlace> {
        let arm = self.arms.get(usize::from(place.arm)).copied()?;
        Some(ArmPlace { stratum: self.first_stratum.checked_add(place.stratum)?, arm })
    }

    /// An event of the route as one of the whole; `None`: there is no such variant or signal.
    #[must_use]
    pub fn event(&self, event: JudgedEvent) -> Option<JudgedEvent> {
        let kind = match event.kind {
            JudgedKind::FirstKey => JudgedKind::FirstKey,
            JudgedKind::Signal { signal, mark } => {
                let place = self.signals.get(usize::from(signal))?;
                JudgedKind::Signal { signal: u8::try_from(*place).ok()?, mark }
            }
        };
        Some(JudgedEvent { place: self.place(event.place)?, kind, ..event })
    }
}

impl SlotExposures {
    /// No exposures.
    #[must_use]
    pub fn new(shape: WindowShape) -> Self {
        Self { shape, counts: vec![0; shape.len()].into() }
    }

    /// The shape.
    #[must_use]
    pub const fn shape(&self) -> WindowShape {
        self.shape
    }

    /// Adds the counts of one worker, in the order of [`WindowShape::index`].
    pub fn add(&mut self, counts: impl Iterator<Item = u32>) {
        self.counts.iter_mut().zip(counts).for_each(|(sum, one)| *sum = sum.saturating_add(one));
    }

    /// Adds the exposures of a route, whose counts lie at these places.
    pub fn add_placed(&mut self, route: &Self, places: &PlaceMap) {
        let shape = route.shape;
        let strata = 0..u16::try_from(shape.strata).unwrap_or(u16::MAX);
        let arms = 0..u16::try_from(shape.arms).unwrap_or(u16::MAX);
        for from in strata.flat_map(|stratum| arms.clone().map(move |arm| ArmPlace { stratum, arm })) {
            let Some(to) = places.place(from) else { continue };
            debug_assert!(usize::from(to.arm) < self.shape.arms, "a place of the whole");
            self.add_at(self.shape.index(to), route.count(shape.index(from)));
            for (signal, place) in places.signals.iter().enumerate() {
                for age in 0..MARK_AGES {
                    let marked = route.count(shape.marked_index(from, signal, age));
                    self.add_at(self.shape.marked_index(to, *place, age), marked);
                }
            }
        }
    }

    fn add_at(&mut self, at: usize, count: u64) {
        if let Some(sum) = self.counts.get_mut(at) {
            *sum = sum.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// Whether there is any exposure.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// The distinct keys of a place.
    #[must_use]
    pub fn keys(&self, place: ArmPlace) -> u64 {
        self.count(self.shape.index(place))
    }

    /// The keys of a place that are at risk in the test that began with window `since`; `None`: in the test that began with
    /// the watch, where a key with any mark is not. `window` is the window of the slot.
    #[must_use]
    pub fn at_risk(&self, place: ArmPlace, signal: usize, since: Option<WindowNumber>, window: WindowNumber) -> u64 {
        let ages = match since {
            None => MARK_AGES,
            Some(since) => (window.0.saturating_sub(since.0) as usize + 1).min(MARK_AGES),
        };
        let marked: u64 = (0..ages).map(|age| self.count(self.shape.marked_index(place, signal, age))).sum();
        // A worker counts the key before its mark: a reader in between may see the mark only.
        self.keys(place).saturating_sub(marked)
    }

    fn count(&self, at: usize) -> u64 {
        self.counts.get(at).copied().unwrap_or(0).into()
    }
}

impl JudgedEvent {
    /// Whether it counts in the test that began with window `since`; `None`: with the watch.
    #[must_use]
    pub fn counts_since(&self, since: Option<WindowNumber>) -> bool {
        match (self.kind, since) {
            (JudgedKind::FirstKey, _) => false,
            (JudgedKind::Signal { mark, .. }, None) => mark.is_none(),
            (JudgedKind::Signal { mark, .. }, Some(since)) => {
                self.window >= since && mark.is_none_or(|mark| mark < since)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_at_risk_while_its_mark_is_older_than_the_test() {
        let shape = WindowShape { strata: 2, arms: 2, signals: 1 };
        let place = ArmPlace { stratum: 1, arm: 1 };
        let mut slot = SlotExposures::new(shape);
        let mut counts = vec![0; shape.len()];
        counts[shape.index(place)] = 10;
        // One key with a mark of each age: 0, 1, 2, and older.
        for age in 0..MARK_AGES {
            counts[shape.marked_index(place, 0, age)] = 1;
        }
        slot.add(counts.into_iter());
        let window = WindowNumber(9);
        assert_eq!(slot.at_risk(place, 0, None, window), 6);
        for (since, at_risk) in [(9, 9), (8, 8), (7, 7)] {
            assert_eq!(slot.at_risk(place, 0, Some(WindowNumber(since)), window), at_risk, "{since}");
        }
        assert_eq!(slot.keys(ArmPlace::default()), 0);
        // The same counts as those of the second of two routes, with its signal as the last of three.
        let whole = WindowShape { strata: 5, arms: 4, signals: 3 };
        let places = PlaceMap { first_stratum: 3, arms: vec![0, 3], signals: vec![2] };
        let mut sum = SlotExposures::new(whole);
        sum.add_placed(&slot, &places);
        sum.add_placed(&slot, &places);
        let there = places.place(place).expect("a place");
        assert_eq!((there, sum.keys(there)), (ArmPlace { stratum: 4, arm: 3 }, 20));
        assert_eq!([0, 2].map(|signal| sum.at_risk(there, signal, None, WindowNumber(9))), [20, 12]);
        assert!(!places.is_identity(whole) && places.place(ArmPlace { stratum: 0, arm: 2 }).is_none());
        let same = PlaceMap { first_stratum: 0, arms: vec![0, 1], signals: vec![0] };
        assert!(same.is_identity(shape) && !same.is_identity(whole));
        for (mark, age) in [(9, 0), (8, 1), (7, 2), (6, 3), (1, 3)] {
            assert_eq!(mark_age(WindowNumber(mark), window), age);
        }
    }
}
