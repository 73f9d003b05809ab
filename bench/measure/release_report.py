"""The results of `bench/release` as a table, as curves, and as JSON. Rows that a run leaves out keep their last results."""

import json
import math
import pathlib

from . import release

COLOURS = {"whole": "#0f766e", "long": "#14b8a6", "noise": "#2563eb", "half": "#b45309", "fifth": "#dc2626"}
# What others need at least, by the examples of their documentation: seconds, name, formula, source.
OTHERS = (
    (
        600, "Flagger", "`interval` × `threshold` = 1 min × 10",
        "https://docs.flagger.app/usage/deployment-strategies",
    ),
    (
        900, "Argo Rollouts", "`interval` × `failureLimit` = 5 min × 3",
        "https://argoproj.github.io/argo-rollouts/features/analysis/",
    ),
)
# Of the A/A table: the highest share of healthy releases that may be rolled back.
FALSE_MAX = 0.005
WIDTH, HEIGHT, LEFT, TOP = 640, 260, 56, 70
LOW, HIGH = 0.05, 2000.0


class Report:
    """All rows, each with its trials and the facts of its run."""

    def __init__(self, rows: dict[str, dict], healthy: list[dict]):
        self.rows = {key: rows[key] for key in release.ROWS if key in rows}
        # Rows of the simulation: `healthy` (its name), `runs`, `rolled_back`, `held`.
        self.healthy = healthy

    @staticmethod
    def read(file: pathlib.Path) -> "Report":
        """The results that are there; none when there is no file."""
        if not file.is_file():
            return Report({}, [])
        found = json.loads(file.read_text())
        return Report(found["rows"], found.get("simulated", []))

    def take_simulated(self, file: pathlib.Path):
        """Takes the healthy releases of `cargo run --release --example guards -- --json FILE`."""
        self.healthy = [row for row in json.loads(file.read_text())["rows"] if "healthy" in row]

    def add(self, trials: list[release.Trial], facts: dict):
        """Replaces the rows of these trials."""
        for key in release.ROWS:
            own = [trial for trial in trials if trial.row == key]
            if own:
                self.rows[key] = {
                    "facts": facts,
                    "trials": [[trial.seconds, trial.requests, trial.bad] for trial in own],
                }
        self.rows = {key: self.rows[key] for key in release.ROWS if key in self.rows}

    def trials(self, key: str) -> list[release.Trial]:
        return [release.Trial(key, *trial) for trial in self.rows[key]["trials"]]

    def p99(self, key: str) -> float:
        return release.percentile(release.seconds_of(self.trials(key)), 99)

    def within_bounds(self, keys) -> bool:
        kept = all(
            self.p99(key) < release.ROWS[key].bound
            for key in keys if key in self.rows and release.ROWS[key].bound is not None
        )
        return kept and all(row["rolled_back"] / row["runs"] <= FALSE_MAX for row in self.healthy)

    def write(self, folder: pathlib.Path, name: str) -> list[pathlib.Path]:
        folder.mkdir(exist_ok=True)
        files = [folder / f"{name}.{kind}" for kind in ("md", "svg", "json")]
        files[0].write_text(self.markdown(name))
        files[1].write_text(self.chart())
        rows = ",\n ".join(f"{json.dumps(key)}: {json.dumps(row, ensure_ascii=False)}" for key, row in self.rows.items())
        simulated = ",\n ".join(json.dumps(row, ensure_ascii=False) for row in self.healthy)
        files[2].write_text(f'{{"simulated": [\n {simulated}\n],\n"rows": {{\n {rows}\n}}}}\n')
        return files

    def markdown(self, name: str) -> str:
        facts = next(iter(self.rows.values()))["facts"]
        lines = [
            f"# A canary begins to fail: {facts['date']}", "",
            f"{facts['machine']}. Pointsman {facts['version']}, profile `{facts['profile']}`. `bench/release`: "
            f"{facts['routes']} routes of one proxy, each a release of its own at {release.RATE} requests a second, of "
            f"which {release.WEIGHT} % go to the canary; each request is of another caller. `guard = \"rollback\"` and "
            "nothing else: the default guards. Before each trial the canary has a new `revision`, without evidence, and is "
            f"healthy for {release.HEALTHY[0]:g} to {release.HEALTHY[1]:g} s. The proxy has one core; load, stable and "
            f"canaries have the other: {facts['rate']:,.0f} requests a second, {facts['lost']:.3%} without a response.", "",
            "Seconds from the first failing response of the canary to the last request that reached it, and the failing "
            "responses that it gave until then.", "",
            f"![how soon a canary gets its last request]({name}.svg)", "",
            "| the canary | trials | p50 | p90 | p99 | max | bad responses, p50 | p99 | bound of the p99 |",
            "|---|---|---|---|---|---|---|---|---|",
            *(self.row(key) for key in self.rows), "",
            *self.notes(), "",
            "## Beside others", "",
            "What the documentation of two controllers states for a canary that fails every check: the least time until its "
            "weight is 0, with the values of its own example. Both read metrics that were scraped before; neither was "
            "measured here.", "",
            "| controller | formula | at least | source |", "|---|---|---|---|",
            *(f"| {title} | {formula} | {least // 60} min | <{source}> |" for least, title, formula, source in OTHERS), "",
        ]
        return "\n".join(lines + self.false_section())

    def row(self, key: str) -> str:
        row, trials = release.ROWS[key], self.trials(key)
        seconds, bad = release.seconds_of(trials), [float(trial.bad) for trial in trials]
        figures = [shown(release.percentile(seconds, percent)) for percent in (50, 90, 99)] + [shown(max(seconds))]
        wrong = [f"{release.percentile(bad, percent):.0f}" for percent in (50, 99)]
        verdict = "–"
        if row.bound is not None:
            verdict = f"{row.bound:g} s: " + ("met" if self.p99(key) < row.bound else "**missed**")
        title = row.title
        if key == "long":
            title = f"every canary request fails, after {self.rows[key]['facts']['minutes']:g} healthy minutes"
        figures[2] = f"**{figures[2]}**"
        return "| " + " | ".join([title, f"{len(trials):,}", *figures, *wrong, verdict]) + " |"

    def notes(self) -> list[str]:
        lines = []
        healthy = sum(row["facts"]["healthy"] for row in {row["facts"]["date"]: row for row in self.rows.values()}.values())
        false = sum(row["facts"]["false"] for row in {row["facts"]["date"]: row for row in self.rows.values()}.values())
        lines.append(f"* {false} of {healthy:,} releases were rolled back before their canary began to fail.")
        for key, row in self.rows.items():
            found = row["facts"]
            if found["date"] != next(iter(self.rows.values()))["facts"]["date"]:
                lines.append(
                    f"* *{release.ROWS[key].title}*: a run of its own, {found['date']}, {found['routes']} routes, "
                    f"{found['rate']:,.0f} requests a second, Pointsman {found['version']}, profile `{found['profile']}`."
                )
        missing = sum(trial.seconds is None for key in self.rows for trial in self.trials(key))
        lines.append(f"* {missing} trials were not rolled back within their limit." if missing else "* Every trial was rolled back.")
        return lines

    def false_section(self) -> list[str]:
        if not self.healthy:
            return []
        lines = [
            "## Healthy releases", "",
            "Releases that are as good as stable, in virtual time, through the counts of the data plane and the evidence of the "
            "control plane: `cargo run --release --example guards`. The bound of the default guards is "
            f"{FALSE_MAX:.1%} that are rolled back, in every row.", "",
            "| traffic | releases | rolled back | held by the sample ratio |", "|---|---|---|---|",
        ]
        for row in self.healthy:
            back, held = row["rolled_back"] / row["runs"], row["held"] / row["runs"]
            verdict = "" if back <= FALSE_MAX else " **above the bound**"
            lines.append(f"| {row['healthy']} | {row['runs']:,} | {row['rolled_back']:,} ({back:.2%}){verdict} | {held:.2%} |")
        return [*lines, ""]

    # The chart.

    def chart(self) -> str:
        """The share of the trials that were rolled back, over time, and where others begin."""
        parts = [f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="#f8fafc"/>']
        for value, label in ((0.1, "0.1 s"), (1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min")):
            x = across(value)
            parts.append(f'<path d="M{x:.1f} {TOP}v{HEIGHT}" class="g"/>')
            parts.append(f'<text x="{x:.1f}" y="{TOP + HEIGHT + 16}" text-anchor="middle" class="s">{label}</text>')
        for share in (0, 0.5, 1):
            y = TOP + HEIGHT * (1 - share)
            parts.append(f'<path d="M{LEFT} {y:.1f}h{WIDTH}" class="g"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" class="s">{share:.0%}</text>')
        for at, (least, title, _, _) in enumerate(OTHERS):
            x = across(least)
            parts.append(f'<path d="M{x:.1f} {TOP}v{HEIGHT}" stroke="#475569" stroke-dasharray="5 4" fill="none"/>')
            parts.append(
                f'<text x="{x - 5:.1f}" y="{TOP + 20 + 18 * at}" text-anchor="end" class="s">{title}, at least {least // 60} min</text>'
            )
        for at, key in enumerate(self.rows):
            seconds = sorted(release.seconds_of(self.trials(key)))
            points = [f"{across(seconds[0]):.1f} {TOP + HEIGHT}"]
            for number, value in enumerate(seconds, 1):
                if value < math.inf:
                    points.append(f"{across(value):.1f} {TOP + HEIGHT * (1 - number / len(seconds)):.1f}")
            parts.append(f'<path d="M{"L".join(points)}" fill="none" stroke="{COLOURS[key]}" stroke-width="2"/>')
            y = TOP + HEIGHT + 42 + 17 * at
            parts.append(f'<path d="M{LEFT} {y - 4}h24" stroke="{COLOURS[key]}" stroke-width="2"/>')
            parts.append(
                f'<text x="{LEFT + 32}" y="{y}">{release.ROWS[key].title}: p99 {shown(self.p99(key))} s, '
                f"{len(seconds):,} trials</text>"
            )
        width, height = LEFT + WIDTH + 24, TOP + HEIGHT + 50 + 17 * len(self.rows)
        date = next(iter(self.rows.values()))["facts"]["date"][:10]
        style = (
            "text{font:12px system-ui,sans-serif;fill:#334155}.s{font-size:11px}.t{font-size:15px;font-weight:600}"
            ".g{stroke:#e2e8f0;fill:none}"
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="how soon a canary that fails gets its last request"><style>{style}</style>'
            '<rect width="100%" height="100%" fill="#fff"/>'
            f'<text x="12" y="24" class="t">A canary begins to fail: when it gets its last request, {date}</text>'
            f'<text x="12" y="44">The share of the trials, over the time since its first failing response (logarithmic). '
            f"{release.RATE} requests a second, {release.WEIGHT} % canary.</text>"
            + "".join(parts) + "</svg>\n"
        )


def across(seconds: float) -> float:
    """The place of a time, from the left."""
    share = math.log(min(max(seconds, LOW), HIGH) / LOW) / math.log(HIGH / LOW)
    return LEFT + WIDTH * share


def shown(seconds: float) -> str:
    return "not found" if seconds == math.inf else f"{seconds:.2f}"


def facts_of(bench: release.Release, head: dict, minutes: float) -> dict:
    """The facts of a run."""
    rate, lost = bench.busy()
    return {
        **head, "routes": bench.routes, "rate": rate, "lost": lost, "healthy": bench.healthy, "false": bench.false,
        "minutes": minutes,
    }
