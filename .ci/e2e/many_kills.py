"""Many kills over the admin socket: `many_kills.py SOCKET ROUTE COUNT`. Each reason is as long as one may be, so that the
journal grows. Prints how many were answered as in force and durable."""

import json
import socket
import sys
import threading

CONNECTIONS = 16
REASON = "\N{OCTAGONAL SIGN}" * 1000


def kill(path: str, body: bytes, count: int, outcomes: list):
    head = "POST /v1/kill HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        stream = connection.makefile("rb")
        for _ in range(count):
            connection.sendall((head % len(body)).encode() + body)
            status, length = stream.readline().split()[1], 0
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            answer = stream.read(length)
            if status != b"200":
                sys.exit(f"{status.decode()}: {answer.decode(errors='replace')}")
            outcomes.append(json.loads(answer))


def main():
    path, route, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    body = json.dumps({"route": route, "reason": REASON}, ensure_ascii=False).encode()
    outcomes: list = []
    threads = [
        threading.Thread(target=kill, args=(path, body, count // CONNECTIONS, outcomes)) for _ in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sum(outcome["durable"] and outcome["in_force_ms"] is not None for outcome in outcomes))


main()
