"""Clients that never pause: `closed_loop.py PORT SECONDS CLIENTS RESULT_FILE`.

Each keeps its connection as long as the proxy does. The result is one JSON object: answered, failed (with examples),
refused (the listener is gone: nothing was asked), raced (an idle connection was closed as the next request was sent:
no byte came back, and RFC 9112 section 9.3.1 lets a client ask again).
"""

import http.client
import json
import pathlib
import sys
import threading
import time

port, seconds, clients = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
result = {"answered": 0, "failed": 0, "refused": 0, "raced": 0, "examples": []}
lock = threading.Lock()


def count(what: str, example: str = ""):
    with lock:
        result[what] += 1
        if example and len(result["examples"]) < 5:
            result["examples"].append(example)


def client(number: int, end: float):
    connection, reused = None, False
    while time.monotonic() < end:
        try:
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                connection.connect()
                reused = False
        except OSError:
            count("refused")
            connection = None
            time.sleep(0.02)
            continue
        try:
            path = "/slow?ms=400" if number % 8 == 0 else "/hello"
            connection.request("GET", path, headers={"Host": "shop.test", "Cookie": f"uid=u{number}"})
            answer = connection.getresponse()
            answer.read()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            count("raced" if reused else "failed", "" if reused else repr(error))
            connection = None
            continue
        except (OSError, http.client.HTTPException) as error:
            count("failed", repr(error))
            connection = None
            continue
        count("answered" if answer.status == 200 else "failed", "" if answer.status == 200 else str(answer.status))
        reused = True
        if answer.will_close:
            connection = None


end = time.monotonic() + seconds
threads = [threading.Thread(target=client, args=(number, end)) for number in range(clients)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
pathlib.Path(sys.argv[4]).write_text(json.dumps(result))
