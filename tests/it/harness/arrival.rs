//! Whether what a test sent has arrived in the peer's socket: a busy kernel delivers later than the call returns.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use super::until;

/// `ESTABLISHED` in the kernel's table.
const ESTABLISHED: &str = "01";
/// The beginning of its queues, if all sent bytes are acknowledged.
const NONE: &str = "00000000:";

/// Both ends of a connection over IPv4.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    own: SocketAddr,
    /// `None`: the peer has reset the connection.
    peer: Option<SocketAddr>,
}

impl Ends {
    /// The ends of this connection.
    pub fn of(stream: &TcpStream) -> Self {
        Self { own: stream.local_addr().unwrap(), peer: stream.peer_addr().ok() }
    }

    /// Waits until the peer's socket has received the end of the connection, or is closed.
    #[track_caller]
    pub fn ended(self) {
        until("the end has arrived", || {
            all((self.peer, Some(self.own)), |state, _| state != ESTABLISHED).then_some(())
        });
    }

    /// Waits until the peer's socket has received all bytes that were sent.
    #[track_caller]
    pub fn delivered(self) {
        let delivered =
            || all((Some(self.own), self.peer), |state, queues| state != ESTABLISHED || queues.starts_with(NONE));
        until("the bytes have arrived", || delivered().then_some(()));
    }
}

/// Whether the socket with these ends, local and remote, is in such a state, with such queues, or is gone. The table may
/// have tens of thousands of lines.
fn all(ends: (Option<SocketAddr>, Option<SocketAddr>), fits: impl Fn(&str, &str) -> bool) -> bool {
    let (Some(local), Some(remote)) = ends else { return true };
    assert_eq!([local.ip(), remote.ip()], [IpAddr::V4(Ipv4Addr::LOCALHOST); 2], "the addresses in the table");
    let line = format!(":{:04X} 0100007F:{:04X} ", local.port(), remote.port());
    let table = std::fs::read("/proc/net/tcp").unwrap();
    let Some(at) = memchr::memmem::find(&table, line.as_bytes()) else { return true };
    let rest = &table[at + line.len()..];
    let mut words = str::from_utf8(&rest[..rest.len().min(64)]).unwrap().split(' ');
    fits(words.next().unwrap(), words.next().unwrap())
}
