"""Clients that come, ask once and stay: `idle_clients.py PORT CLIENTS STATE_FILE`, until they are sent SIGTERM.

The first ones come one after the other and are answered; then all others come at once. The state file says how many
were answered when they were all there.
"""

import os
import signal
import socket
import sys
import time

port, clients, state = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
ask = b"GET /crowd HTTP/1.1\r\nhost: shop.test\r\n\r\n"
crowd = []
for _ in range(clients):
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    client.setblocking(False)
    client.send(ask)
    crowd.append(client)
time.sleep(2)
answered = 0
for client in crowd:
    try:
        answered += client.recv(65536).startswith(b"HTTP/1.1 200")
    except OSError:
        pass
with open(state + ".new", "w") as file:
    file.write(f"{answered}\n")
os.rename(state + ".new", state)
signal.sigwait({signal.SIGTERM})
