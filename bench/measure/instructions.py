"""The measurements of `bench/instructions`: each scenario in its own proxy, with one worker, under callgrind.

After a warm-up the same load runs twice, with few and with many requests, each on a new connection. The difference of
the two, divided by the difference in requests, is the cost of a request: accepting, handshakes and periodic work are
in both. Only the worker's thread counts; the other threads have their own column. The allocator has its own figure,
too: the instructions of an allocation depend on which pages have room, which is random if many streams share a worker.
"""

import dataclasses
import pathlib
import re
import subprocess
import sys
import urllib.error
import urllib.request

from . import callgrind, machine, protocols

HOST = "bench.test"
# Upstream and load run on the proxy's core, while the proxy waits: the order of events depends less on the machine.
CORE = machine.PROXY_CORE
WARM_UP, FEW = 400, 200
LOAD_SECONDS, READY_SECONDS = 240, 60

MINIMAL = """
[[route]]
name = "bench"
match = { path = "/*" }
stable = "stable"
"""
# The route of bench/compare: a sticky weighted split, and two rules that choose a variant.
SPLIT = """
[upstream.canary]
endpoints = ["{upstream}"]
[identity]
trusted_proxies = ["127.0.0.0/8"]
user = ["cookie:uid"]
[segment.staff]
header = { x-employee = "1" }
[[route]]
name = "bench"
match = { host = "bench.test", path = "/*" }
stable = "stable"
sticky = ["user"]
canary = { upstream = "canary", weight = 5 }
[[route.target]]
segment = "staff"
serve = "canary"
[[route.target]]
cookie = { preview = "canary" }
serve = "canary"
"""
# The smallest share, by key: this caller is not in it, in any run.
SHADOW = """
[route.shadow]
upstream = "copies"
weight = 0.0001
sample_by = "key"
[upstream.copies]
endpoints = ["{upstream}"]
"""
TLS = """
[listener.tls]
certificates = [{ cert = "edge.pem", key = "edge.key" }]
"""
HTTP1 = ("--h1", "-m1")
GRPC = ("-m1", "-d", "call.bin", "-H", "content-type: application/grpc", "-H", "te: trailers")


@dataclasses.dataclass(frozen=True)
class Scenario:
    """`config` follows the head of `routes.toml`; `load` has the options of h2load."""

    title: str
    config: str
    load: tuple[str, ...]
    listener: str = ""
    access_log: str = "off"
    upstream: str = "http"

    @property
    def scheme(self) -> str:
        return "https" if self.listener else "http"


# One connection, a small GET unless a title says otherwise; HTTP/2 to clients is without TLS, by prior knowledge.
SCENARIOS = {
    "split": Scenario("GET, HTTP/1.1, sticky split of 5 %, two target rules", SPLIT, HTTP1),
    "minimal": Scenario("GET, HTTP/1.1, one route and one upstream", MINIMAL, HTTP1),
    "log": Scenario("split, access log to a file", SPLIT, HTTP1, access_log="access.log"),
    "tls": Scenario("split, TLS 1.3 to the client", SPLIT, HTTP1, listener=TLS),
    "h2-1": Scenario("split, HTTP/2, 1 stream at a time", SPLIT, ("-m1",)),
    "h2-10": Scenario("split, HTTP/2, 10 streams at a time", SPLIT, ("-m10",)),
    "h2-100": Scenario("split, HTTP/2, 100 streams at a time", SPLIT, ("-m100",)),
    "grpc": Scenario("split, gRPC unary call, HTTP/2 on both sides", SPLIT, GRPC, upstream="h2c"),
    "shadow": Scenario("split, with a shadow that samples none of them", SPLIT + SHADOW, HTTP1),
}


@dataclasses.dataclass
class Figure:
    """The cost of a request of one scenario."""

    # Without the allocator.
    instructions: float
    allocator: float
    allocations: float
    # Instructions of the other threads.
    other_threads: float
    # Exclusive instructions of a request, by function, largest first.
    functions: list[tuple[str, float]]

    def total(self) -> float:
        return self.instructions + self.allocator


class Bench:
    """The upstreams, and one scenario after the other."""

    def __init__(self, folder: pathlib.Path, binary: str, requests: int):
        self.folder, self.binary, self.requests = folder, binary, requests
        self.ports = {"http": machine.free_port(), "h2c": machine.free_port()}
        # One process a state folder.
        (folder / "upstream.toml").write_text(f"""schema = 1
[state]
dir = "upstream-state"
[[listener]]
address = "127.0.0.1:{self.ports["http"]}"
[admin]
address = "127.0.0.1:0"
[access_log]
sink = "off"
[[route]]
name = "hello"
match = {{ path = "/*" }}
respond = {{ status = 200, body = "hello from stable\\n" }}
""")
        script = pathlib.Path(__file__).with_name("unary.py")
        for kind, command in (
            ("http", [binary, "run", folder / "upstream.toml", "--workers", "1"]),
            ("h2c", [sys.executable, script, self.ports["h2c"]]),
        ):
            machine.Process(command, CORE, folder / f"{kind}.out").wait_for_port(self.ports[kind])
        protocols.make_certificate(folder)
        (folder / "call.bin").write_bytes(b"\0\0\0\0\x20" + b"x" * 32)

    def measure(self, name: str) -> Figure:
        scenario, port, admin = SCENARIOS[name], machine.free_port(), machine.free_port()
        upstream = f"{scenario.upstream}://127.0.0.1:{self.ports[scenario.upstream]}"
        config = self.folder / "routes.toml"
        config.write_text(f"""schema = 1
[[listener]]
address = "127.0.0.1:{port}"
{scenario.listener}
[admin]
address = "127.0.0.1:{admin}"
[access_log]
sink = "{scenario.access_log}"
[upstream.stable]
endpoints = ["{upstream}"]
{scenario.config.replace("{upstream}", upstream)}""")
        (self.folder / "access.log").unlink(missing_ok=True)
        proxy = callgrind.Callgrind([self.binary, "run", config, "--workers", "1"], self.folder)
        try:
            proxy.process.wait_for_port(port, READY_SECONDS)
            self.load(proxy, scenario, port, WARM_UP)
            proxy.dump()
            self.load(proxy, scenario, port, FEW)
            few = proxy.dump()
            self.load(proxy, scenario, port, FEW + self.requests)
            many = proxy.dump()
            self.examine(name, admin)
        finally:
            proxy.end()
        return figure(few, many, self.requests)

    @staticmethod
    def load(proxy: callgrind.Callgrind, scenario: Scenario, port: int, requests: int):
        command = [
            "taskset", "-c", CORE, "h2load", "-c1", "-t1", f"-n{requests}", *scenario.load,
            "-H", f":authority: {HOST}", "-H", "cookie: uid=caller-1",
            f"{scenario.scheme}://127.0.0.1:{port}/hello",
        ]
        done = proxy.run_command(command, LOAD_SECONDS)
        good = re.search(r"status codes: (\d+) 2xx", done.stdout)
        if not good or int(good.group(1)) != requests or f" {requests} succeeded" not in done.stdout:
            raise machine.Failed(f"not all of {requests} requests got a 200:\n{lines_of(done)}")

    def examine(self, name: str, admin: int):
        """Checks that the proxy did the work of the scenario."""
        sent = WARM_UP + 2 * FEW + self.requests
        if name == "log":
            lines = sum(1 for _ in (self.folder / "access.log").open())
            if lines < sent * 0.9:
                raise machine.Failed(f"the access log has {lines} lines for {sent} requests")
        if name == "shadow":
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=30) as answer:
                    metrics = answer.read().decode()
            except (OSError, urllib.error.URLError) as error:
                raise machine.Failed(f"/metrics does not answer: {error}") from error
            sampled = re.findall(r"^pointsman_shadow_sampled_total\S* (\S+)$", metrics, re.MULTILINE)
            if not sampled or any(float(count) for count in sampled):
                raise machine.Failed(f"the counters show {sampled} sampled requests instead of none")


def figure(few: dict[int, callgrind.Profile], many: dict[int, callgrind.Profile], requests: int) -> Figure:
    """The worker is the thread that did the most."""
    worker = max(many, key=lambda thread: many[thread].instructions)
    if not many[worker].allocations:
        raise machine.Failed("no call of the allocator: is the binary stripped, or does it have another allocator?")
    if worker not in few or many[worker].instructions <= few[worker].instructions:
        raise machine.Failed("callgrind counted no work for the requests")
    most, least = many[worker], few[worker]
    other_threads = sum(profile.instructions for thread, profile in many.items() if thread != worker)
    other_threads -= sum(profile.instructions for thread, profile in few.items() if thread != worker)
    functions = {name: (count - least.functions[name]) / requests for name, count in most.functions.items()}
    allocator = sum(cost for name, cost in functions.items() if callgrind.ALLOCATOR.match(name))
    return Figure(
        (most.instructions - least.instructions) / requests - allocator,
        allocator,
        (most.allocations - least.allocations) / requests,
        other_threads / requests,
        sorted(functions.items(), key=lambda item: -item[1]),
    )


def lines_of(done: subprocess.CompletedProcess) -> str:
    return "\n".join((done.stdout + done.stderr).splitlines()[-12:])
