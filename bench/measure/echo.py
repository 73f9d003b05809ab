"""A WebSocket server for the bench: returns every message. Its argument is the port."""

import asyncio
import base64
import hashlib
import re
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Echo(asyncio.Protocol):
    """One connection; frames are small and whole."""

    def connection_made(self, transport):
        self.transport, self.buffer, self.open = transport, b"", False

    def data_received(self, data):
        self.buffer += data
        if not self.open:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            key = re.search(rb"(?i)\r\nsec-websocket-key: *(\S+)", head)
            if not end or not key:
                return
            accept = base64.b64encode(hashlib.sha1(key.group(1) + GUID).digest())
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            self.open, self.buffer = True, rest
        while len(self.buffer) >= 6 and len(self.buffer) >= 6 + (self.buffer[1] & 0x7F):
            length = self.buffer[1] & 0x7F
            mask, payload = self.buffer[2:6], self.buffer[6 : 6 + length]
            if any(mask):
                payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
            self.transport.write(bytes([self.buffer[0], length]) + payload)
            self.buffer = self.buffer[6 + length :]


async def main():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()


asyncio.run(main())
