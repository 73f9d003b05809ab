"""A small upstream that says who it is and what it saw: `upstream.py NAME PORT_FILE`."""

import hashlib
import http.server
import json
import pathlib
import sys
import time
import urllib.parse

NAME = sys.argv[1]


class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "e2e", ""
    wbufsize = -1  # One write an answer.

    def log_message(self, *_):
        pass

    def body(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def answer(self):
        received = self.body()
        url = urllib.parse.urlsplit(self.path)
        if url.path.endswith("/slow"):
            time.sleep(int(urllib.parse.parse_qs(url.query)["ms"][0]) / 1000)
        if url.path.endswith("/headers"):
            seen = [[name.lower(), value] for name, value in self.headers.items()]
            content = json.dumps({"method": self.command, "path": self.path, "headers": seen}).encode()
        else:
            content = f"{NAME}\n".encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(content)))
        self.send_header("x-served-by", NAME)
        self.send_header("x-seen-host", self.headers.get("host", ""))
        self.send_header("x-body-bytes", str(len(received)))
        self.send_header("x-body-sha256", hashlib.sha256(received).hexdigest())
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


server = Server(("127.0.0.1", 0), Upstream)
pathlib.Path(sys.argv[2]).write_text(str(server.server_port))
server.serve_forever()
