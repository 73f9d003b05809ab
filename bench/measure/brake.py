"""The measurements of `bench/brake`: how long a kill takes, on a machine without an idle core.

Each trial kills the canary under load, waits until no request has reached it for a while, and revives it. Times are
from the start of the command, or of the call, to the last request that reached the canary, by the canary's own clock.
A request that was routed before the kill and had to wait for a core counts, too.
"""

import dataclasses
import json
import mmap
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time

from . import load, machine

ALL_CORES = ",".join(map(str, machine.CORES))
ROUTE, WEIGHT, CONNECTIONS = "shop", 20, 64
# The canary is quiet when no request has reached it for so long; a trial fails when that takes too long.
QUIET_SECONDS, LIMIT_SECONDS = 0.1, 5.0
# A revived canary has so many requests before the next trial.
WARM_REQUESTS = 200
COMMAND, CALL = "command", "call"


@dataclasses.dataclass
class Trial:
    """Milliseconds from the beginning of one kill."""

    last_request: float
    in_force: float
    answered: float
    durable: bool


class Brake:
    """A proxy with a worker for each core, its upstreams and the load, all on all cores."""

    def __init__(self, folder: pathlib.Path, tools: dict[str, str]):
        self.folder, self.tools = folder, tools
        self.port, self.admin_port = machine.free_port(), machine.free_port()
        stable, canary = machine.free_port(), machine.free_port()
        shared = folder / "arrivals"
        shared.write_bytes(bytes(16))
        with shared.open("r+b") as file:
            self.arrivals = mmap.mmap(file.fileno(), 16)
        self.socket = folder / "state" / "run" / "admin.sock"
        (folder / "routes.toml").write_text(routes(self.port, self.admin_port, stable, canary))
        (folder / "nginx.conf").write_text(nginx(folder, stable))
        self.start([tools["nginx"], "-c", folder / "nginx.conf", "-p", folder], stable)
        self.start([sys.executable, pathlib.Path(__file__).with_name("arrivals.py"), canary, shared], canary)
        self.proxy = self.start([tools["pointsman"], "run", folder / "routes.toml"], self.port)
        callers = load.requests_file(folder, "callers", [("bench.test", "/hello")])
        self.load = subprocess.Popen(
            [tools["wrk"], f"-t{len(machine.CORES)}", f"-c{CONNECTIONS}", "-d3600s", "-s", str(callers),
             f"http://127.0.0.1:{self.port}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self.busy_from = busy_and_all()
        self.wait_for_canary()

    def start(self, command, port: int) -> machine.Process:
        process = machine.Process(command, ALL_CORES, self.folder / f"{pathlib.Path(command[0]).name}-{port}.out")
        process.wait_for_port(port)
        return process

    def last_and_count(self) -> tuple[int, int]:
        """The time of the last request that reached the canary, and how many there were."""
        return struct.unpack_from("<QQ", self.arrivals, 0)

    def wait_for_canary(self):
        _, before = self.last_and_count()
        end = time.monotonic() + LIMIT_SECONDS
        while self.last_and_count()[1] < before + WARM_REQUESTS:
            if time.monotonic() > end:
                raise machine.Failed(f"the canary gets no requests: {self.proxy.last_lines()}")
            time.sleep(0.005)

    def quiet(self) -> int:
        """The time of the last request, when no request has come for a while."""
        end = time.monotonic() + LIMIT_SECONDS
        seen = self.last_and_count()
        while time.monotonic() < end:
            time.sleep(QUIET_SECONDS)
            now = self.last_and_count()
            if now == seen:
                return now[0]
            seen = now
        raise machine.Failed("requests still reach the canary after the kill was answered")

    def trial(self, way: str) -> Trial:
        """One kill and revive."""
        begun = time.monotonic_ns()
        outcome = self.kill_by_command() if way == COMMAND else self.call("kill", "a trial")
        answered = time.monotonic_ns()
        last = self.quiet()
        if outcome.get("in_force_ms") is None:
            raise machine.Failed(f"a kill was not in force within a second: {outcome}")
        self.call("revive", "the next trial")
        self.wait_for_canary()
        return Trial(
            last_request=max(0.0, (last - begun) / 1e6), in_force=outcome["in_force_ms"],
            answered=(answered - begun) / 1e6, durable=outcome["durable"],
        )

    def kill_by_command(self) -> dict:
        command = [self.tools["pointsman"], "kill", "--variant", f"{ROUTE}:canary", "--reason", "a trial", "--yes", "--json"]
        done = subprocess.run(
            [*command, "--admin", f"unix:{self.socket}"], capture_output=True, text=True, timeout=30, check=False
        )
        # 5: in force, and not on the disk within a second.
        if done.returncode not in (0, 5):
            raise machine.Failed(f"`pointsman kill` ended with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def call(self, act: str, reason: str, variant: str = f"{ROUTE}:canary") -> dict:
        body = json.dumps({"variant": variant, "reason": reason}).encode()
        head = f"POST /v1/{act} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.socket))
            connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            answer = b""
            while part := connection.recv(65536):
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise machine.Failed(f"POST /v1/{act}: {answer[:600].decode(errors='replace')}")
        return json.loads(body)

    def end_load(self) -> tuple[load.Closed, float]:
        """Ends the load: its figures, and the share of the time in which the cores were busy."""
        busy, everything = (now - before for now, before in zip(busy_and_all(), self.busy_from, strict=True))
        self.load.send_signal(signal.SIGINT)
        return load.Wrk.finish(self.load, 10), busy / everything

    def end(self):
        if self.load.poll() is None:
            self.load.kill()
            self.load.wait()


def busy_and_all() -> tuple[int, int]:
    """Ticks of all cores since the start of the machine: busy, and in all."""
    with open("/proc/stat") as stat:
        ticks = [int(field) for field in stat.readline().split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def routes(port: int, admin_port: int, stable: int, canary: int) -> str:
    return f"""schema = 1
[[listener]]
address = "127.0.0.1:{port}"
[admin]
address = "127.0.0.1:{admin_port}"
[access_log]
sink = "off"
[identity]
user = ["cookie:uid"]
[upstream.stable]
endpoints = ["http://127.0.0.1:{stable}"]
[upstream.canary]
endpoints = ["http://127.0.0.1:{canary}"]
[[route]]
name = "{ROUTE}"
match = {{ path = "/*" }}
stable = "stable"
sticky = ["user"]
canary = {{ upstream = "canary", weight = {WEIGHT} }}
"""


def nginx(folder: pathlib.Path, port: int) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/nginx-{kind};" for kind in kinds)
    return f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log crit; user root;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; {temporary}
  server {{ listen 127.0.0.1:{port} backlog=8192; location / {{ default_type text/plain; return 200 "stable\\n"; }} }}
}}
"""
