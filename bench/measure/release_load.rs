//! Load, stable and canaries for `bench/release`, in one process: `release_load ROUTES RATE`.
//!
//! Prints the ports of stable and of the canaries, then reads commands from standard input, a line each, and answers
//! each with one line, or with one line a route:
//!
//!   start PORT                    requests begin: RATE a second for each route, each of a caller of its own
//!   stable PERMILLE               of stable's responses fail, on all routes
//!   fail ROUTE PERMILLE           of the responses of this route's canary fail from now on; its figures begin anew
//!   heal                          no response of any canary fails
//!   figures                       for each route: the first failing response of its canary, and the last request that
//!                                 reached it (nanoseconds since the epoch, 0: none), its requests and its failing
//!                                 responses since `fail`
//!   load                          requests that were sent, and those without a response, so far
//!
//! A route is `/rN`. The times of a canary are taken where a request arrives: what waits for a core counts.

use std::error::Error;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

type Failure = Box<dyn Error + Send + Sync>;

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n";
const BAD: &[u8] =
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\nbroken\n";
const STACK_BYTES: usize = 64 << 10;
/// The patience of a caller.
const PATIENCE: Duration = Duration::from_secs(5);

/// What all threads share.
struct Shared {
    routes: Vec<Route>,
    stable_permille: AtomicU32,
    sent: AtomicU64,
    lost: AtomicU64,
}

/// One route: what its canary got, since it was last set.
#[derive(Default)]
struct Route {
    permille: AtomicU32,
    first_failure: AtomicU64,
    last_request: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
}

/// Random numbers (xorshift).
struct Dice(u64);

#[derive(Clone, Copy, PartialEq)]
enum Arm {
    Stable,
    Canary,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [routes, rate] = arguments.as_slice() else { return Err("release_load ROUTES RATE".into()) };
    let (routes, rate) = (routes.parse::<u32>()?, rate.parse::<f64>()?);
    let shared = Arc::new(Shared {
        routes: (0..routes).map(|_| Route::default()).collect(),
        stable_permille: AtomicU32::new(0),
        sent: AtomicU64::new(0),
        lost: AtomicU64::new(0),
    });
    let ports = [Arm::Stable, Arm::Canary].map(|arm| listen(&shared, arm));
    let [stable, canary] = ports;
    say(&format!("{} {}\n", stable?, canary?))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        say(&shared.obey(&words, rate)?)?;
    }
    Ok(())
}

fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

impl Shared {
    fn obey(self: &Arc<Self>, words: &[&str], rate: f64) -> Result<String, Failure> {
        match words {
            ["start", port] => {
                let (port, count) = (port.parse::<u16>()?, self.routes.len());
                for number in 0..count {
                    let phase = Duration::from_secs_f64(number as f64 / count as f64 / rate);
                    let (shared, first) = (Arc::clone(self), Instant::now() + phase);
                    let every = Duration::from_secs_f64(1.0 / rate);
                    spawn(move || Caller { shared, number, port, every, connection: None }.run(first))?;
                }
            }
            ["stable", permille] => self.stable_permille.store(permille.parse()?, Relaxed),
            ["fail", route, permille] => {
                let route = self.routes.get(route.parse::<usize>()?).ok_or("no such route")?;
                for word in [&route.first_failure, &route.last_request, &route.requests, &route.failures] {
                    word.store(0, Relaxed);
                }
                route.permille.store(permille.parse()?, Relaxed);
            }
            ["heal"] => self.routes.iter().for_each(|route| route.permille.store(0, Relaxed)),
            ["figures"] => return Ok(self.routes.iter().map(Route::figures).collect()),
            ["load"] => return Ok(format!("{} {}\n", self.sent.load(Relaxed), self.lost.load(Relaxed))),
            other => return Err(format!("no command {other:?}").into()),
        }
        Ok("done\n".to_owned())
    }
}

impl Route {
    fn figures(&self) -> String {
        let words = [&self.first_failure, &self.last_request, &self.requests, &self.failures];
        words.map(|word| word.load(Relaxed).to_string()).join(" ") + "\n"
    }
}

impl Dice {
    /// Whether this one fails.
    fn fails(&mut self, permille: u32) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        permille > 0 && self.0 % 1000 < u64::from(permille)
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new().stack_size(STACK_BYTES).spawn(work)?;
    Ok(())
}

// The services.

/// Serves an arm from now on; returns its port.
fn listen(shared: &Arc<Shared>, arm: Arm) -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (port, shared) = (listener.local_addr()?.port(), Arc::clone(shared));
    spawn(move || {
        for connection in listener.incoming().flatten() {
            let (shared, seed) = (Arc::clone(&shared), now() | 1);
            // A connection that fails is the proxy's affair.
            let _ = spawn(move || drop(serve(&shared, arm, connection, Dice(seed))));
        }
    })?;
    Ok(port)
}

fn serve(shared: &Shared, arm: Arm, mut connection: TcpStream, mut dice: Dice) -> Result<(), Failure> {
    connection.set_nodelay(true)?;
    let (mut buffer, mut bytes) = ([0; 8192], 0);
    loop {
        let Some(end) = buffer[..bytes].windows(4).position(|four| four == b"\r\n\r\n") else {
            let read = connection.read(&mut buffer[bytes..])?;
            if read == 0 {
                return Ok(());
            }
            bytes += read;
            continue;
        };
        let head = std::str::from_utf8(&buffer[..end])?;
        let target = head.split(' ').nth(1).ok_or("no target")?;
        let number: usize = target.strip_prefix("/r").ok_or("another path")?.parse()?;
        let route = shared.routes.get(number).ok_or("no such route")?;
        let fails = match arm {
            Arm::Stable => dice.fails(shared.stable_permille.load(Relaxed)),
            Arm::Canary => route.arrived(&mut dice),
        };
        buffer.copy_within(end + 4..bytes, 0);
        bytes -= end + 4;
        connection.write_all(if fails { BAD } else { GOOD })?;
    }
}

impl Route {
    /// A request has reached the canary; returns whether it fails.
    fn arrived(&self, dice: &mut Dice) -> bool {
        let at = now();
        self.last_request.fetch_max(at, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        let fails = dice.fails(self.permille.load(Relaxed));
        if fails {
            self.failures.fetch_add(1, Relaxed);
            let _ = self.first_failure.compare_exchange(0, at, Relaxed, Relaxed);
        }
        fails
    }
}

// The callers.

/// The callers of one route, over one connection.
struct Caller {
    shared: Arc<Shared>,
    number: usize,
    port: u16,
    every: Duration,
    connection: Option<TcpStream>,
}

impl Caller {
    fn run(mut self, first: Instant) {
        let (mut due, mut caller) = (first, now() ^ (self.number as u64) << 48);
        loop {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            caller = caller.wrapping_add(1);
            self.shared.sent.fetch_add(1, Relaxed);
            if self.exchange(caller).is_err() {
                self.connection = None;
                self.shared.lost.fetch_add(1, Relaxed);
            }
            due += self.every;
            // Late by a second: the rate goes on from now.
            if due + Duration::from_secs(1) < Instant::now() {
                due = Instant::now();
            }
        }
    }

    fn exchange(&mut self, caller: u64) -> Result<(), Failure> {
        if self.connection.is_none() {
            let opened = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            opened.set_nodelay(true)?;
            opened.set_read_timeout(Some(PATIENCE))?;
            self.connection = Some(opened);
        }
        let connection = self.connection.as_mut().ok_or("not connected")?;
        let number = self.number;
        let request = format!("GET /r{number} HTTP/1.1\r\nHost: bench.test\r\nCookie: uid={caller:x}\r\n\r\n");
        connection.write_all(request.as_bytes())?;
        let (mut buffer, mut bytes) = ([0; 4096], 0);
        loop {
            let read = connection.read(&mut buffer[bytes..])?;
            if read == 0 {
                return Err("closed".into());
            }
            bytes += read;
            let Some(end) = buffer[..bytes].windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&buffer[..end])?.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).ok_or("no length")?;
            if bytes < end + 4 + length.parse::<usize>()? {
                continue;
            }
            if head.contains("connection: close") {
                self.connection = None;
            }
            return Ok(());
        }
    }
}
