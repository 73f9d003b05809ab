"""The budgets of `bench/instructions`: the highest cost of a request of each scenario, in a file with a line each."""

import dataclasses
import json
import math
import pathlib
import platform
import re
import subprocess

from . import machine
from .instructions import SCENARIOS, Figure

# A budget is the measured figure and so much more, in percent, for the allocator's instructions and for the others, and
# so many allocations.
PERCENT, ALLOCATOR_PERCENT, ALLOCATIONS_MORE = 1, 10, 0.05
# Below its budget by more than this, in percent, a figure should get a lower budget.
SLACK_PERCENT = 3


@dataclasses.dataclass(frozen=True)
class Budget:
    instructions: int
    allocator: int
    allocations: float
    # The margin over the measured figures, and the reason for an unusual one.
    percent: float = PERCENT
    allocator_percent: float = ALLOCATOR_PERCENT
    allocations_more: float = ALLOCATIONS_MORE
    because: str = ""

    def exceeded(self, found: Figure) -> list[str]:
        """The figures that exceed their budget."""
        return [
            kind for kind in ("instructions", "allocator", "allocations") if getattr(found, kind) > getattr(self, kind)
        ]

    def difference(self, found: Figure) -> float:
        """The instructions relative to their budget, in percent."""
        return (found.instructions / self.instructions - 1) * 100

    def loose(self, found: Figure) -> bool:
        return not self.exceeded(found) and self.difference(found) < -(SLACK_PERCENT + self.percent - PERCENT)

    def status(self, found: Figure) -> str:
        if exceeded := self.exceeded(found):
            return f"OVER in {', '.join(exceeded)}"
        return "ok, lower the budget" if self.loose(found) else "ok"


@dataclasses.dataclass
class Budgets:
    """The file: the tools of the measurement, and the budgets by scenario."""

    measured: dict[str, str]
    by_scenario: dict[str, Budget]

    @staticmethod
    def read(file: pathlib.Path) -> "Budgets":
        try:
            content = json.loads(file.read_text())
            rows = {name: Budget(**row) for name, row in content["budgets"].items()}
            measured = dict(content["measured"])
            for name, row in rows.items():
                if not min(row.instructions, row.allocator + 1, row.allocations + 1) > 0:
                    raise ValueError(f"{name}: a budget is not below 0")
                usual = (PERCENT, ALLOCATOR_PERCENT, ALLOCATIONS_MORE)
                added = (row.percent, row.allocator_percent, row.allocations_more)
                if not row.because and any(more > most for more, most in zip(added, usual)):
                    raise ValueError(f"{name}: the margin is larger than usual, and `because` is missing")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise machine.Failed(f"{file} cannot be read: {error!r}") from error
        return Budgets(measured, rows)

    def complete(self, file: pathlib.Path):
        missing = ", ".join(name for name in SCENARIOS if name not in self.by_scenario)
        unknown = ", ".join(name for name in self.by_scenario if name not in SCENARIOS)
        if missing:
            raise machine.Failed(f"{file} has no budget for {missing}: bench/instructions --write-budgets --only …")
        if unknown:
            raise machine.Failed(f"{file} has a budget for {unknown}, which is not a scenario")

    def renew(self, found: dict[str, Figure], measured: dict[str, str]):
        self.measured = measured
        for name, figure in found.items():
            before = self.by_scenario.get(name, Budget(0, 0, 0))
            self.by_scenario[name] = dataclasses.replace(
                before,
                instructions=math.ceil(figure.instructions * (1 + before.percent / 100)),
                allocator=math.ceil(figure.allocator * (1 + before.allocator_percent / 100)),
                allocations=math.ceil((figure.allocations + before.allocations_more) * 100) / 100,
            )
        self.by_scenario = {name: self.by_scenario[name] for name in SCENARIOS if name in self.by_scenario}

    def write(self, file: pathlib.Path):
        facts = ",\n".join(f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in self.measured.items())
        rows = []
        for name, budget in self.by_scenario.items():
            row = {key: value for key, value in dataclasses.asdict(budget).items() if value != ""}
            rows.append(f"    {json.dumps(name)}: {json.dumps(row, ensure_ascii=False)}")
        text = f'{{\n  "measured": {{\n{facts}\n  }},\n  "budgets": {{\n' + ",\n".join(rows) + "\n  }\n}\n"
        new_file = file.with_name(file.name + ".new")
        new_file.write_text(text)
        new_file.replace(file)


def facts(root: pathlib.Path) -> dict[str, str]:
    """What the figures depend on besides the program. valgrind simulates a processor, a Haswell where the real one has
    AVX2: libc and aws-lc choose the same code on all of these."""
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    return {
        "rustc": version(["rustc", "--version"], r"rustc (\S+)", root),
        "valgrind": version(["valgrind", "--version"], r"valgrind-(\S+)", root),
        "h2load": version(["h2load", "--version"], r"nghttp2/(\S+)", root),
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine() + (" with AVX2" if re.search(r"\bavx2\b", flags) else " without AVX2"),
    }


def version(command: list[str], pattern: str, folder: pathlib.Path) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    except OSError:
        return "unknown"
    match = re.search(pattern, done.stdout)
    return match.group(1) if match else "unknown"


def table(found: dict[str, Figure], budgets: Budgets) -> str:
    """For the terminal: a figure, and its budget."""
    lines = [f"{'scenario':<9} {'total':>8} {'instructions':>17} {'':>7} {'allocator':>14} {'allocations':>14}"]
    for name, figure in found.items():
        budget = budgets.by_scenario[name]
        lines.append(
            f"{name:<9} {figure.total():>8,.0f} {figure.instructions:>8,.0f}/{budget.instructions:>8,}"
            f" {budget.difference(figure):>+5.1f} % {figure.allocator:>7,.0f}/{budget.allocator:>6,}"
            f"   {figure.allocations:>6.2f}/{budget.allocations:>6.2f}  {budget.status(figure)}"
        )
    return "\n".join(lines)


def functions(found: dict[str, Figure], count: int) -> str:
    """The most expensive functions of each scenario."""
    text = ""
    for name, figure in found.items():
        text += f"\n{name}: exclusive instructions a request\n"
        for function, cost in figure.functions[:count]:
            text += f"{cost:>10,.1f} {cost / figure.total():>6.1%}  {shortened(function)}\n"
    return text


def shortened(function: str) -> str:
    """Without the hash and the generic arguments' ends."""
    plain = re.sub(r"::h[0-9a-f]{16}\b", "", function)
    return plain if len(plain) <= 110 else plain[:109] + "…"


def markdown(rounds: dict[str, list[Figure]], median: dict[str, Figure], measured: dict[str, str]) -> str:
    """For people: `bench/results`."""
    lines = [
        f"# Instructions a request, {measured['date']}",
        "",
        "By `bench/instructions`: one worker under callgrind, one client connection, user code of the worker's thread; "
        "the kernel's part is not in it. "
        + ", ".join(f"{name} {value}" for name, value in measured.items() if name not in ("date", "machine"))
        + f", {measured['machine']}. Medians; "
        "the spread is that of the instructions without the allocator's, highest to lowest.",
        "",
        "| | | total | without allocator | spread | allocator | allocations | other threads | rounds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, figure in median.items():
        every = [one.instructions for one in rounds[name]]
        lines.append(
            f"| `{name}` | {SCENARIOS[name].title} | {figure.total():,.0f} | {figure.instructions:,.0f} | "
            f"{max(every) / min(every) - 1:.2%} | {figure.allocator:,.0f} | {figure.allocations:.2f} | "
            f"{max(0.0, figure.other_threads):,.0f} | {len(every)} |"
        )
    return "\n".join(lines) + "\n"
