//! Hostile answers to copies and their controls: the requests get their own responses, and every copy ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::{COMPARED, Figures, SHADOWED, setup};
use crate::harness::upstream::Conn;
use crate::harness::{Upstream, until};
use crate::hostile_answers::row::{Row, Step};
use crate::hostile_answers::rows;

/// Rows of one proxy. A shadow that fails for longer gets fewer copies.
const ROWS: usize = 8;

/// Answers requests with their body and copies with a row, and counts the copies of each row.
fn answering(rows: &Arc<Vec<Row>>) -> (Upstream, Arc<Vec<AtomicUsize>>) {
    let copies: Arc<Vec<AtomicUsize>> = Arc::new(rows.iter().map(|_| AtomicUsize::new(0)).collect());
    let upstream = Upstream::script({
        let (rows, copies) = (Arc::clone(rows), Arc::clone(&copies));
        move |mut conn| {
            while let Ok(got) = conn.request() {
                if got.field("x-pointsman-shadow").is_none() {
                    conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", got.body.len()));
                    conn.send(got.body);
                    continue;
                }
                let at: usize = got.target[1..].parse().unwrap();
                copies[at].fetch_add(1, SeqCst);
                if !perform(&mut conn, &rows[at].steps) {
                    return conn.reset();
                }
            }
        }
    });
    (upstream, copies)
}

/// Performs a row's steps up to a reset, which the caller performs. No client reads the response of a copy.
fn perform(conn: &mut Conn, steps: &[Step]) -> bool {
    for step in steps {
        match step {
            Step::Send(bytes) => drop(conn.send(bytes)),
            Step::Trickle(bytes) => drop(bytes.chunks(1).all(|byte| conn.send(byte))),
            Step::Endless(bytes) => while conn.send(bytes) {},
            Step::Await(_) => {}
            Step::Finish => conn.wire.finish(),
            Step::Reset => return false,
        }
    }
    true
}

#[test]
fn hostile_answers_to_copies_harm_no_request() {
    let rows = Arc::new(rows());
    let text = format!("{}{COMPARED}", SHADOWED.replace("methods =", "timeout = \"20s\"\nmethods ="));
    let (mut controls, mut dropped) = (0, 0.0);
    for first in (0..rows.len()).step_by(ROWS) {
        let ((main, as_control), (dark, as_copy)) = (answering(&rows), answering(&rows));
        let proxy = setup(&main, &dark).start(&text);
        let mut client = proxy.connect();
        for at in first..rows.len().min(first + ROWS) {
            until("the shadow gets a copy", || {
                // A response to HEAD has no body, whatever it says.
                let answer = if rows[at].method == "HEAD" {
                    client.send(format!("HEAD /{at} HTTP/1.1\r\nHost: test\r\n\r\n")).read_response_to("HEAD")
                } else {
                    client.post(&format!("/{at}"), "", format!("request {at}").as_bytes())
                };
                let body = if rows[at].method == "HEAD" { String::new() } else { format!("request {at}") };
                assert_eq!((answer.status, answer.text()), (200, body), "{}", rows[at].name);
                (as_copy[at].load(SeqCst) > 0).then_some(())
            });
        }
        let figures = Figures::settled(&proxy, 1);
        let known = ["reset", "in_flight", "bytes"];
        let odd = figures.dropped.iter().find(|(reason, _)| !known.contains(&reason.as_str()));
        assert_eq!(odd, None, "rows from {first}: {figures:?}");
        dropped += figures.dropped("reset");
        controls += as_control.iter().map(|count| count.load(SeqCst)).sum::<usize>();
        until("the memory of copies is released", || {
            (proxy.metric("pointsman_shadow_held_bytes") == 0.0).then_some(())
        });
        assert_eq!(client.post("/0", "", b"last").text(), "last");
        drop(client);
        proxy.settles();
    }
    assert!(controls > 0 && dropped > 0.0, "{controls} controls, {dropped} copies failed");
}
