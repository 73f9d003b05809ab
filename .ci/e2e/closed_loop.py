"""Clients that send the next request at once, until the proxy refuses connections: `closed_loop.py PORT CLIENTS RESULT_FILE`.

The result is one JSON object: answered, failed (with examples), raced (the proxy closed an idle connection while the client
sent the next request; RFC 9112 section 9.3.1 lets it retry, since no byte of a response arrived).
"""

import http.client
import json
import pathlib
import sys
import threading

port, clients = int(sys.argv[1]), int(sys.argv[2])
result = {"answered": 0, "failed": 0, "raced": 0, "examples": []}
lock = threading.Lock()


def count(what: str, example: str = ""):
    with lock:
        result[what] += 1
        if example and len(result["examples"]) < 5:
            result["examples"].append(example)


def client(number: int):
    connection, reused = None, False
    while True:
        try:
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                connection.connect()
                reused = False
        except OSError:
            return
        try:
            path = "/slow?ms=400" if number % 8 == 0 else "/hello"
            connection.request("GET", path, headers={"Host": "shop.test", "Cookie": f"uid=u{number}"})
            response = connection.getresponse()
            response.read()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            count("raced" if reused else "failed", "" if reused else repr(error))
            connection = None
            continue
        except (OSError, http.client.HTTPException) as error:
            count("failed", repr(error))
            connection = None
            continue
        count("answered" if response.status == 200 else "failed", "" if response.status == 200 else str(response.status))
        reused = True
        if response.will_close:
            connection = None


threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
pathlib.Path(sys.argv[3]).write_text(json.dumps(result))
