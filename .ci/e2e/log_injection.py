"""Requests with texts that could forge or break a line of a log: `log_injection.py send PORT SENT_FILE` sends each over a new
connection and records it with its status. `log_injection.py json|common LOG SENT_FILE` reads the log and checks that each
request has exactly one line, and that no line is forged.
"""

import json
import re
import socket
import sys

FORGED = b'{"time":"2020-01-01T00:00:00.000Z","status":200,"path":"/forged"}'
TEXTS = [
    b'"', b"\\", b'\\"', b"%0d%0a" + FORGED.replace(b" ", b"%20"), b"%0a%0d", b"%00%1b[2J", b"%22%2c%22status%22:200",
    b"'", b"<script>", b"{}", b"`id`", b"$(id)", b"${jndi:ldap://x}", b"%s%n%x", b"|", b"^", b"%e2%80%a8", b"%c2%85", b"%7f",
]
OBS = [bytes([byte]) for byte in (0x80, 0x85, 0x9b, 0xA0, 0xE9, 0xFF)] + [b"\xe2\x80\xa8", b"\xc2\x85", b"\xc3\xa9", b"\xf0\x9f\x98\x80"]
CONTROLS = [bytes([byte]) for byte in (0x00, 0x01, 0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x1B, 0x1F, 0x7F)]


def requests():
    """Method, target, host and more header lines; each target has its own number."""
    number = 0
    for text in TEXTS + OBS + CONTROLS:
        for where in ("path", "query", "user-agent", "referer", "x-tenant-id", "x-request-id", "traceparent", "host", "method"):
            number += 1
            method, target, host, more = b"GET", b"/n%d" % number, b"shop.test", b""
            if where == "path":
                target += b"/a" + text + b"b"
            elif where == "query":
                target += b"?a" + text + b"b"
            elif where == "host":
                host = b"shop" + text + b".test"
            elif where == "method":
                method = b"GE" + text + b"T"
            else:
                more = where.encode() + b": a" + text + b"b\r\n"
            yield number, where, method, target, host, more


def send(port: int, sent_file: str):
    sent = []
    for number, where, method, target, host, more in requests():
        data = method + b" " + target + b" HTTP/1.1\r\nhost: " + host + b"\r\n" + more + b"connection: close\r\n\r\n"
        answer = b""
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(data)
            try:
                while part := client.recv(65536):
                    answer += part
            except ConnectionResetError:
                pass
        status = re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)
        assert status, (data, answer)
        body = answer.partition(b"\r\n\r\n")[2]
        sent.append({"number": number, "where": where, "status": int(status[1]), "target": target.hex(), "body": len(body)})
    statuses = sorted({one["status"] for one in sent})
    assert set(statuses) <= {200, 400, 405, 501}, statuses
    print(f"   {len(sent)} requests with such texts, {sum(one['status'] == 200 for one in sent)} of them served")
    with open(sent_file, "w") as file:
        json.dump(sent, file)


def records(kind: str, content: bytes):
    assert content.endswith(b"\n"), content[-100:]
    for byte in content:
        assert byte == 10 or (byte >= 32 and byte != 127), f"a control byte {byte:#x} in the log"
    text = content.decode("utf-8")
    lines = text.split("\n")[:-1]
    assert lines == text.splitlines(), "another character than a line feed ends a line"
    common = re.compile(r'([0-9a-f.:]+) - - \[(\d\d/[A-Z][a-z]{2}/\d{4}(?::\d\d){3} \+0000)\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-)')
    for line in lines:
        if kind == "json":
            record = json.loads(line)
            again = json.loads(line, object_pairs_hook=lambda pairs: pairs)
            assert len(again) == len(record), f"a key occurs twice in {line}"
            yield record["path"], record["status"], record["response_bytes"], record
        else:
            found = common.fullmatch(line)
            assert found, line
            request = re.sub(r'\\(["\\])', r"\1", found[3])
            assert request.count(" ") >= 2, line
            path = request[request.index(" ") + 1 : request.rindex(" ")]
            yield path, int(found[4]), 0 if found[5] == "-" else int(found[5]), None


def read(kind: str, log: str, sent_file: str):
    with open(log, "rb") as file:
        found = {}
        for path, status, size, record in records(kind, file.read()):
            assert "/forged" not in path or path.startswith("/n"), path
            number = re.match(r"/n(\d+)(?![0-9])", path)
            if number:
                assert int(number[1]) not in found, f"two lines for {path}"
                found[int(number[1])] = (path, status, size, record)
            else:
                # A request of the load, or a head that is invalid before the end of its target.
                assert re.fullmatch(r"/shop/\d+", path) or status == 400, (path, status)
    with open(sent_file) as file:
        for one in json.load(file):
            if one["status"] != 200:
                continue
            path, status, size, record = found[one["number"]]
            target = bytes.fromhex(one["target"]).split(b"?")[0]
            assert (status, size) == (200, one["body"]), (path, status, size, one)
            if one["where"] == "path":
                # Bytes outside of the grammar are written as they are, or percent-encoded.
                assert path.lower().startswith(target.decode("latin-1").split("/a")[0] + "/a"), path
                assert path.endswith("b"), path
            else:
                assert path == target.decode(), (path, target)
            assert record is None or record["method"] == "GET" or one["where"] == "method", record


if sys.argv[1] == "send":
    send(int(sys.argv[2]), sys.argv[3])
else:
    read(*sys.argv[1:])
