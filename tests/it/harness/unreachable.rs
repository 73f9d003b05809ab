//! Addresses that cannot be connected to. Each keeps its port bound: a port that a test has given back may belong to
//! another test, or to the proxy itself, a moment later.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// A bound socket on a port that the system chose.
fn bound() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket
}

fn address_of(socket: &Socket) -> SocketAddr {
    socket.local_addr().unwrap().as_socket().unwrap()
}

/// An address that refuses connections while this value lives: it is bound, and no process listens.
pub struct RefusingAddress(Socket);

impl RefusingAddress {
    /// An address on a port that the system chose.
    pub fn new() -> Self {
        Self(bound())
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        address_of(&self.0)
    }

    /// Accepts connections from now on.
    pub fn listen(self) -> TcpListener {
        self.0.listen(128).unwrap();
        self.0.into()
    }
}

/// An address whose backlog is full: the kernel drops new connections, so that a connect times out.
pub struct FullBacklog {
    socket: Socket,
    _queued: Vec<TcpStream>,
}

impl FullBacklog {
    /// An address on a port that the system chose.
    pub fn new() -> Self {
        let socket = bound();
        socket.listen(0).unwrap();
        let (mut queued, mut timeouts) = (Vec::new(), 0);
        // On a busy machine, a single timeout is no proof.
        while timeouts < 2 {
            match TcpStream::connect_timeout(&address_of(&socket), Duration::from_millis(200)) {
                Ok(stream) => queued.push(stream),
                Err(_) => timeouts += 1,
            }
        }
        Self { socket, _queued: queued }
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        address_of(&self.socket)
    }
}
