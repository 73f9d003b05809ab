"""A webhook and a Prometheus for gates, on a port of the system. The answers are what /set/NAME/TEXT says.

  POST /gate            the answer `webhook`: pass, block, redirect, hang, or text as it is
  GET  /api/v1/query    the answer `value`: a number, NaN, none, or two
  GET  /asked           how often the webhook was asked, and its last body
"""

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

said = {"webhook": "block", "value": "5"}
asked = {"times": 0, "body": ""}
lock = threading.Lock()


def samples(value):
    one = {"metric": {"job": "a"}, "value": [time.time(), value]}
    return {"none": [], "two": [one, one]}.get(value, [one])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, **fields):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        with lock:
            asked["times"] += 1
            asked["body"] = body
        word = said["webhook"]
        if word == "hang":
            time.sleep(30)
        elif word == "redirect":
            self.answer(302, "", Location="http://127.0.0.1:1/elsewhere")
        elif word in ("pass", "block"):
            self.answer(200, json.dumps({"pass": word == "pass", "reason": f"the pipeline says {word}"}))
        else:
            self.answer(200, word)

    def do_GET(self):
        if self.path.startswith("/set/"):
            _, _, name, text = self.path.split("/", 3)
            said[name] = unquote(text)
            self.answer(200, "{}")
        elif self.path == "/asked":
            with lock:
                self.answer(200, json.dumps(asked))
        else:
            data = {"resultType": "vector", "result": samples(said["value"])}
            self.answer(200, json.dumps({"status": "success", "data": data}))


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Path(os.environ["PORT_FILE"]).write_text(str(server.server_address[1]))
    server.serve_forever()
