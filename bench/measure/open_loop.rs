//! Evenly spread requests for `bench/failover`: `open_loop PORT METHOD RATE SECONDS START`.
//!
//! An open loop: a request is sent when it is due, on an idle connection or on a new one, so that a slow response
//! delays no other request. START is the time of the first request in nanoseconds since the epoch. Prints a line for
//! each request: when it was due (microseconds from START), how long it took from then on (microseconds), and the
//! status of the response, or `refused`, `cut` (the connection ended before the whole response) or `late` (no response
//! within 5 s).

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

type Failure = Box<dyn Error + Send + Sync>;

/// The patience of a client.
const PATIENCE: Duration = Duration::from_secs(5);
/// More requests at once end the run: no proxy should need so many.
const CLIENTS_MAX: usize = 11_000;
const STACK_BYTES: usize = 64 << 10;
const GET: &[u8] = b"GET /hello HTTP/1.1\r\nHost: bench.test\r\n\r\n";
const POST: &[u8] = b"POST /hello HTTP/1.1\r\nHost: bench.test\r\nContent-Length: 6\r\n\r\nhello\n";

/// One request that was made.
struct Done {
    due: Duration,
    took: Duration,
    outcome: String,
}

/// One connection at a time, by its own thread.
struct Client {
    number: usize,
    port: u16,
    request: &'static [u8],
    start: Instant,
    connection: Option<TcpStream>,
    done: Vec<Done>,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, method, rate, seconds, start] = arguments.as_slice() else {
        return Err("open_loop PORT METHOD RATE SECONDS START".into());
    };
    let (port, rate, seconds) = (port.parse::<u16>()?, rate.parse::<f64>()?, seconds.parse::<f64>()?);
    let request = if method == "POST" { POST } else { GET };
    let begins = SystemTime::UNIX_EPOCH + Duration::from_nanos(start.parse()?);
    let start = Instant::now() + begins.duration_since(SystemTime::now())?;
    let idle = Arc::new(Mutex::new(Vec::<usize>::new()));
    let (mut jobs, mut threads) = (Vec::<Sender<Instant>>::new(), Vec::new());
    let mut due = start;
    for number in 1_u32.. {
        if due.duration_since(start).as_secs_f64() >= seconds {
            break;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // The client that was used last has the warmest connection.
        let free = idle.lock().map_err(|_| "a client panicked")?.pop();
        let client = match free {
            Some(client) => client,
            None if jobs.len() == CLIENTS_MAX => return Err("too many requests at once".into()),
            None => {
                let (sender, receiver) = mpsc::channel();
                let client = Client { number: jobs.len(), port, request, start, connection: None, done: Vec::new() };
                let shared = Arc::clone(&idle);
                let builder = thread::Builder::new().stack_size(STACK_BYTES);
                threads.push(builder.spawn(move || client.run(&receiver, &shared))?);
                jobs.push(sender);
                jobs.len() - 1
            }
        };
        jobs[client].send(due).map_err(|_| "a client ended")?;
        due = start + Duration::from_secs_f64(f64::from(number) / rate);
    }
    drop(jobs);
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.join().map_err(|_| "a client panicked")?);
    }
    all.sort_unstable_by_key(|done| done.due);
    let lines: String = all
        .iter()
        .map(|done| format!("{} {} {}\n", done.due.as_micros(), done.took.as_micros(), done.outcome))
        .collect();
    std::io::stdout().write_all(lines.as_bytes())?;
    Ok(())
}

impl Client {
    fn run(mut self, jobs: &Receiver<Instant>, idle: &Mutex<Vec<usize>>) -> Vec<Done> {
        while let Ok(due) = jobs.recv() {
            let outcome = self.exchange(due + PATIENCE).unwrap_or_else(|fault| {
                self.connection = None;
                fault.to_owned()
            });
            self.done.push(Done { due: due - self.start, took: due.elapsed(), outcome });
            if let Ok(mut idle) = idle.lock() {
                idle.push(self.number);
            }
        }
        self.done
    }

    /// The status of the response, or what went wrong.
    fn exchange(&mut self, deadline: Instant) -> Result<String, &'static str> {
        // As clients do, an idle connection that the proxy has closed is not used.
        if self.connection.as_ref().is_some_and(is_closed) {
            self.connection = None;
        }
        if self.connection.is_none() {
            let opened = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).map_err(|_| "refused")?;
            opened.set_nodelay(true).map_err(|_| "refused")?;
            self.connection = Some(opened);
        }
        let Some(connection) = self.connection.as_mut() else { return Err("refused") };
        connection.write_all(self.request).map_err(|_| "cut")?;
        let (status, kept) = read_answer(connection, deadline)?;
        if !kept {
            self.connection = None;
        }
        Ok(status)
    }
}

fn is_closed(connection: &TcpStream) -> bool {
    let peek = || {
        connection.set_nonblocking(true)?;
        let found = connection.peek(&mut [0]);
        connection.set_nonblocking(false)?;
        found
    };
    !matches!(peek(), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// The status, and whether the connection is kept.
fn read_answer(connection: &mut TcpStream, deadline: Instant) -> Result<(String, bool), &'static str> {
    let (mut buffer, mut bytes, mut head) = ([0; 16 << 10], 0, None::<(usize, String)>);
    loop {
        if let Some((end, Some(length))) = head.as_ref().map(|(end, text)| (*end, field(text, "content-length")))
            && bytes >= end + length.parse::<usize>().map_err(|_| "cut")?
        {
            break;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("late");
        }
        connection.set_read_timeout(Some(left)).map_err(|_| "cut")?;
        match connection.read(&mut buffer[bytes..]) {
            // A response without a length ends with its connection.
            Ok(0) => match &head {
                Some((_, text)) if field(text, "content-length").is_none() => break,
                _ => return Err("cut"),
            },
            Ok(read) => bytes += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err("late"),
            Err(_) => return Err("cut"),
        }
        if head.is_none() {
            let end = buffer[..bytes].windows(4).position(|four| four == b"\r\n\r\n");
            head = end.map(|end| (end + 4, String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase()));
        }
    }
    let text = head.map(|(_, text)| text).unwrap_or_default();
    let status = text.split(' ').nth(1).ok_or("cut")?.to_owned();
    let kept = field(&text, "content-length").is_some() && field(&text, "connection") != Some("close");
    Ok((status, kept))
}

fn field<'head>(head: &'head str, name: &str) -> Option<&'head str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
