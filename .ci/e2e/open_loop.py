"""Open-loop load at a fixed rate, with a check of every response, until SIGTERM:
`open_loop.py PORT RESULT [--rate N] [--connections N] [--warm N] [--marked] [--sticky] [--gets] [--failing] [--names NAMES]
[--address IP] [--patience S] [--paths PATHS]`.

Each request takes an idle connection or a new one: a slow response delays no other request. Every tenth request has a
body, half of those chunked. RESULT.started exists once the load runs. RESULT.tsv has one row a request: the time when it
was sent (milliseconds since the epoch), its latency (milliseconds), its outcome, the upstream that served it, and a detail
for people. Outcomes:

  ok         200, and every byte belongs to this request
  502 …      a whole response of the proxy itself, with this status
  failed     with `--failing`: a 500 of an upstream
  refused    no connection
  cut        the connection ended before the response
  late       no response within the patience
  wrong      anything else, above all the response to another request

`--warm`: opens so many connections before the load starts. `--marked`: the rules set x-mark on the request and on the response, and both must come from the same rules. `--sticky`: a
caller always gets the same variant. `--gets`: no request has a body. `--names`: of the upstreams, with commas. `--paths`: what
targets begin with, in turn, with commas.
"""

import argparse
import asyncio
import pathlib
import re
import resource
import signal
import time

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("result")
parser.add_argument("--rate", type=int, default=500)
parser.add_argument("--connections", type=int, default=1000)
parser.add_argument("--warm", type=int, default=0)
parser.add_argument("--marked", action="store_true")
parser.add_argument("--sticky", action="store_true")
parser.add_argument("--gets", action="store_true")
parser.add_argument("--failing", action="store_true")
parser.add_argument("--names", default="stable,canary")
parser.add_argument("--paths", default="shop")
parser.add_argument("--address", default="127.0.0.1")
parser.add_argument("--patience", type=float, default=20)
options = parser.parse_args()

LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)\r\n", re.IGNORECASE)
SERVED = re.compile(rb"\r\nx-served-by:[ \t]*([^\r]*)\r\n", re.IGNORECASE)
MARK = re.compile(rb"\r\nx-mark:[ \t]*([^\r]*)\r\n", re.IGNORECASE)
CALLERS = 1000
NAMES = options.names.encode().split(b",")
PATHS = options.paths.encode().split(b",")

idle: list["Connection"] = []
opened = 0
lines: list[str] = []
variants: dict[int, bytes] = {}


def record(sent: float, took: float, outcome: str, served: str, detail: str):
    lines.append(f"{sent:.0f}\t{took:.1f}\t{outcome}\t{served}\t{detail}")


class Request:
    def __init__(self, number: int):
        self.caller = number % CALLERS
        self.target = b"/%s/%d" % (PATHS[number % len(PATHS)], number)
        self.body = b""
        self.method = b"GET"
        framing = b""
        sent = b""
        if number % 10 == 0 and not options.gets:
            self.method = b"POST"
            self.body = b"%d;" % number * (number % 997 + 1)
            if number % 20 == 0:
                framing = b"transfer-encoding: chunked\r\n"
                half = len(self.body) // 2
                parts = [part for part in (self.body[:half], self.body[half:]) if part]
                sent = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
            else:
                framing = b"content-length: %d\r\n" % len(self.body)
                sent = self.body
        head = b"%s %s HTTP/1.1\r\nhost: shop.test\r\ncookie: uid=u%d\r\n%s\r\n"
        self.bytes = head % (self.method, self.target, self.caller, framing) + sent


class Connection(asyncio.Protocol):
    def __init__(self):
        self.transport, self.buffer, self.waiting, self.closed = None, b"", None, False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        if self.waiting is None or self.waiting.done():
            if not self.closed:
                record(time.time() * 1000, 0, "wrong", "-", f"bytes without a request: {data[:80]!r}")
            self.closed = True
            self.transport.abort()
            return
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[: end + 4]
        length = LENGTH.search(head)
        if length is None:
            self.waiting.set_result((head, None))
        elif len(self.buffer) >= end + 4 + int(length.group(1)):
            body, self.buffer = self.buffer[end + 4 :], b""
            self.waiting.set_result((head, body))

    def connection_lost(self, exc):
        global opened
        opened -= 1
        self.closed = True
        if self in idle:
            idle.remove(self)
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(exc or ConnectionResetError("closed"))

    async def send(self, data: bytes):
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        timer = asyncio.get_running_loop().call_later(options.patience, self.give_up)
        try:
            return await self.waiting
        finally:
            timer.cancel()

    def give_up(self):
        if not self.waiting.done():
            self.waiting.set_exception(asyncio.TimeoutError())


def check(request: Request, head: bytes, body: bytes | None) -> tuple[str, str, str]:
    """The outcome, the upstream that served it, and a detail."""
    first = head.split(b"\r\n", 1)[0]
    status = first.split(b" ")[1].decode() if first.startswith(b"HTTP/1.1 ") else ""
    if body is None:
        return "wrong", "-", f"no content-length: {head!r}"
    served = SERVED.search(head)
    if status != "200":
        own = b"\r\nproxy-status: pointsman;" in head.lower()
        if own and served is None and status[:1] == "5" and body:
            return status, "-", re.sub(r"\s+", " ", head.decode("latin-1"))
        if options.failing and status == "500" and served and served.group(1) in NAMES:
            return "failed", served.group(1).decode(), ""
        return "wrong", "-", f"{head!r} {body[:200]!r}"
    name = served.group(1) if served else b""
    mark, target = b"-", request.target
    if options.marked:
        found = MARK.search(head)
        mark = found.group(1) if found else b"none"
        target = b"/" + mark + request.target
        # Rules a route all requests to the stable upstream, rules b to the canary.
        if {b"a": b"stable", b"b": b"canary"}.get(mark) != name:
            return "wrong", name.decode(), f"mark {mark!r} by {name!r}: {body[:80]!r}"
    if name not in NAMES:
        return "wrong", "-", f"{head!r}"
    expected = b"%s %s %s %s\n" % (name, request.method, target, mark) + request.body
    if body != expected:
        return "wrong", name.decode(), f"expected {expected[:80]!r} ({len(expected)}), found {body[:80]!r} ({len(body)})"
    if options.sticky and variants.setdefault(request.caller, name) != name:
        return "wrong", name.decode(), f"caller {request.caller} got {variants[request.caller]!r} before"
    return "ok", name.decode(), ""


async def connect() -> Connection:
    global opened
    opened += 1
    connecting = asyncio.get_running_loop().create_connection(Connection, options.address, options.port)
    try:
        return (await asyncio.wait_for(connecting, options.patience))[1]
    except (OSError, asyncio.TimeoutError):
        opened -= 1
        raise


async def idle_connection() -> Connection | None:
    """None: a new one may be opened."""
    while True:
        while idle:
            connection = idle.pop()
            if not connection.closed and not connection.transport.is_closing():
                return connection
        if opened < options.connections:
            return None
        await asyncio.sleep(0.001)


async def run_request(number: int):
    request, connection, served, detail = Request(number), None, "-", ""
    sent, began = time.time() * 1000, time.monotonic()
    try:
        connection = await idle_connection() or await connect()
        head, body = await connection.send(request.bytes)
        outcome, served, detail = check(request, head, body)
        if b"\r\nconnection: close\r\n" not in head.lower() and body is not None and not connection.closed:
            idle.append(connection)
            connection = None
    except asyncio.TimeoutError:
        outcome = "late"
    except OSError as error:
        outcome, detail = "cut" if connection else "refused", repr(error)
    if connection is not None:
        connection.transport.abort()
    record(sent, (time.monotonic() - began) * 1000, outcome, served, detail)


async def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    idle.extend(await asyncio.gather(*(connect() for _ in range(options.warm))))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    began, number, tasks = time.monotonic(), 0, set()
    pathlib.Path(options.result + ".started").write_text("started\n")
    while not stop.is_set():
        # After a pause of this process, bursts of at most 25 restore the rate.
        for _ in range(min(int((time.monotonic() - began) * options.rate) - number, 25)):
            number += 1
            task = asyncio.ensure_future(run_request(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.002)
    if tasks:
        await asyncio.wait(tasks)
    pathlib.Path(options.result + ".tsv").write_text("".join(line + "\n" for line in lines))


asyncio.run(main())
