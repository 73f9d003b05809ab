//! The comparison: every request of the corpus in every pair of pieces, by hyper and by Pointsman.

use std::collections::{BTreeMap, BTreeSet};

use super::reading::difference;
use super::{hyper_reading, own_reading};
use crate::proxy::wire::tests::corpus::{Sample, samples_of};
use crate::proxy::wire::tests::deviations::deviations_of;
use crate::proxy::wire::tests::differential::{cuts, none};
use crate::proxy::wire::tests::reading::Difference;

const CORPUS: &str = include_str!("corpus.txt");
const DEVIATIONS: &str = include_str!("deviations.txt");

/// The fewest lines of the corpus.
const LINES_MIN: usize = 400;

fn failed(sample: &Sample, what: impl std::fmt::Display) -> String {
    format!("requests/corpus.txt:{}: {}: {}: {what}", sample.line, sample.kind, sample.text)
}

/// The first of each line: of the requests that differ in one byte, one.
fn one_a_line() -> Vec<Sample> {
    let mut lines = BTreeSet::new();
    samples_of(CORPUS).into_iter().filter(|sample| lines.insert(sample.line)).collect()
}

#[test]
fn pointsman_reads_requests_alike_however_they_arrive() {
    let (mut failures, mut last) = (Vec::new(), 0);
    for sample in samples_of(CORPUS) {
        let bytes = &sample.bytes[..];
        let whole = own_reading::read(&[bytes]);
        // Of the requests that differ in one byte, the first one is cut at every byte.
        let all_cuts = if sample.line == last { Vec::new() } else { cuts(bytes.len()) };
        last = sample.line;
        for cut in all_cuts {
            let (first, second) = bytes.split_at(cut);
            let halves = own_reading::read(&[first, second]);
            if halves != whole {
                failures.push(failed(&sample, format!("cut at {cut}: {halves:?} is not {whole:?}")));
                break;
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        if own_reading::read(&single) != whole {
            failures.push(failed(&sample, "byte by byte"));
        }
    }
    none(&failures);
}

#[test]
fn hypers_reading_depends_on_the_pieces_where_the_corpus_says_so() {
    let depends = |sample: &&Sample| {
        let whole = hyper_reading::read(&[&sample.bytes]);
        // hyper's own buffers are not examined here: long bodies and heads are cut at some bytes only.
        let step = 1 + sample.bytes.len() / 256;
        (1..sample.bytes.len()).step_by(step).any(|cut| {
            let (first, second) = sample.bytes.split_at(cut);
            hyper_reading::read(&[first, second]) != whole
        })
    };
    let samples = one_a_line();
    let found: BTreeSet<usize> = samples.iter().filter(depends).map(|sample| sample.line).collect();
    let marked: BTreeSet<usize> = samples.iter().filter(|sample| sample.unsteady).map(|sample| sample.line).collect();
    let differ: Vec<_> = found.symmetric_difference(&marked).collect();
    assert!(differ.is_empty(), "lines of requests/corpus.txt that have `~`, or should have it: {differ:?}");
}

#[test]
fn every_deviation_is_in_the_table_and_every_row_is_a_deviation() {
    let table = deviations_of(DEVIATIONS);
    // Of the requests of a line that differ in one byte, one at least is an example of each row.
    let (mut seen, mut stated, mut failures) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for sample in samples_of(CORPUS) {
        let found = difference(&hyper_reading::read(&[&sample.bytes]), &own_reading::read(&[&sample.bytes]));
        stated.extend(sample.rows.iter().map(|row| (sample.line, *row)));
        let Some(found) = found else { continue };
        let mut rows = table.iter().filter(|row| sample.rows.contains(&row.name));
        if let Some(row) = rows.find(|row| row.describes(found)) {
            seen.insert((sample.line, row.name));
            continue;
        }
        let Difference { hyper, pointsman } = found;
        failures.push(failed(&sample, format!("hyper {hyper}, Pointsman {pointsman}")));
    }
    failures.dedup();
    none(&failures);
    let without: Vec<_> = stated.difference(&seen).collect();
    assert!(without.is_empty(), "lines of requests/corpus.txt that are no example of a row: {without:?}");
    let used: BTreeSet<&str> = seen.iter().map(|(_, row)| *row).collect();
    let unused: Vec<_> = table.iter().map(|row| row.name).filter(|name| !used.contains(name)).collect();
    assert!(unused.is_empty(), "rows of requests/deviations.txt without a deviation: {unused:?}");
}

#[test]
fn the_corpus_is_large_and_has_no_request_twice() {
    let samples = samples_of(CORPUS);
    let lines: BTreeSet<usize> = samples.iter().map(|sample| sample.line).collect();
    assert!(lines.len() >= LINES_MIN, "{} lines", lines.len());
    let mut seen = BTreeMap::new();
    let twice: Vec<_> =
        samples.iter().filter_map(|sample| Some((seen.insert(&sample.bytes, sample.line)?, sample.line))).collect();
    assert!(twice.is_empty(), "lines of requests/corpus.txt with the same request: {twice:?}");
}
