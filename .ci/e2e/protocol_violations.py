"""Peers that break the protocol. `protocol_violations.py upstreams CERTIFICATE KEY` serves over TLS and HTTP/2 and publishes
lines NAME_port=PORT; `protocol_violations.py clients PORT` connects to the proxy over TLS, and `protocol_violations.py resets
PORT ADMIN PID` requests streams that are reset. Both print how many checks passed.

TLS 1.3 allows cleartext up to the ServerHello. These peers send the next message in cleartext, or a part of it with the
hello. They know all secrets, and their transcript is right: a peer that does not check the encryption level completes the
handshake.
"""

import pathlib
import socket
import sys
import threading
import time
import urllib.request

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from hyperframe.frame import GoAwayFrame, RstStreamFrame
from tlslite.api import X509CertChain, parsePEMKey
from tlslite.errors import BaseTLSException
from tlslite.tlsconnection import TLSConnection

import peer

LEVELS = ["honest", "clear", "joined", "torn"]
SERVER_HELLO, CLIENT_HELLO = 2, 1


class Wire:
    """A socket that adds bytes to the record of the hello: a message, or the beginning of one."""

    def __init__(self, inner, level, hello):
        self.inner, self.level, self.hello, self.delayed = inner, level, hello, b""

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def sendall(self, data):
        data = bytes(data)
        if self.level == "torn" and data[:1] == b"\x16" and data[5:6] == bytes([self.hello]):
            data = extended(data, b"\x08\x00")
        if self.level == "joined" and self.hello == CLIENT_HELLO and data[5:6] == b"\x01":
            data = extended(data, b"\x05\x00\x00\x00")
        if self.level == "joined" and self.hello == SERVER_HELLO and data[:1] == b"\x16":
            # The next message, in cleartext, goes into the record of the hello.
            if not self.delayed:
                self.delayed = data
                return
            data, self.delayed = extended(self.delayed, data[5:]), b""
        self.inner.sendall(data)

    def send(self, data):
        self.sendall(data)
        return len(data)


def extended(flight, more):
    """The flight, with more bytes in its first record."""
    length = int.from_bytes(flight[3:5], "big")
    return flight[:3] + (length + len(more)).to_bytes(2, "big") + flight[5 : 5 + length] + more + flight[5 + length :]


class Server(TLSConnection):
    """Sends EncryptedExtensions in cleartext, unless it is honest."""

    level, late = "honest", False

    def _changeWriteState(self):
        if self.level in ("clear", "joined") and not self.late:
            self.late = True
        else:
            super()._changeWriteState()

    def _queue_message(self, message):
        if self.late == 1:
            self.late = 2
            for _ in self._sendMsg(message):
                pass
            super()._changeWriteState()
        else:
            super()._queue_message(message)


class Client(TLSConnection):
    """Sends Finished in cleartext, unless it is honest."""

    level, late = "honest", False

    def _changeWriteState(self):
        if self.level == "clear" and not self.late:
            self.late = True
        else:
            super()._changeWriteState()


def serve_tls(listener, level, chain, key):
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(20)
        session = Server(Wire(connection, level, SERVER_HELLO))
        session.level = level
        try:
            session.handshakeServer(certChain=chain, privateKey=key, alpn=[bytearray(b"http/1.1")])
            got = b""
            while b"\r\n\r\n" not in got:
                got += session.recv(4096)
            session.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\nserved")
            session.close()
        except (BaseTLSException, OSError):
            pass
        connection.close()


def frames(kind, stream):
    reset = lambda code: RstStreamFrame(stream, error_code=code).serialize()
    leave = lambda last, code=0: GoAwayFrame(0, last_stream_id=last, error_code=code).serialize()
    return {
        "reset-leave": reset(2) + leave(stream),
        "leave-reset": leave(stream) + reset(2),
        "refused-leave": reset(7) + leave(stream),
        "leave-before": leave(0) + reset(7),
        "reset-leave-before": reset(8) + leave(0, 2),
        "leave-twice": leave(2**31 - 1) + reset(5) + leave(stream, 11),
        "reset-leave-reset": reset(0) + leave(stream, 1) + reset(0),
    }[kind]


def serve_h2(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=one_h2, args=(connection,), daemon=True).start()


def one_h2(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    h2 = H2Connection(H2Configuration(client_side=False, validate_inbound_headers=False))
    h2.initiate_connection()
    connection.sendall(h2.data_to_send())
    try:
        while received := connection.recv(65536):
            for event in h2.receive_data(received):
                if isinstance(event, RequestReceived):
                    path = dict(event.headers)[b":path"].decode().strip("/").split("/")
                    if path[1] == "ok" or path[0] == "begun":
                        h2.send_headers(event.stream_id, [(":status", "200")])
                        h2.send_data(event.stream_id, b"served", end_stream=path[1] == "ok")
                    if path[1] != "ok":
                        connection.sendall(h2.data_to_send() + frames(path[1], event.stream_id))
                        # Closes after the proxy; bytes until then are ignored.
                        while connection.recv(65536):
                            pass
                        return
            connection.sendall(h2.data_to_send())
    except OSError:
        pass
    finally:
        connection.close()


def upstreams(certificate, key):
    chain = X509CertChain()
    chain.parsePemList(pathlib.Path(certificate).read_text())
    key = parsePEMKey(pathlib.Path(key).read_text(), private=True)
    listeners = {name: socket.create_server(("127.0.0.1", 0)) for name in [*LEVELS, "h2"]}
    for name, listener in listeners.items():
        arguments = (listener,) if name == "h2" else (listener, name, chain, key)
        threading.Thread(target=serve_h2 if name == "h2" else serve_tls, args=arguments, daemon=True).start()
    peer.publish("\n".join(f"{name}_port={listener.getsockname()[1]}" for name, listener in listeners.items()))
    threading.Event().wait()


def clients(port):
    for level in LEVELS:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=20) as connection:
            session = Client(Wire(connection, level, CLIENT_HELLO))
            session.level = level
            answer = b""
            try:
                session.handshakeClientCert(serverName="a.internal", alpn=[bytearray(b"http/1.1")])
                session.send(b"GET /plain HTTP/1.1\r\nHost: a.internal\r\n\r\n")
                answer = bytes(session.recv(4096))
            except (BaseTLSException, OSError) as error:
                print(f"   {level}: {error}", file=sys.stderr)
            served = answer.startswith(b"HTTP/1.1 200 ")
            if served != (level == "honest"):
                sys.exit(f"{level}: {'served' if served else 'not served'}")
    print(len(LEVELS))


def resets(port, admin, pid):
    kinds = ["reset-leave", "leave-reset", "refused-leave", "leave-before", "reset-leave-before", "leave-twice", "reset-leave-reset"]
    paths = [f"/{begun}/{kind}" for begun in ("whole", "begun") for kind in kinds]
    checks = 0

    def resident():
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def descriptors():
        return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))

    def connections():
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("pointsman_upstream_connections{"))

    def ask(path):
        """The response; one that was cut ends with the connection."""
        with socket.create_connection(("127.0.0.1", int(port)), timeout=20) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n".encode())
            got = b""
            try:
                while received := connection.recv(65536):
                    got += received
            except ConnectionError:
                pass
            return got

    def some(count):
        nonlocal checks
        levels = []
        for number in range(count):
            path = paths[number % len(paths)]
            got = ask(path)
            # A response that has begun is cut, so that no client takes it for whole; its head may not have arrived.
            cut = path.startswith("/begun/") and not got.endswith(b"\r\n0\r\n\r\n")
            if got[9:12] != b"502" and not cut:
                sys.exit(f"{path}: {got!r}")
            if number % 50 == 0 and not (ask("/whole/ok").startswith(b"HTTP/1.1 200 ") and ask("/plain").startswith(b"HTTP/1.1 200 ")):
                sys.exit("another request failed")
            if number % 100 == 0:
                levels.append(resident())
        checks += count
        return min(levels)

    # The allocator keeps freed memory for a while: the lowest value is the memory in use.
    some(1400)
    open_before = descriptors()
    before = some(4200)
    after = some(4200)
    end = time.monotonic() + 20
    while connections() > 1 and time.monotonic() < end:
        time.sleep(0.05)
    open_after = descriptors()
    print(f"   {before} KiB before, {after} KiB after; {open_before} descriptors, {open_after}", file=sys.stderr)
    # Two KiB a request would be these 8 MiB; the allocator alone varies by 4.
    if after - before > 8192 or open_after - open_before > 5 or connections() > 1:
        sys.exit(f"a leak: {before} to {after} KiB, {open_before} to {open_after} descriptors, {connections()} connections")
    print(checks)


{"upstreams": upstreams, "clients": clients, "resets": resets}[sys.argv[1]](*sys.argv[2:])
