"""The protocols of the edge: TLS handshakes, requests over TLS, HTTP/2, gRPC, WebSocket."""

import contextlib
import http.client
import pathlib
import re
import selectors
import socket
import ssl
import subprocess
import sys
import time

from . import load, machine, peers

STREAMS = (1, 10, 100)
ECHO_CONNECTIONS = 32
ECHO_BYTES = 64
HANDSHAKE = b"GET /hello HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % peers.HOST.encode()
UPGRADE = (
    "GET /echo HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def make_certificate(folder: pathlib.Path) -> pathlib.Path:
    """A certificate for an hour with its key, in separate files and in one, for the different peers."""
    cert, key = folder / "edge.pem", folder / "edge.key"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
        "-subj", f"/CN={peers.HOST}", "-addext", f"subjectAltName=DNS:{peers.HOST},IP:127.0.0.1",
        "-keyout", key, "-out", cert,
    ]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise machine.Failed(f"openssl cannot create a certificate ({error}): apt-get install openssl") from error
    (folder / "both.pem").write_text(cert.read_text() + key.read_text())
    return cert


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def handshakes(port: int, seconds: float, resume: bool) -> int:
    """Opens one connection after the other for some seconds, each with one GET; returns how many."""
    context, session, done = trusting(), None, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as bare:
            with context.wrap_socket(bare, server_hostname=peers.HOST, session=session if resume else None) as secure:
                secure.sendall(HANDSHAKE)
                answer = b""
                with contextlib.suppress(ssl.SSLEOFError):
                    while more := secure.recv(4096):
                        answer += more
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise machine.Failed(f"not a 200: {answer[:60]!r}")
                if resume and session is not None and not secure.session_reused:
                    raise machine.Failed("a session was not resumed")
                if resume:
                    session = secure.session
        done += 1
    return done


class H2Load:
    """h2load over HTTP/2 in a closed loop."""

    def __init__(self, binary: str, folder: pathlib.Path):
        self.binary, self.call = binary, folder / "call.bin"
        self.call.write_bytes(b"\0\0\0\0\x20" + b"x" * 32)

    def run(self, url: str, seconds: float, streams: int, clients: int, grpc: bool = False) -> int:
        """The number of requests with a 200."""
        command = [
            "taskset", "-c", machine.LOAD_CORE, self.binary, f"-c{clients}", f"-m{streams}", "-t1", "-D",
            max(1, round(seconds)), "-H", f":authority: {peers.HOST}", "-H", "cookie: uid=caller-1",
        ]
        if grpc:
            command += ["-d", self.call, "-H", "content-type: application/grpc", "-H", "te: trailers"]
        done = subprocess.run(
            [*map(str, command), url], capture_output=True, text=True, timeout=seconds + 40, check=False
        )
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout)
        good, *bad = (int(number) for number in codes.groups()) if codes else (0,)
        # nginx sometimes responds with 502 when the run ends.
        if not good or sum(bad) * 1000 > good:
            raise machine.Failed(f"h2load:\n{(done.stdout + done.stderr)[-800:]}")
        return good


def frame(payload: bytes) -> bytes:
    """A frame of a client; the mask is zero."""
    return bytes([0x82, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


class Echoes:
    """WebSocket connections that send the next message when the last one has come back."""

    def __init__(self, port: int):
        self.selector, self.connections = selectors.DefaultSelector(), []
        for _ in range(ECHO_CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(UPGRADE.format(host=peers.HOST).encode())
            head = b""
            while b"\r\n\r\n" not in head:
                more = connection.recv(4096)
                if not more:
                    raise machine.Failed(f"no response to the upgrade: {head!r}")
                head += more
            if not head.startswith(b"HTTP/1.1 101"):
                raise machine.Failed(f"no upgrade: {head[:60]!r}")
            self.connections.append(connection)
            self.selector.register(connection, selectors.EVENT_READ)

    def run(self, seconds: float) -> int:
        """The number of messages that came back."""
        message, back, done = frame(b"x" * ECHO_BYTES), ECHO_BYTES + 2, 0
        for connection in self.connections:
            connection.sendall(message)
        missing = {connection: back for connection in self.connections}
        end = time.monotonic() + seconds
        while missing:
            ready = self.selector.select(5)
            if not ready:
                raise machine.Failed("a message did not come back within 5 s")
            for key, _ in ready:
                connection = key.fileobj
                missing[connection] -= len(connection.recv(back))
                if missing[connection] > 0:
                    continue
                done += 1
                if time.monotonic() < end:
                    missing[connection] = back
                    connection.sendall(message)
                else:
                    del missing[connection]
        return done

    def close(self):
        for connection in self.connections:
            connection.close()
        self.selector.close()


class IdleTls(load.Idle):
    """Keep-alive connections over TLS that are idle after one request."""

    @staticmethod
    def open(port: int) -> http.client.HTTPConnection:
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=trusting())


def echo_server(folder: pathlib.Path) -> tuple[machine.Process, int]:
    """A WebSocket server that returns every message, on the load's core."""
    port = machine.free_port()
    script = pathlib.Path(__file__).with_name("echo.py")
    server = machine.Process([sys.executable, script, port], machine.LOAD_CORE, folder / "echo.out")
    server.wait_for_port(port)
    return server, port


class Protocols:
    """The scenarios, as a part of the bench."""

    def per_unit(self, scenario: str, figure: str, edge: str, work, reference: str = "haproxy"):
        """CPU of the proxy for each unit of `work(proxy, seconds)`."""

        def measure(name: str) -> float:
            with self.proxy(name, edge=edge) as proxy, contextlib.closing(work(proxy)) as running:
                running.run(min(1, self.seconds))
                before = proxy.process.cpu_seconds()
                done = running.run(self.seconds)
                return (proxy.process.cpu_seconds() - before) / done * 1e6

        self.add(scenario, figure, "µs", self.interleaved(scenario, self.rounds, measure), reference)

    def measure_tls_full(self):
        """TLS 1.3, a new session each time."""
        self.per_unit("tls_full", "CPU per connection", "tls",
                      lambda proxy: Work(lambda seconds: handshakes(proxy.port, seconds, resume=False)))

    def measure_tls_resumed(self):
        """TLS 1.3, resumed by ticket."""
        self.per_unit("tls_resumed", "CPU per connection", "tls",
                      lambda proxy: Work(lambda seconds: handshakes(proxy.port, seconds, resume=True)))

    def measure_tls(self):
        """Small GETs on kept connections under TLS."""
        self.per_unit("tls", "CPU per request", "tls", lambda proxy: Work(
            lambda seconds: self.wrk.run(proxy.port, seconds, self.wrk.small, scheme="https").requests
        ))

    def measure_h2(self):
        """Small GETs over HTTP/2 under TLS, so many streams at a time on each of 8 connections."""
        for streams in STREAMS[1:] if self.options.quick else STREAMS:
            self.per_unit("h2", f"CPU per request, {streams} streams", "tls", lambda proxy: Work(
                lambda seconds: self.h2load.run(f"https://127.0.0.1:{proxy.port}/hello", seconds, streams, 8)
            ), reference="nginx")

    def measure_grpc(self):
        """Unary calls, HTTP/2 without TLS on both sides."""
        self.per_unit("grpc", "CPU per call", "grpc", lambda proxy: Work(
            lambda seconds: self.h2load.run(
                f"http://127.0.0.1:{proxy.port}/bench.Echo/Say", seconds, 10, 8, grpc=True
            )
        ))

    def measure_websocket(self):
        """Messages of 64 bytes there and back."""
        self.per_unit("websocket", "CPU per message and echo", "websocket", lambda proxy: Echoes(proxy.port))

    def measure_tls_idle(self):
        self.idle_memory("tls_idle", "tls", IdleTls)


class Work:
    """A work load: runs for some seconds and returns how much it did."""

    def __init__(self, run):
        self.run = run

    def close(self):
        pass
