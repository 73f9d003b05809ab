"""A service with large responses: `/big` is 1 MiB, `/page` 15 KiB, any other path three bytes. It does not read the bodies
of requests to `/deaf`."""

import asyncio
import socket

import peer

SIZES = {b"/big": 1 << 20, b"/page": 15 << 10}
PIECE = b"x" * (32 << 10)
SEND_BUFFER_BYTES = 32 << 10


class Large(asyncio.Protocol):
    """Sends as fast as the proxy reads: 1 000 whole responses in memory would take more than a gigabyte, and their
    allocation alone blocks a small machine for a second."""

    def connection_made(self, transport):
        self.transport, self.buffer, self.left, self.is_paused = transport, b"", 0, False
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def data_received(self, data):
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            target = head.split(b" ", 2)[1]
            if target == b"/deaf":
                self.transport.pause_reading()
                return
            self.left = SIZES.get(target, 3)
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % self.left)
            self.send()

    def send(self):
        while self.left and not self.is_paused:
            piece = PIECE[: self.left]
            self.left -= len(piece)
            self.transport.write(piece)

    def pause_writing(self):
        self.is_paused = True

    def resume_writing(self):
        self.is_paused = False
        self.send()


async def main():
    server = await asyncio.get_running_loop().create_server(Large, "127.0.0.1", 0, backlog=4096)
    peer.publish(server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
