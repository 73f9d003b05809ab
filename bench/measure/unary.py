"""A gRPC upstream for the bench: every unary call is answered with 32 bytes and `grpc-status: 0`.

HTTP/2 without TLS, by prior knowledge. Started with the port as its argument. The fields of its answers are written
without a table (RFC 7541, §6.2.2), those of the calls are not read: a stream that ends is answered.
"""

import asyncio
import struct
import sys

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
END_STREAM = ACK = 1
END_HEADERS = 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def field(name: bytes, value: bytes) -> bytes:
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


# 0x88 is `:status: 200` of the static table.
HEAD = b"\x88" + field(b"content-type", b"application/grpc")
MESSAGE = b"\0\0\0\0\x20" + b"y" * 32
TRAILERS = field(b"grpc-status", b"0")


class Calls(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport):
        self.transport, self.buffer, self.has_preface = transport, b"", False
        transport.write(frame(SETTINGS, 0, 0))

    def data_received(self, data):
        self.buffer += data
        if not self.has_preface:
            if len(self.buffer) < len(PREFACE):
                return
            if not self.buffer.startswith(PREFACE):
                return self.transport.close()
            self.has_preface, self.buffer = True, self.buffer[len(PREFACE) :]
        out = b""
        while len(self.buffer) >= 9:
            length = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + length:
                break
            kind, flags, stream = self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big")
            payload, self.buffer = self.buffer[9 : 9 + length], self.buffer[9 + length :]
            out += self.reply(kind, flags, stream, payload)
        if out:
            self.transport.write(out)

    def reply(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        out = b""
        if kind == SETTINGS and not flags & ACK:
            out += frame(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            out += frame(PING, ACK, 0, payload)
        elif kind == DATA and payload:
            out += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(payload)))
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            out += frame(HEADERS, END_HEADERS, stream, HEAD) + frame(DATA, 0, stream, MESSAGE)
            out += frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS)
        return out


async def main():
    server = await asyncio.get_running_loop().create_server(Calls, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
