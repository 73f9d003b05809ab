"""A shop with a JSON API: `shop.py VERSION SEEN_FILE [PORT]`.

Version 3 rounds every third price wrongly, and each response has its own id. SEEN_FILE gets one line of JSON for each
request. `/bomb` is 64 MiB of zeros in a few KiB of gzip, `/deep` an array in 10 000 arrays, `/broken` is not JSON, `/many`
has new field names each time.
"""

import gzip
import hashlib
import json
import sys
import threading
import uuid

import peer

VERSION = int(sys.argv[1])
SEEN = open(sys.argv[2], "a", buffering=1)
LOCK = threading.Lock()
BOMB = gzip.compress(b"[" + b"0," * (32 << 20) + b"0]", 9)


def item(number: int) -> dict:
    price = 100 + number % 50 * 20
    if VERSION == 3 and number % 3 == 0:
        price = (price + 99) // 100 * 100 + 1
    return {"item": number, "price_cents": price, "tags": ["tea", "green"], "request": str(uuid.uuid4())}


class Shop(peer.Handler):
    def date_time_string(self, timestamp=None):
        return "Sat, 21 Nov 2026 12:00:00 GMT"

    def answer(self):
        body, trailers = self.body()
        body = b"\ntrailer ".join([body, *trailers])
        seen = {
            "line": self.requestline,
            "headers": self.header_list(),
            "bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        with LOCK:
            SEEN.write(json.dumps(seen) + "\n")
        path, coding = self.path.split("?")[0], {}
        if path.startswith("/items/"):
            content = json.dumps(item(int(path.split("/")[2]))).encode()
            if "gzip" in self.headers.get("accept-encoding", ""):
                content, coding = gzip.compress(content), {"content_encoding": "gzip"}
        elif path == "/bomb":
            content, coding = BOMB, {"content_encoding": "gzip"}
        elif path == "/deep":
            content = b"[" * 10_000 + str(VERSION).encode() + b"]" * 10_000
        elif path == "/broken":
            content = b'{"price": \xff\xfe' + str(VERSION).encode()
        elif path == "/many":
            content = json.dumps({f"field-{uuid.uuid4().hex[:6]}-{n}": n for n in range(2_000)}).encode()
        else:
            content = b"{}"
        self.respond(200, content, content_type="application/json", **coding)


peer.serve(Shop, int(sys.argv[3]) if len(sys.argv) > 3 else 0)
