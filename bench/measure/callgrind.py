"""A program under callgrind, and its dumps: instructions and allocations of each thread.

A dump is written on command; its counters start at the last dump. Each thread has its own counters, so that the control
plane does not change the figure of the worker.
"""

import collections
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import time

from . import machine

# A Rust allocation is one call of one of three functions of mimalloc; calls inside of the allocator do not count. A
# realloc counts, also in place. C libraries (aws-lc under TLS) call libc's.
ALLOCATING = {
    "mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned",
    "malloc", "calloc", "realloc", "reallocarray", "memalign", "aligned_alloc", "posix_memalign",
}
ALLOCATOR = re.compile(r"_?mi_")
COST = tuple("0123456789+-*")
CONTROL_SECONDS = 60
# Unless these are set, the program sets them and executes itself again, which loses valgrind. The rest of the
# environment is empty.
ENVIRONMENT = {"MIMALLOC_PURGE_DELAY": "10", "MIMALLOC_ALLOW_THP": "0"}


@dataclasses.dataclass
class Profile:
    """The counts of one thread between two dumps."""

    instructions: int
    allocations: int
    # Exclusive, by function.
    functions: collections.Counter


class Callgrind:
    """A running program under callgrind, on the proxy's core."""

    def __init__(self, command: list, folder: pathlib.Path):
        self.folder, self.out, self.dumps = folder, folder / "callgrind.out", 0
        self.prefix = folder / "vgdb"
        valgrind = [
            "valgrind", "--tool=callgrind", f"--callgrind-out-file={self.out}", "--separate-threads=yes",
            "--command-line-only=yes", "--dump-line=no", "--compress-strings=no", "--compress-pos=no",
            f"--vgdb-prefix={self.prefix}",
        ]
        kept = {name: os.environ[name] for name in ("PATH", "VALGRIND_LIB") if name in os.environ}
        variables = [f"{name}={value}" for name, value in {**kept, **ENVIRONMENT}.items()]
        self.process = machine.Process(
            ["env", "-i", *variables, *same_addresses(), *valgrind, *command],
            machine.PROXY_CORE, folder / "callgrind.log",
        )

    def dump(self) -> dict[int, Profile]:
        """The counts of each thread since the last dump."""
        self.dumps += 1
        # Without ptrace, which a container may forbid: the program polls for commands while it runs.
        command = ["vgdb", "--max-invoke-ms=0", f"--vgdb-prefix={self.prefix}", f"--pid={self.process.pid}", "dump"]
        done = self.run_command(command, CONTROL_SECONDS)
        files = sorted(self.folder.glob(f"{self.out.name}.{self.dumps}-*"))
        if done.returncode or not files:
            raise machine.Failed(f"callgrind wrote no dump:\n{done.stderr}")
        found = dict(parse(file) for file in files)
        for file in files:
            file.unlink()
        return found

    def run_command(self, command: list, seconds: float) -> subprocess.CompletedProcess:
        """Runs a command that needs the program, with a time limit. If the program ends, that is an error at once."""
        end, words = time.monotonic() + seconds, [str(part) for part in command]
        with subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder
        ) as running:
            try:
                while True:
                    try:
                        out, errors = running.communicate(timeout=0.5)
                        break
                    except subprocess.TimeoutExpired:
                        self.fail_if_ended()
                        if time.monotonic() > end:
                            raise machine.Failed(f"not done after {seconds} s: {' '.join(words)}") from None
            finally:
                running.kill()
        self.fail_if_ended()
        return subprocess.CompletedProcess(words, running.returncode, out, errors)

    def fail_if_ended(self):
        if self.process.popen.poll() is not None:
            raise machine.Failed(f"the proxy ended with {self.process.popen.returncode}:\n{self.process.last_lines()}")

    def end(self):
        self.process.popen.kill()
        self.process.end()


def same_addresses() -> list[str]:
    """A prefix for the same addresses in memory in each run, where the kernel allows it."""
    prefix = ["setarch", os.uname().machine, "--addr-no-randomize"]
    allowed = shutil.which("setarch") and subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if allowed and allowed.returncode == 0 else []


def parse(file: pathlib.Path) -> tuple[int, Profile]:
    """The thread and its profile. A dump that does not add up is an error."""
    thread, total, allocations, functions = None, None, 0, collections.Counter()
    function = callee = ""
    inclusive = False  # The line after `calls=` has the cost of the call, not of the function.
    for line in file.read_text().splitlines():
        key, equal, value = line.partition("=")
        if equal and key == "fn":
            function = value
        elif equal and key == "cfn":
            callee = value
        elif equal and key == "calls":
            inclusive = True
            if bare(callee) in ALLOCATING and not ALLOCATOR.match(bare(function)):
                allocations += int(value.split()[0])
        elif line.startswith("thread:"):
            thread = int(line.split()[1])
        elif line.startswith("events:") and line.split() != ["events:", "Ir"]:
            raise machine.Failed(f"{file.name} does not count instructions: {line}")
        elif line.startswith("totals:"):
            total = int(line.split()[1])
        elif line.startswith(COST):
            if not inclusive:
                functions[function] += int((line.split() + ["0"])[1])  # No count is a count of 0.
            inclusive = False
    if thread is None or total is None:
        raise machine.Failed(f"{file.name} is not a complete dump of callgrind: no thread or no totals")
    if sum(functions.values()) != total:
        raise machine.Failed(f"{file.name}: the functions have {sum(functions.values())} instructions, in all {total}")
    return thread, Profile(total, allocations, functions)


def bare(function: str) -> str:
    """The name without its recursion level."""
    return re.sub(r"'\d+$", "", function)
