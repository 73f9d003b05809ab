//! Which fields of a route's answers really differ: a bounded table of evidence, one row a field.
//!
//! A *raw* difference is one between the primary's answer and the candidate's, *noise* one between the primary's and
//! that of a control, which is the primary's own upstream asked again. A field is *confirmed* when the evidence that it
//! differs more often in raw than in noise, `E`, has ever reached `fields / α`; *noisy* when it was seen in the control
//! and is not confirmed; *unknown* before. So the chance that a report names any field that is noise is at most α. The
//! count `fields` is of every field that ever had a row, also of those that lost it.
//!
//! The table is space-saving: a field that finds no room takes that of the field with the fewest events, and inherits
//! that number (so that a field with more than its share of all events is sure to stay), but none of its evidence. A
//! confirmed field is never put out.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use super::evidence::float;
use super::{Evidence, Kernel, Mismatch, Pairs, Stratum, Tally};

/// How many fields a route's table holds.
pub const FIELDS_MAX: usize = 1_024;
/// How many samples a route's table holds, of all fields together.
pub const SAMPLES_MAX: usize = 4_096;

/// How raw and noise are weighed against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Some candidates have a control: two arms with exposures of their own, in strata that end with each control.
    Arms,
    /// Every candidate has a control (`control = 100`): discordant pairs.
    Pairs,
}

/// What the evidence says about a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It differs more often than the primary's own answers do.
    Confirmed,
    /// Not seen in the control, and not often enough in raw.
    Unknown,
    /// The primary's own answers differ in it.
    Noisy,
}

/// A field, what was counted of it, and what that says.
#[derive(Clone, Debug)]
pub struct FieldReport<'a, K, S> {
    /// The field.
    pub key: &'a K,
    /// What the evidence says.
    pub verdict: Verdict,
    /// Comparisons with the candidate, and those in which the field differed.
    pub raw: Tally,
    /// Comparisons with a control, and those in which the field differed.
    pub noise: Tally,
    /// The most evidence that there ever was, as log10 E.
    pub log10: f64,
    /// The samples kept, the oldest first.
    pub samples: &'a VecDeque<S>,
}

/// The table of one route. `K` is a field, `S` a sample of its difference, redacted by whoever brings it.
#[derive(Clone, Debug)]
pub struct Verdicts<K, S> {
    form: Form,
    alpha: f64,
    keep: usize,
    rows: Vec<Row<K, S>>,
    index: HashMap<K, usize, ahash::RandomState>,
    /// Rows with events that wait for the stratum's end, and the raw exposures since its beginning.
    waiting: Vec<usize>,
    stratum_raw: u64,
    mismatch: Mismatch,
    seen: u64,
    evicted: u64,
    samples: usize,
    /// The number of the comparison, so that a field counts once in it.
    turn: u64,
}

#[derive(Clone, Debug)]
struct Row<K, S> {
    key: K,
    /// Events, with those inherited: what the order of eviction goes by.
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
    fn new(key: K, weight: u64) -> Self {
        Self {
            key,
            weight,
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

    /// Ends a stratum of one control and as many candidates as `exposures`.
    fn close(&mut self, kernel: &Kernel, exposures: u64) {
        let stratum = Stratum {
            tested: Tally { exposures, events: self.waiting_raw },
            control: Tally { exposures: 1, events: self.waiting_noise },
        };
        (self.waiting_raw, self.waiting_noise) = (0, 0);
        kernel.add(&mut self.evidence, &stratum);
        self.peak = self.peak.max(kernel.ln(&self.evidence));
    }
}

impl<K: Clone + Eq + Hash, S> Verdicts<K, S> {
    /// An empty table. `alpha` is the chance that a report may name a field that is noise; `keep` is how many samples a
    /// confirmed field keeps, the newest ones. Any other field keeps its newest one, so that there is one to show.
    #[must_use]
    pub fn new(form: Form, alpha: f64, keep: usize) -> Self {
        Self {
            form,
            alpha,
            keep,
            rows: Vec::new(),
            index: HashMap::default(),
            waiting: Vec::new(),
            stratum_raw: 0,
            mismatch: Mismatch::default(),
            seen: 0,
            evicted: 0,
            samples: 0,
            turn: 0,
        }
    }

    /// Takes in one copy: the fields in which the candidate's answer differed from the primary's, and those in which
    /// the control's did, where there was one. In the form of pairs a copy without a control only counts in the rates.
    pub fn observe(&mut self, raw: &[K], noise: Option<&[K]>) {
        self.turn += 1;
        let turn = self.turn;
        let tally = |fields: &[K]| Tally { exposures: 1, events: u64::from(!fields.is_empty()) };
        self.mismatch.raw.merge(tally(raw));
        for key in raw {
            if let Some(row) = self.admit(key) {
                row.raw_turn = turn;
            }
        }
        for key in noise.unwrap_or_default() {
            if let Some(row) = self.admit(key) {
                row.noise_turn = turn;
            }
        }
        // Only now: a field may have lost its row to a later one of the same answer.
        for key in raw.iter().chain(noise.unwrap_or_default()) {
            self.count(key, noise.is_some());
        }
        self.stratum_raw += 1;
        if let Some(noise) = noise {
            self.mismatch.noise.merge(tally(noise));
            for row in self.waiting.drain(..) {
                self.rows[row].close(&Kernel::DIFFERENCES, self.stratum_raw);
            }
            self.stratum_raw = 0;
        }
    }

    /// Keeps a sample of a field's difference, for as long as there is room and the field has a row.
    pub fn keep(&mut self, key: &K, sample: S) {
        let threshold = self.threshold();
        let Some(row) = self.index.get(key).and_then(|&at| self.rows.get_mut(at)) else { return };
        let room = if row.peak >= threshold { self.keep } else { self.keep.min(1) };
        while !row.samples.is_empty() && (row.samples.len() >= room || self.samples >= SAMPLES_MAX) {
            row.samples.pop_front();
            self.samples -= 1;
        }
        if room > 0 && self.samples < SAMPLES_MAX {
            row.samples.push_back(sample);
            self.samples += 1;
        }
    }

    /// Every field that has a row: the confirmed ones first, then the unknown, then the noisy, and among them those
    /// that differ most often first.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldReport<'_, K, S>> {
        let threshold = self.threshold();
        let report = |row: &'_ Row<K, S>| (verdict(row, threshold), row.raw_events + row.noise_events);
        let mut rows: Vec<_> = self.rows.iter().map(|row| (report(row), row)).collect();
        rows.sort_by_key(|((verdict, events), _)| (*verdict, std::cmp::Reverse(*events)));
        let tally = |of: Tally, events| Tally { exposures: of.exposures, events };
        rows.into_iter()
            .map(|((verdict, _), row)| FieldReport {
                key: &row.key,
                verdict,
                raw: tally(self.mismatch.raw, row.raw_events),
                noise: tally(self.mismatch.noise, row.noise_events),
                log10: row.peak / std::f64::consts::LN_10,
                samples: &row.samples,
            })
            .collect()
    }

    /// What the evidence says about a field; `None` when it has no row.
    #[must_use]
    pub fn verdict(&self, key: &K) -> Option<Verdict> {
        self.index.get(key).map(|&at| verdict(&self.rows[at], self.threshold()))
    }

    /// What log10 E must reach.
    #[must_use]
    pub fn threshold_log10(&self) -> f64 {
        self.threshold() / std::f64::consts::LN_10
    }

    /// How often answers differed at all, in raw and in noise.
    #[must_use]
    pub fn mismatch(&self) -> Mismatch {
        self.mismatch
    }

    /// How many fields were put out of the table, or found no room in it.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// `ln(fields / α)`.
    fn threshold(&self) -> f64 {
        (float(self.seen.max(1)) / self.alpha).ln()
    }

    /// The row of a field, which is given one if it has none. `None` when every row is a confirmed field's.
    fn admit(&mut self, key: &K) -> Option<&mut Row<K, S>> {
        if let Some(&at) = self.index.get(key) {
            return self.rows.get_mut(at);
        }
        self.seen += 1;
        let at = self.rows.len();
        if at < FIELDS_MAX {
            self.rows.push(Row::new(key.clone(), 0));
            self.index.insert(key.clone(), at);
            return self.rows.get_mut(at);
        }
        self.evicted += 1;
        let threshold = self.threshold();
        let candidates = self.rows.iter().enumerate().filter(|(_, row)| row.peak < threshold);
        let (at, least) = candidates.min_by_key(|(_, row)| row.weight).map(|(at, row)| (at, row.weight))?;
        let old = std::mem::replace(&mut self.rows[at], Row::new(key.clone(), least));
        self.samples -= old.samples.len();
        self.index.remove(&old.key);
        self.index.insert(key.clone(), at);
        self.waiting.retain(|&waiting| waiting != at);
        self.rows.get_mut(at)
    }

    /// Counts a field of the current copy, once however often it is named.
    fn count(&mut self, key: &K, paired: bool) {
        let Some(&at) = self.index.get(key) else { return };
        let row = &mut self.rows[at];
        let (raw, noise) = (row.raw_turn == self.turn, row.noise_turn == self.turn);
        if !(raw || noise) {
            return;
        }
        (row.raw_turn, row.noise_turn) = (0, 0);
        let (raw, noise) = (u64::from(raw), u64::from(noise));
        row.raw_events += raw;
        row.noise_events += noise;
        row.weight += raw + noise;
        match self.form {
            Form::Arms => {
                if row.waiting_raw + row.waiting_noise == 0 {
                    self.waiting.push(at);
                }
                row.waiting_raw += raw;
                row.waiting_noise += noise;
            }
            Form::Pairs if paired => {
                row.pairs.merge(Pairs { raw_only: raw & !noise & 1, noise_only: noise & !raw & 1 });
                row.peak = row.peak.max(row.pairs.ln());
            }
            Form::Pairs => {}
        }
    }
}

fn verdict<K, S>(row: &Row<K, S>, threshold: f64) -> Verdict {
    if row.peak >= threshold {
        Verdict::Confirmed
    } else if row.noise_events > 0 {
        Verdict::Noisy
    } else {
        Verdict::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Table = Verdicts<String, u32>;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// The answers of a service whose ids and timestamps are always new, whose list is shuffled, and whose counter is
    /// sometimes another: the fields in which one of them differs from another.
    fn noise(random: &mut fastrand::Rng) -> Vec<String> {
        let mut differing = names(&["$.id header", "$.trace value", "$.created_at value"]);
        let sometimes =
            [("$.items order", 0.83), ("$.age_s value", 0.4), ("$.cache value", 0.05), ("$.seldom extra", 0.002)];
        differing.extend(sometimes.iter().filter(|(_, rate)| random.f64() < *rate).map(|(name, _)| (*name).to_owned()));
        // A map with ever new keys that do not look like ids.
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
        for (form, share) in [(Form::Pairs, 1.0), (Form::Arms, 0.2)] {
            let mut random = fastrand::Rng::with_seed(40);
            let mut table = Table::new(form, 0.01, 50);
            for sample in 0..100_000 {
                let (raw, control) = (noise(&mut random), noise(&mut random));
                table.observe(&raw, (random.f64() < share).then_some(&control));
                assert!(sample % 1_000 != 0 || confirmed(&table).is_empty(), "{:?}", confirmed(&table));
            }
            assert_eq!(confirmed(&table), names(&[]), "{form:?}");
            assert_eq!(table.verdict(&"$.trace value".to_owned()), Some(Verdict::Noisy));
            assert!(table.evicted() > 0, "the map's keys do not all fit");
            assert!(table.mismatch().net().abs() < 1e-9);
        }
    }

    #[test]
    fn a_real_field_is_found_among_noise() {
        for (form, share, rate, copies) in [
            (Form::Pairs, 1.0, 1.0, 40),
            (Form::Pairs, 1.0, 0.2, 200),
            (Form::Arms, 0.2, 1.0, 300),
            (Form::Arms, 0.2, 0.1, 3_000),
        ] {
            let mut random = fastrand::Rng::with_seed(2);
            let mut table = Table::new(form, 0.01, 50);
            for _ in 0..copies {
                let (mut raw, control) = (noise(&mut random), noise(&mut random));
                if random.f64() < rate {
                    raw.push("$.price value".to_owned());
                }
                table.observe(&raw, (random.f64() < share).then_some(&control));
            }
            assert_eq!(confirmed(&table), names(&["$.price value"]), "{form:?} {rate}");
        }
    }

    #[test]
    fn a_field_that_always_differs_is_confirmed_after_9_to_16_pairs() {
        for (others, pairs) in [(0, 9), (99, 16)] {
            let mut table = Table::new(Form::Pairs, 0.01, 50);
            // Fields that once differed in both: they take a row and are no evidence.
            let others: Vec<_> = (0..others).map(|n| format!("$.f{n} value")).collect();
            table.observe(&others, Some(&others));
            let real = names(&["$.price value"]);
            let needed = (1..50).find(|_| {
                table.observe(&real, Some(&[]));
                table.verdict(&real[0]) == Some(Verdict::Confirmed)
            });
            assert_eq!(needed, Some(pairs));
        }
    }

    #[test]
    fn what_differs_in_the_control_alone_is_noisy_and_what_was_never_controlled_unknown() {
        let field = names(&["status"]);
        let mut table = Table::new(Form::Arms, 0.01, 50);
        assert_eq!(table.verdict(&field[0]), None);
        for _ in 0..10_000 {
            table.observe(&field, None);
        }
        assert_eq!(table.verdict(&field[0]), Some(Verdict::Unknown), "nothing says that it is not noise");
        table.observe(&[], Some(&field));
        assert_eq!(table.verdict(&field[0]), Some(Verdict::Noisy));
    }

    #[test]
    fn a_field_counts_once_in_a_copy() {
        let mut table = Table::new(Form::Pairs, 0.01, 50);
        table.observe(&names(&["a", "a", "b"]), Some(&names(&["b", "b"])));
        let fields = table.fields();
        let count =
            |name: &str| fields.iter().find(|report| report.key == name).map(|f| (f.raw.events, f.noise.events));
        assert_eq!((count("a"), count("b")), (Some((1, 0)), Some((1, 1))));
        assert_eq!(table.mismatch().raw, Tally { exposures: 1, events: 1 });
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_is_frequent_or_confirmed() {
        let mut table = Table::new(Form::Pairs, 0.01, 50);
        let (real, often) = ("$.price value".to_owned(), "$.often value".to_owned());
        for _ in 0..30 {
            table.observe(std::slice::from_ref(&real), Some(&[]));
        }
        for n in 0..4_000 {
            let mut raw: Vec<_> = (0..5).map(|part| format!("$.{n}_{part} extra")).collect();
            let control = if n % 100 == 0 { vec![often.clone()] } else { vec![] };
            raw.extend(control.clone());
            table.observe(&raw, Some(&control));
        }
        assert_eq!(table.fields().len(), FIELDS_MAX);
        assert_eq!(table.verdict(&real), Some(Verdict::Confirmed));
        assert_eq!(table.verdict(&often), Some(Verdict::Noisy));
        assert_eq!(table.evicted() + u64::try_from(FIELDS_MAX).unwrap(), table.seen);
        assert_eq!(table.index.len(), FIELDS_MAX);
        assert!(table.threshold_log10() < 6.4, "20 000 fields cost four of the exponent: {}", table.threshold_log10());
    }

    #[test]
    fn samples_are_bounded() {
        let mut table = Table::new(Form::Pairs, 0.01, 3);
        let (real, other) = (names(&["real"]), names(&["other"]));
        table.keep(&real[0], 0);
        for n in 0..30 {
            table.observe(&real, Some(&[]));
            table.keep(&real[0], n);
            table.observe(&other, Some(&other));
            table.keep(&other[0], n);
        }
        let fields = table.fields();
        assert_eq!(fields[0].samples, &[27, 28, 29]);
        assert_eq!(fields[1].samples, &[29]);
        let mut many = Verdicts::<u64, u64>::new(Form::Pairs, 0.01, 50);
        let fields: Vec<_> = (0..500).collect();
        for _ in 0..80 {
            many.observe(&fields, Some(&[]));
            for field in &fields {
                many.keep(field, 0);
            }
        }
        let kept: usize = many.fields().iter().map(|field| field.samples.len()).sum();
        assert_eq!((kept, many.samples), (SAMPLES_MAX, SAMPLES_MAX));
    }
}
