"""A name server for one zone, over UDP: `name_server.py ADDRESS ANSWER_FILE READY_FILE`.

Every question for an address is answered with the IPv4 addresses that the file lists, to be used for one second, or for
as many as `ttl=SECONDS` in front of them says; the file may also say `nxdomain`, `servfail` or `silence`.
"""

import pathlib
import socket
import sys

address, answer_file, ready_file = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
A = 1
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((address, 53))
ready_file.write_text("ready")
while True:
    question, client = server.recvfrom(4096)
    end = question.index(b"\0", 12) + 5
    kind = int.from_bytes(question[end - 4 : end - 2], "big")
    words = answer_file.read_text().split()
    if words == ["silence"]:
        continue
    ttl_s = 1
    if words[0].startswith("ttl="):
        ttl_s = int(words.pop(0).removeprefix("ttl="))
    code = {"servfail": 2, "nxdomain": 3}.get(words[0], 0)
    addresses = words if code == 0 and kind == A else []
    head = question[:2] + bytes([0x85, 0x80 | code]) + b"\0\1" + len(addresses).to_bytes(2, "big") + b"\0\0\0\0"
    records = b"".join(
        b"\xc0\x0c\0\1\0\1" + ttl_s.to_bytes(4, "big") + b"\0\4" + socket.inet_aton(one) for one in addresses
    )
    server.sendto(head + question[12:end] + records, client)
