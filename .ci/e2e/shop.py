"""A shop that answers JSON: `shop.py VERSION PORT_FILE SEEN_FILE`. Every third price of version 3 is rounded wrongly, and
each answer has an id of its own. SEEN_FILE gets a line of JSON for each request, as it came. `/bomb` is 64 MiB of zeros
behind a few KiB of gzip, `/deep` an array in 10 000 arrays, `/broken` no JSON at all, `/never` is not answered."""

import gzip
import hashlib
import http.server
import json
import pathlib
import sys
import threading
import time
import uuid

VERSION = int(sys.argv[1])
SEEN = open(sys.argv[3], "a", buffering=1)
LOCK = threading.Lock()
BOMB = gzip.compress(b"[" + b"0," * (32 << 20) + b"0]", 9)


def item(number: int) -> dict:
    price = 100 + number % 50 * 20
    if VERSION == 3 and number % 3 == 0:
        price = (price + 99) // 100 * 100 + 1
    return {"item": number, "price_cents": price, "tags": ["tea", "green"], "request": str(uuid.uuid4())}


class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "shop", ""
    wbufsize = -1

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return "Sat, 21 Nov 2026 12:00:00 GMT"

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while line := self.rfile.readline().strip():
            parts.append(b"\ntrailer " + line)
        return b"".join(parts)

    def answer(self):
        body = self.body()
        seen = {
            "line": self.requestline,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        with LOCK:
            SEEN.write(json.dumps(seen) + "\n")
        path = self.path.split("?")[0]
        if path == "/never":
            time.sleep(3600)
        coding = None
        if path.startswith("/items/"):
            content = json.dumps(item(int(path.split("/")[2]))).encode()
            if "gzip" in self.headers.get("accept-encoding", ""):
                content, coding = gzip.compress(content), "gzip"
        elif path == "/bomb":
            content, coding = BOMB, "gzip"
        elif path == "/deep":
            content = b"[" * 10_000 + str(VERSION).encode() + b"]" * 10_000
        elif path == "/broken":
            content = b'{"price": \xff\xfe' + str(VERSION).encode()
        elif path == "/many":
            content = json.dumps({f"field-{uuid.uuid4().hex[:6]}-{n}": n for n in range(2_000)}).encode()
        else:
            content = b"{}"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        if coding:
            self.send_header("content-encoding", coding)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


with Server(("127.0.0.1", int(sys.argv[4]) if len(sys.argv) > 4 else 0), Shop) as server:
    pathlib.Path(sys.argv[2]).write_text(str(server.server_address[1]))
    server.serve_forever()
