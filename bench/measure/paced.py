"""Evenly paced requests over kept connections, for the bench: PORT RATE SECONDS LEAD BODY_BYTES CONNECTIONS.

An open loop: a request is due at its time even if the one before has no response yet. The wait for a free connection
counts; a delay of this process does not. A rate of 0 is a closed loop. Prints the results as JSON.
"""

import collections
import gc
import json
import select
import socket
import sys
import time

# The time limit of a response after the last request was due.
GRACE_SECONDS = 1
CLOSED_LOOP_CONNECTIONS = 4


class Client:
    """One connection, with its open request."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.began, self.measured, self.busy, self.answer = 0.0, False, False, b""
        self.out = memoryview(b"")


class Load:
    """All connections, and the outcomes of the requests."""

    def __init__(self, port: int, body_bytes: int, connections: int):
        self.port, self.poll = port, select.epoll()
        head = b"POST" if body_bytes else b"GET"
        head += b" /hello HTTP/1.1\r\nHost: bench.test\r\nCookie: uid=caller-1\r\n"
        head += b"Content-Length: %d\r\n\r\n" % body_bytes if body_bytes else b"\r\n"
        self.request = memoryview(head + b"x" * body_bytes)
        self.clients, self.free = {}, []
        self.waiting = collections.deque()
        self.latencies, self.due, self.asked, self.failed, self.answered = [], 0, 0, 0, 0
        for _ in range(connections):
            self.open()

    def open(self):
        client = Client(self.port)
        self.clients[client.socket.fileno()] = client
        self.poll.register(client.socket, select.EPOLLIN)
        self.free.append(client)

    def ask(self, due: float, measured: bool):
        """Sends the next request, or queues it."""
        self.due += measured
        self.asked += 1
        if self.free:
            self.send(self.free.pop(), time.perf_counter(), measured)
        else:
            self.waiting.append((due, measured))

    def send(self, client: Client, began: float, measured: bool):
        client.began, client.measured, client.busy, client.out = began, measured, True, self.request
        self.more(client)

    def more(self, client: Client):
        try:
            while client.out:
                client.out = client.out[client.socket.send(client.out) :]
        except BlockingIOError:
            self.poll.modify(client.socket, select.EPOLLIN | select.EPOLLOUT)
        except OSError:
            self.lost(client)

    def serve(self, wait: float):
        # epoll counts milliseconds, select microseconds.
        if not select.select([self.poll], [], [], wait)[0]:
            return
        for number, events in self.poll.poll(0):
            client = self.clients.get(number)
            if client and events & select.EPOLLOUT:
                self.more(client)
                if not client.out and number in self.clients:
                    self.poll.modify(client.socket, select.EPOLLIN)
            if client and events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and number in self.clients:
                self.read(client)

    def read(self, client: Client):
        try:
            got = client.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            got = b""
        if not got:
            return self.lost(client)
        client.answer += got
        head, end, body = client.answer.partition(b"\r\n\r\n")
        if not end or len(body) < length_of(head):
            return
        self.done(client, head.startswith(b"HTTP/1.1 200"))
        client.busy, client.answer = False, b""
        self.next(client)

    def done(self, client: Client, good: bool):
        if good and not client.out:
            self.answered += 1
            if client.measured:
                self.latencies.append(time.perf_counter() - client.began)
        else:
            self.failed += client.measured

    def next(self, client: Client):
        if client.out:  # The response came before the whole request was sent.
            return self.lost(client)
        if self.waiting:
            self.send(client, *self.waiting.popleft())
        else:
            self.free.append(client)

    def lost(self, client: Client):
        """The connection has ended."""
        self.failed += client.busy and client.measured
        del self.clients[client.socket.fileno()]
        client.socket.close()
        if client in self.free:
            self.free.remove(client)
        self.open()
        self.next(self.free.pop())


def length_of(head: bytes) -> int:
    for line in head.lower().split(b"\r\n")[1:]:
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


def paced(load: Load, rate: float, seconds: float, lead: float):
    """Requests of the first `lead` seconds are not measured."""
    start, number, total = time.perf_counter(), 0, round(rate * (lead + seconds))
    unmeasured = round(rate * lead)
    while number < total:
        due = start + number / rate
        wait = due - time.perf_counter()
        if wait > 0:
            load.serve(wait)
            continue
        load.ask(due, number >= unmeasured)
        number += 1
        load.serve(0)
    end = time.perf_counter() + GRACE_SECONDS
    while (load.waiting or len(load.free) < len(load.clients)) and time.perf_counter() < end:
        load.serve(0.05)


def closed(load: Load, seconds: float):
    end = time.perf_counter() + seconds
    while (now := time.perf_counter()) < end:
        while load.free:
            load.ask(now, True)
        load.serve(0.05)


def main():
    port, rate, seconds, lead, body_bytes, connections = map(float, sys.argv[1:7])
    gc.disable()
    load = Load(int(port), int(body_bytes), int(connections) if rate else CLOSED_LOOP_CONNECTIONS)
    if rate:
        paced(load, rate, seconds, lead)
    else:
        closed(load, seconds)
    print(json.dumps({
        "due": load.due, "asked": load.asked, "failed": load.failed, "answered": load.answered,
        "latencies": [round(latency * 1e6) for latency in sorted(load.latencies)],
    }))


main()
