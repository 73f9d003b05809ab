"""A long download and a bidirectional stream, as an upstream and as the client that checks them: `streams.py upstream`,
`streams.py client PORT`, until SIGTERM.

The download is 100 numbered lines a second, in chunks, until a request for `/stop`. The stream returns each chunk of the
request when it arrives, as a gRPC or WebSocket service would.
"""

import asyncio
import signal
import sys

import peer

stop = asyncio.Event()


async def chunk(reader) -> bytes:
    size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
    return (await reader.readexactly(size + 2))[:-2]


def framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def serve(reader, writer):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        if b"/stop" in head:
            stop.set()
        elif b"/download" in head:
            number = 0
            while not stop.is_set():
                writer.write(framed(b"line %d\n" % number))
                await writer.drain()
                await asyncio.sleep(0.01)
                number += 1
        else:
            while data := await chunk(reader):
                writer.write(framed(data))
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    writer.close()


async def upstream():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    peer.publish(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def open_stream(port, head: bytes):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return reader, writer


async def download(port):
    reader, _ = await open_stream(port, b"GET /streams/download HTTP/1.1\r\nhost: a\r\n\r\n")
    print("download running", flush=True)
    text = b""
    while data := await chunk(reader):
        text += data
    count = text.count(b"\n")
    assert text == b"".join(b"line %d\n" % number for number in range(count)) and count > 100, text[-100:]


async def both_ways(port):
    head = b"POST /streams/echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    reader, writer = await open_stream(port, head)
    print("stream running", flush=True)
    number = 0
    while not stop.is_set():
        # Long enough to stay above the lowest rate that a listener allows (`body_rate`).
        sent = b"message %d " % number + b"." * 200
        writer.write(framed(sent))
        received = b""
        while len(received) < len(sent):
            received += await chunk(reader)
        assert received == sent, (received, sent)
        number += 1
        await asyncio.sleep(0.05)
    writer.write(b"0\r\n\r\n")
    assert await chunk(reader) == b""
    print(f"{number} messages", flush=True)


async def end_download(port):
    await stop.wait()
    await open_stream(port, b"GET /streams/stop HTTP/1.1\r\nhost: a\r\n\r\n")


async def client(port):
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await asyncio.gather(download(port), both_ways(port), end_download(port))


if sys.argv[1] == "upstream":
    asyncio.run(upstream())
else:
    asyncio.run(client(int(sys.argv[2])))
