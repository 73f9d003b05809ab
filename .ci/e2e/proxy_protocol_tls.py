"""PROXY headers in front of TLS, and in wrong places: `proxy_protocol_tls.py PORT CERTIFICATE`. Prints how many checks passed.
"""

import json
import socket
import ssl
import struct
import sys

import peer

PORT, ROOTS = int(sys.argv[1]), sys.argv[2]
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 443\r\n"
ADDRESSES = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
checks = peer.Checks()


def v2(*records, command=0x21, family=0x21, body=ADDRESSES + struct.pack("!HH", 4000, 443)):
    body += b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in records)
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", command, family, len(body)) + body


def handshake(*pieces, within=b"", joined=False):
    """The headers that the upstream receives after these bytes and a handshake; None when the handshake fails."""
    context = ssl.create_default_context(cafile=ROOTS)
    connection = socket.create_connection(("127.0.0.1", PORT), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    if not joined:
        for piece in pieces:
            connection.sendall(piece)

    def until(step):
        first = joined
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                flight = outgoing.read()
                connection.sendall((b"".join(pieces) if first else b"") + flight)
                first = False
                received = connection.recv(65536)
                if not received:
                    raise ConnectionError("closed") from None
                incoming.write(received)

    try:
        until(session.do_handshake)
        joined = False
        session.write(within + b"GET /headers HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += until(lambda: session.read(65536))
            if b" 400 " in answer[:20]:
                return "bad request"
        return {name.lower(): value for name, value in json.loads(answer.partition(b"\r\n\r\n")[2])["headers"]}
    except (ConnectionError, ssl.SSLError):
        return None
    finally:
        connection.close()


def expect(what, wanted, found):
    if isinstance(found, dict):
        found = f"{found.get('x-forwarded-for')} {found.get('x-forwarded-proto')}"
    checks.expect(what, wanted, found)


records = [(0x02, b"elsewhere.test"), (0x05, b"unique"), (0x04, b"\0" * 300), (0x20, b"\x01\0\0\0\0")]
expect("version 1", "192.0.2.7 https", handshake(V1))
expect("version 2", "2001:db8::7 https", handshake(v2()))
expect("version 1 and the hello in one piece", "192.0.2.7 https", handshake(V1, joined=True))
expect("version 2 and the hello in one piece", "2001:db8::7 https", handshake(v2(*records), joined=True))
expect("version 1, byte by byte", "192.0.2.7 https", handshake(*(V1[at : at + 1] for at in range(len(V1)))))
header = v2(*records)
expect("version 2, byte by byte", "2001:db8::7 https", handshake(*(header[at : at + 1] for at in range(len(header)))))
expect("version 2, LOCAL", "127.0.0.1 https", handshake(v2(command=0x20, family=0, body=b"")))
expect("version 1, UNKNOWN", "127.0.0.1 https", handshake(b"PROXY UNKNOWN\r\n"))
expect("no header", None, handshake())
# A second header is no ClientHello, and one within TLS is invalid HTTP.
expect("two headers", None, handshake(V1, V1))
expect("a header within TLS", None, handshake(within=V1))
expect("a header before TLS and one within", "bad request", handshake(V1, within=V1))
expect("a wrong length", None, handshake(v2()[:14] + b"\0\x05" + v2()[16:]))
print(checks.passed)
