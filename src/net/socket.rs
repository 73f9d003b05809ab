//! The socket of a connection to a client or to an upstream: TCP, or TLS over TCP.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{RecvFlags, Shutdown};
use rustls::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::plain_socket::PlainSocket;

/// A TCP or TLS connection.
#[derive(Debug)]
pub enum Socket {
    /// Cleartext.
    Plain(PlainSocket),
    /// TLS. Boxed, so that cleartext connections do not carry its size.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The unread input of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadInput {
    /// Nothing.
    None,
    /// Bytes that answer no request.
    Bytes,
    /// The peer has closed the connection, or it failed.
    End,
}

impl Socket {
    /// Whether ALPN negotiated this protocol (RFC 7301).
    #[must_use]
    pub fn agreed_on(&self, protocol: &[u8]) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(protocol),
        }
    }

    /// The address of the peer.
    ///
    /// # Errors
    /// The socket is no longer connected.
    pub fn peer_address(&self) -> io::Result<SocketAddr> {
        self.tcp().peer_addr()
    }

    /// Ready when the TCP socket may have bytes to read; needs no buffer. Bytes inside the TLS session are not
    /// considered, so call it only after a pending read.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_read_ready(cx),
            Self::Tls(stream) => stream.get_ref().0.poll_read_ready(cx),
        }
    }

    /// Reads into `buffer`, which is not empty; returns how many bytes, 0 at the end. Cheaper than
    /// [`AsyncRead::poll_read`]: a cleartext read does not use the task's budget, so the caller bounds how often it reads
    /// before it returns to the runtime.
    ///
    /// # Errors
    /// The connection failed.
    #[inline]
    pub fn poll_read_head(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_read_head(cx, buffer),
            Self::Tls(stream) => {
                let mut buffer = ReadBuf::new(buffer);
                ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
                Poll::Ready(Ok(buffer.filled().len()))
            }
        }
    }

    /// The same for bytes that rarely come: it looks first whether there may be some.
    ///
    /// # Errors
    /// The connection failed.
    #[inline]
    pub fn poll_rare_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_rare_read(cx, buffer),
            Self::Tls(_) => self.poll_read_head(cx, buffer),
        }
    }

    /// What an idle connection has received that was not read. Makes no system call unless the socket is ready. A byte
    /// may be lost: the connection is then of no more use.
    pub fn unread_input(&mut self) -> UnreadInput {
        let mut byte = [0];
        match self {
            Self::Plain(stream) => match stream.try_read(&mut byte) {
                Ok(1..) => UnreadInput::Bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => UnreadInput::None,
                Ok(0) | Err(_) => UnreadInput::End,
            },
            Self::Tls(stream) => {
                // Records of the session itself (tickets, key updates) are no input. Outside of the task's budget: when
                // it is used up, every read is pending.
                let mut buffer = ReadBuf::new(&mut byte);
                let read = tokio::task::unconstrained(poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buffer)));
                match pin!(read).poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Pending => UnreadInput::None,
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => UnreadInput::Bytes,
                    Poll::Ready(_) => UnreadInput::End,
                }
            }
        }
    }

    /// What the peer of a new connection without TLS has sent before it got a request. Reads nothing; one system call.
    #[must_use]
    pub fn early_input(&self) -> UnreadInput {
        let Self::Plain(stream) = self else { return UnreadInput::None };
        match rustix::net::recv(stream.tcp(), &mut [0_u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((1.., _)) => UnreadInput::Bytes,
            Err(Errno::AGAIN | Errno::INTR) => UnreadInput::None,
            Ok((0, _)) | Err(_) => UnreadInput::End,
        }
    }

    /// Ends the connection, also while another owner still holds the socket. What the system has taken is sent, then the
    /// end of the connection, without one of the TLS session.
    pub fn cut(&self) {
        // An error: the peer has ended it already.
        let _ = rustix::net::shutdown(self.tcp(), Shutdown::Both);
    }

    /// Resets the connection, also while another owner still holds the socket: the peer learns that it did not get all.
    pub fn reset(&self) {
        // Where the second call is not allowed, the first one makes the drop of the socket a reset.
        let _ = set_socket_linger(self.tcp(), Some(Duration::ZERO));
        let _ = rustix::net::connect_unspec(self.tcp());
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream.tcp(),
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether an unread TLS alert (see [`is_refusal`]) is the next input. Pending while it may still arrive.
    pub fn poll_refused(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Self::Tls(stream) = self else { return Poll::Ready(false) };
        let mut unread = [0; 512];
        let mut buffer = ReadBuf::new(&mut unread);
        Pin::new(stream).poll_read(cx, &mut buffer).map(|read| read.is_err_and(|error| is_refusal(&error)))
    }
}

/// Whether a read failed because the peer sent a TLS alert. In TLS 1.3 it may do so after the handshake: a server
/// checks the client's certificate after the client has finished.
#[must_use]
pub fn is_refusal(error: &io::Error) -> bool {
    matches!(tls_error(error), Some(Error::AlertReceived(_)))
}

/// The error of rustls inside an I/O error, if there is one.
#[must_use]
pub fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream.into())
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => stream.poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => stream.poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => stream.poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // A TCP socket has no buffer to flush.
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => stream.poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
