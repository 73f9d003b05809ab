//! Counts responses by the set of fields in which they differ. The rate of mismatches can then leave out noisy fields
//! when it is read, also for responses that were compared before a control showed the noise.
//!
//! The table is bounded. A set that does not fit is tried again without the fields that are noisy at that time; if it
//! still does not fit, the response is counted with the verdicts of that time.

use ahash::{HashMap, HashSet, RandomState};

use crate::compare::ResponseField;
use crate::stats::{Mismatches, Tally};

/// The maximum number of sets, and of fields in a set.
const SETS_MAX: usize = 256;
const FIELDS_MAX: usize = 64;

/// Gives fields numbers: the same field has the same number in all sets.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(RandomState);

/// How far responses were compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ComparisonDepth {
    /// Up to a failure or another status.
    Early,
    /// Up to the headers; the bodies could not be compared.
    Head,
    /// Completely.
    Whole,
}

/// The sets of fields in which responses differ, with counts.
#[derive(Debug, Default)]
pub(super) struct Sets {
    known: HashMap<(Box<[u32]>, ComparisonDepth), u64>,
    rest: Mismatches,
}

impl Numbers {
    fn of(&self, field: &ResponseField) -> u32 {
        u32::try_from(self.0.hash_one(field) >> 32).unwrap_or(0)
    }

    /// The numbers of these fields.
    pub(super) fn all<'a>(&self, fields: impl IntoIterator<Item = &'a ResponseField>) -> HashSet<u32> {
        fields.into_iter().map(|field| self.of(field)).collect()
    }

    fn set<'a>(&self, fields: impl Iterator<Item = &'a ResponseField>) -> Box<[u32]> {
        let mut set: Vec<u32> = fields.map(|field| self.of(field)).collect();
        // Sorted, so that equal sets are equal keys.
        set.sort_unstable();
        set.dedup();
        set.into()
    }
}

impl Sets {
    /// Adds a comparison with these differing fields; `is_noisy` is the current verdict of a field.
    pub(super) fn add(
        &mut self,
        numbers: &Numbers,
        fields: &[ResponseField],
        depth: ComparisonDepth,
        is_noisy: impl Fn(&ResponseField) -> bool,
    ) {
        let all = (numbers.set(fields.iter()), depth);
        if self.count(all) {
            return;
        }
        let others = (numbers.set(fields.iter().filter(|field| !is_noisy(field))), depth);
        let differing = others.0.len();
        if !self.count(others) {
            count(&mut self.rest, depth, differing, 1);
        }
    }

    /// Counts a set; false if the table is full.
    fn count(&mut self, set: (Box<[u32]>, ComparisonDepth)) -> bool {
        let has_room = self.known.len() < SETS_MAX && set.0.len() <= FIELDS_MAX;
        if let Some(count) = self.known.get_mut(&set) {
            *count += 1;
        } else if has_room {
            self.known.insert(set, 1);
            debug_assert!(self.known.len() <= SETS_MAX, "the table is bounded");
        } else {
            return false;
        }
        true
    }

    /// The mismatches in fields that are not noisy.
    pub(super) fn mismatches(&self, noisy: &HashSet<u32>) -> Mismatches {
        let mut mismatches = self.rest;
        for ((fields, reach), times) in &self.known {
            let differing = fields.iter().filter(|field| !noisy.contains(field)).count();
            count(&mut mismatches, *reach, differing, *times);
        }
        mismatches
    }
}

/// Counts `times` comparisons with `differing` fields. If the bodies could not be compared, the comparison counts only
/// if the responses differ elsewhere.
fn count(mismatches: &mut Mismatches, reach: ComparisonDepth, differing: usize, times: u64) {
    let (differs, is_early) = (differing > 0, reach == ComparisonDepth::Early);
    if reach == ComparisonDepth::Head && !differs {
        return;
    }
    let tally = |events| Tally { exposures: times, events: if events { times } else { 0 } };
    mismatches.early.merge(tally(differs && is_early));
    if !is_early {
        mismatches.within.merge(tally(differs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::DifferenceKind;

    fn field(path: &str) -> ResponseField {
        ResponseField { path: path.into(), kind: DifferenceKind::Value }
    }

    /// Differing comparisons that reached the headers, and all of them.
    fn within(sets: &Sets, numbers: &Numbers, noisy: &[&str]) -> (u64, u64) {
        let noisy: Vec<ResponseField> = noisy.iter().map(|path| field(path)).collect();
        let mismatches = sets.mismatches(&numbers.all(&noisy));
        (mismatches.within.events, mismatches.within.exposures)
    }

    #[test]
    fn noisy_fields_are_left_out_also_in_retrospect() {
        let (numbers, mut sets) = (Numbers::default(), Sets::default());
        for paths in [&["$.id", "$.at"][..], &["$.at"], &["$.id", "$.price"], &[]] {
            let fields: Vec<ResponseField> = paths.iter().map(|path| field(path)).collect();
            sets.add(&numbers, &fields, ComparisonDepth::Whole, |_| false);
        }
        sets.add(&numbers, &[field("header:date")], ComparisonDepth::Head, |_| false);
        sets.add(&numbers, &[field("status")], ComparisonDepth::Early, |_| false);
        assert_eq!(within(&sets, &numbers, &[]), (4, 5));
        assert_eq!(within(&sets, &numbers, &["$.id", "$.at"]), (2, 5));
        assert_eq!(
            within(&sets, &numbers, &["$.id", "$.at", "header:date"]),
            (1, 4),
            "a comparison without bodies counts only if it differs"
        );
        let early = sets.mismatches(&numbers.all(&[field("status")])).early;
        assert_eq!((early.events, early.exposures), (0, 6));
    }

    #[test]
    fn sets_beyond_the_limit_are_counted_with_current_verdicts() {
        let (numbers, mut sets) = (Numbers::default(), Sets::default());
        let is_noisy = |field: &ResponseField| field.path.starts_with("$.noise");
        for n in 0..1_000 {
            let all = [field(&format!("$.noise{n}")), field("$.price")];
            sets.add(&numbers, &all[..=n % 2], ComparisonDepth::Whole, is_noisy);
        }
        assert!(sets.known.len() <= SETS_MAX, "{}", sets.known.len());
        let noisy: Vec<String> = (0..1_000).map(|n| format!("$.noise{n}")).collect();
        let noisy: Vec<&str> = noisy.iter().map(String::as_str).collect();
        assert_eq!(within(&sets, &numbers, &noisy), (500, 1_000));
        let many: Vec<ResponseField> = (0..1_000).map(|n| field(&format!("$.f{n}"))).collect();
        sets.add(&numbers, &many, ComparisonDepth::Whole, is_noisy);
        assert_eq!(within(&sets, &numbers, &noisy), (501, 1_001));
    }
}
