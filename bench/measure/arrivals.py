"""An upstream that notes the time of the last request that reached it: `arrivals.py PORT FILE`.

FILE begins with two little-endian words: CLOCK_MONOTONIC in nanoseconds, which is common to all processes of a machine,
and the number of requests so far.
"""

import asyncio
import mmap
import struct
import sys
import time

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\ncanary\n"


class Canary(asyncio.Protocol):
    """One connection; requests have no bodies."""

    shared: mmap.mmap
    requests = 0

    def connection_made(self, transport):
        self.transport, self.rest = transport, b""

    def data_received(self, data):
        now = time.monotonic_ns()
        heads = (self.rest + data).split(b"\r\n\r\n")
        self.rest = heads.pop()
        Canary.requests += len(heads)
        struct.pack_into("<QQ", Canary.shared, 0, now, Canary.requests)
        self.transport.write(RESPONSE * len(heads))


async def main():
    with open(sys.argv[2], "r+b") as file:
        Canary.shared = mmap.mmap(file.fileno(), 16)
    server = await asyncio.get_running_loop().create_server(Canary, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await server.serve_forever()


asyncio.run(main())
