"""WebSocket peers with the library `websockets`.

websocket.py serve NAME                    an upstream; also the page that a browser opens, and the page that it reports to
websocket.py check URL                     everything that a client can do, through the proxy
websocket.py keep URL HEADER               keeps a connection open and prints how it ends
"""

import asyncio
import http
import os
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

import peer

# The proxy forwards compressed and plain bytes alike, and compression takes the peers seconds.
LARGE = [(64, None), (4, "deflate")]

PAGE = """<!doctype html><title>a page</title><script>
const base = location.origin.replace(/^http/, "ws") + "/ws";
const socket = (path, protocols) => new Promise((resolve, reject) => {
  const opened = new WebSocket(base + path, protocols);
  opened.binaryType = "arraybuffer";
  opened.onopen = () => resolve(opened);
  opened.onerror = () => reject(new Error("error on " + path));
});
const next = (from) => new Promise((resolve, reject) => {
  from.onmessage = (event) => resolve(event.data);
  from.onclose = (event) => reject(new Error("closed with " + event.code));
});
const expect = (what, found, expected) => {
  if (found !== expected) throw new Error(what + ": " + found + " instead of " + expected);
};
const closed = (of) => new Promise((resolve) => { of.onclose = resolve; });
(async () => {
  const one = await socket("/echo", ["chat", "superchat"]);
  expect("the protocol", one.protocol, "superchat");
  expect("the extension", one.extensions.split(";")[0], "permessage-deflate");
  for (const text of ["hello", "", "\\u00e4\\u{1f600}".repeat(1000)]) {
    one.send(text);
    expect("an echo", await next(one), text);
  }
  one.send(new Uint8Array(8 << 20).map((_, n) => n % 251));
  expect("a large echo", new Uint8Array(await next(one)).every((byte, n) => byte === n % 251), true);
  one.close(1000, "done");
  expect("the close", (await closed(one)).code, 1000);
  const many = await Promise.all([...Array(20).keys()].map(() => socket("/echo")));
  await Promise.all(many.map(async (each, n) => {
    each.send("number " + n);
    expect("an echo of many", await next(each), "number " + n);
  }));
  many.forEach((each) => each.close());
  const closing = await socket("/close?4321");
  const close = await closed(closing);
  expect("the server's close code", close.code + " " + close.reason, "4321 as requested");
  const fragments = await socket("/fragments");
  expect("fragments", await next(fragments), "one two three");
  fragments.close();
  const refused = await socket("/refused").then(() => "open", () => "refused");
  expect("a refusal", refused, "refused");
  return "ok";
})().catch((error) => "failed: " + error.message)
    .then((result) => fetch("/report?" + encodeURIComponent(result), { method: "GET" }));
</script>"""


def report(what):
    print(what, flush=True)


async def upstream(name):
    def answer(connection, request):
        path = request.path.partition("?")[0]
        if path == "/page":
            response = connection.respond(http.HTTPStatus.OK, PAGE)
            response.headers["Content-Type"] = "text/html; charset=utf-8"
            return response
        if path == "/report":
            report("report " + request.path.partition("?")[2])
            return connection.respond(http.HTTPStatus.OK, "thanks\n")
        if path == "/ws/refused":
            return connection.respond(http.HTTPStatus.FORBIDDEN, "no\n")
        if not path.startswith("/ws"):
            return connection.respond(http.HTTPStatus.OK, f"{name}\n")
        return None

    async def handle(connection):
        path, _, query = connection.request.path.partition("?")
        if path == "/ws/close":
            await connection.close(int(query), "as requested")
        elif path == "/ws/fragments":
            await connection.send(["one ", "two ", "three"])
            await connection.wait_closed()
        elif path == "/ws/who":
            await connection.send(name)
            await connection.wait_closed()
        elif path == "/ws/ping":
            took = await asyncio.wait_for(await connection.ping(), 10)
            await connection.send(f"ponged {took >= 0}")
        else:
            try:
                async for message in connection:
                    await connection.send(message)
            except ConnectionClosed:
                pass

    def choose(_connection, offered):
        return "superchat" if "superchat" in offered else None

    options = dict(process_request=answer, select_subprotocol=choose, max_size=None, ping_interval=None)
    # 200 clients connect at once, more than the default backlog of 100. A client without a place retries after a second,
    # which is the proxy's time limit for connecting.
    async with serve(handle, "127.0.0.1", 0, backlog=1024, **options) as server:
        peer.publish(server.sockets[0].getsockname()[1])
        await server.serve_forever()


async def check(url):
    checks = peer.Checks()
    equal = checks.expect
    options = dict(max_size=None, ping_interval=None, open_timeout=20)
    async with connect(url + "/echo", subprotocols=["chat", "superchat"], **options) as one:
        equal("subprotocol", "superchat", one.subprotocol)
        equal("permessage-deflate", True, "permessage-deflate" in one.response.headers["Sec-WebSocket-Extensions"])
        for message in ["hello", "", "ä😀" * 1000, b"\x00\xff" * 5000, b""]:
            await one.send(message)
            equal("echo", message, await one.recv())
        await one.send(["a message ", "in several ", "fragments"])
        equal("fragments", "a message in several fragments", await one.recv())
        equal("ping", True, await asyncio.wait_for(await one.ping(), 10) >= 0)
        await one.close(3999, "enough")
        equal("close code", (3999, "enough"), (one.close_code, one.close_reason))
    for mib, compression in LARGE:
        async with connect(url + "/echo", compression=compression, **options) as one:
            message = os.urandom(1 << 20) * mib
            sent = asyncio.create_task(one.send(message))
            equal(f"{mib} MiB, compression {compression}", True, await one.recv() == message)
            await sent
    async with connect(url + "/close?4001", **options) as one:
        await one.wait_closed()
        equal("the server's close code", (4001, "as requested"), (one.close_code, one.close_reason))
    async with connect(url + "/fragments", **options) as one:
        # The library ends a message with an empty fragment.
        parts = [part async for part in one.recv_streaming() if part]
        equal("the server's fragments", ["one ", "two ", "three"], parts)
    async with connect(url + "/ping", **options) as one:
        equal("the server's ping", "ponged True", await one.recv())
    try:
        async with connect(url + "/refused", **options):
            raise SystemExit("the refused WebSocket is open")
    except OSError as error:
        raise SystemExit(f"no refusal but {error}") from error
    except Exception as error:  # noqa: BLE001, its class differs between versions
        equal("a refusal", 403, error.response.status_code)

    async def one_of_many(number):
        async with connect(url + "/echo", **options) as each:
            for turn in range(20):
                await each.send(f"{number} {turn}")
                if await each.recv() != f"{number} {turn}":
                    raise SystemExit("messages are mixed up")

    await asyncio.gather(*(one_of_many(number) for number in range(200)))
    print(checks.passed + 1)


async def keep(url, header):
    name, _, value = header.partition(":")
    headers = {name: value} if name else {}
    async with connect(url, additional_headers=headers, ping_interval=None) as one:
        try:
            while True:
                await one.send("hello")
                await one.recv()
                report("alive")
                await asyncio.sleep(0.1)
        except ConnectionClosed:
            report("cut")


match sys.argv[1:]:
    case ["serve", name]:
        asyncio.run(upstream(name))
    case ["check", url]:
        asyncio.run(check(url))
    case ["keep", url, header]:
        asyncio.run(keep(url, header))
    case _:
        raise SystemExit(__doc__)
