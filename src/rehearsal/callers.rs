//! The callers of a play: which variant each gets, and what the guards remember of them.
//!
//! The tables are those of `telemetry/window/`: 65 536 places, of which each caller has one, common to both arms. Beside
//! them stands how many callers of each arm have a mark of each age, so that the callers of a second need not be counted one
//! by one.

use super::random::Random;
use crate::stats::{JudgedKind, MARK_AGES, WindowNumber, mark_age};

/// The places of a table of callers.
const PLACES: usize = 65_536;
/// More callers than this share places anyway.
const CALLERS_MAX: u64 = 500_000;

/// The callers of a play.
#[derive(Clone, Debug)]
pub(super) struct Callers {
    /// Rising: a caller gets the canary when this is below the share.
    buckets: Box<[f64]>,
    /// By caller: its place in the tables.
    places: Box<[u16]>,
    /// By place: its callers on stable and on the canary.
    members: Box<[[u32; 2]]>,
    /// The callers before this one get the canary.
    split: usize,
    /// By place: the second in which a caller was seen last.
    seen: Box<[u32]>,
    marks: Vec<SignalMarks>,
    /// Places of which no caller was seen yet, with callers.
    unseen: u64,
    used: u64,
    /// By caller: it was hurt.
    hurt: Box<[bool]>,
    hurt_count: u64,
}

/// The windows of the last events of a signal.
#[derive(Clone, Debug)]
struct SignalMarks {
    /// By place; 0: none.
    windows: Box<[u32]>,
    /// By arm, then by age: the callers with a mark.
    marked: [[u64; MARK_AGES]; 2],
}

impl Callers {
    /// So many callers, none of whom was seen.
    pub fn new(count: u64, signals: usize, random: &mut Random) -> Self {
        let count = usize::try_from(count.clamp(1, CALLERS_MAX)).unwrap_or(1);
        let mut buckets = Vec::with_capacity(count);
        // Uniform numbers in order: the gaps between them are exponential.
        let mut at = 0.0;
        for _ in 0..count {
            at -= (1.0 - random.unit()).ln();
            buckets.push(at);
        }
        let whole = at - (1.0 - random.unit()).ln();
        for bucket in &mut buckets {
            *bucket /= whole;
        }
        let places: Box<[u16]> = (0..count).map(|_| (random.next() >> 48) as u16).collect();
        let mut members = vec![[0; 2]; PLACES].into_boxed_slice();
        places.iter().for_each(|place| members[usize::from(*place)][0] += 1);
        let used = members.iter().filter(|arms| arms[0] > 0).count() as u64;
        let marks = SignalMarks { windows: vec![0; PLACES].into(), marked: [[0; MARK_AGES]; 2] };
        Self {
            buckets: buckets.into(),
            places,
            members,
            split: 0,
            seen: vec![0; PLACES].into(),
            marks: vec![marks; signals],
            unseen: used,
            used,
            hurt: vec![false; count].into(),
            hurt_count: 0,
        }
    }

    /// The canary gets this share from now on.
    pub fn set_share(&mut self, share: f64, window: WindowNumber) {
        let split = self.buckets.partition_point(|bucket| *bucket < share);
        let (from, to, moved) = if split > self.split { (0, 1, self.split..split) } else { (1, 0, split..self.split) };
        for caller in moved {
            let place = usize::from(self.places[caller]);
            self.members[place][from] -= 1;
            self.members[place][to] += 1;
            for marks in &mut self.marks {
                if let Some(age) = marks.age(place, window) {
                    marks.marked[from][age] -= 1;
                    marks.marked[to][age] += 1;
                }
            }
        }
        self.split = split;
        debug_assert!(self.split <= self.buckets.len(), "a part of all callers");
    }

    /// The callers of an arm.
    pub const fn of_arm(&self, arm: usize) -> usize {
        if arm == 0 { self.buckets.len() - self.split } else { self.split }
    }

    /// A caller of an arm that has some.
    pub fn any(&self, arm: usize, random: &mut Random) -> usize {
        if arm == 0 { self.split + random.below(self.of_arm(0)) } else { random.below(self.split) }
    }

    /// A number of a caller that has nothing to do with its variant, 0 to below 1.
    pub fn trait_of(caller: usize) -> f64 {
        let mixed = (caller as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        #[expect(clippy::cast_precision_loss, reason = "32 bits are exact")]
        let trait_of = (mixed >> 32) as f64 / (1_u64 << 32) as f64;
        trait_of
    }

    /// A part of the key of a caller.
    pub fn key(caller: usize) -> u32 {
        u32::try_from(caller).unwrap_or(u32::MAX)
    }

    /// A window begins: all marks become older.
    pub fn begin_window(&mut self) {
        for marked in self.marks.iter_mut().flat_map(|marks| &mut marks.marked) {
            let [now, one, two, older] = *marked;
            *marked = [0, now, one, two + older];
        }
    }

    /// A caller is seen in a second, counted from 1 on; `true`: for the first time in it.
    pub fn see(&mut self, caller: usize, second: u32) -> bool {
        let seen = &mut self.seen[usize::from(self.places[caller])];
        let is_new = *seen < second;
        *seen = second;
        is_new
    }

    /// The age of the mark of a caller.
    pub fn age(&self, caller: usize, signal: usize, window: WindowNumber) -> Option<usize> {
        self.marks[signal].age(usize::from(self.places[caller]), window)
    }

    /// The part of the callers of an arm whose mark has this age.
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    pub fn part_marked(&self, arm: usize, signal: usize, age: usize) -> f64 {
        self.marks[signal].marked[arm][age] as f64 / self.of_arm(arm).max(1) as f64
    }

    /// A caller has an event; what is reported of it, if it may count.
    pub fn mark(&mut self, caller: usize, signal: usize, window: WindowNumber) -> Option<JudgedKind> {
        let place = usize::from(self.places[caller]);
        let marks = &mut self.marks[signal];
        let before = marks.windows[place];
        if before >= window.0 {
            return None;
        }
        let age = marks.age(place, window);
        for (marked, members) in marks.marked.iter_mut().zip(self.members[place]) {
            if let Some(age) = age {
                marked[age] -= u64::from(members);
            }
            marked[0] += u64::from(members);
        }
        marks.windows[place] = window.0;
        let mark = (before > 0).then_some(WindowNumber(before));
        Some(JudgedKind::Signal { signal: u8::try_from(signal).unwrap_or(u8::MAX), mark })
    }

    /// How many places are seen for the first time when there are so many requests.
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    pub fn first_seen(&mut self, requests: u64, random: &mut Random) -> u64 {
        if self.unseen == 0 || requests == 0 {
            return 0;
        }
        let found = random.binomial(self.unseen, -(-(requests as f64) / self.used.max(1) as f64).exp_m1());
        self.unseen -= found;
        found
    }

    /// A caller is hurt.
    pub fn hurt(&mut self, caller: usize) {
        self.hurt_count += u64::from(!std::mem::replace(&mut self.hurt[caller], true));
    }

    /// How many callers were hurt.
    pub const fn hurt_count(&self) -> u64 {
        self.hurt_count
    }
}

impl SignalMarks {
    fn age(&self, place: usize, window: WindowNumber) -> Option<usize> {
        let mark = self.windows[place];
        (mark > 0).then(|| mark_age(WindowNumber(mark), window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_of_marks_are_those_of_the_callers() {
        let mut random = Random::new(3, 0);
        let mut callers = Callers::new(5_000, 2, &mut random);
        let mut window = WindowNumber(1);
        for round in 0..60_u32 {
            callers.set_share(f64::from(round * 37 % 100) / 100.0, window);
            for _ in 0..100 {
                let arm = random.below(2);
                if callers.of_arm(arm) > 0 {
                    let caller = callers.any(arm, &mut random);
                    callers.mark(caller, random.below(2), window);
                }
            }
            if round % 3 == 0 {
                callers.begin_window();
                window = WindowNumber(window.0 + 1);
            }
            for (arm, range) in [(0, callers.split..5_000), (1, 0..callers.split)] {
                for (signal, age) in (0..2).flat_map(|signal| (0..MARK_AGES).map(move |age| (signal, age))) {
                    let each = range.clone().filter(|caller| callers.age(*caller, signal, window) == Some(age));
                    assert_eq!(
                        each.count() as u64,
                        callers.marks[signal].marked[arm][age],
                        "{round}: {arm} {signal} {age}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_event_counts_once_in_a_window_and_a_place_is_new_once() {
        let mut random = Random::new(4, 0);
        let mut callers = Callers::new(100, 1, &mut random);
        let reported = |mark| Some(JudgedKind::Signal { signal: 0, mark });
        assert_eq!(callers.mark(7, 0, WindowNumber(2)), reported(None));
        assert_eq!(callers.mark(7, 0, WindowNumber(2)), None);
        callers.begin_window();
        assert_eq!(callers.mark(7, 0, WindowNumber(3)), reported(Some(WindowNumber(2))));
        assert!(callers.see(7, 1) && !callers.see(7, 1) && callers.see(7, 2));
        callers.hurt(7);
        callers.hurt(7);
        assert_eq!(callers.hurt_count(), 1);
        let mut found = 0;
        for _ in 0..200 {
            found += callers.first_seen(50, &mut random);
        }
        assert_eq!(found, callers.used);
        callers.set_share(1.0, WindowNumber(3));
        assert_eq!((callers.of_arm(0), callers.of_arm(1)), (0, 100));
    }
}
