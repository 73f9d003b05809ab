//! An upstream of several endpoints, each of which fails in the way and at the time that a test wants.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use super::proxy::{Proxy, Setup};
use super::until;
use super::upstream::{Conn, Got, Upstream};
use crate::upgrade::agree;

/// A whole response with 503.
pub const UNAVAILABLE: Reply = Reply::Status(503, "");

/// What an endpoint does with a request.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// 200 with JSON about the request; the name in it is the endpoint's index.
    Echo,
    /// A whole response with this status and these field lines, each of which ends in CRLF.
    Status(u16, &'static str),
    /// These bytes; then the connection ends in order.
    Cut(&'static str),
    /// These bytes; then a reset.
    Reset(&'static str),
    /// No byte until the proxy closes.
    Silence,
    /// An echo, as soon as the test releases it.
    Held,
    /// Agrees to a WebSocket, and sends back the bytes that come then.
    Switch,
    /// Agrees to a WebSocket; then a reset.
    SwitchAndReset,
}

/// A request as an endpoint got it.
#[derive(Clone, Debug)]
pub struct Try {
    /// The index of the endpoint.
    pub endpoint: usize,
    /// The request.
    pub got: Got,
}

/// The endpoints.
pub struct Fleet {
    endpoints: Vec<Upstream>,
    plan: Arc<Plan>,
}

/// What the endpoints do.
#[derive(Default)]
struct Plan {
    /// The replies to the next requests, whichever endpoint gets them.
    next: Mutex<VecDeque<Reply>>,
    /// The replies of each endpoint otherwise, in turn.
    standing: Mutex<Vec<VecDeque<Reply>>>,
    tries: Mutex<Vec<Try>>,
    released: AtomicBool,
}

impl Plan {
    /// Takes a request, and returns the reply to it.
    fn reply_to(&self, endpoint: usize, got: Got) -> Reply {
        self.tries.lock().unwrap().push(Try { endpoint, got });
        if let Some(reply) = self.next.lock().unwrap().pop_front() {
            return reply;
        }
        let standing = &mut self.standing.lock().unwrap()[endpoint];
        standing.rotate_left(1);
        *standing.back().unwrap()
    }
}

impl Fleet {
    /// So many endpoints that answer well.
    pub fn of(count: usize) -> Self {
        let plan = Arc::new(Plan::default());
        plan.standing.lock().unwrap().resize(count, VecDeque::from([Reply::Echo]));
        let endpoint = |at: usize| {
            let plan = Arc::clone(&plan);
            Upstream::script(move |conn| serve(conn, at, &plan))
        };
        Self { endpoints: (0..count).map(endpoint).collect(), plan }
    }

    /// From now on, this endpoint does this.
    pub fn answers(&self, endpoint: usize, reply: Reply) {
        self.answers_in_turn(endpoint, &[reply]);
    }

    /// From now on, all endpoints do this.
    pub fn all_answer(&self, reply: Reply) {
        (0..self.endpoints.len()).for_each(|endpoint| self.answers(endpoint, reply));
    }

    /// From now on, this endpoint does each of these in turn, again and again.
    pub fn answers_in_turn(&self, endpoint: usize, replies: &[Reply]) {
        self.plan.standing.lock().unwrap()[endpoint] = replies.iter().copied().collect();
    }

    /// The next requests get these replies, whichever endpoints they reach.
    pub fn next_tries_get(&self, replies: &[Reply]) {
        *self.plan.next.lock().unwrap() = replies.iter().copied().collect();
    }

    /// Answers from now on what was [`Reply::Held`].
    pub fn release(&self) {
        self.plan.released.store(true, SeqCst);
    }

    /// The requests so far, in their order.
    pub fn tries(&self) -> Vec<Try> {
        self.plan.tries.lock().unwrap().clone()
    }

    /// The requests since the last call, in their order.
    pub fn take_tries(&self) -> Vec<Try> {
        std::mem::take(&mut self.plan.tries.lock().unwrap())
    }

    /// The number of requests that this endpoint got.
    pub fn requests(&self, endpoint: usize) -> u64 {
        self.endpoints[endpoint].requests()
    }

    /// The address of an endpoint.
    pub fn address(&self, endpoint: usize) -> SocketAddr {
        self.endpoints[endpoint].address()
    }

    /// The value of `endpoints` in a file.
    pub fn urls(&self) -> String {
        let url = |endpoint: &Upstream| format!("\"http://{}\"", endpoint.address());
        format!("[{}]", self.endpoints.iter().map(url).collect::<Vec<_>>().join(", "))
    }

    /// One route to the upstream `main` of this fleet, with these further lines in the two tables.
    pub fn rules(&self, upstream: &str, route: &str) -> String {
        format!(
            "[upstream.main]\nendpoints = {}\nbalance = \"round_robin\"\n{upstream}\n\
             [[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\nstable = \"main\"\n{route}\n",
            self.urls()
        )
    }

    /// A proxy with [`Self::rules`].
    #[track_caller]
    pub fn behind(&self, upstream: &str, route: &str) -> Proxy {
        Setup::default().start(&self.rules(upstream, route))
    }

    /// The state of an endpoint of `main`, as `/status` has it.
    #[track_caller]
    pub fn state(&self, proxy: &Proxy, endpoint: usize) -> String {
        state_of(proxy, "main", self.address(endpoint))
    }
}

/// The state of the endpoint of this upstream with this address, as `/status` has it.
#[track_caller]
pub fn state_of(proxy: &Proxy, upstream: &str, address: SocketAddr) -> String {
    let status = proxy.status();
    let named = |row: &&serde_json::Value, key: &str, value: &str| row[key] == value;
    let all = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let upstreams = all(&status["upstreams"]);
    let row = upstreams.iter().find(|row| named(row, "name", upstream)).unwrap_or_else(|| panic!("{status}"));
    let endpoints = all(&row["endpoints"]);
    let found = endpoints.iter().find(|row| named(row, "address", &address.to_string()));
    let state = found.and_then(|row| row["standing"].as_str());
    state.unwrap_or_else(|| panic!("no state of {address} in {row}")).to_owned()
}

fn serve(mut conn: Conn, endpoint: usize, plan: &Plan) {
    while let Ok(got) = conn.request() {
        let reply = plan.reply_to(endpoint, got.clone());
        let sent = match reply {
            Reply::Echo => conn.send(echo(&got, endpoint)),
            Reply::Held => {
                let goes = || plan.released.load(SeqCst) || conn.shared.stopping.load(SeqCst);
                until("the test releases it", || goes().then_some(()));
                conn.send(echo(&got, endpoint))
            }
            Reply::Status(status, lines) => {
                let body = if got.method == "HEAD" { "" } else { "no" };
                conn.send(format!("HTTP/1.1 {status} Reply\r\n{lines}content-length: 2\r\n\r\n{body}"))
            }
            Reply::Cut(bytes) => {
                conn.send(bytes);
                return;
            }
            Reply::Reset(bytes) => {
                conn.send(bytes);
                return conn.reset();
            }
            Reply::Silence => return conn.wait(),
            Reply::Switch | Reply::SwitchAndReset => return switch(conn, &got, reply),
        };
        if !sent {
            return;
        }
    }
}

fn echo(got: &Got, endpoint: usize) -> String {
    let body = got.json(&endpoint.to_string()).to_string();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    if got.method == "HEAD" { head } else { head + &body }
}

fn switch(mut conn: Conn, got: &Got, reply: Reply) {
    conn.send(agree(got));
    if matches!(reply, Reply::SwitchAndReset) {
        // The first bytes show that the client has seen the 101.
        let _ = conn.wire.some();
        return conn.reset();
    }
    while let Ok(bytes) = conn.wire.some() {
        if !conn.send(bytes) {
            return;
        }
    }
}
