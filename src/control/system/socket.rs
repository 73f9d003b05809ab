//! Binds listening sockets, and explains why an address cannot be bound.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait in the kernel until they are accepted.
const BACKLOG: i32 = 4_096;

/// An address that cannot be bound.
#[derive(Debug)]
pub struct BindError {
    /// `listener "NAME"` or `the admin listener`.
    pub who: String,
    /// The address.
    pub address: SocketAddr,
    /// The system error.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, address, source } = self;
        write!(f, "{who} cannot listen on {address}: ")?;
        match BindFailure::of(source) {
            Some(BindFailure::InUse) => f.write_str("the address is in use"),
            Some(BindFailure::Forbidden) => f.write_str("permission denied"),
            Some(BindFailure::NotHere) => f.write_str("this machine has no such address"),
            None => write!(f, "{source}"),
        }
    }
}

impl std::error::Error for BindError {}

/// The common causes.
enum BindFailure {
    InUse,
    Forbidden,
    NotHere,
}

impl BindFailure {
    fn of(error: &io::Error) -> Option<Self> {
        let kinds = [
            (io::ErrorKind::AddrInUse, Self::InUse),
            (io::ErrorKind::PermissionDenied, Self::Forbidden),
            (io::ErrorKind::AddrNotAvailable, Self::NotHere),
        ];
        kinds.into_iter().find(|(kind, _)| *kind == error.kind()).map(|(_, obstacle)| obstacle)
    }
}

impl BindError {
    /// A hint for the operator.
    #[must_use]
    pub fn help(&self) -> String {
        let port = self.address.port();
        match BindFailure::of(&self.source) {
            Some(BindFailure::InUse) => format!(
                "`ss -ltnp 'sport = :{port}'` shows who has it; stop that, or choose another port (0 lets the system \
                 choose). When a listener of this proxy on an overlapping address is to be replaced, remove it first"
            ),
            Some(BindFailure::Forbidden) => format!(
                "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE); choose a higher port than {port}, or grant it"
            ),
            Some(BindFailure::NotHere) => {
                "use an address of this machine (`ip address` lists them), or 0.0.0.0 or [::] for all".to_owned()
            }
            None => "choose another address".to_owned(),
        }
    }
}

/// Binds and listens: non-blocking, `SO_REUSEADDR`, and for `[::]` IPv4 as well.
///
/// # Errors
/// The system error: in use, no permission, no such address.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn all_of_ipv6_accepts_ipv4_too() {
        let listener = bind("[::]:0".parse().expect("an address")).expect("bound");
        let port = listener.local_addr().expect("an address").port();
        TcpStream::connect(("127.0.0.1", port)).expect("IPv4 is accepted");
    }

    #[test]
    fn a_port_in_use_says_which_and_what_to_do() {
        let first = bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
        let address = first.local_addr().expect("an address");
        let source = bind(address).expect_err("in use");
        let error = BindError { who: "listener \"http\"".to_owned(), address, source };
        assert_eq!(error.to_string(), format!("listener \"http\" cannot listen on {address}: the address is in use"));
        assert!(error.help().contains(&format!("sport = :{}", address.port())), "{}", error.help());
    }

    #[test]
    fn an_address_of_another_machine_says_so() {
        let address: SocketAddr = "192.0.2.1:80".parse().expect("an address");
        let error = BindError { who: "x".to_owned(), address, source: io::ErrorKind::AddrNotAvailable.into() };
        assert!(error.to_string().contains("no such address"));
        assert!(bind("192.0.2.1:0".parse().expect("an address")).is_err());
    }
}
