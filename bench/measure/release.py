"""The measurements of `bench/release`: how soon a canary that begins to fail gets its last request.

Each route of one proxy is a release of its own, so that many trials run at once. A trial begins without evidence: its
canary has a new `revision`, through a reload. The figures are taken at the canary, where requests arrive.
"""

import dataclasses
import http.client
import json
import math
import pathlib
import random
import subprocess
import time

from . import load, machine

# Requests a second of each route, and the canary's share of them in percent.
RATE, WEIGHT = 200, 5
# A canary is healthy for so many seconds before it fails, by chance, so that faults begin anywhere in a slot.
HEALTHY = (2.0, 3.0)
# The faults of one round begin within so many seconds.
SPREAD = 1.0
POLL_SECONDS = 0.05
# A request that was routed before the rollback may still wait for a core.
LAST_SECONDS = 0.3
RELOAD_SECONDS = 20.0


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: which share of the responses fails, and what is promised."""

    title: str
    # Per thousand.
    canary: int
    stable: int
    trials: int
    # Of the p99, in seconds; None: as measured.
    bound: float | None
    # A trial that takes longer is not found.
    limit: float


ROWS = {
    "whole": Row("every canary request fails, stable none", 1000, 0, 1000, 1.0, 10),
    "noise": Row("every canary request fails, stable 0.1 %", 1000, 1, 200, None, 20),
    "half": Row("half of the canary requests fail", 500, 0, 200, None, 20),
    "fifth": Row("one canary request in five fails", 200, 0, 200, 5.0, 40),
    "long": Row("every canary request fails, after healthy minutes", 1000, 0, 0, 1.5, 20),
}


@dataclasses.dataclass
class Trial:
    """One canary that began to fail."""

    row: str
    # Seconds from the first failing response to the last request that reached the canary; None: not rolled back.
    seconds: float | None
    # Requests that reached the canary in that time, and those of them that failed: their callers got 500.
    requests: int
    bad: int


class Release:
    """A proxy on one core; load, stable and canaries in one process on the other."""

    def __init__(self, folder: pathlib.Path, binary: str, rustc: str, routes: int):
        self.folder, self.routes, self.revision = folder, routes, 0
        self.port, self.admin_port = machine.free_port(), machine.free_port()
        self.trials: list[Trial] = []
        # Releases that were rolled back while their canary was healthy, of so many.
        self.false, self.healthy = 0, 0
        command = ["taskset", "-c", machine.LOAD_CORE, load.compiled(rustc, "release_load", folder), routes, RATE]
        self.load = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.stable, self.canary = map(int, self.load.stdout.readline().split())
        self.file = folder / "routes.toml"
        self.file.write_text(self.text())
        self.proxy = machine.Process([binary, "run", self.file], machine.PROXY_CORE, folder / "pointsman.out")
        self.proxy.wait_for_port(self.port)
        self.proxy.wait_for_port(self.admin_port)
        self.order(f"start {self.port}")
        self.began = time.monotonic()

    def order(self, command: str) -> str:
        self.load.stdin.write(command + "\n")
        answer = self.load.stdout.readline()
        if not answer:
            raise machine.Failed(f"the load ended at `{command}`")
        return answer

    def text(self) -> str:
        lines = [
            "schema = 1", "[[listener]]", f'address = "127.0.0.1:{self.port}"', "[listener.limits]",
            "connection_rate_per_ip = 1000000", "[admin]", f'address = "127.0.0.1:{self.admin_port}"',
            "[access_log]", 'sink = "off"', "[identity]", 'user = ["cookie:uid"]',
            "[upstream.stable]", f'endpoints = ["http://127.0.0.1:{self.stable}"]',
        ]
        for number in range(self.routes):
            lines += [
                f"[upstream.canary-{number}]", f'endpoints = ["http://127.0.0.1:{self.canary}"]',
                f'revision = "{self.revision}"', "[[route]]", f'name = "r{number}"', f'match = {{ path = "/r{number}" }}',
                'stable = "stable"', 'sticky = ["user"]', 'guard = "rollback"',
                f'canary = {{ upstream = "canary-{number}", weight = {WEIGHT} }}',
            ]
        return "\n".join(lines) + "\n"

    def states(self) -> dict[int, dict]:
        """The releases by the number of their route."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        try:
            connection.request("GET", "/v1/rollouts")
            answer = connection.getresponse()
            body = answer.read()
        except OSError as error:
            raise machine.Failed(f"GET /v1/rollouts: {error}: {self.proxy.last_lines()}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise machine.Failed(f"GET /v1/rollouts: {answer.status} {body[:400]!r}")
        return {int(release["route"][1:]): release for release in json.loads(body)["rollouts"]}

    def begin_anew(self):
        """Every canary has another revision: no evidence, no latch."""
        self.revision += 1
        load.replace(self.file, self.text())
        end = time.monotonic() + RELOAD_SECONDS
        while time.monotonic() < end:
            states = self.states()
            if len(states) == self.routes and all(
                release["state"] == "watching" and release["revision"].endswith(f"={self.revision}")
                for release in states.values()
            ):
                return
            time.sleep(POLL_SECONDS)
        raise machine.Failed(f"the reload has no effect after {RELOAD_SECONDS} s: {self.proxy.last_lines()}")

    def round(self, key: str, row: Row, count: int, healthy: float | None = None):
        """One trial on each of `count` routes."""
        self.order("heal")
        self.order(f"stable {row.stable}")
        self.begin_anew()
        time.sleep(random.uniform(*HEALTHY) if healthy is None else healthy)
        chosen = random.sample(range(self.routes), count)
        before = self.states()
        self.healthy += self.routes
        self.false += sum(release["state"] == "rolled_back" for release in before.values())
        chosen = [number for number in chosen if before[number]["state"] == "watching"]
        begun = time.monotonic()
        moments = sorted(random.uniform(0, SPREAD) for _ in chosen)
        for number, moment in zip(chosen, moments, strict=True):
            time.sleep(max(0.0, begun + moment - time.monotonic()))
            self.order(f"fail {number} {row.canary}")
        end = time.monotonic() + row.limit
        waiting = set(chosen)
        while waiting and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            states = self.states()
            waiting = {number for number in waiting if states[number]["state"] != "rolled_back"}
        time.sleep(LAST_SECONDS)
        figures = [self.order("figures")] + [self.load.stdout.readline() for _ in range(self.routes - 1)]
        for number in chosen:
            first, last, requests, failures = map(int, figures[number].split())
            seconds = None if number in waiting or not first else max(0, last - first) / 1e9
            self.trials.append(Trial(key, seconds, requests, failures))

    def busy(self) -> tuple[float, float]:
        """Requests a second, and the share that got no response, since the start."""
        sent, lost = map(int, self.order("load").split())
        return sent / (time.monotonic() - self.began), lost / max(1, sent)

    def end(self):
        if self.load.poll() is None:
            self.load.kill()
            self.load.wait()


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that is not below `percent` of them."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


def seconds_of(trials: list[Trial]) -> list[float]:
    """Trials that were not rolled back have no end."""
    return [math.inf if trial.seconds is None else trial.seconds for trial in trials]
