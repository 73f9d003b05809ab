"""A long download and a stream that speaks both ways, as an upstream and as the client that checks them:
`streams.py upstream PORT_FILE`, `streams.py client PORT SECONDS`.

The download is 100 numbered lines a second in chunks. The stream sends each piece of a chunked request back as it comes,
as a gRPC or WebSocket service would.
"""

import asyncio
import os
import pathlib
import sys
import time


async def chunk(reader) -> bytes:
    size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
    return (await reader.readexactly(size + 2))[:-2]


def framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def serve(reader, writer):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        if b"/download" in head:
            seconds = float(head.split(b"seconds=", 1)[1].split(b" ", 1)[0])
            for number in range(int(seconds * 100)):
                writer.write(framed(b"line %d\n" % number))
                await writer.drain()
                await asyncio.sleep(0.01)
        else:
            while data := await chunk(reader):
                writer.write(framed(data))
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    writer.close()


async def upstream(port_file):
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    pathlib.Path(port_file + ".new").write_text(str(server.sockets[0].getsockname()[1]))
    os.rename(port_file + ".new", port_file)
    await server.serve_forever()


async def opened(port, head: bytes):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return reader, writer


async def download(port, seconds):
    reader, _ = await opened(port, b"GET /streams/download?seconds=%d HTTP/1.1\r\nhost: a\r\n\r\n" % seconds)
    print("download running", flush=True)
    text = b""
    while data := await chunk(reader):
        text += data
    expected = b"".join(b"line %d\n" % number for number in range(seconds * 100))
    assert text == expected, f"{len(text)} of {len(expected)} bytes"


async def both_ways(port, seconds):
    head = b"POST /streams/echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    reader, writer = await opened(port, head)
    print("stream running", flush=True)
    number, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        # Long enough to stay above the least rate that a listener allows (`body_rate`).
        said = b"message %d " % number + b"." * 200
        writer.write(framed(said))
        heard = b""
        while len(heard) < len(said):
            heard += await chunk(reader)
        assert heard == said, (heard, said)
        number += 1
        await asyncio.sleep(0.05)
    writer.write(b"0\r\n\r\n")
    assert await chunk(reader) == b""
    print(f"{number} messages", flush=True)


async def client(port, seconds):
    await asyncio.gather(download(port, seconds), both_ways(port, seconds))


if sys.argv[1] == "upstream":
    asyncio.run(upstream(sys.argv[2]))
else:
    asyncio.run(client(int(sys.argv[2]), int(sys.argv[3])))
