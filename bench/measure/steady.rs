//! Evenly spread requests over kept connections, for the bench: `steady PORT RATE SECONDS CONNECTIONS`.
//!
//! An open loop: a request is due at its time even if the one before has no response yet. The wait for a busy
//! connection counts; a late wake-up of this process does not. Prints the latencies in nanoseconds, lowest first.
//!
//! Other tools cannot spread ten thousand requests a second evenly: h2load sends the requests of every 10 ms in a
//! burst, which is a closed loop, and Python takes longer for a request than a proxy.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

type Failure = Box<dyn Error + Send + Sync>;

const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: bench.test\r\nCookie: uid=caller-1\r\n\r\n";
/// Time for connections to open, and for requests that are not counted.
const SETTLE: Duration = Duration::from_millis(200);
const WARM_UP: Duration = Duration::from_secs(1);
/// The highest delay of the last request.
const BACKLOG_MAX: Duration = Duration::from_secs(2);
/// The time limit of a response.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The requests of one connection.
struct Plan {
    port: u16,
    first: Instant,
    every: Duration,
    counted_from: Instant,
    end: Instant,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, rate, seconds, connections] = arguments.as_slice() else {
        return Err("steady PORT RATE SECONDS CONNECTIONS".into());
    };
    let (port, rate, connections) = (port.parse::<u16>()?, rate.parse::<f64>()?, connections.parse::<u32>()?);
    let start = Instant::now() + SETTLE;
    let counted_from = start + WARM_UP;
    let end = counted_from + Duration::from_secs_f64(seconds.parse()?);
    let every = Duration::from_secs_f64(f64::from(connections) / rate);
    let plans =
        (0..connections).map(|n| Plan { port, first: start + every * n / connections, every, counted_from, end });
    let running: Vec<_> = plans.map(|plan| std::thread::spawn(move || plan.carry_out())).collect();
    let mut all = Vec::new();
    for thread in running {
        all.extend(thread.join().map_err(|_| "a connection's thread panicked")??);
    }
    all.sort_unstable();
    let lines: String = all.iter().map(|latency| format!("{}\n", latency.as_nanos())).collect();
    std::io::stdout().write_all(lines.as_bytes())?;
    Ok(())
}

impl Plan {
    fn carry_out(&self) -> Result<Vec<Duration>, Failure> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(ANSWER_LIMIT))?;
        let (mut latencies, mut due, mut lag) = (Vec::new(), self.first, Duration::ZERO);
        while due < self.end {
            let free_at = Instant::now();
            if free_at > self.end + BACKLOG_MAX {
                return Err(format!("requests that were due {:?} ago were not sent yet", free_at - due).into());
            }
            // If this process sent the request before late, its response came later by `lag`.
            let waited = free_at.saturating_duration_since(due + lag);
            if waited.is_zero() {
                std::thread::sleep(due.saturating_duration_since(free_at));
                lag = due.elapsed();
            }
            let began = due + lag;
            connection.write_all(REQUEST)?;
            read_answer(&mut connection)?;
            if due >= self.counted_from {
                latencies.push(began.elapsed());
            }
            due += self.every;
        }
        Ok(latencies)
    }
}

/// Reads a whole response, which must be a 200 with a content-length.
fn read_answer(connection: &mut TcpStream) -> Result<(), Failure> {
    let (mut buffer, mut bytes, mut wanted) = ([0; 4096], 0, None);
    while wanted.is_none_or(|wanted| bytes < wanted) {
        let read = connection.read(&mut buffer[bytes..])?;
        if read == 0 {
            return Err("the connection was closed before the whole response".into());
        }
        bytes += read;
        if wanted.is_none() {
            let end = buffer[..bytes].windows(4).position(|four| four == b"\r\n\r\n");
            wanted = end.map(|end| length(&buffer[..end]).map(|length| end + 4 + length)).transpose()?;
        }
    }
    Ok(())
}

fn length(head: &[u8]) -> Result<usize, Failure> {
    let head = std::str::from_utf8(head)?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) if head.starts_with("http/1.1 200 ") => Ok(length.parse()?),
        _ => Err(format!("not a 200 with a content-length: {head}").into()),
    }
}
