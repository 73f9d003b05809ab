//! An endpoint for `bench/failover`: `endpoint FILE DELAY_MS < LISTENER`.
//!
//! Standard input is a listening socket. FILE begins with the number of requests so far, a little-endian word, and one
//! byte that another process may change at any time: 0 answers 200 after the delay, 1 answers 503 at once, 2 answers
//! 200 after a second. Requests for `/health` are answered likewise and not counted.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

type Failure = Box<dyn Error + Send + Sync>;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n";
const UNAVAILABLE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nbusy\n";
const MODE_AT: u64 = 8;
const SLOW: Duration = Duration::from_secs(1);
const STACK_BYTES: usize = 64 << 10;

/// What all connections share.
struct Endpoint {
    file: File,
    requests: Mutex<u64>,
    delay: Duration,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, delay] = arguments.as_slice() else {
        return Err("endpoint FILE DELAY_MS < LISTENER".into());
    };
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut word = [0; 8];
    file.read_exact_at(&mut word, 0)?;
    let endpoint = Arc::new(Endpoint {
        file,
        requests: Mutex::new(u64::from_le_bytes(word)),
        delay: Duration::from_millis(delay.parse()?),
    });
    let listener = TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    loop {
        let (connection, _) = listener.accept()?;
        let shared = Arc::clone(&endpoint);
        // A connection that fails is the proxy's affair.
        thread::Builder::new().stack_size(STACK_BYTES).spawn(move || drop(shared.serve(connection)))?;
    }
}

impl Endpoint {
    fn serve(&self, mut connection: TcpStream) -> Result<(), Failure> {
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
            let head = buffer[..end].to_ascii_lowercase();
            if !head.windows(9).any(|nine| nine == b" /health ") {
                self.count()?;
            }
            let whole = end + 4 + content_length(&head)?;
            if whole > buffer.len() {
                return Err("a body that is too large".into());
            }
            while bytes < whole {
                let read = connection.read(&mut buffer[bytes..])?;
                if read == 0 {
                    return Ok(());
                }
                bytes += read;
            }
            buffer.copy_within(whole..bytes, 0);
            bytes -= whole;
            self.answer(&mut connection)?;
        }
    }

    fn count(&self) -> Result<(), Failure> {
        let mut requests = self.requests.lock().map_err(|_| "a thread panicked")?;
        *requests += 1;
        Ok(self.file.write_all_at(&requests.to_le_bytes(), 0)?)
    }

    fn answer(&self, connection: &mut TcpStream) -> Result<(), Failure> {
        let mut mode = [0];
        self.file.read_exact_at(&mut mode, MODE_AT)?;
        let (delay, answer) = match mode {
            [1] => (Duration::ZERO, UNAVAILABLE),
            [2] => (SLOW, OK),
            _ => (self.delay, OK),
        };
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        Ok(connection.write_all(answer)?)
    }
}

fn content_length(head: &[u8]) -> Result<usize, Failure> {
    let head = std::str::from_utf8(head)?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    Ok(length.map_or(Ok(0), |length| length.trim().parse())?)
}
