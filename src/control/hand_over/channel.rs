//! The channel between the two processes of a hand-over: one JSON object a datagram, some of them with a socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use super::saved_endpoint::SavedEndpoint;
use super::saved_limits::SavedLimit;
use crate::journal::Record;

/// Upper bound of a datagram.
const MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// A message of the hand-over protocol.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HandOverMessage {
    /// Old to new: a socket; its descriptor is attached.
    Socket(SocketLabel),
    /// Old to new: all sockets were sent.
    AllSockets,
    /// New to old: ready to serve with these inherited sockets, by index.
    Ready(Vec<usize>),
    /// New to old: cannot serve, for this reason.
    Failed(String),
    /// New to old: the same as `Ready`, from a process that takes endpoints' states.
    ReadyForEndpoints(Vec<usize>),
    /// Old to new, before `Go`: endpoints that are ejected, drained or fail.
    Endpoints(Vec<SavedEndpoint>),
    /// New to old: the same as `ReadyForEndpoints`, from a process that takes the counts of rate limits too.
    ReadyForStates(Vec<usize>),
    /// Old to new, before `Go`: counts of a rate limit.
    Limit(SavedLimit),
    /// Old to new: serve.
    Go,
    /// New to old: accepts connections.
    Serving,
    /// Old to new: the hand-over is complete.
    Farewell,
    /// Old to new: the hand-over is cancelled, end.
    Dismissed,
    /// New to old, after `Serving`: a kill or a revive. Old to new, before the farewell: a kill that is not on the disk.
    Decided(Box<Record>),
}

/// How a socket was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SocketLabel {
    /// Who opened it.
    pub origin: SocketOrigin,
    /// The listener's name, or the name from systemd.
    pub name: String,
    /// The address in the file; `None` for a socket from systemd.
    pub wanted: Option<SocketAddr>,
}

/// Who opened a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SocketOrigin {
    /// This proxy, for a listener.
    Listener,
    /// This proxy, for its admin listener.
    Admin,
    /// Systemd, which keeps it open.
    Systemd,
}

/// One end of the channel.
#[derive(Debug)]
pub(super) struct HandOverChannel(OwnedFd);

impl HandOverChannel {
    /// Opens a channel.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(ours), theirs))
    }

    /// Wraps an end.
    pub const fn new(end: OwnedFd) -> Self {
        Self(end)
    }

    /// Sends a message, with a socket if there is one.
    ///
    /// # Errors
    /// When the other end is closed, or does not read for some seconds.
    pub fn send(&self, message: &HandOverMessage, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let text = serde_json::to_vec(message).map_err(io::Error::other)?;
        let sockets = socket.map(|socket| [socket]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        if let Some(sockets) = &sockets
            && !with.push(SendAncillaryMessage::ScmRights(sockets))
        {
            return Err(io::Error::other("there is no room for a socket"));
        }
        set_socket_timeout(&self.0, Timeout::Send, Some(Duration::from_secs(5)))?;
        let sent = sendmsg(&self.0, &[IoSlice::new(&text)], &mut with, SendFlags::NOSIGNAL)?;
        if sent == text.len() { Ok(()) } else { Err(io::Error::other("a message was cut")) }
    }

    /// Receives the next message; `None` when the other end is closed. Blocks for at most `limit`.
    ///
    /// # Errors
    /// `TimedOut` at the limit; other errors when the message cannot be read or parsed.
    pub fn receive(&self, limit: Duration) -> io::Result<Option<(HandOverMessage, Option<OwnedFd>)>> {
        // Zero would mean no limit.
        set_socket_timeout(&self.0, Timeout::Recv, Some(limit.max(Duration::from_millis(1))))?;
        let mut text = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = RecvAncillaryBuffer::new(&mut space);
        let mut next = || recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut with, RecvFlags::CMSG_CLOEXEC);
        let received = match next() {
            // The other end was closed with unread data; the messages that it sent before can still be read.
            Err(Errno::CONNRESET) => next(),
            received => received,
        };
        let bytes = match received {
            Ok(message) => message.bytes,
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut socket = None;
        for message in with.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                socket = sockets.last().or(socket);
            }
        }
        if bytes == 0 {
            return Ok(None);
        }
        let message = serde_json::from_slice(text.get(..bytes).unwrap_or_default()).map_err(io::Error::other)?;
        Ok(Some((message, socket)))
    }

    /// Stops receiving: a pending [`Self::receive`] at this end returns `None`.
    pub fn close_receive(&self) {
        if let Err(error) = rustix::net::shutdown(&self.0, Shutdown::Read) {
            tracing::debug!(%error, "the channel of a hand-over could not be shut down");
        }
    }

    /// Duplicates the handle to this end.
    pub fn duplicate(&self) -> io::Result<Self> {
        self.0.as_fd().try_clone_to_owned().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn ends() -> (HandOverChannel, HandOverChannel) {
        let (ours, theirs) = HandOverChannel::pair().expect("a pair");
        (ours, HandOverChannel::new(theirs))
    }

    #[test]
    fn messages_keep_their_bounds_and_sockets_their_backlogs() {
        let (old, new) = ends();
        let socket = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = socket.local_addr().expect("an address");
        let label = SocketLabel { origin: SocketOrigin::Listener, name: "http".to_owned(), wanted: Some(address) };
        old.send(&HandOverMessage::Socket(label.clone()), Some(socket.as_fd())).expect("sent");
        old.send(&HandOverMessage::AllSockets, None).expect("sent");
        let _waiting = TcpStream::connect(address).expect("queued");
        drop(socket);
        let (message, received) = new.receive(PATIENCE).expect("received").expect("a message");
        assert_eq!(message, HandOverMessage::Socket(label));
        let received = TcpListener::from(received.expect("a socket"));
        received.accept().expect("a connection in the backlog is still accepted");
        assert_eq!(new.receive(PATIENCE).expect("received").expect("a message").0, HandOverMessage::AllSockets);
        drop(old);
        assert!(new.receive(PATIENCE).expect("received").is_none(), "the other end is closed");
    }

    #[test]
    fn a_cancelled_process_gets_the_message_and_is_not_received_from() {
        let (old, new) = ends();
        let waits = old.duplicate().expect("a handle");
        std::thread::scope(|scope| {
            let received = scope.spawn(|| waits.receive(PATIENCE).expect("received"));
            old.send(&HandOverMessage::Dismissed, None).expect("sent");
            old.close_receive();
            assert!(received.join().expect("no panic").is_none(), "the pending receive returns");
        });
        assert!(new.send(&HandOverMessage::Serving, None).is_err());
        assert_eq!(new.receive(PATIENCE).expect("received").expect("a message").0, HandOverMessage::Dismissed);
    }

    #[test]
    fn a_timeout_and_an_unknown_message_are_errors() {
        let (old, new) = ends();
        let silence = new.receive(Duration::from_millis(1)).expect_err("nothing was sent");
        assert_eq!(silence.kind(), io::ErrorKind::TimedOut);
        rustix::io::write(&old.0, b"{\"sing\":1}").expect("sent");
        assert!(new.receive(PATIENCE).expect_err("not a message").to_string().contains("sing"));
        old.send(&HandOverMessage::Go, None).expect("sent");
        new.send(&HandOverMessage::Serving, None).expect("sent");
        drop(new);
        assert_eq!(old.receive(PATIENCE).expect("received").expect("its last message").0, HandOverMessage::Serving);
        assert!(old.receive(PATIENCE).expect("received").is_none());
        assert!(old.send(&HandOverMessage::Go, None).is_err(), "the other end is closed");
    }
}
