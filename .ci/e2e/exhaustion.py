"""Clients that make the proxy keep data: `exhaustion.py PORT SECONDS SHAPE COUNT ADDRESSES`.

COUNT connections from ADDRESSES client addresses (127.0.2.1 and up) stay open for SECONDS:

  readers   HTTP/1.1, a response of 1 MiB that the client does not read
  uploads   HTTP/1.1, a body of 2 MB to a service that does not read it
  closed    HTTP/2, 100 small responses each, and a window of zero
  stalled   HTTP/2, 100 responses of 1 MiB each, and a window of zero
  peephole  HTTP/2, 100 responses of 15 KiB each, and a window of one byte
  deaf      HTTP/2, 100 responses of 1 MiB each, the widest windows, and the client does not read
  heads     HTTP/2, 100 heads each of 90 fields of 110 bytes, which take one byte each on the wire, and a window of zero
  resets    HTTP/2, streams that the client resets at once, and a new connection for each that the proxy closes

Prints how many bytes it sent and how many connections the proxy closed.
"""

import asyncio
import sys
import time

from peer import PREFACE, frame, initial_window

port, seconds = int(sys.argv[1]), float(sys.argv[2])
shape, count, addresses = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
end = time.monotonic() + seconds
WIDE = 2**31 - 1
sent = closed = 0
kept = []


def head(path: bytes) -> bytes:
    """GET, http, the path and the host `hoard.test`, as literals without indexing (RFC 7541)."""
    return b"\x82\x86\x04" + bytes([len(path)]) + path + b"\x01\x0ahoard.test"


def opening(size: int) -> bytes:
    wide = frame(8, 0, 0, (WIDE - 65535).to_bytes(4, "big")) if size else b""
    return PREFACE + initial_window(size) + wide + frame(4, 1, 0, b"")


def requests(path: bytes, more=lambda number: b"") -> bytes:
    return b"".join(frame(1, 5, 2 * number + 1, head(path) + more(number)) for number in range(100))


def many_fields(number: int) -> bytes:
    entry = b"\x40\x01x\x6e" + b"v" * 110
    return entry + b"\xbe" * 89 if number == 0 else b"\xbe" * 90


def resets() -> bytes:
    pairs = (frame(1, 5, 2 * n + 1, head(b"/")) + frame(3, 0, 2 * n + 1, b"\x00\x00\x00\x08") for n in range(1000))
    return b"".join(pairs)


SHAPES = {
    # The bytes to send, and whether the client reads.
    "readers": (b"GET /big HTTP/1.1\r\nHost: hoard.test\r\n\r\n", False),
    "uploads": (b"POST /deaf HTTP/1.1\r\nHost: hoard.test\r\nContent-Length: 10000000\r\n\r\n" + b"y" * 2_000_000, False),
    "closed": (opening(0) + requests(b"/"), True),
    "stalled": (opening(0) + requests(b"/big"), True),
    "peephole": (opening(1) + requests(b"/page"), True),
    "deaf": (opening(WIDE) + requests(b"/big"), False),
    "heads": (opening(0) + requests(b"/", many_fields), True),
    "resets": (opening(65535) + resets(), True),
}


async def connection(number: int):
    global sent, closed
    data, reads = SHAPES[shape]
    source = f"127.0.2.{number % addresses + 1}"
    while time.monotonic() < end:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0), limit=2**16)
            if not reads:
                writer.transport.pause_reading()
            writer.write(data)
            sent += len(data)
            kept.append(writer)
            while reads and await reader.read(65536):
                pass
            if not reads:
                return
            closed += 1
            writer.close()
        except OSError:
            closed += 1
        if shape != "resets":
            return


async def main():
    tasks = []
    for number in range(count):
        tasks.append(asyncio.ensure_future(connection(number)))
        if number % 20 == 19:
            await asyncio.sleep(0.01)
    await asyncio.sleep(max(0, end - time.monotonic()))
    for task in tasks:
        task.cancel()
    print(f"{sent} bytes sent, {closed} connections closed by the proxy")


asyncio.run(main())
