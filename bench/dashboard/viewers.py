#!/usr/bin/env python3
"""Measures what viewers of the dashboard cost: 50 of them with live updates, beside a steady load.

    bench/dashboard/viewers.py                            ten minutes with viewers, two before without
    bench/dashboard/viewers.py --seconds 20 --out none    a quick look, no file
    bench/dashboard/viewers.py --pointsman PATH           another binary than target/dist/pointsman

A viewer does what the script of the dashboard does: one event stream, its page again every 2 s with `If-None-Match`, and at
once when a record is made. Every 5 s there is a record: a kill of a tenant, and its revive. The proxy has one core with one
worker; load, endpoint and viewers have the other. It uses only loopback and installs nothing. The result is
bench/results/viewers.md.

Exit codes: 0, 1 a viewer or a request failed, 69 a tool is missing.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import datetime
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.dont_write_bytecode = True

from measure import failover, load, machine  # noqa: E402

TOOLS = ("taskset", "rustc")
RATE, REFRESH, JITTER, RECORD_EVERY = 1_000, 2.0, 0.3, 5.0
# The longest time without viewers.
CALM_MAX = 120.0
PAGES = ("/", "/", "/rollouts/next", "/routes", "/upstreams")
# A phase has so many windows.
WINDOWS = 10
# The memory at the end, as a multiple of that after the first window.
GROWTH_MAX = 1.5


@dataclasses.dataclass
class Seen:
    """What all viewers saw."""

    pages: int = 0
    unchanged: int = 0
    bytes: int = 0
    events: int = 0
    slowest: float = 0.0
    errors: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Phase:
    """A part of the run."""

    name: str
    seconds: float
    p50: float
    p99: float
    control: float
    pages: float
    process: float
    first_rss: int
    last_rss: int


class Viewer:
    """A tab that is visible."""

    def __init__(self, port: int, path: str, seen: Seen):
        self.port, self.path, self.seen = port, path, seen
        self.news = asyncio.Event()
        self.reader = self.writer = None
        self.etag = ""

    async def watch(self):
        """Follows until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.follow())
            tasks.create_task(self.refresh())

    async def follow(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(self.request("/v1/events", "Accept: text/event-stream"))
        if (status := await self.head(reader))[0] != 200:
            raise machine.Failed(f"/v1/events answers {status[0]}")
        with contextlib.closing(writer):
            while line := await reader.readline():
                if line.startswith(b"id: "):
                    self.seen.events += 1
                    self.news.set()
        raise machine.Failed("an event stream has ended")

    async def refresh(self):
        await asyncio.sleep(random.uniform(0, REFRESH))
        while True:
            begun = time.monotonic()
            await self.look()
            self.seen.slowest = max(self.seen.slowest, time.monotonic() - begun)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.news.wait(), REFRESH)
                await asyncio.sleep(random.uniform(0, JITTER))
            self.news.clear()

    async def look(self):
        """Fetches the page."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        known = f"If-None-Match: {self.etag}" if self.etag else "X-First: 1"
        try:
            self.writer.write(self.request(self.path, f"Accept: text/html\r\n{known}"))
            status, fields = await self.head(self.reader)
            content = await self.reader.readexactly(int(fields.get("content-length", "0")))
        except (OSError, asyncio.IncompleteReadError):
            # A connection has a longest life.
            self.writer = None
            return
        if fields.get("connection", "").lower() == "close":
            self.writer.close()
            self.writer = None
        self.seen.pages += 1
        self.seen.bytes += len(content)
        self.seen.unchanged += status == 304
        self.etag = fields.get("etag", "")
        if status not in (200, 304):
            self.seen.errors.append(f"{self.path} answers {status}: {content[:200]!r}")

    def request(self, path: str, fields: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{fields}\r\n\r\n".encode()

    @staticmethod
    async def head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), {name.lower(): value.strip() for name, _, value in fields}


class Crowd:
    """All viewers, on a thread of their own."""

    def __init__(self, port: int, count: int):
        self.seen, self.count, self.port = Seen(), count, port
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.task = None

    def __enter__(self) -> Seen:
        self.thread.start()
        return self.seen

    def __exit__(self, *_):
        if self.task:
            self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join(20)

    def run(self):
        self.task = self.loop.create_task(self.watch())
        with contextlib.suppress(asyncio.CancelledError):
            self.loop.run_until_complete(self.task)

    async def watch(self):
        async def one(number: int):
            try:
                await Viewer(self.port, PAGES[number % len(PAGES)], self.seen).watch()
            except* (machine.Failed, OSError, asyncio.IncompleteReadError) as group:
                self.seen.errors.extend(map(str, group.exceptions))

        async with asyncio.TaskGroup() as tasks:
            for number in range(self.count):
                tasks.create_task(one(number))


class Records:
    """Makes a record from time to time, over the socket."""

    def __init__(self, path: pathlib.Path):
        self.path, self.over, self.made = path, threading.Event(), 0
        self.errors: list[str] = []
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(20)

    def run(self):
        while not self.over.wait(RECORD_EVERY):
            for verb in ("kill", "revive"):
                connection = http.client.HTTPConnection("localhost", timeout=10)
                connection.sock = socket.socket(socket.AF_UNIX)
                with contextlib.closing(connection):
                    connection.sock.connect(str(self.path))
                    body = json.dumps({"tenant": "no-such-tenant", "reason": "the bench of viewers"})
                    connection.request("POST", f"/v1/{verb}", body, {"Content-Type": "application/json"})
                    answer = connection.getresponse()
                    if answer.status != 200:
                        self.errors.append(f"{verb}: {answer.status} {answer.read()[:200]!r}")
                self.made += 1


class Bench:
    def __init__(self, folder: pathlib.Path, options):
        self.folder, self.options = folder, options
        rustc = shutil.which("rustc")
        self.load = load.FixedRate(rustc, folder)
        self.endpoint = failover.Endpoint(load.compiled(rustc, "endpoint", folder), folder, 0)
        self.port, self.admin_port = machine.free_port(), machine.free_port()
        (folder / "routes.toml").write_text(self.routes())
        command = [options.pointsman, "run", "routes.toml", "--workers", "1"]
        self.proxy = machine.Process(command, machine.PROXY_CORE, folder / "pointsman.log")
        self.proxy.wait_for_port(self.port)
        machine.wait_for_file(folder / "state" / "run" / "admin.sock")

    def routes(self) -> str:
        others = "".join(
            f'[[route]]\nname = "route-{at}"\nmatch = {{ path = "/route-{at}/*" }}\nstable = "v1"\n'
            f'canary = {{ upstream = "v2", weight = 10 }}\n'
            for at in range(20)
        )
        return f"""schema = 1
[[listener]]
address = "127.0.0.1:{self.port}"
[admin]
address = "127.0.0.1:{self.admin_port}"
[access_log]
sink = "off"
[upstream.v1]
endpoints = ["http://127.0.0.1:{self.endpoint.port}"]
[upstream.v2]
endpoints = ["http://127.0.0.1:{self.endpoint.port}"]
revision = "2"
[[route]]
name = "shop"
match = {{ path = "/hello" }}
stable = "v1"
canary = {{ upstream = "v2", rollout = "next" }}
{others}
[[rollout.next.stage]]
name = "few"
weight = 20
min_duration = "24h"
[[rollout.next.stage]]
name = "all"
weight = 100
"""

    def threads(self) -> dict[str, float]:
        """The seconds that the threads ran, by what they do."""
        spent = {"control": 0.0, "pages": 0.0, "process": 0.0}
        for task in pathlib.Path(f"/proc/{self.proxy.pid}/task").glob("*"):
            with contextlib.suppress(OSError):
                name, seconds = (task / "comm").read_text().strip(), machine.thread_seconds(task)
                spent["process"] += seconds
                if name == "control":
                    spent["control"] += seconds
                elif "worker" not in name:
                    spent["pages"] += seconds
        return spent

    def phase(self, name: str, seconds: float) -> Phase:
        """Windows of the same length; other work on the machine disturbs some, so the medians count."""
        latencies, first = [], 0
        before, begun = self.threads(), time.monotonic()
        for number in range(WINDOWS):
            latencies.append(self.load.run(self.port, max(2.0, seconds / WINDOWS), RATE))
            # In the first window the process warms up.
            first = first if number else self.proxy.rss_bytes()
        took, after = time.monotonic() - begun, self.threads()
        # Threads that have ended are no longer counted.
        share = {kind: max(0.0, after[kind] - before[kind]) / took for kind in after}
        p50, p99 = (statistics.median(values) for values in zip(*latencies))
        return Phase(name, took, p50, p99, *share.values(), first, self.proxy.rss_bytes())


def table(phases: list[Phase], seen: Seen, viewers: int, facts: dict[str, str]) -> str:
    rows = "\n".join(
        f"| {one.name} | {one.seconds:.0f} s | {one.p50 * 1e3:.2f} | {one.p99 * 1e3:.2f} | {one.control:.1%} | {one.pages:.1%} |"
        f" {one.process:.1%} | {one.first_rss / (1 << 20):.1f} | {one.last_rss / (1 << 20):.1f} |"
        for one in phases
    )
    return f"""# Viewers of the dashboard

{viewers} viewers with live updates, beside {RATE:,} requests a second. {facts['date']}, {facts['machine']}. Made by
`bench/dashboard/viewers.py`.

| | time | p50, ms | p99, ms | CPU of the control thread | of page threads | of the process | RSS at first, MiB | at last |
|---|---|---|---|---|---|---|---|---|
{rows}

The viewers got {seen.pages:,} pages ({seen.unchanged:,} unchanged), {seen.bytes / (1 << 20):,.0f} MiB and {seen.events:,} events; the
slowest page took {seen.slowest * 1e3:.0f} ms. p50 and p99 are medians of {WINDOWS} windows, CPU is in percent of
a core.
"""


def measured(folder: pathlib.Path, options) -> tuple[str, list[str]]:
    bench = Bench(folder, options)
    calm = bench.phase("without viewers", min(options.seconds, CALM_MAX))
    with Crowd(bench.admin_port, options.viewers) as seen, Records(folder / "state/run/admin.sock") as records:
        watched = bench.phase(f"with {options.viewers}", options.seconds)
    errors = [*seen.errors[:5], *records.errors[:5]]
    expected = options.viewers * options.seconds / REFRESH * 0.8
    if seen.pages < expected:
        errors.append(f"{seen.pages} pages, expected at least {expected:.0f}")
    if seen.events < options.viewers * records.made:
        errors.append(f"{seen.events} events, expected at least {options.viewers * records.made}")
    if watched.last_rss > GROWTH_MAX * watched.first_rss:
        errors.append(f"the memory grew from {watched.first_rss} to {watched.last_rss} bytes")
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return table([calm, watched], seen, options.viewers, {"date": stamp, **machine.facts()}), errors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="the time with viewers (600)")
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--pointsman", type=pathlib.Path, default=HERE.parent.parent / "target/dist/pointsman", metavar="PATH")
    parser.add_argument("--out", default="viewers", metavar="NAME", help="a file in bench/results, or `none` (viewers)")
    options = parser.parse_args()
    options.pointsman = options.pointsman.resolve()
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing or not options.pointsman.is_file():
        print(f"missing: {', '.join(missing) or options.pointsman}", file=sys.stderr)
        return 69
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine.raise_descriptor_limit()
    os.sched_setaffinity(0, {machine.LOAD_CORE})
    with tempfile.TemporaryDirectory(prefix="pointsman-viewers-") as folder:
        try:
            report, errors = measured(pathlib.Path(folder), options)
        except machine.Failed as error:
            report, errors = "", [str(error)]
        finally:
            machine.end_all()
    print(report)
    for error in errors:
        print(f"FAILED: {error}", file=sys.stderr)
    if options.out != "none" and not errors:
        (HERE.parent / "results" / f"{options.out}.md").write_text(report)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
