"""Requests with a new value of `x-key` each, 50 at a time on one connection: `rate_keys.py PORT FROM COUNT PATH`. Prints the statuses
that came, each with its number."""

import collections
import re
import socket
import sys

port, first, count, path = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
statuses: collections.Counter = collections.Counter()
connection = socket.create_connection(("127.0.0.1", port))
connection.settimeout(30)
for begin in range(first, first + count, 50):
    keys = range(begin, min(begin + 50, first + count))
    connection.sendall(b"".join(b"GET %s HTTP/1.1\r\nhost: a\r\nx-key: k%d\r\n\r\n" % (path.encode(), key) for key in keys))
    received = b""
    # Every answer has a body that ends with this line.
    while received.count(b"HTTP/1.1 ") < len(keys) or not received.endswith(b"\n"):
        piece = connection.recv(1 << 16)
        if not piece:
            sys.exit(f"the connection ended after {sum(statuses.values())} answers")
        received += piece
    statuses.update(STATUS.findall(received))
print(" ".join(f"{status.decode()}:{number}" for status, number in sorted(statuses.items())))
