"""Shared by the services and clients of the end-to-end scripts."""

import http.server
import os
import pathlib
import sys


def publish(text: object):
    """Writes the port to $PORT_FILE, at once and as a whole: the script waits for it."""
    write_whole(os.environ["PORT_FILE"], f"{text}\n")


def write_whole(path: str, text: str):
    pathlib.Path(path + ".new").write_text(text)
    os.rename(path + ".new", path)


class Checks:
    """Counts checks; the first that fails ends the process."""

    def __init__(self):
        self.passed = 0

    def expect(self, what: str, wanted, found):
        if wanted != found:
            sys.exit(f"{what}: expected {wanted!r}, found {found!r}")
        self.passed += 1


class Handler(http.server.BaseHTTPRequestHandler):
    """Calls `answer` for each request, whatever its method."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "e2e", ""
    wbufsize = -1  # One write a response.

    def log_message(self, *_):
        pass

    def body(self) -> tuple[bytes, list[bytes]]:
        """The request's body and its trailer lines."""
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", 0))), []
        parts, trailers = [], []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while line := self.rfile.readline().strip():
            trailers.append(line)
        return b"".join(parts), trailers

    def header_list(self) -> list[list[str]]:
        return [[name.lower(), value] for name, value in self.headers.items()]

    def respond(self, status: int, content: bytes, **headers: object):
        self.send_response(status)
        for name, value in {**headers, "content_length": len(content)}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def answer(self):
        raise NotImplementedError

    def __getattr__(self, name: str):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


def serve(handler: type[Handler], port: int = 0):
    with Server(("127.0.0.1", port), handler) as server:
        publish(server.server_port)
        server.serve_forever()


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113 section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def initial_window(size: int) -> bytes:
    """SETTINGS with this initial window."""
    return frame(4, 0, 0, b"\x00\x04" + size.to_bytes(4, "big"))


def string(text: bytes) -> bytes:
    """A string of HPACK, without Huffman coding (RFC 7541 section 5.2)."""
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, length = len(text) - 127, bytearray([127])
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    return bytes(length) + bytes([rest]) + text
