"""The measurements of `bench/failover`: one endpoint of three fails under an open loop, and recovers.

Each trial has a fresh proxy and three fresh endpoints, each of them a process of its own that counts its requests.
"""

import contextlib
import dataclasses
import math
import mmap
import os
import pathlib
import random
import resource
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import time

from . import failover_peers, load, machine, peers

PEERS = ("pointsman", "haproxy", "envoy", "nginx")
RATE = 2000
ENDPOINTS = 3
# Seconds from the first request; the endpoint fails at FAULT and is well again at HEALED.
FAULT, HEALED, END = 3.0, 8.0, 12.0
# Of this many endpoints a third is killed and started again for a minute, each by its own draws.
MANY, FLAPPING_FOR = 9, 60.0
# How long a flapping endpoint is down, and then up, in seconds.
DOWN, UP = (0.2, 3.0), (0.5, 3.0)
FLAP_SEED = 19
# The proxies connect to their endpoints, which is not the healthy latency.
SETTLE = 0.5
WINDOW = 0.1
# The p99 is back when it stays below twice the healthy one and this, in seconds.
FLOOR = 0.005
DELAY_MS = 5
LEAD = 0.5
# A trial is repeated, at most so often, while other processes use more of the machine than this.
OTHERS_MAX, REPEATS = 0.02, 4
# Above this the last one does not count, either.
DISTURBED = 0.04
MODES = {"answering": 0, "503": 1, "slow": 2}


@dataclasses.dataclass(frozen=True)
class Fault:
    """One row: what happens to the endpoint, and the requests."""

    title: str
    method: str
    # `kill`, `stop`, or a key of MODES.
    act: str
    # A second try is safe for every request that meets the fault.
    safe: bool
    # The endpoints, and how many of them fail.
    endpoints: int = ENDPOINTS
    failing: int = 1
    # When they are well for good, and when the trial ends.
    healed: float = HEALED
    end: float = END
    # They fail and recover again and again meanwhile.
    flaps: bool = False

    def events(self) -> list[tuple[float, int, bool]]:
        """When each endpoint fails (`True`) and is well again: the same for every proxy."""
        if not self.flaps:
            return [(moment, at, moment == FAULT) for moment in (FAULT, self.healed) for at in range(self.failing)]
        events, random_ = [], random.Random(FLAP_SEED)
        for at in range(self.failing):
            moment = FAULT + random_.uniform(0, 1)
            while moment < self.healed - DOWN[1]:
                events.append((moment, at, True))
                moment += random_.uniform(*DOWN)
                events.append((moment, at, False))
                moment += random_.uniform(*UP)
        return sorted(events)


FAULTS = {
    "killed": Fault("killed (`kill -9`)", "GET", "kill", True),
    "frozen": Fault("frozen (`SIGSTOP`)", "GET", "stop", True),
    "503": Fault("answering 503 at once", "GET", "503", True),
    "slow": Fault("answering after 1 s", "GET", "slow", True),
    "killed-post": Fault("killed, requests are POST", "POST", "kill", False),
    "frozen-post": Fault("frozen, requests are POST", "POST", "stop", False),
    "503-post": Fault("answering 503, requests are POST", "POST", "503", False),
    # A request whose second try meets another endpoint that is killed fails: none is promised.
    "flapping": Fault(
        f"{MANY // 3} of {MANY} killed and started again, for a minute", "GET", "kill", False,
        endpoints=MANY, failing=MANY // 3, healed=FAULT + FLAPPING_FOR, end=FAULT + FLAPPING_FOR + 4, flaps=True,
    ),
}


@dataclasses.dataclass
class Trial:
    """One proxy, one fault."""

    peer: str
    fault: str
    sent: int
    # Failed requests by outcome: a status, `refused`, `cut`, `late`.
    failed: dict[str, int]
    # Received by the endpoints.
    received: int
    # Seconds.
    healthy_p99: float
    limit: float
    # From the fault until the p99 is back; None: not within the run.
    back: float | None
    worst_p99: float
    longest: float
    # Requests of which no response came within 100 ms, without the failed ones.
    slow: int
    # The part of the machine that other processes used during the trial.
    others: float
    # For each window from the start: p99 in milliseconds, with failed requests as infinite (-1), and failed requests.
    p99s: list[float]
    failures: list[int]

    def failed_requests(self) -> int:
        return sum(self.failed.values())

    def extra(self) -> int:
        return self.received - self.sent


class Endpoint:
    """One endpoint, which can fail and recover."""

    def __init__(self, binary: pathlib.Path, folder: pathlib.Path, number: int):
        self.binary, self.folder, self.number = binary, folder, number
        self.port, self.file = machine.free_port(), folder / f"endpoint-{number}"
        self.file.write_bytes(bytes(16))
        with self.file.open("r+b") as file:
            self.shared = mmap.mmap(file.fileno(), 16)
        self.process = None
        self.start()

    def start(self):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            listener.listen(4096)
            output = self.folder / f"endpoint-{self.number}.out"
            self.process = machine.Process([self.binary, self.file, DELAY_MS], machine.LOAD_CORE, output, listener)

    def requests(self) -> int:
        return struct.unpack_from("<Q", self.shared, 0)[0]

    def fail(self, act: str):
        if act == "kill":
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.popen.wait()
        elif act == "stop":
            os.kill(self.process.pid, signal.SIGSTOP)
        else:
            self.shared[8] = MODES[act]

    def heal(self, act: str):
        if act == "kill":
            self.process.end()
            self.start()
        elif act == "stop":
            os.kill(self.process.pid, signal.SIGCONT)
        else:
            self.shared[8] = MODES["answering"]


@dataclasses.dataclass
class Ports:
    """The ports of the endpoints, in the form that `peers.Proxy` needs."""

    ports: dict[str, int]
    grpc_ports: None = None
    echo_port: None = None


class Failover:
    """All trials of a run."""

    def __init__(self, folder: pathlib.Path, found: peers.Found, options):
        self.folder, self.found, self.options = folder, found, options
        self.load = load.compiled(found.paths["rustc"], "open_loop", folder)
        self.endpoint = load.compiled(found.paths["rustc"], "endpoint", folder)
        self.trials: list[Trial] = []
        self.errors: list[str] = []

    def run(self):
        chosen = [name for name in PEERS if name in self.found.proxies()]
        for number in range(self.options.rounds):
            for name in self.options.only:
                with locked(self.options.lock):
                    for peer in random.sample(chosen, len(chosen)):
                        self.try_trial(number, name, peer)

    def try_trial(self, number: int, name: str, peer: str):
        """A trial; it is repeated while other work disturbs it."""
        try:
            trial = self.trial(name, peer)
            for _ in range(REPEATS):
                if trial.others <= OTHERS_MAX:
                    break
                print(f"  repeated: other processes used {trial.others:.0%} of the machine", flush=True)
                trial = min(trial, self.trial(name, peer), key=lambda trial: trial.others)
            if trial.others > DISTURBED:
                raise machine.Failed(f"other processes used {trial.others:.0%} of the machine, {REPEATS + 1} times")
        except (machine.Failed, OSError, subprocess.TimeoutExpired) as error:
            self.errors.append(f"{peer}, {name}: {error}")
            print(f"  FAILED: {self.errors[-1]}", flush=True)
            return
        self.trials.append(trial)
        print(f"  round {number + 1} {name:<12}{peer:<10} {brief(trial)}", flush=True)

    def trial(self, name: str, peer: str) -> Trial:
        folder = self.folder / "trial"
        folder.mkdir()
        began, busy, own = time.monotonic(), busy_seconds(), own_seconds()
        try:
            trial = self.measured(folder, name, peer)
        finally:
            machine.end_all()
            shutil.rmtree(folder, ignore_errors=True)
        spent = busy_seconds() - busy - (own_seconds() - own)
        trial.others = max(0.0, spent / (time.monotonic() - began) / len(machine.CORES))
        return trial

    def measured(self, folder: pathlib.Path, name: str, peer: str) -> Trial:
        fault = FAULTS[name]
        endpoints = [Endpoint(self.endpoint, folder, number) for number in range(fault.endpoints)]
        ports = Ports({str(endpoint.number): endpoint.port for endpoint in endpoints})
        proxy = peers.Proxy(peer, self.found.paths[peer], folder, ports, routes=getattr(failover_peers, peer))
        begin = time.time() + LEAD
        command = [
            "taskset", "-c", machine.LOAD_CORE, self.load, proxy.port, fault.method, RATE, fault.end, int(begin * 1e9),
        ]
        with (folder / "requests").open("wb") as sink:
            running = subprocess.Popen(list(map(str, command)), stdout=sink, stderr=subprocess.PIPE, text=True)
            try:
                failed_at = None
                for moment, at, fails in fault.events():
                    sleep_until(begin + moment)
                    failed_at = time.time() - begin if failed_at is None else failed_at
                    (endpoints[at].fail if fails else endpoints[at].heal)(fault.act)
                _, words = running.communicate(timeout=60)
            finally:
                if running.poll() is None:
                    running.kill()
                    running.wait()
        if running.returncode:
            raise machine.Failed(f"the load ended with {running.returncode}: {words[-400:]}")
        received = sum(endpoint.requests() for endpoint in endpoints)
        lines = (folder / "requests").read_text().splitlines()
        if peer != "nginx":  # Whose workers end with their master's word alone.
            proxy.process.popen.kill()  # No request is open.
        return evaluated(peer, name, [line.split() for line in lines], received, failed_at)


def busy_seconds() -> float:
    """CPU time of all processes of the machine since it started, without interrupts."""
    user, nice, system = pathlib.Path("/proc/stat").read_text().split()[1:4]
    return (int(user) + int(nice) + int(system)) / machine.TICKS


def own_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def sleep_until(moment: float):
    time.sleep(max(0.0, moment - time.time()))


@contextlib.contextmanager
def locked(path: str | None):
    """Holds the lock that other work on this machine takes, too."""
    if path is None:
        yield
        return
    import fcntl

    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def evaluated(peer: str, name: str, rows: list[list[str]], received: int, failed_at: float) -> Trial:
    """The figures of one trial. Windows begin at the fault and go both ways."""
    first, end = failed_at - math.floor(failed_at / WINDOW) * WINDOW, FAULTS[name].end
    windows: list[list[float]] = [[] for _ in range(math.ceil(end / WINDOW) + 2)]
    failed, healthy, longest, slow = {}, [], 0.0, 0
    for due_us, took_us, outcome in rows:
        due, took = int(due_us) / 1e6, int(took_us) / 1e6
        good = outcome == "200"
        longest, slow = max(longest, took), slow + (good and took > 0.1)
        if not good:
            failed[outcome] = failed.get(outcome, 0) + 1
        if SETTLE <= due < failed_at:
            healthy.append(took if good else math.inf)
        windows[math.floor((due - first) / WINDOW) + 1].append(took if good else math.inf)
    windows = [window for window in windows if window]
    healthy_p99 = p99(healthy)
    limit = 2 * healthy_p99 + FLOOR
    p99s, fault_window = [p99(window) for window in windows], round((failed_at - first) / WINDOW) + (first > 0)
    beyond = [at for at, value in enumerate(p99s) if at >= fault_window and value > limit]
    back = (beyond[-1] + 1 - fault_window) * WINDOW if beyond else 0.0
    finite = [value for value in p99s[fault_window:] if value < math.inf]
    return Trial(
        peer=peer, fault=name, sent=len(rows), failed=failed, received=received, healthy_p99=healthy_p99, limit=limit,
        back=None if beyond and beyond[-1] >= len(p99s) - 2 else round(back, 3),
        worst_p99=max(finite, default=0.0), longest=longest, slow=slow, others=0.0,
        p99s=[round(value * 1e3, 1) if value < math.inf else -1 for value in p99s],
        failures=[sum(took == math.inf for took in window) for window in windows],
    )


def p99(values: list[float]) -> float:
    """The smallest value that is not below 99 % of them."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * 0.99) - 1)] if ordered else 0.0


def brief(trial: Trial) -> str:
    back = "not back" if trial.back is None else f"back after {trial.back:.1f} s"
    words = " ".join(f"{count} {outcome}" for outcome, count in sorted(trial.failed.items())) or "none"
    return (
        f"failed: {words}; p99 {trial.healthy_p99 * 1e3:.1f} ms, worst {trial.worst_p99 * 1e3:.0f} ms, {back}; "
        f"{trial.extra():+} tries of {trial.sent}; {trial.slow} above 100 ms, longest {trial.longest * 1e3:.0f} ms; "
        f"others {trial.others:.1%}"
    )


def median_back(trials: list[Trial]) -> float | None:
    middle = statistics.median(math.inf if trial.back is None else trial.back for trial in trials)
    return None if middle == math.inf else middle
