//! Which fields differ together, and how often. So the rate of mismatches can leave out the fields that are noisy when
//! it is read, also in answers that were compared before a control showed that they are.
//!
//! Answers that differ in the same fields are counted together. A set that finds no room is looked for again without
//! the fields that are noisy by then; what finds none even so is counted as it stands then, for good.

use ahash::{HashMap, HashSet, RandomState};

use crate::compare::ResponseField;
use crate::stats::{Mismatches, Tally};

/// How many sets there are, and how many fields one has.
const SETS_MAX: usize = 256;
const FIELDS_MAX: usize = 64;

/// Numbers fields: the same number for the same field in all sets that share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(RandomState);

/// How far answers were compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ComparisonDepth {
    /// To a failure, or to another status.
    Early,
    /// To the headers; the bodies could not be looked into.
    Head,
    /// To the end.
    Whole,
}

/// The sets of fields in which answers differed.
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
        set.sort_unstable();
        set.dedup();
        set.into()
    }
}

impl Sets {
    /// Adds two answers that differ in these fields; `is_noisy` says which of them are noisy now.
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

    /// Counts a set, if there is room for it.
    fn count(&mut self, set: (Box<[u32]>, ComparisonDepth)) -> bool {
        let has_room = self.known.len() < SETS_MAX && set.0.len() <= FIELDS_MAX;
        if let Some(count) = self.known.get_mut(&set) {
            *count += 1;
        } else if has_room {
            self.known.insert(set, 1);
        } else {
            return false;
        }
        true
    }

    /// How often answers differed in other fields than the noisy ones.
    pub(super) fn mismatches(&self, noisy: &HashSet<u32>) -> Mismatches {
        let mut mismatches = self.rest;
        for ((fields, reach), times) in &self.known {
            let differing = fields.iter().filter(|field| !noisy.contains(field)).count();
            count(&mut mismatches, *reach, differing, *times);
        }
        mismatches
    }
}

/// Counts answers with so many differing fields. Of bodies that could not be looked into nothing is known, unless the
/// answers differ elsewhere.
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

    /// Differences of all answers whose bodies were compared, and how many of these there were.
    fn within(sets: &Sets, numbers: &Numbers, noisy: &[&str]) -> (u64, u64) {
        let noisy: Vec<ResponseField> = noisy.iter().map(|path| field(path)).collect();
        let mismatches = sets.mismatches(&numbers.all(&noisy));
        (mismatches.within.events, mismatches.within.exposures)
    }

    #[test]
    fn noisy_fields_are_left_out_whenever_they_are_found_to_be() {
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
            "of an unread body nothing is known"
        );
        let early = sets.mismatches(&numbers.all(&[field("status")])).early;
        assert_eq!((early.events, early.exposures), (0, 6));
    }

    #[test]
    fn what_finds_no_room_is_counted_by_what_is_known_then() {
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
