//! Listening sockets that this process did not bind: those of the previous process, and those that systemd opened.
//!
//! A socket of the previous process belongs to the listener with the same address in the file; the same name is
//! preferred. A socket of systemd belongs to the listener with its address, else to the one with its name
//! (`FileDescriptorName=`). It is only lent: systemd keeps it open before, between and after our processes.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::io::{FdFlags, fcntl_setfd};

use super::channel::{SocketLabel, SocketOrigin};
use crate::snapshot::ListeningSocket;

/// The name of the admin listener's socket in systemd.
const ADMIN: &str = "admin";

/// Listening sockets that this process did not bind.
#[derive(Clone, Debug, Default)]
pub struct InheritedSockets(Vec<InheritedSocket>);

/// An inherited socket.
#[derive(Clone, Debug)]
struct InheritedSocket {
    label: SocketLabel,
    bound: SocketAddr,
    socket: Arc<ListeningSocket>,
    taken: bool,
}

/// The owner of a socket.
#[derive(Clone, Copy)]
pub(in crate::control) enum SocketOwner<'a> {
    /// The listener with this name.
    Listener(&'a str),
    /// The admin listener, with all its addresses.
    Admin(&'a [SocketAddr]),
}

impl InheritedSockets {
    /// The sockets from systemd, by `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`. Call it once, before any file is
    /// opened. Unusable sockets are logged.
    #[must_use]
    pub fn from_systemd() -> Self {
        let mut all = Self::default();
        let ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
        if !ours {
            return all;
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let mut passed = listenfd::ListenFd::from_env();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let label = SocketLabel { origin: SocketOrigin::Systemd, name, wanted: None };
            match passed.take_tcp_listener(index) {
                Ok(Some(socket)) => {
                    if let Err(error) = all.add(label.clone(), socket.into()) {
                        tracing::error!(name = label.name, %error, "socket passed by systemd cannot be used");
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(name = label.name, %error, "socket passed by systemd is not a TCP socket: it is ignored");
                }
            }
        }
        all
    }

    /// Adds a socket.
    ///
    /// # Errors
    /// When the socket does not listen.
    pub(super) fn add(&mut self, label: SocketLabel, socket: OwnedFd) -> std::io::Result<()> {
        fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        let socket = socket2::Socket::from(socket);
        if !socket.is_listener()? {
            return Err(std::io::Error::other("it does not listen"));
        }
        socket.set_nonblocking(true)?;
        let socket = TcpListener::from(socket);
        let bound = socket.local_addr()?;
        let socket = match label.origin {
            SocketOrigin::Systemd => ListeningSocket::shared(socket),
            SocketOrigin::Listener | SocketOrigin::Admin => ListeningSocket::own(socket),
        };
        self.0.push(InheritedSocket { label, bound, socket: Arc::new(socket), taken: false });
        Ok(())
    }

    /// Takes the unused socket for this address of the file, if there is one.
    pub(in crate::control) fn take(
        &mut self,
        who: SocketOwner<'_>,
        address: SocketAddr,
    ) -> Option<Arc<ListeningSocket>> {
        let fits: [fn(&InheritedSocket, SocketOwner<'_>, SocketAddr) -> bool; 4] = [
            InheritedSocket::matches_name_and_address,
            InheritedSocket::matches_address,
            InheritedSocket::is_bound_to,
            InheritedSocket::matches_systemd_name,
        ];
        let at = fits.iter().find_map(|fit| self.0.iter().position(|one| !one.taken && fit(one, who, address)))?;
        let one = self.0.get_mut(at)?;
        one.taken = true;
        if one.label.origin == SocketOrigin::Systemd && one.bound != address {
            tracing::info!(name = one.label.name, file = %address, systemd = %one.bound, "listening on a socket passed by systemd");
        }
        Some(Arc::clone(&one.socket))
    }

    /// The indexes of the used sockets, among those of the previous process.
    pub(super) fn taken(&self) -> Vec<usize> {
        let of_ours = self.0.iter().filter(|one| one.label.origin != SocketOrigin::Systemd);
        of_ours.enumerate().filter(|(_, one)| one.taken).map(|(at, _)| at).collect()
    }

    /// Logs unused sockets, and keeps those that a later file may use.
    pub(in crate::control) fn settle(&mut self) {
        self.log_unused();
        for one in self.0.iter().filter(|one| !one.taken) {
            let (name, address) = (&one.label.name, one.bound);
            match one.label.origin {
                SocketOrigin::Systemd => {}
                SocketOrigin::Listener => tracing::info!(name, %address, "listener of the previous process removed"),
                SocketOrigin::Admin => tracing::info!(%address, "address of the admin listener removed"),
            }
        }
        self.0.retain(|one| one.label.origin == SocketOrigin::Systemd);
    }

    /// Logs unused sockets of systemd: clients that connect to one are never accepted.
    pub(in crate::control) fn log_unused(&self) {
        for one in self.0.iter().filter(|one| !one.taken && one.label.origin == SocketOrigin::Systemd) {
            tracing::warn!(
                name = one.label.name,
                address = %one.bound,
                "socket passed by systemd is not used: give a listener this address or name"
            );
        }
    }

    /// Marks exactly these sockets as used: a reload gives sockets back, and a rejected one has taken none.
    pub(in crate::control) fn mark_used(&mut self, sockets: &[Arc<ListeningSocket>]) {
        for one in &mut self.0 {
            one.taken = sockets.iter().any(|socket| Arc::ptr_eq(socket, &one.socket));
        }
    }

    /// The sockets of systemd, to be passed on.
    pub(super) fn of_systemd(&self) -> impl Iterator<Item = (&SocketLabel, &Arc<ListeningSocket>)> {
        self.0.iter().filter(|one| one.label.origin == SocketOrigin::Systemd).map(|one| (&one.label, &one.socket))
    }
}

impl InheritedSocket {
    /// Whether the previous process used it for this kind of owner.
    fn is_for(&self, who: SocketOwner<'_>) -> bool {
        match who {
            SocketOwner::Listener(_) => self.label.origin == SocketOrigin::Listener,
            SocketOwner::Admin(_) => self.label.origin == SocketOrigin::Admin,
        }
    }

    fn matches_name_and_address(&self, who: SocketOwner<'_>, address: SocketAddr) -> bool {
        let same_name = match who {
            SocketOwner::Listener(name) => self.label.name == name,
            SocketOwner::Admin(_) => true,
        };
        same_name && self.matches_address(who, address)
    }

    fn matches_address(&self, who: SocketOwner<'_>, address: SocketAddr) -> bool {
        self.is_for(who) && self.label.wanted == Some(address)
    }

    /// Matches the bound address; also `0.0.0.0:80` for a socket on `[::]:80` that accepts IPv4, which is how systemd
    /// opens `ListenStream=80`.
    fn is_bound_to(&self, who: SocketOwner<'_>, address: SocketAddr) -> bool {
        let both = || {
            let all = address.ip().is_unspecified() && self.bound.ip().is_unspecified() && self.bound.is_ipv6();
            let only_v6 = socket2::SockRef::from(&self.socket.as_fd()).only_v6().unwrap_or(true);
            all && address.port() == self.bound.port() && !only_v6
        };
        let usable = self.label.origin == SocketOrigin::Systemd || self.is_for(who);
        usable && address.port() != 0 && (self.bound == address || both())
    }

    /// Matches the name from systemd. A socket on another address of the admin listener is left to that address.
    fn matches_systemd_name(&self, who: SocketOwner<'_>, _: SocketAddr) -> bool {
        let matches_systemd_name = match who {
            SocketOwner::Listener(name) => self.label.name == name,
            SocketOwner::Admin(all) => {
                self.label.name == ADMIN && !all.iter().any(|address| self.is_bound_to(who, *address))
            }
        };
        self.label.origin == SocketOrigin::Systemd && matches_systemd_name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::system::bind;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn add(all: &mut InheritedSockets, origin: SocketOrigin, name: &str, wanted: Option<&str>, at: &str) -> SocketAddr {
        let socket = bind(address(at)).expect("bound");
        let bound = socket.local_addr().expect("an address");
        let label = SocketLabel { origin, name: name.to_owned(), wanted: wanted.map(address) };
        all.add(label, socket.into()).expect("it listens");
        bound
    }

    #[test]
    fn a_listener_keeps_its_socket_also_with_port_0() {
        let mut all = InheritedSockets::default();
        let a = add(&mut all, SocketOrigin::Listener, "a", Some("127.0.0.1:0"), "127.0.0.1:0");
        let b = add(&mut all, SocketOrigin::Listener, "b", Some("127.0.0.1:0"), "127.0.0.1:0");
        let admin = add(&mut all, SocketOrigin::Admin, "", Some("127.0.0.1:0"), "127.0.0.1:0");
        let any = address("127.0.0.1:0");
        let bound =
            |socket: Option<Arc<ListeningSocket>>| socket.map(|socket| socket.local_addr().expect("an address"));
        assert_eq!(bound(all.take(SocketOwner::Listener("b"), any)), Some(b), "the name goes first");
        assert_eq!(bound(all.take(SocketOwner::Listener("renamed"), any)), Some(a), "then the address");
        assert_eq!(
            bound(all.take(SocketOwner::Listener("c"), any)),
            None,
            "the admin listener's socket is not given to a listener"
        );
        assert_eq!(all.taken(), [0, 1]);
        assert_eq!(bound(all.take(SocketOwner::Admin(&[any]), any)), Some(admin));
        assert_eq!(all.taken(), [0, 1, 2]);
        all.settle();
        assert!(all.0.is_empty());
    }

    #[test]
    fn a_socket_of_systemd_is_found_by_address_or_name_and_comes_back() {
        let mut all = InheritedSockets::default();
        let dual = add(&mut all, SocketOrigin::Systemd, "pointsman.socket", None, "[::]:0");
        let named = add(&mut all, SocketOrigin::Systemd, "https", None, "127.0.0.1:0");
        let any = address(&format!("0.0.0.0:{}", dual.port()));
        let taken = all.take(SocketOwner::Listener("http"), any).expect("[::] takes IPv4 too");
        assert!(taken.is_shared(), "it is only lent");
        assert!(all.take(SocketOwner::Listener("again"), any).is_none(), "it is in use");
        let second = all.take(SocketOwner::Listener("https"), address("0.0.0.0:443")).expect("by its name");
        assert_eq!(second.local_addr().expect("an address"), named);
        assert_eq!(all.taken(), [0_usize; 0], "sockets of systemd are not counted");
        all.settle();
        all.mark_used(&[second]);
        drop(taken);
        assert!(all.take(SocketOwner::Listener("http"), any).is_some(), "a reload gave it back");
    }

    #[test]
    fn each_address_of_the_admin_listener_has_its_socket() {
        let mut all = InheritedSockets::default();
        let first = add(&mut all, SocketOrigin::Admin, "", Some("127.0.0.1:0"), "127.0.0.1:0");
        let named = add(&mut all, SocketOrigin::Systemd, ADMIN, None, "127.0.0.1:0");
        let other = add(&mut all, SocketOrigin::Systemd, ADMIN, None, "127.0.0.1:0");
        let bound =
            |socket: Option<Arc<ListeningSocket>>| socket.map(|socket| socket.local_addr().expect("an address"));
        let wanted = [address("127.0.0.1:0"), address("127.0.0.1:1"), named];
        let mut take = |at: usize| bound(all.take(SocketOwner::Admin(&wanted), wanted[at]));
        assert_eq!(take(0), Some(first), "the socket of the previous process");
        assert_eq!(take(1), Some(other), "by the name, since the other socket with it belongs to another address");
        assert_eq!(take(2), Some(named), "by the address");
        assert_eq!(take(1), None);
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let label = SocketLabel { origin: SocketOrigin::Systemd, name: "x".to_owned(), wanted: None };
        let error = InheritedSockets::default().add(label, socket.into()).expect_err("refused");
        assert_eq!(error.to_string(), "it does not listen");
    }
}
