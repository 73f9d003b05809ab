"""Real WebSocket peers, on the library `websockets`.

websocket.py serve NAME PORT_FILE          an upstream; also the page that a browser opens, and where it reports to
websocket.py try URL                       everything a client can do, through the proxy
websocket.py hold URL HEADER SECONDS       keeps a connection, says how it ended
"""

import asyncio
import http
import os
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

LARGE = 64 * 1024 * 1024

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
  const told = await socket("/close?4321");
  const how = await closed(told);
  expect("a code of the server's", how.code + " " + how.reason, "4321 as told");
  const fragments = await socket("/fragments");
  expect("fragments", await next(fragments), "one two three");
  fragments.close();
  const refused = await socket("/refused").then(() => "open", () => "refused");
  expect("a refusal", refused, "refused");
  return "ok";
})().catch((error) => "failed: " + error.message)
    .then((said) => fetch("/report?" + encodeURIComponent(said), { method: "GET" }));
</script>"""


def say(what):
    print(what, flush=True)


async def upstream(name, port_file):
    def answer(connection, request):
        path = request.path.partition("?")[0]
        if path == "/page":
            response = connection.respond(http.HTTPStatus.OK, PAGE)
            response.headers["Content-Type"] = "text/html; charset=utf-8"
            return response
        if path == "/report":
            say("report " + request.path.partition("?")[2])
            return connection.respond(http.HTTPStatus.OK, "thanks\n")
        if path == "/ws/refused":
            return connection.respond(http.HTTPStatus.FORBIDDEN, "no\n")
        if not path.startswith("/ws"):
            return connection.respond(http.HTTPStatus.OK, f"{name}\n")
        return None

    async def handle(connection):
        path, _, query = connection.request.path.partition("?")
        if path == "/ws/close":
            await connection.close(int(query), "as told")
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
    # 200 come at once, more than the usual backlog of 100 has room for; who finds none waits a second, our time to connect.
    async with serve(handle, "127.0.0.1", 0, backlog=1024, **options) as server:
        port = server.sockets[0].getsockname()[1]
        with open(port_file + ".new", "w") as file:
            file.write(str(port))
        os.rename(port_file + ".new", port_file)
        await server.serve_forever()


def equal(what, expected, found):
    if expected != found:
        raise SystemExit(f"{what}: expected {expected!r}, found {found!r}")
    say(f"{what}: ok")


async def tries(url):
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
    for compression in [None, "deflate"]:
        async with connect(url + "/echo", compression=compression, **options) as one:
            message = os.urandom(1 << 20) * (LARGE >> 20)
            sent = asyncio.create_task(one.send(message))
            equal(f"64 MiB, compression {compression}", True, await one.recv() == message)
            await sent
    async with connect(url + "/close?4001", **options) as one:
        await one.wait_closed()
        equal("the server's close code", (4001, "as told"), (one.close_code, one.close_reason))
    async with connect(url + "/fragments", **options) as one:
        # The library ends with a fragment of nothing.
        parts = [part async for part in one.recv_streaming() if part]
        equal("the server's fragments", ["one ", "two ", "three"], parts)
    async with connect(url + "/ping", **options) as one:
        equal("the server's ping", "ponged True", await one.recv())
    try:
        async with connect(url + "/refused", **options):
            raise SystemExit("refused, and open")
    except OSError as error:
        raise SystemExit(f"not refused but {error}") from error
    except Exception as error:  # noqa: BLE001, the class has moved between versions
        equal("a refusal", 403, error.response.status_code)

    async def one_of_many(number):
        async with connect(url + "/echo", **options) as each:
            for turn in range(20):
                await each.send(f"{number} {turn}")
                if await each.recv() != f"{number} {turn}":
                    raise SystemExit("messages are mixed up")

    await asyncio.gather(*(one_of_many(number) for number in range(200)))
    equal("200 at a time", True, True)


async def hold(url, header, seconds):
    name, _, value = header.partition(":")
    headers = {name: value} if name else {}
    async with connect(url, additional_headers=headers, ping_interval=None) as one:
        say("open")
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await one.send("hello")
                    await one.recv()
                    say("alive")
                    await asyncio.sleep(0.1)
        except TimeoutError:
            say("held")
        except ConnectionClosed:
            say("cut")


match sys.argv[1:]:
    case ["serve", name, port_file]:
        asyncio.run(upstream(name, port_file))
    case ["try", url]:
        asyncio.run(tries(url))
    case ["hold", url, header, seconds]:
        asyncio.run(hold(url, header, float(seconds)))
    case _:
        raise SystemExit(__doc__)
