"""Clients that send one request and stay connected until SIGTERM: `idle_clients.py PORT COUNT RESULT_FILE`.

RESULT_FILE gets the number of clients that have a response two seconds after the last one connected.
"""

import signal
import socket
import sys
import time

import peer

port, count, result = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
clients = []
for _ in range(count):
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    client.setblocking(False)
    client.send(b"GET /idle HTTP/1.1\r\nhost: shop.test\r\n\r\n")
    clients.append(client)
time.sleep(2)
answered = 0
for client in clients:
    try:
        answered += client.recv(65536).startswith(b"HTTP/1.1 200")
    except OSError:
        pass
peer.write_whole(result, f"{answered}\n")
signal.sigwait({signal.SIGTERM})
