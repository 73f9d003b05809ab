"""Peers that break the rules on purpose. `protocol_violations.py upstreams PORTS CERTIFICATE KEY` serves, by TLS and by HTTP/2, until
it is ended, and writes NAME=PORT lines to PORTS; `protocol_violations.py clients PORT` speaks TLS to the proxy, and
`protocol_violations.py resets PORT ADMIN PID` asks for streams that are reset. Both print how many checks passed.

What TLS allows in the clear ends with the ServerHello. Those who go on in the clear know all the secrets and keep the
transcript right: nothing but the level is wrong, and who does not look at it completes the handshake.
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

LEVELS = ["honest", "clear", "joined", "torn"]
SERVER_HELLO, CLIENT_HELLO = 2, 1


class Wire:
    """A socket on which the hello is followed by more in its own record: a message, or the beginning of one."""

    def __init__(self, inner, level, hello):
        self.inner, self.level, self.hello, self.held = inner, level, hello, b""

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def sendall(self, data):
        data = bytes(data)
        if self.level == "torn" and data[:1] == b"\x16" and data[5:6] == bytes([self.hello]):
            data = grown(data, b"\x08\x00")
        if self.level == "joined" and self.hello == CLIENT_HELLO and data[5:6] == b"\x01":
            data = grown(data, b"\x05\x00\x00\x00")
        if self.level == "joined" and self.hello == SERVER_HELLO and data[:1] == b"\x16":
            # The message that follows in the clear comes in the record of the hello.
            if not self.held:
                self.held = data
                return
            data, self.held = grown(self.held, data[5:]), b""
        self.inner.sendall(data)

    def send(self, data):
        self.sendall(data)
        return len(data)


def grown(flight, more):
    """A flight whose first record holds more."""
    length = int.from_bytes(flight[3:5], "big")
    return flight[:3] + (length + len(more)).to_bytes(2, "big") + flight[5 : 5 + length] + more + flight[5 + length :]


class Server(TLSConnection):
    """Sends EncryptedExtensions in the clear, unless it is honest."""

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
    """Sends Finished in the clear, unless it is honest."""

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
                        # Closed when the other side has: what it sends until then is of no interest.
                        while connection.recv(65536):
                            pass
                        return
            connection.sendall(h2.data_to_send())
    except OSError:
        pass
    finally:
        connection.close()


def upstreams(ports, certificate, key):
    chain = X509CertChain()
    chain.parsePemList(pathlib.Path(certificate).read_text())
    key = parsePEMKey(pathlib.Path(key).read_text(), private=True)
    listeners = {name: socket.create_server(("127.0.0.1", 0)) for name in [*LEVELS, "h2"]}
    for name, listener in listeners.items():
        arguments = (listener,) if name == "h2" else (listener, name, chain, key)
        threading.Thread(target=serve_h2 if name == "h2" else serve_tls, args=arguments, daemon=True).start()
    lines = "".join(f"{name}_port={listener.getsockname()[1]}\n" for name, listener in listeners.items())
    pathlib.Path(ports + ".new").write_text(lines)
    pathlib.Path(ports + ".new").rename(ports)
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
        """Whole answers have their length; what is cut ends with the connection."""
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
            # What has begun is cut, so that nobody takes it for whole, and its head may not have been told yet.
            cut = path.startswith("/begun/") and not got.endswith(b"\r\n0\r\n\r\n")
            if got[9:12] != b"502" and not cut:
                sys.exit(f"{path}: {got!r}")
            if number % 50 == 0 and not (ask("/whole/ok").startswith(b"HTTP/1.1 200 ") and ask("/plain").startswith(b"HTTP/1.1 200 ")):
                sys.exit("others are disturbed")
            if number % 100 == 0:
                levels.append(resident())
        checks += count
        return min(levels)

    # Memory that was given back is kept for a while, so that it rises and falls: what it falls to is what is held.
    some(1400)
    open_before = descriptors()
    before = some(4200)
    after = some(4200)
    end = time.monotonic() + 20
    while connections() > 1 and time.monotonic() < end:
        time.sleep(0.05)
    open_after = descriptors()
    print(f"   {before} KiB before, {after} KiB after; {open_before} descriptors, {open_after}", file=sys.stderr)
    # Two KiB for each request would be these 8 MiB; the allocator alone moves by 4.
    if after - before > 8192 or open_after - open_before > 5 or connections() > 1:
        sys.exit(f"something is left: {before} to {after} KiB, {open_before} to {open_after} descriptors, {connections()} connections")
    print(checks)


{"upstreams": upstreams, "clients": clients, "resets": resets}[sys.argv[1]](*sys.argv[2:])
