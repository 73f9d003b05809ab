"""Faulty shadows: their effect on the requests, with the shadow off and on in turn."""

import contextlib
import dataclasses
import json
import mmap
import pathlib
import random
import re
import shutil
import statistics
import struct
import subprocess
import sys
import time
import urllib.request

from . import machine, peers

# Kinds of `target.py`, and how the tables call them. `none`: two proxies without a shadow, which shows the noise.
FAULTS = {
    "none": "no shadow on either side",
    "healthy": "healthy",
    "absent": "absent: no answer to SYN",
    "refusing": "refusing",
    "silent": "accepting, never answering",
    "late": "answering after 10 s",
    "reset": "resetting mid-response",
    "endless": "endless response",
    "huge": "1 GiB response",
    "slow": "reading 1 byte a second",
}
BODIES = {0: "no body", 64 << 10: "64 KiB", 10 << 20: "10 MiB"}
# Requests a second at most, and the length of a window as a part of --seconds.
RATE_MAX = {0: 1000, 64 << 10: 500, 10 << 20: 50}
WINDOW = {0: 0.12, 64 << 10: 0.12, 10 << 20: 0.2}
LOAD_PART = 1 / 3
CONNECTIONS = 32
COPY_SECONDS = 1
COPIES_MAX = 64
LEAD_SECONDS = 0.2
PEERS = ("pointsman", "nginx", "envoy")
GOAL = 1.05


@dataclasses.dataclass
class Window:
    """The results of one proxy in one window."""

    # Seconds.
    p50: float
    p99: float
    # Shares of the requests: with a 200, and received by the shadow.
    success: float
    copied: float
    # Microseconds for a request; 0 is unknown.
    cpu: float


@dataclasses.dataclass
class Cell:
    """One proxy, one fault, one size of bodies: windows without and with the shadow, and the memory at its highest."""

    peer: str
    fault: str
    body_bytes: int
    off: list[Window] = dataclasses.field(default_factory=list)
    on: list[Window] = dataclasses.field(default_factory=list)
    off_bytes: int = 0
    on_bytes: int = 0
    # The documented limit for copies; only Pointsman has one.
    bound_bytes: int = 0

    def ratios(self, figure: str) -> list[float]:
        pairs = zip((getattr(window, figure) for window in self.on), (getattr(window, figure) for window in self.off))
        return [on / off for on, off in pairs if on > 0 and off > 0]

    def ratio(self, figure: str) -> float:
        return statistics.median(self.ratios(figure) or [float("nan")])

    def median(self, figure: str, side: str = "on") -> float:
        return statistics.median(getattr(window, figure) for window in getattr(self, side))

    def memory(self) -> float:
        return self.on_bytes / self.off_bytes


class Target:
    """An upstream of a kind, on the load's core."""

    def __init__(self, folder: pathlib.Path, kind: str):
        self.port, counter = machine.free_port(), folder / f"{kind}.counter"
        counter.write_bytes(bytes(16))
        with counter.open("r+b") as file:
            self.counter = mmap.mmap(file.fileno(), 16)
        script = pathlib.Path(__file__).with_name("target.py")
        self.process = machine.Process(
            [sys.executable, script, self.port, kind, counter], machine.LOAD_CORE, folder / f"{kind}.out"
        )
        end = time.monotonic() + 10
        while not self.counter[8]:
            if self.process.popen.poll() is not None or time.monotonic() > end:
                raise machine.Failed(f"the upstream of kind {kind} did not start:\n{self.process.last_lines()}")
            time.sleep(0.02)

    def requests(self) -> int:
        """The number of requests so far."""
        return struct.unpack_from("<Q", self.counter, 0)[0]


class Isolation:
    """The scenario, as a part of the bench."""

    def measure_shadow(self):
        chosen = [name for name in PEERS if name in self.found.proxies()]
        for name in PEERS:
            if name in self.found.wanted and name not in chosen:
                self.results.notes.append(f"shadow: {name} is missing here: {peers.HOW_TO_GET[name]}")
        if not chosen:
            raise machine.Failed(f"none of {', '.join(PEERS)} is installed")
        primary = Target(self.folder, "primary")
        targets = {fault: Target(self.folder, fault) for fault in FAULTS if fault != "none"}
        places = [(fault, body) for fault in FAULTS for body in BODIES]
        rates = {body: self.shadow_rate(primary, body, chosen) for body in BODIES}
        self.shadow_notes(rates)
        random.shuffle(places)
        for number, (fault, body) in enumerate(places):
            print(f"  {number + 1} of {len(places)}: {FAULTS[fault]}, {BODIES[body]}", flush=True)
            for name in random.sample(chosen, len(chosen)):
                try:
                    cell = self.shadow_cell(Cell(name, fault, body), primary, targets.get(fault), rates[body])
                except (machine.Failed, OSError, TimeoutError) as error:
                    self.fail(f"shadow, {name}, {fault}, {BODIES[body]}", error)
                    continue
                self.results.cells.append(cell)
                print(f"    {name:<10} {brief(cell)}", flush=True)
        for target in (primary, *targets.values()):
            target.process.end()

    def shadow_notes(self, rates: dict[int, float]):
        shown = ", ".join(f"{rates[body]:,.0f} a second ({BODIES[body]})" for body in BODIES)
        self.results.notes += [
            f"shadow: an open loop of evenly paced requests over {CONNECTIONS} kept connections, {shown}: at most "
            "a third of the rate of the slowest proxy in a closed loop. Windows without and with the shadow alternate. "
            "A ratio is with / without in the same round, then the median of the rounds. A request without a "
            "response one second after the window has failed, and counts with that latency.",
            f"shadow: all proxies copy all requests, {COPIES_MAX} copies at a time, each for {COPY_SECONDS} s at "
            "most. Pointsman: `weight = 100`, "
            '`methods = ["GET", "POST"]`, `max_body` as by default (64 KiB), and 16 MiB for bodies of 10 MiB, so that '
            "they are copied up to the memory limit of copies; while a shadow fails or is slow it samples less: "
            "`copied` is the share of the requests whose copy reached the target. nginx: `mirror` with "
            "`mirror_request_body on`, `max_conns`, time-outs; with and without the shadow, a buffer for a whole body "
            "in memory. Envoy: `request_mirror_policies` at 100 %, circuit breakers and the route's time-out. HAProxy has no "
            "mirror.",
            "shadow: a copy is a second request: with a healthy shadow CPU cannot stay within 5 %. Memory is the peak "
            "of resident memory of a process started for that cell. Targets run at idle priority, so that they do not "
            "slow down the load on the same core. With bodies of 10 MiB a window has few requests, and p99 is its "
            "slowest one.",
        ]

    def shadow_rate(self, primary: Target, body: int, chosen: list[str]) -> float:
        most = []
        for name in chosen:
            with self.shadow_proxy(name, primary, None, body) as proxy:
                done = paced(proxy.port, 0, 1, body)
                most.append(done["answered"])
        return max(1.0, min(RATE_MAX[body], LOAD_PART * min(most)))

    def shadow_cell(self, cell: Cell, primary: Target, target: Target | None, rate: float) -> Cell:
        with (
            self.shadow_proxy(cell.peer, primary, None, cell.body_bytes) as off,
            self.shadow_proxy(cell.peer, primary, target, cell.body_bytes) as on,
        ):
            self.shadow_window(off, None, rate, 0.3, cell.body_bytes)
            self.shadow_window(on, target, rate, COPY_SECONDS, cell.body_bytes)
            seconds = max(0.3, self.seconds * WINDOW[cell.body_bytes])
            before = "on"
            for number in range(self.rounds):
                for side in ("off", "on") if number % 2 == 0 else ("on", "off"):
                    if (before, side) == ("on", "off"):
                        time.sleep(COPY_SECONDS + 0.1)  # Until the last copy has ended.
                    proxy, shadow = (off, None) if side == "off" else (on, target)
                    window = self.shadow_window(proxy, shadow, rate, seconds, cell.body_bytes)
                    getattr(cell, side).append(window)
                    before = side
            cell.off_bytes, cell.on_bytes = peak_bytes(off.process), peak_bytes(on.process)
            if cell.peer == "pointsman" and target:
                cell.bound_bytes = bound_bytes(on.admin_port)
        if cell.median("success", "off") < 0.99:
            raise machine.Failed(f"only {cell.median('success', 'off'):.1%} succeeded without a shadow")
        return cell

    def shadow_window(self, proxy, target: Target | None, rate: float, seconds: float, body: int) -> Window:
        copied, spent = target.requests() if target else 0, cpu_seconds(proxy.process)
        done = paced(proxy.port, rate, seconds, body)
        spent = cpu_seconds(proxy.process) - spent
        copied = (target.requests() if target else 0) - copied
        answered, due = done["latencies"], max(1, done["due"])
        # A request without a response took at least the time limit.
        latencies = answered + [int((seconds + 1) * 1e6)] * (due - len(answered))
        # The cost of a request has no meaning where few have a response.
        cost = spent / done["answered"] * 1e6 if len(answered) > due / 2 else 0.0
        return Window(
            p50=latencies[due // 2] / 1e6, p99=latencies[due * 99 // 100] / 1e6,
            success=len(answered) / due, cpu=cost, copied=copied / done["asked"],
        )

    @contextlib.contextmanager
    def shadow_proxy(self, name: str, primary: Target, target: Target | None, body: int):
        folder = self.folder / f"shadow-{name}-{'on' if target else 'off'}-{machine.free_port()}"
        folder.mkdir()
        config = {"pointsman": pointsman, "nginx": nginx, "envoy": envoy}[name]
        ports = {"stable": primary.port, "canary": primary.port}
        running = peers.Proxy(
            name, self.found.paths[name], folder, Ports(ports, ports, None),
            routes=lambda proxy: config(proxy, target.port if target else None, body),
        )
        try:
            yield running
        finally:
            if name != "nginx":  # Whose workers end with their master's word alone.
                running.process.popen.kill()  # No request is open.
            running.end()
            shutil.rmtree(folder, ignore_errors=True)


@dataclasses.dataclass
class Ports:
    """The upstream ports of the primary, in the form that the proxies need."""

    ports: dict[str, int]
    grpc_ports: dict[str, int]
    echo_port: int | None


def brief(cell: Cell) -> str:
    return (
        f"p50 {cell.ratio('p50'):.2f}  p99 {cell.ratio('p99'):.2f}  CPU {cell.ratio('cpu'):.2f}  "
        f"success {cell.median('success'):.1%}  copied {cell.median('copied'):.0%}  "
        f"{cell.off_bytes / 2**20:.1f} to {cell.on_bytes / 2**20:.1f} MiB"
    )


def paced(port: int, rate: float, seconds: float, body: int) -> dict:
    """One run of `paced.py` on the load's core."""
    script = pathlib.Path(__file__).with_name("paced.py")
    command = ["taskset", "-c", machine.LOAD_CORE, sys.executable, script, port, rate, seconds, LEAD_SECONDS, body]
    done = subprocess.run(
        [*map(str, command), str(CONNECTIONS)], capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    if done.returncode or not done.stdout:
        raise machine.Failed(f"the load ended with {done.returncode}:\n{done.stderr[-800:]}")
    found = json.loads(done.stdout)
    if not found["answered"] and not rate:
        raise machine.Failed("no request got a response")
    return found


def cpu_seconds(process: machine.Process) -> float:
    """CPU time of all threads, with nanosecond precision: windows are too short for ticks of 10 ms."""
    spent = 0
    for pid in process.tree():
        for thread in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                spent += int(thread.read_text().split()[0])
            except (OSError, IndexError):
                continue
    return spent / 1e9


def peak_bytes(process: machine.Process) -> int:
    """The sum of the highest resident memory of each process."""
    most = 0
    for pid in process.tree():
        try:
            lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            continue
        most += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return most


def bound_bytes(admin_port: int) -> int:
    """The memory limit of copies: bodies by a metric, and 40 KiB for each copy (docs/dark-launch.md)."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=5) as answer:
        held = re.search(r"^pointsman_shadow_held_max_bytes (\S+)", answer.read().decode(), re.MULTILINE)
    return int(float(held.group(1))) + COPIES_MAX * (40 << 10) if held else 0


def pointsman(proxy: peers.Proxy, target: int | None, body: int) -> str:
    text = peers.pointsman_head(proxy) + f"""
{f'''[upstream.shadow]
endpoints = ["http://127.0.0.1:{target}"]
''' if target else ""}
[[route]]
name = "bench"
match = {{ host = ["{peers.HOST}"], path = "/*" }}
stable = "stable"
"""
    if not target:
        return text
    return text + f"""[route.shadow]
upstream = "shadow"
weight = 100
methods = ["GET", "POST"]
max_in_flight = {COPIES_MAX}
max_body = "{'16MiB' if body > 64 << 10 else '64KiB'}"
timeout = "{COPY_SECONDS}s"
"""


def nginx(proxy: peers.Proxy, target: int | None, _body: int) -> str:
    forwarding = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;'
    bounds = " ".join(f"proxy_{what}_timeout {COPY_SECONDS}s;" for what in ("connect", "send", "read"))
    copying = f"""
    location = /shadow {{ internal; {forwarding} {bounds} proxy_pass http://shadow$request_uri; }}""" if target else ""
    shadow = f"""
  upstream shadow {{ server 127.0.0.1:{target} max_conns={COPIES_MAX}; keepalive 32; }}""" if target else ""
    return f"""
daemon off; worker_processes 1; pid {proxy.folder}/nginx.pid; error_log {proxy.folder}/nginx.log crit; user root;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; client_max_body_size 0;
  client_body_buffer_size 16m;
  {peers.temporary(proxy.folder, "nginx")}
  upstream stable {{ server 127.0.0.1:{proxy.ports["stable"]}; keepalive 256; keepalive_requests 100000000; }}{shadow}
  server {{
    listen 127.0.0.1:{proxy.port} backlog=8192;
    location / {{
      {"mirror /shadow; mirror_request_body on;" if target else ""}
      {forwarding} proxy_pass http://stable; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}{copying}
  }}
}}
"""


def envoy(proxy: peers.Proxy, target: int | None, _body: int) -> str:
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    action = {"cluster": "stable", "timeout": f"{COPY_SECONDS}s"}
    if target:
        everything = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
        action["request_mirror_policies"] = [{"cluster": "shadow", "runtime_fraction": everything}]
    http = {
        "@type": manager, "stat_prefix": "edge", "use_remote_address": True,
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}],
        }]},
        "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
    }
    clusters = [("stable", proxy.ports["stable"], 8192)] + ([("shadow", target, COPIES_MAX)] if target else [])
    return json.dumps({"static_resources": {
        "listeners": [{
            "name": "edge", "address": peers.socket_address(proxy.port),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": http}]}],
        }],
        "clusters": [{
            "name": name, "type": "STATIC", "connect_timeout": f"{COPY_SECONDS}s",
            "circuit_breakers": {"thresholds": [
                {"max_connections": most, "max_pending_requests": most, "max_requests": most}
            ]},
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": peers.socket_address(port)}}
            ]}]},
        } for name, port, most in clusters],
    }})
