"""Load: wrk for closed loops, evenly spread requests for latency, and a probe for the time at which an edit applies."""

import dataclasses
import http.client
import pathlib
import re
import subprocess
import threading
import time

from . import machine
from .peers import HOST

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclasses.dataclass
class Closed:
    """What a closed loop did."""

    requests: int
    failed: int
    p50: float
    p99: float
    seconds: float


def requests_file(folder: pathlib.Path, name: str, paths: list[tuple[str, str]]) -> pathlib.Path:
    """A script for wrk that sends `(host, path)` in turn, each from another caller."""
    rows = "".join(f'  {{ "{host}", "{path}" }},\n' for host, path in paths)
    script = folder / f"{name}.lua"
    script.write_text(f"""
local places = {{
{rows}}}
local requests, at = {{}}, 0
function init()
  for i = 1, 1024 do
    local place = places[(i - 1) % #places + 1]
    requests[i] = wrk.format("GET", place[2], {{ Host = place[1], Cookie = "uid=caller-" .. i }})
  end
end
function request()
  at = at % 1024 + 1
  return requests[at]
end
""")
    return script


class Wrk:
    """Runs wrk on the load's core."""

    def __init__(self, binary: str, folder: pathlib.Path):
        self.binary, self.folder = binary, folder
        self.small = requests_file(folder, "small", [(HOST, "/hello")])
        self.body = requests_file(folder, "body", [(HOST, "/1m")])

    def start(self, port: int, seconds: float, script: pathlib.Path, connections: int = 64, scheme: str = "http"):
        command = [
            "taskset", "-c", machine.LOAD_CORE, self.binary, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s",
            "--timeout", "10s", "--latency", "-s", script, f"{scheme}://127.0.0.1:{port}",
        ]
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    @staticmethod
    def finish(running: subprocess.Popen, seconds: float) -> Closed:
        try:
            output, _ = running.communicate(timeout=seconds + 30)
        finally:
            if running.poll() is None:
                running.kill()
        total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m),", output)
        if not total or int(total.group(1)) == 0:
            raise machine.Failed(f"wrk made no request:\n{output[-800:]}")
        failed = sum(int(number) for number in re.findall(r"Non-2xx or 3xx responses: (\d+)", output))
        for line in re.findall(r"Socket errors: (.*)", output):
            failed += sum(int(number) for number in re.findall(r"\d+", line))
        return Closed(
            int(total.group(1)), failed, percentile_line(output, 50), percentile_line(output, 99),
            float(total.group(2)) * UNITS[total.group(3)],
        )

    def run(self, port: int, seconds: float, script: pathlib.Path, connections: int = 64, scheme: str = "http") -> Closed:
        return self.finish(self.start(port, seconds, script, connections, scheme), seconds)


def percentile_line(output: str, percent: int) -> float:
    match = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)", output, re.MULTILINE)
    return float(match.group(1)) * UNITS[match.group(2)] if match else float("nan")


def compiled(rustc: str, name: str, folder: pathlib.Path) -> pathlib.Path:
    """The binary of `NAME.rs` beside this file."""
    binary, source = folder / name, pathlib.Path(__file__).with_name(f"{name}.rs")
    command = [rustc, "--edition", "2024", "-O", str(source), "-o", str(binary)]
    built = subprocess.run(command, capture_output=True, text=True, cwd=source.parent, check=False)
    if built.returncode:
        raise machine.Failed(f"{source.name} was not built:\n{built.stderr[-800:]}")
    return binary


class FixedRate:
    """Evenly spread requests; every latency is recorded."""

    CLIENTS = 16

    def __init__(self, rustc: str, folder: pathlib.Path):
        self.binary = compiled(rustc, "steady", folder)

    def run(self, port: int, seconds: float, rate: float) -> tuple[float, float]:
        """p50 and p99 in seconds."""
        command = ["taskset", "-c", machine.LOAD_CORE, self.binary, port, rate, seconds, self.CLIENTS]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=seconds + 40, check=False)
        latencies = [int(line) for line in done.stdout.split()]
        if done.returncode or len(latencies) < 100:
            raise machine.Failed(f"{len(latencies)} answers at {rate:,.0f} requests a second:\n{done.stderr[-800:]}")
        return latencies[len(latencies) // 2] / 1e9, latencies[len(latencies) * 99 // 100] / 1e9


class Probe:
    """One connection that sends requests until another arm answers."""

    def __init__(self, port: int, host: str = HOST, path: str = "/hello"):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self.host, self.path = host, path

    def arm(self) -> str:
        self.connection.request("GET", self.path, headers={"Host": self.host, "Cookie": "uid=probe"})
        answer = self.connection.getresponse()
        answer.read()
        return answer.headers.get("x-arm", "")

    def seconds_until(self, arm: str, since: float, limit: float) -> float:
        while time.monotonic() - since < limit:
            if self.arm() == arm:
                return time.monotonic() - since
        raise machine.Failed(f"the edit had no effect after {limit} s: expected {arm}")

    def close(self):
        self.connection.close()


class Idle:
    """Connections that are idle after one request."""

    # Opens a connection to a port.
    @staticmethod
    def open(port: int) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def __init__(self, port: int, count: int):
        self.connections = []
        try:
            for number in range(count):
                connection = self.open(port)
                self.connections.append(connection)
                headers = {"Host": HOST, "Cookie": f"uid=caller-{number}"}
                connection.request("GET", "/hello", headers=headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise machine.Failed(f"connection {number + 1} of {count} got status {answer.status}")
        except OSError as error:
            self.close()
            raise machine.Failed(f"connection {len(self.connections)} of {count}: {error}") from error

    def close(self):
        for connection in self.connections:
            connection.close()


class Editor(threading.Thread):
    """Rewrites a file at a fixed rate, by rename, until `stop`."""

    def __init__(self, path: pathlib.Path, texts: list[str], per_second: float):
        super().__init__(daemon=True)
        self.path, self.texts, self.period = path, texts, 1 / per_second
        self.stopped, self.edits = threading.Event(), 0

    def run(self):
        while not self.stopped.wait(self.period):
            replace(self.path, self.texts[self.edits % len(self.texts)])
            self.edits += 1

    def stop(self):
        self.stopped.set()
        self.join()


def replace(path: pathlib.Path, text: str) -> float:
    """Writes a new file and renames it, as editors do. Returns the time of the rename."""
    new_file = path.with_name(path.name + ".new")
    new_file.write_text(text)
    new_file.replace(path)
    return time.monotonic()
