"""An upstream for the bench, healthy or faulty: `target.py PORT KIND COUNTER`."""

import errno
import heapq
import mmap
import os
import re
import select
import socket
import struct
import sys
import time

HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HUGE_BYTES = 1 << 30
HUGE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % HUGE_BYTES
FILLER = b"x" * 65536
CHUNK = b"10000\r\n" + FILLER + b"\r\n"
LATE_SECONDS = 10
RESET_SECONDS = 0.01
KINDS = ("primary", "healthy", "absent", "refusing", "silent", "late", "reset", "endless", "huge", "slow")
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")


class Connection:
    """One connection of a client, with one request at a time."""

    def __init__(self, bare: socket.socket):
        self.socket, self.head, self.left = bare, b"", 0
        # The last bytes show the end of a chunked body.
        self.chunked, self.tail = False, b""
        self.sending, self.remaining, self.out = False, 0, memoryview(b"")


class Target:
    """All connections of one target."""

    def __init__(self, port: int, kind: str, counter: mmap.mmap):
        self.kind, self.counter, self.buffer = kind, counter, bytearray(1 << 20)
        self.poll, self.connections, self.timers = select.epoll(), {}, []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind == "slow":
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.listener.bind(("127.0.0.1", port))
        self.backlog = []
        if kind == "absent":
            # With a full backlog a new connection gets no reply, as from a machine that is switched off.
            self.listener.listen(0)
            for _ in range(4):
                filling = socket.socket()
                filling.setblocking(False)
                filling.connect_ex(("127.0.0.1", port))
                self.backlog.append(filling)
        elif kind != "refusing":
            self.listener.listen(4096)
            self.listener.setblocking(False)
            self.poll.register(self.listener, select.EPOLLIN)

    def count(self):
        """Counts one request."""
        struct.pack_into("<Q", self.counter, 0, struct.unpack_from("<Q", self.counter, 0)[0] + 1)

    def run(self):
        struct.pack_into("<Q", self.counter, 8, 1)
        while True:
            wait = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else -1
            for number, events in self.poll.poll(wait):
                if number == self.listener.fileno():
                    self.accept()
                elif number in self.connections:
                    try:
                        self.serve(self.connections[number], events)
                    except OSError as error:
                        if error.errno != errno.EAGAIN:
                            self.close(number)
            while self.timers and self.timers[0][0] <= time.monotonic():
                _, number, connection, act = heapq.heappop(self.timers)
                if self.connections.get(number) is connection:
                    try:
                        act(connection)
                    except OSError:
                        self.close(number)

    def after(self, seconds: float, connection: Connection, act):
        heapq.heappush(self.timers, (time.monotonic() + seconds, connection.socket.fileno(), connection, act))

    def accept(self):
        while True:
            try:
                bare, _ = self.listener.accept()
            except OSError:
                return
            bare.setblocking(False)
            bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = self.connections[bare.fileno()] = Connection(bare)
            if self.kind == "slow":
                self.count()
                self.poll.register(bare, 0)
                self.sip(connection)
            else:
                self.poll.register(bare, select.EPOLLIN)

    def close(self, number: int):
        connection = self.connections.pop(number, None)
        if connection:
            connection.socket.close()

    def sip(self, connection: Connection):
        try:
            if not connection.socket.recv(1):
                return self.close(connection.socket.fileno())
        except BlockingIOError:
            pass
        self.after(1, connection, self.sip)

    def serve(self, connection: Connection, events: int):
        if events & select.EPOLLOUT:
            self.pour(connection)
        if events & select.EPOLLIN:
            self.read(connection)
        elif events & (select.EPOLLHUP | select.EPOLLERR):
            self.close(connection.socket.fileno())

    def read(self, connection: Connection):
        got = connection.socket.recv_into(self.buffer)
        if got == 0:
            return self.close(connection.socket.fileno())
        if connection.sending:
            return
        if connection.chunked:
            connection.tail = (connection.tail + bytes(self.buffer[max(0, got - 5) : got]))[-5:]
            if connection.tail == b"0\r\n\r\n":
                connection.chunked = False
                self.answer(connection)
        elif connection.left:
            connection.left -= got
            if connection.left <= 0:
                self.answer(connection)
        else:
            connection.head += bytes(self.buffer[:got])
            self.begin(connection)

    def begin(self, connection: Connection):
        head, end, rest = connection.head.partition(b"\r\n\r\n")
        if not end:
            return
        connection.head = b""
        self.count()
        if CHUNKED.search(head):
            connection.tail = rest[-5:]
            connection.chunked = connection.tail != b"0\r\n\r\n"
        else:
            length = LENGTH.search(head)
            connection.left = max(0, int(length.group(1)) - len(rest)) if length else 0
        if not connection.left and not connection.chunked:
            self.answer(connection)

    def answer(self, connection: Connection):
        connection.left = 0
        if self.kind in ("primary", "healthy"):
            connection.socket.send(HELLO)
        elif self.kind == "late":
            self.after(LATE_SECONDS, connection, lambda connection: connection.socket.send(HELLO))
        elif self.kind == "reset":
            connection.socket.send(HALF)
            self.after(RESET_SECONDS, connection, self.reset)
        elif self.kind in ("endless", "huge"):
            connection.sending = True
            connection.out = memoryview(ENDLESS if self.kind == "endless" else HUGE)
            connection.remaining = HUGE_BYTES
            self.poll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)
            self.pour(connection)

    def reset(self, connection: Connection):
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close(connection.socket.fileno())

    def pour(self, connection: Connection):
        """Sends as much as the socket accepts, at most 1 MiB a call."""
        for _ in range(16):
            if not connection.out:
                if self.kind == "huge":
                    if not connection.remaining:
                        connection.sending = False
                        return self.poll.modify(connection.socket, select.EPOLLIN)
                    connection.remaining -= len(FILLER)
                connection.out = memoryview(CHUNK if self.kind == "endless" else FILLER)
            try:
                connection.out = connection.out[connection.socket.send(connection.out) :]
            except BlockingIOError:
                return


def main():
    port, kind, counter = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    if kind != "primary":
        # It shares a core with the load and must not slow it down.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with open(counter, "r+b") as file:
        Target(port, kind, mmap.mmap(file.fileno(), 16)).run()


main()
