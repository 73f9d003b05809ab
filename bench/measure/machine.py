"""Processes on this machine: pinned, counted, and ended by their own id."""

import os
import pathlib
import platform
import resource
import signal
import socket
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
CORES = sorted(os.sched_getaffinity(0))
LOAD_CORE, PROXY_CORE = CORES[0], CORES[-1]

_started: list["Process"] = []
_ports: set[int] = set()


class Failed(Exception):
    """A measurement failed; the message is for people."""


class Process:
    """A process pinned to a core, with its output in a file."""

    def __init__(self, command, core, output: pathlib.Path, stdin=subprocess.DEVNULL):
        self.name, self.output = pathlib.Path(command[0]).name, output
        with output.open("ab") as sink:
            self.popen = subprocess.Popen(
                ["taskset", "-c", str(core), *map(str, command)],
                stdin=stdin, stdout=sink, stderr=subprocess.STDOUT, cwd=output.parent,
            )
        self.pid = self.popen.pid
        _started.append(self)

    def tree(self) -> list[int]:
        """The process and all its descendants."""
        parents = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text().rpartition(")")[2].split()
                    parents.setdefault(int(stat[1]), []).append(int(entry.name))
                except (OSError, IndexError):
                    continue
        tree = [self.pid]
        for pid in tree:
            tree.extend(parents.get(pid, []))
        return tree

    def cpu_seconds(self) -> float:
        """User and system time of the whole tree, with children that have ended."""
        ticks = 0
        for pid in self.tree():
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += sum(int(field) for field in fields[11:15])
        return ticks / TICKS

    def rss_bytes(self) -> int:
        """Resident memory of the whole tree."""
        pages = 0
        for pid in self.tree():
            try:
                pages += int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
            except OSError:
                continue
        return pages * PAGE

    def activity(self) -> tuple[int, float]:
        """Of the whole tree so far: how often a thread went to sleep, and the seconds that it ran."""
        switches, seconds = 0, 0.0
        for pid in self.tree():
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
                try:
                    switches += int((task / "status").read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
                    seconds += thread_seconds(task)
                except (OSError, IndexError):
                    continue
        return switches, seconds

    def wait_for_port(self, port: int, seconds: float = 20):
        """Waits until the process accepts connections on the port."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.popen.poll() is not None:
                raise Failed(f"{self.name} ended with {self.popen.returncode}:\n{self.last_lines()}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise Failed(f"{self.name} does not accept on port {port} after {seconds} s:\n{self.last_lines()}")

    def last_lines(self) -> str:
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-8:])

    def end(self):
        """Sends SIGTERM, then SIGKILL; ends orphaned children, too."""
        tree = self.tree()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.popen.poll() is None:
                self.popen.send_signal(number)
                try:
                    self.popen.wait(3)
                except subprocess.TimeoutExpired:
                    continue
        for pid in tree[1:]:
            try:
                if pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == "1":
                    os.kill(pid, signal.SIGKILL)  # An orphan of the ended process.
            except OSError:
                continue
        if self in _started:
            _started.remove(self)


def thread_named(pid: int, name: str) -> pathlib.Path:
    """The folder of the thread with this name."""
    names = {}
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
        try:
            names[(task / "comm").read_text().strip()] = task
        except OSError:
            continue  # It has ended.
    if name not in names:
        raise Failed(f"no thread is called {name}; there are {', '.join(sorted(names))}")
    return names[name]


def wait_for_file(path: pathlib.Path, seconds: float = 20):
    """Waits until a file is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > end:
            raise Failed(f"no {path} after {seconds:g} s")
        time.sleep(0.02)


def thread_seconds(task: pathlib.Path) -> float:
    """The seconds that a thread ran."""
    return int((task / "schedstat").read_text().split()[0]) / 1e9


def end_all():
    """Ends all running processes, the last one first."""
    for process in reversed(_started[:]):
        process.end()


def free_port() -> int:
    """A port without a listener that was not returned before."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in _ports:
            _ports.add(port)
            return port


def raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def facts() -> dict[str, str]:
    """The machine of the measurements."""
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "machine": f"{len(CORES)} cores, {model}, Linux {platform.release().split('-')[0]}, {platform.machine()}",
    }
