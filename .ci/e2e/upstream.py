"""An upstream that returns its name and describes what it received: `upstream.py NAME`. It prints each request to `/slow?ms=`."""

import hashlib
import json
import sys
import time
import urllib.parse

import peer

NAME = sys.argv[1]


class Upstream(peer.Handler):
    def answer(self):
        received, _ = self.body()
        url = urllib.parse.urlsplit(self.path)
        if url.path.endswith("/slow"):
            print(self.path, flush=True)
            time.sleep(int(urllib.parse.parse_qs(url.query)["ms"][0]) / 1000)
        content = f"{NAME}\n".encode()
        if url.path.endswith("/headers"):
            seen = {"method": self.command, "path": self.path, "headers": self.header_list()}
            content = json.dumps(seen).encode()
        self.respond(
            200, content, content_type="text/plain", x_served_by=NAME, x_seen_host=self.headers.get("host", ""),
            x_body_bytes=len(received), x_body_sha256=hashlib.sha256(received).hexdigest(),
        )


peer.serve(Upstream)
