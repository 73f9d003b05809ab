//! The socket of a cleartext connection. Its reads of heads and its writes cost as little as the system calls allow.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{AsyncRead as _, AsyncWrite as _, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A cleartext connection.
#[derive(Debug)]
pub struct PlainSocket {
    stream: TcpStream,
    /// The address of the task whose waker the runtime keeps for the next bytes; 0 is none. The runtime drops the waker
    /// only when it makes the socket readable. So while the socket is not readable, that task need not register again,
    /// which saves a lock and a comparison of wakers.
    reader: Cell<usize>,
}

impl From<TcpStream> for PlainSocket {
    fn from(stream: TcpStream) -> Self {
        Self { stream, reader: Cell::new(0) }
    }
}

impl PlainSocket {
    /// The TCP socket. It must not be read, nor polled for reading: [`Self`] would not see it.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads without waiting.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing has arrived; otherwise the connection failed.
    #[inline]
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        debug_assert!(!buffer.is_empty(), "0 bytes are the end of the connection");
        // The calls of rustix, unlike those of the C library, are no cancellation points, which cost 50 instructions each.
        self.try_io(Interest::READABLE, buffer.len(), || {
            self.reader.set(0);
            Ok(recv(&self.stream, &mut *buffer, RecvFlags::empty())?.0)
        })
    }

    /// Makes a system call that moves up to `wanted` bytes, if the socket is ready for it. After fewer bytes the socket is
    /// not ready any more: the next call would only find that out.
    #[inline]
    fn try_io(
        &self,
        interest: Interest,
        wanted: usize,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut moved = 0;
        let tried = self.stream.try_io(interest, || {
            let count = call()?;
            moved = count;
            // The runtime notes that a socket is not ready only with this error.
            if 0 < count && count < wanted { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        if moved > 0 { Ok(moved) } else { tried.map(|()| 0) }
    }

    /// See [`Socket::poll_read_head`](super::Socket::poll_read_head).
    #[inline]
    pub(super) fn poll_read_head(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_read_ready(cx))?,
                read => return Poll::Ready(read),
            }
        }
    }

    /// See [`Socket::poll_rare_read`](super::Socket::poll_rare_read).
    #[inline]
    pub(super) fn poll_rare_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_read_ready(cx))?;
        self.poll_read_head(cx, buffer)
    }

    /// Ready when bytes may have arrived.
    #[inline]
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let task = cx.waker().data().addr();
        if self.reader.get() == task && !self.is_readable() {
            return Poll::Pending;
        }
        let polled = self.stream.poll_read_ready(cx);
        // Without a budget the runtime wakes the task again, and does not keep its waker for the socket.
        let is_kept = polled.is_pending() && tokio::task::coop::has_budget_remaining();
        self.reader.set(if is_kept { task } else { 0 });
        polled
    }

    /// Whether the socket may have bytes to read.
    #[inline]
    fn is_readable(&self) -> bool {
        self.stream.try_io(Interest::READABLE, || Ok(())).is_ok()
    }

    /// Reads within the budget of the task.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.reader.set(0);
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }

    /// Writes; does not use the budget of the task, since what is written was made by work that does.
    #[inline]
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let written =
                self.try_io(Interest::WRITABLE, bytes.len(), || Ok(send(&self.stream, bytes, SendFlags::NOSIGNAL)?));
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.stream.poll_write_ready(cx))?,
                written => return Poll::Ready(written),
            }
        }
    }

    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
