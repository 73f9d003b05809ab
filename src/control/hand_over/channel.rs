//! What two processes say to each other during a hand-over: one JSON object a datagram, and with some of them a socket.

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

/// The longest datagram.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// One datagram.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HandOverMessage {
    /// Old to new: a socket, which comes with it.
    Socket(SocketLabel),
    /// Old to new: these were all sockets.
    AllSockets,
    /// New to old: able to serve, with these sockets of the process before, by their order.
    Ready(Vec<usize>),
    /// New to old: not able to serve, for this reason.
    Failed(String),
    /// Old to new: serve.
    Go,
    /// New to old: whoever connects from now on is served.
    Serving,
    /// Old to new: everything else is yours.
    Farewell,
    /// Old to new: end, you are not wanted.
    Dismissed,
}

/// What a socket was used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SocketLabel {
    /// By what it was made.
    pub origin: SocketOrigin,
    /// The listener's name, or the name that systemd gave it.
    pub name: String,
    /// The address as the file says it; nothing for a socket from systemd.
    pub wanted: Option<SocketAddr>,
}

/// By what a socket was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SocketOrigin {
    /// By this proxy for a listener.
    Listener,
    /// By this proxy for its admin listener.
    Admin,
    /// By systemd, which keeps it.
    Systemd,
}

/// One end of the talk.
#[derive(Debug)]
pub(super) struct HandOverChannel(OwnedFd);

impl HandOverChannel {
    /// Both ends.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(ours), theirs))
    }

    /// This end, wherever it comes from.
    pub const fn new(end: OwnedFd) -> Self {
        Self(end)
    }

    /// Says something, and hands over a socket with it.
    ///
    /// # Errors
    /// When nobody is at the other end, or does not listen for some seconds.
    pub fn send(&self, word: &HandOverMessage, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let text = serde_json::to_vec(word).map_err(io::Error::other)?;
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
        if sent == text.len() { Ok(()) } else { Err(io::Error::other("a word was cut")) }
    }

    /// What is said next, or nothing when the other end is closed. Blocks, for `limit` at most.
    ///
    /// # Errors
    /// `TimedOut` at the limit; else what cannot be read or understood.
    pub fn receive(&self, limit: Duration) -> io::Result<Option<(HandOverMessage, Option<OwnedFd>)>> {
        // Zero would mean to wait for ever.
        set_socket_timeout(&self.0, Timeout::Recv, Some(limit.max(Duration::from_millis(1))))?;
        let mut text = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = RecvAncillaryBuffer::new(&mut space);
        let mut next = || recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut with, RecvFlags::CMSG_CLOEXEC);
        let heard = match next() {
            // The other end was closed with something unread; what it said before that is still there.
            Err(Errno::CONNRESET) => next(),
            heard => heard,
        };
        let bytes = match heard {
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
        let word = serde_json::from_slice(text.get(..bytes).unwrap_or_default()).map_err(io::Error::other)?;
        Ok(Some((word, socket)))
    }

    /// Hears nothing more: whoever waits for a word at this end is told that the other one is closed.
    pub fn close_receive(&self) {
        if let Err(error) = rustix::net::shutdown(&self.0, Shutdown::Read) {
            tracing::debug!(%error, "the talk of a hand-over could not be ended");
        }
    }

    /// Another handle to the same end.
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
    fn words_keep_their_bounds_and_sockets_their_queues() {
        let (old, new) = ends();
        let socket = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = socket.local_addr().expect("an address");
        let label = SocketLabel { origin: SocketOrigin::Listener, name: "http".to_owned(), wanted: Some(address) };
        old.send(&HandOverMessage::Socket(label.clone()), Some(socket.as_fd())).expect("said");
        old.send(&HandOverMessage::AllSockets, None).expect("said");
        let _waiting = TcpStream::connect(address).expect("queued");
        drop(socket);
        let (word, received) = new.receive(PATIENCE).expect("heard").expect("a word");
        assert_eq!(word, HandOverMessage::Socket(label));
        let received = TcpListener::from(received.expect("a socket"));
        received.accept().expect("whoever stood in the queue stands there still");
        assert_eq!(new.receive(PATIENCE).expect("heard").expect("a word").0, HandOverMessage::AllSockets);
        drop(old);
        assert!(new.receive(PATIENCE).expect("heard").is_none(), "the other end is closed");
    }

    #[test]
    fn whoever_is_dismissed_hears_it_and_is_heard_no_more() {
        let (old, new) = ends();
        let waits = old.duplicate().expect("a handle");
        std::thread::scope(|scope| {
            let heard = scope.spawn(|| waits.receive(PATIENCE).expect("heard"));
            old.send(&HandOverMessage::Dismissed, None).expect("said");
            old.close_receive();
            assert!(heard.join().expect("no panic").is_none(), "it does not wait for a word any longer");
        });
        assert!(new.send(&HandOverMessage::Serving, None).is_err());
        assert_eq!(new.receive(PATIENCE).expect("heard").expect("a word").0, HandOverMessage::Dismissed);
    }

    #[test]
    fn silence_and_nonsense_are_errors() {
        let (old, new) = ends();
        let silence = new.receive(Duration::from_millis(1)).expect_err("nothing was said");
        assert_eq!(silence.kind(), io::ErrorKind::TimedOut);
        rustix::io::write(&old.0, b"{\"sing\":1}").expect("sent");
        assert!(new.receive(PATIENCE).expect_err("no word").to_string().contains("sing"));
        old.send(&HandOverMessage::Go, None).expect("said");
        new.send(&HandOverMessage::Serving, None).expect("said");
        drop(new);
        assert_eq!(old.receive(PATIENCE).expect("heard").expect("its last word").0, HandOverMessage::Serving);
        assert!(old.receive(PATIENCE).expect("heard").is_none());
        assert!(old.send(&HandOverMessage::Go, None).is_err(), "nobody is there");
    }
}
