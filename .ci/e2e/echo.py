"""An upstream that returns the request, so that the client can check the response: `echo.py NAME [PORT [ADDRESS]]`.

The body is one line with its name, the method, the target and the request's `x-mark`, then the request's body.
`sleep=MS` in the query delays the response. After `/fails/N`, N of 100 responses have the status 500, until another N.
After `/sick/STATUS`, `/healthz` has this status, until another one. The body of `/accepted` is the number of connections so far, that
of `/checks` the number of requests to `/healthz`.
"""

import asyncio
import random
import re
import sys

import peer

NAME = sys.argv[1].encode()
SLEEP = re.compile(rb"[?&]sleep=(\d+)")
FAILS = re.compile(rb" /fails/(\d+) ")
SICK = re.compile(rb" /sick/(\d+) ")
fails, sick, accepted, checks = 0, 200, 0, 0


def field(head: bytes, name: bytes) -> bytes:
    found = re.search(rb"\r\n" + name + rb":[ \t]*([^\r]*)\r\n", head, re.IGNORECASE)
    return found.group(1) if found else b""


class Echo(asyncio.Protocol):
    def __init__(self):
        self.buffer, self.transport, self.delayed = b"", None, None

    def connection_made(self, transport):
        global accepted
        accepted += 1
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        if self.delayed is None or self.delayed.done():
            self.delayed = None
            self.respond_all()

    def respond_all(self):
        while request := self.next_request():
            first, body = request
            sleep = SLEEP.search(first)
            if sleep:
                self.delayed = asyncio.ensure_future(self.respond_later(int(sleep.group(1)) / 1000, first, body))
                return
            self.respond(first, body)

    async def respond_later(self, seconds, first, body):
        await asyncio.sleep(seconds)
        self.respond(first, body)
        self.delayed = None
        self.respond_all()

    def next_request(self):
        """The next whole request: its first line with the mark, and its body."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head, rest = self.buffer[: end + 4], self.buffer[end + 4 :]
        if b"chunked" in field(head, b"transfer-encoding").lower():
            body, rest = unchunk(rest)
            if body is None:
                return None
        else:
            length = int(field(head, b"content-length") or 0)
            if len(rest) < length:
                return None
            body, rest = rest[:length], rest[length:]
        self.buffer = rest
        method, target, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
        return b"%s %s %s %s" % (NAME, method, target, field(head, b"x-mark") or b"-"), body

    def respond(self, first, body):
        global fails, sick, checks
        found = FAILS.search(first)
        if found:
            fails = int(found.group(1))
        change = SICK.search(first)
        if change:
            sick = int(change.group(1))
        is_check = b" /healthz " in first
        checks += is_check
        if b" /accepted " in first:
            body = b"%d\n" % accepted
        elif b" /checks " in first:
            body = b"%d\n" % checks
        content = first + b"\n" + body
        status = b"500 Internal Server Error" if not found and random.random() * 100 < fails else b"200 OK"
        if is_check:
            status = b"%d Health" % sick
        head = b"HTTP/1.1 %s\r\ncontent-type: text/plain\r\nx-served-by: %s\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(head % (status, NAME, len(content)) + content)


def unchunk(rest):
    """The chunked body and the bytes after it; the body is None until all of it is there."""
    parts = []
    while True:
        line, found, rest = rest.partition(b"\r\n")
        if not found:
            return None, b""
        size = int(line.split(b";")[0], 16)
        if size == 0:
            return (b"".join(parts), rest[2:]) if rest.startswith(b"\r\n") else (None, b"")
        if len(rest) < size + 2:
            return None, b""
        parts.append(rest[:size])
        rest = rest[size + 2 :]


async def main():
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    address = sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1"
    server = await asyncio.get_running_loop().create_server(Echo, address, port, backlog=4096)
    peer.publish(server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
