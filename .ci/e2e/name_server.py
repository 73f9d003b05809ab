"""A DNS server over UDP: `name_server.py ADDRESS ANSWER_FILE USED_FILE`.

It answers each query with the IPv4 addresses in ANSWER_FILE, with a TTL of one second or of `ttl=SECONDS` in front of them.
The file may also contain `nxdomain`, `servfail` or `silence`. USED_FILE gets the content of ANSWER_FILE for each query.
"""

import pathlib
import socket
import sys

import peer

address, answer_file, used = sys.argv[1], pathlib.Path(sys.argv[2]), open(sys.argv[3], "a", buffering=1)
A = 1
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((address, 53))
peer.publish(53)
while True:
    question, client = server.recvfrom(4096)
    end = question.index(b"\0", 12) + 5
    kind = int.from_bytes(question[end - 4 : end - 2], "big")
    answer = answer_file.read_text()
    words = answer.split()
    used.write(answer)
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
