//! The fields of a route's responses that differ: a bounded table of evidence, one row per field.
//!
//! A *raw* difference is one between the primary response and the candidate; *noise* is one between the primary
//! response and a control, which is a second response of the primary upstream. A field is *confirmed* when the evidence
//! `E` that it differs more often in raw than in noise has reached the inverse of its share of α, and stays confirmed;
//! *noisy* if it differed in a control and is not confirmed; *unknown* otherwise. A share is assigned with each row,
//! also with rows that are evicted later (`spending.rs`), so the probability that a report ever names a field that is
//! only noise is at most α.
//!
//! A comparison that ended at a level has no information about the fields below it. A stratum of a level ends with a
//! control that reached the level, and a pair counts if both sides reached it.
//!
//! The table uses the space-saving algorithm: if it is full, a new field replaces the field with the fewest events and
//! inherits that number (so a field with more than its share of all events stays), but not the evidence. A confirmed
//! field is never evicted.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use super::spending::{FIELDS_MAX, share};
use super::{Evidence, HasLevel, Kernel, Level, Observation, Pairs, Stratum, Tally};

/// The number of samples in a route's table, over all fields.
pub const SAMPLES_MAX: usize = 4_096;

/// The design of the test of raw against noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestDesign {
    /// Some candidates have a control: two arms with their own exposures, in strata that end with each control.
    Arms,
    /// Every candidate has a control (`control = 100`): discordant pairs.
    Pairs,
}

/// The verdict on a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The field differs more often than it does between primary responses.
    Confirmed,
    /// Never in a control, and not often enough in raw.
    Unknown,
    /// Primary responses differ in it.
    Noisy,
}

/// A field with its counts and its verdict.
#[derive(Clone, Debug)]
pub struct FieldReport<'a, K, S> {
    /// The field.
    pub key: &'a K,
    /// The verdict.
    pub verdict: Verdict,
    /// Comparisons with the candidate that reached the field, and those in which it differed. Counted since the field
    /// got its row, if it replaced another field.
    pub raw: Tally,
    /// The same for controls.
    pub noise: Tally,
    /// The highest evidence so far, as log10 E.
    pub log10: f64,
    /// The evidence that confirms it, as log10 E.
    pub threshold_log10: f64,
    /// The samples kept, the oldest first.
    pub samples: &'a VecDeque<S>,
}

/// The table of one route. `K` is a field, `S` a sample of its difference, redacted by the caller.
#[derive(Clone, Debug)]
pub struct Verdicts<K, S> {
    design: TestDesign,
    alpha: f64,
    keep: usize,
    rows: Vec<Row<K, S>>,
    index: HashMap<K, usize, ahash::RandomState>,
    levels: [Exposed; Level::ALL.len()],
    /// The number of rows assigned so far.
    assigned: u64,
    evicted: u64,
    samples: usize,
    /// The number of the current comparison, so that a field counts once in it.
    turn: u64,
}

/// The exposures of the fields of one level.
#[derive(Clone, Debug, Default)]
struct Exposed {
    /// Comparisons that reached the level, with candidates and with controls.
    raw: u64,
    noise: u64,
    /// Comparisons with candidates in the open stratum, and the rows with events in it.
    open: u64,
    waiting: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Row<K, S> {
    key: K,
    /// The value that ln E must reach.
    threshold: f64,
    /// The exposures of the level when the field got the row; zero for a free row, because the field had never
    /// differed.
    raw_before: u64,
    noise_before: u64,
    /// Events including inherited ones: the order of eviction.
    weight: u64,
    raw_events: u64,
    noise_events: u64,
    raw_turn: u64,
    noise_turn: u64,
    waiting_raw: u64,
    waiting_noise: u64,
    evidence: Evidence,
    pairs: Pairs,
    peak: f64,
    samples: VecDeque<S>,
}

impl<K, S> Row<K, S> {
    fn new(key: K, threshold: f64) -> Self {
        Self {
            key,
            threshold,
            raw_before: 0,
            noise_before: 0,
            weight: 0,
            raw_events: 0,
            noise_events: 0,
            raw_turn: 0,
            noise_turn: 0,
            waiting_raw: 0,
            waiting_noise: 0,
            evidence: Evidence::default(),
            pairs: Pairs::default(),
            peak: 0.0,
            samples: VecDeque::new(),
        }
    }

    fn is_confirmed(&self) -> bool {
        self.peak >= self.threshold
    }

    fn verdict(&self) -> Verdict {
        if self.is_confirmed() {
            Verdict::Confirmed
        } else if self.noise_events > 0 {
            Verdict::Noisy
        } else {
            Verdict::Unknown
        }
    }

    /// Ends a stratum of one control and `exposures` candidates.
    fn close(&mut self, kernel: &Kernel, exposures: u64) {
        debug_assert!(self.waiting_raw <= exposures, "a field differs at most once in each candidate");
        let stratum = Stratum {
            tested: Tally { exposures, events: self.waiting_raw },
            control: Tally { exposures: 1, events: self.waiting_noise },
        };
        (self.waiting_raw, self.waiting_noise) = (0, 0);
        kernel.add(&mut self.evidence, &stratum);
        self.peak = self.peak.max(kernel.ln(&self.evidence));
    }
}

impl<K: Clone + Eq + Hash + HasLevel, S> Verdicts<K, S> {
    /// An empty table. `alpha` is the probability that a report ever names a field that is only noise; `keep` is the
    /// number of samples that a confirmed field keeps, the newest ones. Other fields keep their newest sample.
    #[must_use]
    pub fn new(design: TestDesign, alpha: f64, keep: usize) -> Self {
        Self {
            design,
            alpha,
            keep,
            rows: Vec::new(),
            index: HashMap::default(),
            levels: Default::default(),
            assigned: 0,
            evicted: 0,
            samples: 0,
            turn: 0,
        }
    }

    /// Adds one copy: the fields in which the candidate differs from the primary response, and those in which the
    /// control differs, if there is one. With pairs, a copy without a control counts only in the rates.
    pub fn observe(&mut self, raw: Observation<'_, K>, noise: Option<Observation<'_, K>>) {
        self.turn += 1;
        let turn = self.turn;
        for key in raw.fields() {
            if let Some(row) = self.assign_row(key) {
                row.raw_turn = turn;
            }
        }
        for key in noise.iter().flat_map(Observation::fields) {
            if let Some(row) = self.assign_row(key) {
                row.noise_turn = turn;
            }
        }
        let reached = noise.map(|noise| noise.reached);
        let paired = reached.map(|noise| noise.min(raw.reached));
        // After all rows are assigned: a field may have lost its row to a later field of the same response.
        for key in raw.fields().chain(noise.iter().flat_map(Observation::fields)) {
            self.count(key, paired);
        }
        for level in Level::ALL {
            let exposed = &mut self.levels[level as usize];
            let raw = u64::from(raw.reached >= level);
            exposed.raw += raw;
            exposed.open += raw;
            if reached.is_some_and(|noise| noise >= level) {
                exposed.noise += 1;
                for row in exposed.waiting.drain(..) {
                    self.rows[row].close(&Kernel::DIFFERENCES, exposed.open);
                }
                exposed.open = 0;
            }
        }
    }

    /// Keeps a sample of a field's difference, if there is room and the field has a row.
    pub fn keep(&mut self, key: &K, sample: S) {
        let Some(row) = self.index.get(key).and_then(|&at| self.rows.get_mut(at)) else { return };
        let room = if row.is_confirmed() { self.keep } else { self.keep.min(1) };
        // The oldest sample of this field makes room, also if the whole table is full.
        while !row.samples.is_empty() && (row.samples.len() >= room || self.samples >= SAMPLES_MAX) {
            row.samples.pop_front();
            self.samples -= 1;
        }
        if room > 0 && self.samples < SAMPLES_MAX {
            row.samples.push_back(sample);
            self.samples += 1;
        }
        debug_assert!(row.samples.len() <= room && self.samples <= SAMPLES_MAX, "samples are bounded");
    }

    /// All fields with a row: confirmed ones first, then unknown, then noisy ones; within each, by the number of
    /// differences.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldReport<'_, K, S>> {
        let mut rows: Vec<_> = self.rows.iter().map(|row| (row.verdict(), row)).collect();
        rows.sort_by_key(|(verdict, row)| (*verdict, std::cmp::Reverse(row.raw_events + row.noise_events)));
        rows.into_iter()
            .map(|(verdict, row)| {
                let exposed = &self.levels[row.key.level() as usize];
                FieldReport {
                    key: &row.key,
                    verdict,
                    raw: Tally { exposures: exposed.raw - row.raw_before, events: row.raw_events },
                    noise: Tally { exposures: exposed.noise - row.noise_before, events: row.noise_events },
                    log10: row.peak / std::f64::consts::LN_10,
                    threshold_log10: row.threshold / std::f64::consts::LN_10,
                    samples: &row.samples,
                }
            })
            .collect()
    }

    /// The verdict on a field; `None` if it has no row.
    #[must_use]
    pub fn verdict(&self, key: &K) -> Option<Verdict> {
        self.index.get(key).map(|&at| self.rows[at].verdict())
    }

    /// The value that log10 E must reach for one of the first fields; later fields need more.
    #[must_use]
    pub fn threshold_log10(&self) -> f64 {
        -(self.alpha * share(1)).log10()
    }

    /// The number of fields that were evicted, or found no row.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The row of a field; assigns one if it has none. `None` if all rows belong to confirmed fields.
    fn assign_row(&mut self, key: &K) -> Option<&mut Row<K, S>> {
        if let Some(&at) = self.index.get(key) {
            return self.rows.get_mut(at);
        }
        let free = self.rows.len();
        let at = if free < FIELDS_MAX { free } else { self.evict()? };
        // Every row spends its share of α, also one that is evicted later.
        self.assigned += 1;
        let mut row = Row::new(key.clone(), -(self.alpha * share(self.assigned)).ln());
        self.index.insert(key.clone(), at);
        if let Some(place) = self.rows.get_mut(at) {
            let exposed = &self.levels[key.level() as usize];
            (row.raw_before, row.noise_before, row.weight) = (exposed.raw, exposed.noise, place.weight);
            let old = std::mem::replace(place, row);
            self.samples -= old.samples.len();
            self.index.remove(&old.key);
            // Waiting events of the old field must not count for the new one.
            self.levels[old.key.level() as usize].waiting.retain(|&waiting| waiting != at);
        } else {
            self.rows.push(row);
        }
        debug_assert!(self.rows.len() <= FIELDS_MAX, "the table is bounded");
        debug_assert_eq!(self.index.len(), self.rows.len(), "each row has one field");
        self.rows.get_mut(at)
    }

    /// The row to evict: the one with the fewest events that is not confirmed.
    fn evict(&mut self) -> Option<usize> {
        self.evicted += 1;
        let candidates = self.rows.iter().enumerate().filter(|(_, row)| !row.is_confirmed());
        candidates.min_by_key(|(_, row)| row.weight).map(|(at, _)| at)
    }

    /// Counts a field of the current copy; once, also if the field is listed several times.
    fn count(&mut self, key: &K, paired: Option<Level>) {
        let Some(&at) = self.index.get(key) else { return };
        let row = &mut self.rows[at];
        let (raw, noise) = (row.raw_turn == self.turn, row.noise_turn == self.turn);
        if !(raw || noise) {
            return;
        }
        // Cleared, so that a second mention in this copy counts nothing.
        (row.raw_turn, row.noise_turn) = (0, 0);
        let (raw, noise) = (u64::from(raw), u64::from(noise));
        row.raw_events += raw;
        row.noise_events += noise;
        row.weight += raw + noise;
        match self.design {
            TestDesign::Arms => {
                if row.waiting_raw + row.waiting_noise == 0 {
                    self.levels[key.level() as usize].waiting.push(at);
                }
                row.waiting_raw += raw;
                row.waiting_noise += noise;
            }
            TestDesign::Pairs if paired.is_some_and(|both| key.level() <= both) => {
                // A difference on both sides says nothing about which side differs more often.
                row.pairs.merge(Pairs { raw_only: raw & !noise & 1, noise_only: noise & !raw & 1 });
                row.peak = row.peak.max(row.pairs.ln());
            }
            TestDesign::Pairs => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Table = Verdicts<String, u32>;

    impl HasLevel for String {
        fn level(&self) -> Level {
            if self == "status" { Level::Status } else { Level::Body }
        }
    }

    impl HasLevel for u64 {
        fn level(&self) -> Level {
            Level::Body
        }
    }

    fn whole<K>(differing: &[K]) -> Observation<'_, K> {
        Observation { differing, reached: Level::Body }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// The differing fields of two responses of a service with new ids and timestamps, a shuffled list, and a counter
    /// that sometimes changes.
    fn noise(random: &mut fastrand::Rng) -> Vec<String> {
        let mut differing = names(&["$.id header", "$.trace value", "$.created_at value"]);
        let sometimes =
            [("$.items order", 0.83), ("$.age_s value", 0.4), ("$.cache value", 0.05), ("$.seldom extra", 0.002)];
        differing.extend(sometimes.iter().filter(|(_, rate)| random.f64() < *rate).map(|(name, _)| (*name).to_owned()));
        // A map with new keys that do not look like ids.
        if random.f64() < 0.05 {
            differing.push(format!("$.by_word.{:x} missing", random.u32(0..3_000)));
        }
        differing
    }

    fn confirmed(table: &Table) -> Vec<String> {
        let of = |report: &FieldReport<'_, String, u32>| report.verdict == Verdict::Confirmed;
        table.fields().iter().filter(|report| of(report)).map(|report| report.key.clone()).collect()
    }

    #[test]
    fn pure_noise_confirms_nothing_in_100_000_samples() {
        for (form, share) in [(TestDesign::Pairs, 1.0), (TestDesign::Arms, 0.2)] {
            let mut random = fastrand::Rng::with_seed(40);
            let mut table = Table::new(form, 0.01, 50);
            for sample in 0..100_000 {
                let (raw, control) = (noise(&mut random), noise(&mut random));
                table.observe(whole(&raw), (random.f64() < share).then(|| whole(&control)));
                assert!(sample % 1_000 != 0 || confirmed(&table).is_empty(), "{:?}", confirmed(&table));
            }
            assert_eq!(confirmed(&table), names(&[]), "{form:?}");
            assert_eq!(table.verdict(&"$.trace value".to_owned()), Some(Verdict::Noisy));
            assert!(table.evicted() > 0, "the map's keys do not all fit");
        }
    }

    #[test]
    fn a_real_field_is_found_among_noise() {
        for (form, share, rate, copies) in [
            (TestDesign::Pairs, 1.0, 1.0, 40),
            (TestDesign::Pairs, 1.0, 0.2, 200),
            (TestDesign::Arms, 0.2, 1.0, 300),
            (TestDesign::Arms, 0.2, 0.1, 3_000),
        ] {
            let mut random = fastrand::Rng::with_seed(2);
            let mut table = Table::new(form, 0.01, 50);
            for _ in 0..copies {
                let (mut raw, control) = (noise(&mut random), noise(&mut random));
                if random.f64() < rate {
                    raw.push("$.price value".to_owned());
                }
                table.observe(whole(&raw), (random.f64() < share).then(|| whole(&control)));
            }
            assert_eq!(confirmed(&table), names(&["$.price value"]), "{form:?} {rate}");
        }
    }

    #[test]
    fn a_field_that_always_differs_is_confirmed_after_9_to_16_pairs() {
        for (others, pairs) in [(0, 16), (99, 16), (1_023, 24)] {
            let mut table = Table::new(TestDesign::Pairs, 0.01, 50);
            // Fields that once differed in both: they take a row and are no evidence.
            let others: Vec<_> = (0..others).map(|n| format!("$.f{n} value")).collect();
            table.observe(whole(&others), Some(whole(&others)));
            let real = names(&["$.price value"]);
            let needed = (1..50).find(|_| {
                table.observe(whole(&real), Some(whole(&[])));
                table.verdict(&real[0]) == Some(Verdict::Confirmed)
            });
            assert_eq!(needed, Some(pairs));
        }
    }

    #[test]
    fn a_field_of_a_control_is_noisy_and_without_controls_unknown() {
        let field = names(&["status"]);
        let mut table = Table::new(TestDesign::Arms, 0.01, 50);
        assert_eq!(table.verdict(&field[0]), None);
        for _ in 0..10_000 {
            table.observe(whole(&field), None);
        }
        assert_eq!(table.verdict(&field[0]), Some(Verdict::Unknown), "it may be noise");
        table.observe(whole(&[]), Some(whole(&field)));
        assert_eq!(table.verdict(&field[0]), Some(Verdict::Noisy));
    }

    #[test]
    fn a_field_counts_once_in_a_copy() {
        let mut table = Table::new(TestDesign::Pairs, 0.01, 50);
        table.observe(whole(&names(&["a", "a", "b"])), Some(whole(&names(&["b", "b"]))));
        let fields = table.fields();
        let count =
            |name: &str| fields.iter().find(|report| report.key == name).map(|f| (f.raw.events, f.noise.events));
        assert_eq!((count("a"), count("b")), (Some((1, 0)), Some((1, 1))));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_is_frequent_or_confirmed() {
        let mut table = Table::new(TestDesign::Pairs, 0.01, 50);
        let (real, often) = ("$.price value".to_owned(), "$.often value".to_owned());
        for _ in 0..30 {
            table.observe(whole(std::slice::from_ref(&real)), Some(whole(&[])));
        }
        for n in 0..4_000 {
            let mut raw: Vec<_> = (0..5).map(|part| format!("$.{n}_{part} extra")).collect();
            let control = if n % 100 == 0 { vec![often.clone()] } else { vec![] };
            raw.extend(control.clone());
            table.observe(whole(&raw), Some(whole(&control)));
        }
        assert_eq!(table.fields().len(), FIELDS_MAX);
        assert_eq!(table.verdict(&real), Some(Verdict::Confirmed));
        assert_eq!(table.verdict(&often), Some(Verdict::Noisy));
        assert_eq!(table.evicted() + u64::try_from(FIELDS_MAX).unwrap(), table.assigned);
        assert_eq!(table.index.len(), FIELDS_MAX);
        let last = table.fields().iter().map(|field| field.threshold_log10).fold(0.0, f64::max);
        assert!(last < 9.5, "20 000 fields cost five of the exponent: {last}");
    }

    #[test]
    fn samples_are_bounded() {
        let mut table = Table::new(TestDesign::Pairs, 0.01, 3);
        let (real, other) = (names(&["real"]), names(&["other"]));
        table.keep(&real[0], 0);
        for n in 0..30 {
            table.observe(whole(&real), Some(whole(&[])));
            table.keep(&real[0], n);
            table.observe(whole(&other), Some(whole(&other)));
            table.keep(&other[0], n);
        }
        let fields = table.fields();
        assert_eq!(fields[0].samples, &[27, 28, 29]);
        assert_eq!(fields[1].samples, &[29]);
        let mut many = Verdicts::<u64, u64>::new(TestDesign::Pairs, 0.01, 50);
        let fields: Vec<_> = (0..500).collect();
        for _ in 0..80 {
            many.observe(whole(&fields), Some(whole(&[])));
            for field in &fields {
                many.keep(field, 0);
            }
        }
        let kept: usize = many.fields().iter().map(|field| field.samples.len()).sum();
        assert_eq!((kept, many.samples), (SAMPLES_MAX, SAMPLES_MAX));
    }

    #[test]
    fn levels_that_were_not_compared_are_no_exposure() {
        // A field that is always another, and controls that fail, or have another status, half of the time.
        for (form, early) in [TestDesign::Pairs, TestDesign::Arms]
            .into_iter()
            .flat_map(|form| [Level::Outcome, Level::Status].map(|level| (form, level)))
        {
            let mut table = Table::new(form, 0.01, 50);
            let (ts, status) = (names(&["$.ts value"]), names(&["status"]));
            for n in 0..1_000 {
                let noise = match (n % 2, early) {
                    (0, _) => whole(&ts[..]),
                    (_, Level::Status) => Observation { differing: &status, reached: early },
                    _ => Observation { differing: &[], reached: early },
                };
                table.observe(whole(&ts), Some(noise));
            }
            assert_eq!(table.verdict(&ts[0]), Some(Verdict::Noisy), "{form:?} {early:?}");
            let fields = table.fields();
            let field = fields.iter().find(|field| *field.key == ts[0]).unwrap();
            assert_eq!((field.raw.exposures, field.noise), (1_000, Tally { exposures: 500, events: 500 }));
            assert!(field.log10 < 1.0, "{form:?} {early:?}: {}", field.log10);

            // Fields below the level are ignored.
            table.observe(Observation { differing: &names(&["$.other value"]), reached: early }, None);
            assert_eq!(table.verdict(&"$.other value".to_owned()), None);
        }
    }

    #[test]
    fn a_candidate_that_fails_neither_hides_nor_adds_differences() {
        for form in [TestDesign::Pairs, TestDesign::Arms] {
            let mut table = Table::new(form, 0.01, 50);
            let (ts, status) = (names(&["$.ts value"]), names(&["status"]));
            for n in 0..1_000 {
                let failed = Observation { differing: &status[..], reached: Level::Status };
                table.observe(if n % 2 == 0 { failed } else { whole(&ts[..]) }, Some(whole(&ts)));
            }
            assert_eq!(table.verdict(&status[0]), Some(Verdict::Confirmed));
            let fields = table.fields();
            let field = fields.iter().find(|field| *field.key == ts[0]).unwrap();
            assert_eq!((field.verdict, field.raw.exposures, field.noise.exposures), (Verdict::Noisy, 500, 1_000));
        }
    }

    #[test]
    fn a_confirmed_field_stays_confirmed() {
        for form in [TestDesign::Pairs, TestDesign::Arms] {
            let mut table = Table::new(form, 0.01, 50);
            let real = names(&["$.price value"]);
            while table.verdict(&real[0]) != Some(Verdict::Confirmed) {
                table.observe(whole(&real), Some(whole(&[])));
            }
            for n in 0..3_000 {
                let other = names(&[&format!("$.{n} value")]);
                table.observe(whole(&other), Some(whole(&other)));
                assert_eq!(table.verdict(&real[0]), Some(Verdict::Confirmed), "{form:?} {n}");
            }
        }
    }

    #[test]
    fn the_rates_of_an_inherited_row_start_with_its_field() {
        let mut table = Verdicts::<u64, u64>::new(TestDesign::Pairs, 0.01, 50);
        table.observe(whole(&[]), None);
        // Each field twice, so that none of them is the one that goes.
        let rows: Vec<u64> = (0..FIELDS_MAX as u64).collect();
        for _ in 0..2 {
            table.observe(whole(&rows), Some(whole(&rows)));
        }
        table.observe(whole(&[5_000]), Some(whole(&[])));
        for _ in 0..3 {
            table.observe(whole(&[5_000]), Some(whole(&[5_000])));
        }
        let fields = table.fields();
        let late = fields.iter().find(|field| *field.key == 5_000).unwrap();
        let first = fields.iter().find(|field| *field.key == 1_000).unwrap();
        assert_eq!(first.raw, Tally { exposures: 7, events: 2 });
        assert_eq!(late.raw, Tally { exposures: 4, events: 4 });
        assert_eq!(late.noise, Tally { exposures: 4, events: 3 });
    }
}
