//! The upstream that plays the rows, and the requests that it receives.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use super::row::{Outcome, Row, Seen, Step};
use crate::harness::arrival::Ends;
use crate::harness::upstream::Conn;
use crate::harness::{PATIENCE, Upstream};

/// Most bytes of an endless answer. A proxy that takes more reads without a bound.
const ENDLESS_BYTES_MAX: usize = 64 << 20;

/// A request as the upstream received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its target.
    pub target: String,
    /// The number of its connection.
    pub connection: u64,
    /// How many requests came on the connection before.
    pub earlier: usize,
}

/// An upstream that plays a row for each target below `/case`, answers all others with their target, and closes the
/// connection after those below `/last`.
pub struct Stage {
    /// The upstream.
    pub upstream: Upstream,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    act: Mutex<Option<Arc<Act>>>,
    receipts: Mutex<Vec<Receipt>>,
}

/// A row that is played.
struct Act {
    steps: Vec<Step>,
    /// The response is complete, maybe before its end.
    complete: bool,
    seen: Mutex<Receiver<Seen>>,
    done: Sender<()>,
}

/// How an act leaves its connection.
enum Left {
    Open,
    Reset,
}

/// The test's end of an act: reports what the client has read.
pub struct Cue {
    seen: Sender<Seen>,
    done: Receiver<()>,
}

impl Cue {
    /// The client has read this.
    pub fn give(&self, seen: Seen) {
        // The upstream may have ended.
        let _ = self.seen.send(seen);
    }

    /// Waits until the upstream has done everything.
    pub fn finished(self, what: &str) {
        self.done.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what}: the upstream has not finished"));
    }
}

impl Stage {
    /// An upstream without an act.
    pub fn new() -> Self {
        let shared = Arc::new(Shared::default());
        let upstream = Upstream::script({
            let shared = Arc::clone(&shared);
            move |conn| shared.serve(conn)
        });
        Self { upstream, shared }
    }

    /// Plays this row from now on.
    pub fn play(&self, row: &Row) -> Cue {
        let ((seen, seen_by), (done_by, done)) = (channel(), channel());
        let complete = matches!(row.outcome, Outcome::Complete(_));
        let act = Act { steps: row.steps.clone(), complete, seen: Mutex::new(seen_by), done: done_by };
        *self.shared.act.lock().unwrap() = Some(Arc::new(act));
        Cue { seen, done }
    }

    /// The receipts of this target.
    pub fn receipts(&self, target: &str) -> Vec<Receipt> {
        self.shared.receipts.lock().unwrap().iter().filter(|receipt| receipt.target == target).cloned().collect()
    }

    /// The number of all receipts.
    pub fn received(&self) -> usize {
        self.shared.receipts.lock().unwrap().len()
    }
}

impl Shared {
    fn serve(&self, mut conn: Conn) {
        let mut earlier = 0;
        while let Ok(got) = conn.request() {
            let (target, connection) = (got.target, conn.number);
            self.receipts.lock().unwrap().push(Receipt { target: target.clone(), connection, earlier });
            earlier += 1;
            if target.starts_with("/case") {
                let act = self.act.lock().unwrap().clone().expect("a row is played");
                let Some(left) = act.play(conn) else { return };
                conn = left;
                continue;
            }
            let last = target.starts_with("/last");
            let close = if last { "connection: close\r\n" } else { "" };
            conn.send(format!("HTTP/1.1 200 OK\r\n{close}content-length: {}\r\n\r\n{target}", target.len()));
            if last {
                return;
            }
        }
    }
}

impl Act {
    /// Plays the row; returns the connection unless it was reset. What follows a complete response has arrived then:
    /// the next request comes after it.
    fn play(&self, mut conn: Conn) -> Option<Conn> {
        let ends = Ends::of(&conn.wire.writer());
        let left = match self.perform(&mut conn) {
            Left::Open => Some(conn),
            Left::Reset => {
                conn.reset();
                None
            }
        };
        match &self.steps[..] {
            [.., Step::Finish | Step::Reset] if self.complete => ends.ended(),
            [.., Step::Await(Seen::Answer), Step::Send(_)] => ends.delivered(),
            _ => {}
        }
        let _ = self.done.send(());
        left
    }

    /// Performs the steps, up to a reset.
    fn perform(&self, conn: &mut Conn) -> Left {
        for step in &self.steps {
            match step {
                Step::Send(bytes) => {
                    conn.send(bytes);
                }
                Step::Trickle(bytes) => {
                    bytes.chunks(1).all(|byte| conn.send(byte));
                }
                Step::Endless(bytes) => {
                    let most = ENDLESS_BYTES_MAX / bytes.len();
                    assert!(!(0..most).all(|_| conn.send(bytes)), "the proxy reads without a bound");
                }
                Step::Await(expected) => {
                    let seen = self.seen.lock().unwrap();
                    // If the test fails, its end is dropped.
                    while seen.recv_timeout(PATIENCE).is_ok_and(|seen| seen != *expected) {}
                }
                Step::Finish => conn.wire.finish(),
                Step::Reset => return Left::Reset,
            }
        }
        Left::Open
    }
}
