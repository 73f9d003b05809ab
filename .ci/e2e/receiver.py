"""A receiver of notifications: `receiver.py LOG [PORT]`. Each request is a line of JSON in LOG: time, path, headers, body.

Answers 200, or what `GET /answer/PATH/STATUS` says for a path; with the status `slow`, 200 after a second.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

log = Path(sys.argv[1])
answers = {}
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        status = answers.get(self.path, "200")
        with lock, log.open("a") as lines:
            line = {"at": time.time(), "path": self.path, "headers": headers, "body": body, "status": status}
            lines.write(json.dumps(line) + "\n")
        if status == "slow":
            time.sleep(1)
        self.answer(200 if status == "slow" else int(status))

    def do_GET(self):
        _, _, path, status = self.path.split("/", 3)
        answers["/" + path] = status
        self.answer(200)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


server = Server(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), Handler)
Path(os.environ["PORT_FILE"]).write_text(str(server.server_address[1]))
server.serve_forever()
