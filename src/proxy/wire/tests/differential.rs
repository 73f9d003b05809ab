//! The comparison: every response of the corpus in every pair of pieces, by hyper and by Pointsman.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;

use super::corpus::{Sample, samples};
use super::deviations::{Deviation, deviations};
use super::reading::{Difference, differences};
use super::{hyper_reading, own_reading};

/// The fewest lines of the corpus.
const LINES_MIN: usize = 550;
/// A longer message is cut at each of its first and last bytes, and at some between them.
const EVERY_CUT_BYTES_MAX: usize = 2048;

/// The most failures that a test shows.
const SHOWN_MAX: usize = 40;
/// The methods of the requests: with and without a body in the response.
const METHODS: [Method; 2] = [Method::GET, Method::HEAD];

/// The places where a message is cut into two pieces.
pub(super) fn cuts(length: usize) -> Vec<usize> {
    if length <= EVERY_CUT_BYTES_MAX {
        return (1..length).collect();
    }
    let ends = EVERY_CUT_BYTES_MAX / 8;
    (1..ends).chain((ends..length - ends).step_by(length / 64)).chain(length - ends..length).collect()
}

fn failed(sample: &Sample, method: &Method, what: impl std::fmt::Display) -> String {
    format!("corpus.txt:{}: {}: {method} {}: {what}", sample.line, sample.kind, sample.text)
}

/// Fails with the first of these.
#[track_caller]
pub(super) fn none(failures: &[String]) {
    let first = &failures[..failures.len().min(SHOWN_MAX)];
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), first.join("\n"));
}

#[track_caller]
fn check(of_sample: impl Fn(&Sample, &Method) -> Vec<String>) {
    let samples = samples();
    let failures: Vec<String> =
        samples.iter().flat_map(|sample| METHODS.iter().flat_map(|method| of_sample(sample, method))).collect();
    none(&failures);
}

#[test]
fn pointsman_reads_a_response_alike_however_it_arrives() {
    check(|sample, method| {
        let bytes = &sample.bytes[..];
        let whole = own_reading::read(&[bytes], method, &sample.limits);
        let mut failures = Vec::new();
        for cut in cuts(bytes.len()) {
            let (first, second) = bytes.split_at(cut);
            let halves = own_reading::read(&[first, second], method, &sample.limits);
            if halves != whole {
                failures.push(failed(sample, method, format!("cut at {cut}: {halves:?} is not {whole:?}")));
                break;
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        if !bytes.is_empty() && own_reading::read(&single, method, &sample.limits) != whole {
            failures.push(failed(sample, method, "byte by byte"));
        }
        failures
    });
}

#[test]
fn a_response_is_read_alike_whatever_came_before_it_on_the_connection() {
    let first: &[&[u8]] = &[
        b"HTTP/1.0 204 No Content\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\nx: 1\r\ny: 2\r\n\r\n",
        b"\r\nHTTP/1.1 599\r\ncontent-length: 7\r\n\r\n",
    ];
    check(|sample, method| {
        let alone = own_reading::read(&[&sample.bytes], method, &sample.limits);
        let after = first.iter().map(|first| own_reading::read_second(first, &sample.bytes, method, &sample.limits));
        let others = after.filter(|second| *second != alone);
        others.map(|second| failed(sample, method, format!("as the second: {second:?}"))).collect()
    });
}

/// The lines of the corpus where hyper's reading depends on the pieces.
fn unsteady(method: &Method) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    // Of the responses that differ in one byte, the first one.
    let samples = samples().into_iter().filter(|sample| lines.insert(sample.line));
    let depends = |sample: &Sample| {
        let whole = hyper_reading::read(&[&sample.bytes], method, &sample.limits);
        cuts(sample.bytes.len()).into_iter().any(|cut| {
            let (first, second) = sample.bytes.split_at(cut);
            hyper_reading::read(&[first, second], method, &sample.limits) != whole
        })
    };
    samples.filter(depends).map(|sample| sample.line).collect()
}

fn marked() -> BTreeSet<usize> {
    samples().iter().filter(|sample| sample.unsteady).map(|sample| sample.line).collect()
}

#[test]
fn hypers_reading_depends_on_the_pieces_where_the_corpus_says_so() {
    let (found, marked) = (unsteady(&Method::GET), marked());
    let differ: Vec<_> = found.symmetric_difference(&marked).collect();
    assert!(differ.is_empty(), "lines of corpus.txt that have `~`, or should have it: {differ:?}");
}

#[test]
fn hypers_reading_of_a_head_alone_depends_on_the_pieces_nowhere_else() {
    let (found, marked) = (unsteady(&Method::HEAD), marked());
    let unmarked: Vec<_> = found.difference(&marked).collect();
    assert!(unmarked.is_empty(), "lines of corpus.txt that should have `~`: {unmarked:?}");
}

/// What differs between the two readings of a response: the row of the table, or the difference if no row has it.
fn deviate(sample: &Sample, method: &Method, table: &[Deviation]) -> Vec<Result<&'static str, Difference>> {
    let hyper = hyper_reading::read(&[&sample.bytes], method, &sample.limits);
    let own = own_reading::read(&[&sample.bytes], method, &sample.limits);
    let found = [differences(&hyper.open, &own.open), differences(&hyper.ended, &own.ended)];
    let row_of = |found: Difference| {
        let mut rows = table.iter().filter(|row| sample.rows.contains(&row.name));
        rows.find(|row| row.describes(found)).map(|row| row.name).ok_or(found)
    };
    found.into_iter().flatten().map(row_of).collect()
}

#[test]
fn every_deviation_is_in_the_table_and_every_row_is_a_deviation() {
    let table = deviations();
    let mut seen = BTreeSet::new();
    let mut failures = Vec::new();
    for sample in samples() {
        let mut used = BTreeSet::new();
        for method in &METHODS {
            for deviation in deviate(&sample, method, &table) {
                match deviation {
                    Ok(row) => drop(used.insert(row)),
                    Err(Difference { hyper, pointsman }) => {
                        failures.push(failed(&sample, method, format!("hyper {hyper}, Pointsman {pointsman}")));
                    }
                }
            }
        }
        for row in sample.rows.iter().filter(|row| !used.contains(*row)) {
            failures.push(failed(&sample, &Method::GET, format!("no example of {row}")));
        }
        seen.extend(used);
    }
    let unused: Vec<_> = table.iter().map(|row| row.name).filter(|name| !seen.contains(name)).collect();
    none(&failures);
    assert!(unused.is_empty(), "rows of deviations.txt without a deviation: {unused:?}");
}

#[test]
fn the_corpus_is_large_and_has_no_response_twice() {
    let samples = samples();
    let lines: BTreeSet<usize> = samples.iter().map(|sample| sample.line).collect();
    assert!(lines.len() >= LINES_MIN, "{} lines", lines.len());
    let mut seen = BTreeMap::new();
    let twice: Vec<_> = samples
        .iter()
        .filter_map(|sample| Some((seen.insert((&sample.bytes, sample.kind), sample.line)?, sample.line)))
        .collect();
    assert!(twice.is_empty(), "lines of corpus.txt with the same response: {twice:?}");
}
