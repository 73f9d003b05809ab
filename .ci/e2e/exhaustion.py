"""Clients that take much and give nothing: `exhaustion.py PORT SECONDS RESULT_FILE SHAPE COUNT ADDRESSES`.

COUNT connections from ADDRESSES client addresses (127.0.2.1 and on) keep open what they began until SECONDS are over:

  readers   HTTP/1.1, an answer of 1 MiB that is not read
  uploads   HTTP/1.1, a body of 2 MB to a service that does not read it
  closed    HTTP/2, 100 small answers each, and no window for them
  stalled   HTTP/2, 100 answers of 1 MiB each, and no window for them
  peephole  HTTP/2, 100 answers of 15 KiB each, and a window of one byte
  deaf      HTTP/2, 100 answers of 1 MiB each, with all windows open, and nothing is read
  heads     HTTP/2, 100 heads each of 90 fields of 110 bytes, which cost one byte each, and no window
  resets    HTTP/2, streams that are reset at once, and a new connection whenever one is closed

The result says how many bytes were sent, and how many connections the proxy has closed.
"""

import asyncio
import pathlib
import sys
import time

port, seconds, result = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
shape, count, addresses = sys.argv[4], int(sys.argv[5]), int(sys.argv[6])
end = time.monotonic() + seconds
WIDE = 2**31 - 1
sent = closed = 0
kept = []


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def head(path: bytes) -> bytes:
    """GET, http, the path and the host `hoard.test`, as literals that enter no table (RFC 7541)."""
    return b"\x82\x86\x04" + bytes([len(path)]) + path + b"\x01\x0ahoard.test"


def opening(window: int) -> bytes:
    settings = frame(4, 0, 0, b"\x00\x04" + window.to_bytes(4, "big"))
    wide = frame(8, 0, 0, (WIDE - 65535).to_bytes(4, "big")) if window else b""
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + wide + frame(4, 1, 0, b"")


def asks(path: bytes, more=lambda number: b"") -> bytes:
    return b"".join(frame(1, 5, 2 * number + 1, head(path) + more(number)) for number in range(100))


def many_fields(number: int) -> bytes:
    entry = b"\x40\x01x\x6e" + b"v" * 110
    return entry + b"\xbe" * 89 if number == 0 else b"\xbe" * 90


def resets() -> bytes:
    pairs = (frame(1, 5, 2 * n + 1, head(b"/")) + frame(3, 0, 2 * n + 1, b"\x00\x00\x00\x08") for n in range(1000))
    return b"".join(pairs)


SHAPES = {
    # What is sent, and whether anything is read.
    "readers": (b"GET /big HTTP/1.1\r\nHost: hoard.test\r\n\r\n", False),
    "uploads": (b"POST /deaf HTTP/1.1\r\nHost: hoard.test\r\nContent-Length: 10000000\r\n\r\n" + b"y" * 2_000_000, False),
    "closed": (opening(0) + asks(b"/"), True),
    "stalled": (opening(0) + asks(b"/big"), True),
    "peephole": (opening(1) + asks(b"/page"), True),
    "deaf": (opening(WIDE) + asks(b"/big"), False),
    "heads": (opening(0) + asks(b"/", many_fields), True),
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
    pathlib.Path(result).write_text(f"{sent} bytes sent, {closed} times the proxy closed a connection\n")


asyncio.run(main())
