"""The results of `failover` as a table, as charts of the time around the fault, and as JSON."""

import dataclasses
import json
import math
import pathlib

from . import failover, failover_peers
from .report import NAMES

COLOURS = {"pointsman": "#0f766e", "haproxy": "#475569", "envoy": "#7c3aed", "nginx": "#b45309"}
FAILED = "#dc2626"
# The chart's cells, and the scale of their p99 in milliseconds.
WIDTH, HEIGHT, GAP, LEFT, TOP = 212, 84, 14, 138, 84
LOW, HIGH = 3.0, 5000.0


class Report:
    """All trials of a run, and the facts about it."""

    def __init__(self, trials: list[failover.Trial], errors: list[str], options, facts: dict[str, str]):
        self.trials, self.errors, self.options, self.facts = trials, errors, options, facts
        self.peers = [name for name in failover.PEERS if any(trial.peer == name for trial in trials)]
        self.faults = [name for name in failover.FAULTS if any(trial.fault == name for trial in trials)]

    def of(self, fault: str, peer: str) -> list[failover.Trial]:
        return [trial for trial in self.trials if (trial.fault, trial.peer) == (fault, peer)]

    def failed(self, fault: str, peer: str) -> int:
        return sum(trial.failed_requests() for trial in self.of(fault, peer))

    def within_goals(self) -> bool:
        """No failed request where a second try was safe, and nowhere more than any peer."""
        own = [fault for fault in self.faults if self.of(fault, "pointsman")]
        return all(
            self.failed(fault, "pointsman") <= min(self.others(fault).values(), default=math.inf)
            and not (failover.FAULTS[fault].safe and self.failed(fault, "pointsman"))
            for fault in own
        )

    def others(self, fault: str) -> dict[str, int]:
        return {name: self.failed(fault, name) for name in self.peers if name != "pointsman" and self.of(fault, name)}

    def write(self, folder: pathlib.Path) -> list[pathlib.Path]:
        folder.mkdir(exist_ok=True)
        files = [folder / f"{self.options.out}.{kind}" for kind in ("md", "svg", "json")]
        files[0].write_text(self.markdown())
        files[1].write_text(self.chart())
        trials = [json.dumps(dataclasses.asdict(trial)) for trial in self.trials]
        head = {"facts": self.facts, "rounds": self.options.rounds, "errors": self.errors}
        listed = ",\n ".join(trials)
        files[2].write_text(json.dumps(head, ensure_ascii=False)[:-1] + f', "trials": [\n {listed}\n]}}\n')
        return files

    def markdown(self) -> str:
        versions = ", ".join(f"{NAMES[name]} {self.facts[name]}" for name in self.peers)
        fault, healed, rounds = failover.FAULT, failover.HEALED, self.options.rounds
        lines = [
            f"# An endpoint of three fails: {self.facts['date']}", "",
            f"{self.facts['machine']}. {versions}. `bench/failover --rounds {rounds}`: for each fault and proxy {rounds} "
            f"trial{'s' * (rounds > 1)}, in random order, each with a fresh proxy and fresh endpoints. An open loop "
            f"sends {failover.RATE:,} requests a second for {failover.END:g} s; one endpoint of three fails after "
            f"{fault:g} s and is well again after {healed:g} s (a killed one is started again). Endpoints answer after "
            f"{failover.DELAY_MS} ms. In the last row three of nine are killed and started again for a minute, each down for "
            f"{failover.DOWN[0]:g} to {failover.DOWN[1]:g} s and up for {failover.UP[0]:g} to {failover.UP[1]:g} s, at the "
            "same moments for each proxy. The proxy has one worker on one core; load and endpoints, each a process of its "
            "own, have the other. A trial is repeated while other processes use more than "
            f"{failover.OTHERS_MAX:.0%} of the machine; they used {max(t.others for t in self.trials):.1%} at most.", "",
            f"![p99 and failed requests around the fault]({self.options.out}.svg)", "",
            HEADER, "|---|---|" + "---|" * (HEADER.count("|") - 3),
        ]
        for name in self.faults:
            lines += [self.row(name, peer) for peer in self.peers if self.of(name, peer)]
        lines += ["", *self.verdicts(), "", *LEGEND, ""]
        if self.errors:
            lines += ["## Failed", "", *(f"* {' '.join(error.split())}" for error in self.errors), ""]
        lines += ["## Configurations", "", INTRODUCTION, ""]
        for peer in self.peers:
            kind = {"pointsman": "toml", "envoy": "json", "nginx": "nginx"}.get(peer, "text")
            lines += [f"### {NAMES[peer]}", "", f"```{kind}", shown(peer), "```", ""]
        return "\n".join(lines)

    def row(self, fault: str, peer: str) -> str:
        trials = self.of(fault, peer)
        each = [trial.failed_requests() for trial in trials]
        total = f"{sum(each):,}"
        if any(each):
            words: dict[str, int] = {}
            for trial in trials:
                for outcome, count in trial.failed.items():
                    words[outcome] = words.get(outcome, 0) + count
            total += f" ({', '.join(f'{words[word]:,} × {word}' for word in sorted(words))})"
        backs = sorted(math.inf if trial.back is None else trial.back for trial in trials)
        middle = failover.median_back(trials)
        back = seconds(middle) + (f" ({seconds(backs[0])} to {seconds(backs[-1])})" if backs[0] != backs[-1] else "")
        extra = [trial.extra() / trial.sent for trial in trials]
        tries = sum(trial.extra() for trial in trials)
        sent = sum(trial.sent for trial in trials)
        columns = [
            failover.FAULTS[fault].title, bold(NAMES[peer], peer), bold(total, peer), f"{sent:,}", back,
            f"{max(trial.worst_p99 for trial in trials) * 1e3:,.0f} ms", f"{sum(trial.slow for trial in trials):,}",
            f"{max(trial.longest for trial in trials) * 1e3:,.0f} ms", f"{sum(extra) / len(extra):+.2%} ({tries:+,})",
        ]
        return "| " + " | ".join(columns) + " |"

    def verdicts(self) -> list[str]:
        lines = []
        for fault in self.faults:
            if not self.of(fault, "pointsman"):
                continue
            own, others, title = self.failed(fault, "pointsman"), self.others(fault), failover.FAULTS[fault].title
            text = f"* {title[0].upper()}{title[1:]}: {own:,} failed"
            if failover.FAULTS[fault].safe:
                text += ", goal none: " + ("met" if own == 0 else "**missed**")
            if others:
                best = min(others.values())
                named = ", ".join(NAMES[name] for name, failed in others.items() if failed == best)
                word = "fewer" if own < best else "as few" if own == best else "**more**"
                text += f"; {word} than {named} ({best:,})" if own != best else f"; {word} as {named}"
            lines.append(text + ".")
        return lines

    # The chart.

    def chart(self) -> str:
        """A cell for each fault and proxy: p99 of each 100 ms over time, and the failed requests."""
        width = LEFT + len(self.peers) * (WIDTH + GAP) + 10
        height = TOP + len(self.faults) * (HEIGHT + GAP) + 34
        parts = []
        for column, peer in enumerate(self.peers):
            x = LEFT + column * (WIDTH + GAP)
            parts.append(f'<text x="{x}" y="{TOP - 12}" class="h" style="fill:{COLOURS[peer]}">{NAMES[peer]}</text>')
            for line, fault in enumerate(self.faults):
                parts += self.cell(fault, peer, x, TOP + line * (HEIGHT + GAP))
            for moment in range(0, round(failover.END), 3):
                at = x + moment * WIDTH / failover.END
                parts.append(f'<text x="{at:.1f}" y="{height - 18}" text-anchor="middle" class="s">{moment} s</text>')
        for line, fault in enumerate(self.faults):
            y = TOP + line * (HEIGHT + GAP)
            title = failover.FAULTS[fault].title.partition(" (")[0]
            for at, words in enumerate(wrapped(title)):
                parts.append(f'<text x="10" y="{y + 16 + 15 * at}">{words}</text>')
            for value, label in ((10, "10 ms"), (100, "100 ms"), (1000, "1 s")):
                place = f'x="{LEFT - 5}" y="{y + up(value) + 3:.1f}"'
                parts.append(f'<text {place} text-anchor="end" class="s">{label}</text>')
        style = (
            "text{font:12px system-ui,sans-serif;fill:#334155}.h{font-weight:600}.s{font-size:10px}"
            ".t{font-size:15px;font-weight:600}.g{stroke:#e2e8f0;fill:none}"
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="p99 and failed requests around the fault"><style>{style}</style>'
            '<rect width="100%" height="100%" fill="#fff"/>'
            f'<text x="10" y="24" class="t">An endpoint of three fails at {failover.FAULT:g} s and is well at '
            f'{failover.HEALED:g} s, {failover.RATE:,} requests a second, {self.facts["date"][:10]}</text>'
            '<text x="10" y="44">Line: p99 of each 100 ms, the worst of the rounds (logarithmic). '
            f'<tspan fill="{FAILED}">Red: the share of failed requests in each 100 ms (square root).</tspan></text>'
            + "".join(parts) + "</svg>\n"
        )

    def cell(self, fault: str, peer: str, x: int, y: int) -> list[str]:
        spec = failover.FAULTS[fault]
        trials, scale = self.of(fault, peer), WIDTH / spec.end
        parts = [
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" fill="#f8fafc"/>',
            f'<path d="M{x + failover.FAULT * scale:.1f} {y}v{HEIGHT}H{x + spec.healed * scale:.1f}v-{HEIGHT}z" '
            'fill="#fee2e2" opacity=".6"/>',
        ]
        lines = "".join(f"M{x} {y + up(value):.1f}h{WIDTH}" for value in (10, 100, 1000))
        parts.append(f'<path d="{lines}" class="g"/>')
        if not trials:
            return [*parts, f'<text x="{x + 8}" y="{y + 18}">not measured</text>']
        most = max(len(trial.p99s) for trial in trials)
        bars, points = "", []
        for at in range(most):
            values = [trial.p99s[at] for trial in trials if at < len(trial.p99s)]
            worst = HIGH if min(values) < 0 else max(values)
            place = x + min(at * failover.WINDOW, spec.end) * scale
            points.append(f"{place:.1f} {y + up(worst):.1f}")
            failed = sum(trial.failures[at] for trial in trials if at < len(trial.failures))
            if failed:
                share = failed / (failover.RATE * failover.WINDOW * len(trials))
                bars += f"M{place:.1f} {y + HEIGHT}v-{max(3.0, math.sqrt(share) * HEIGHT):.1f}"
        parts.append(f'<path d="M{"L".join(points)}" fill="none" stroke="{COLOURS[peer]}" stroke-width="1.3"/>')
        if bars:
            thick = f'stroke-width="{failover.WINDOW * scale:.1f}"'
            parts.append(f'<path d="{bars}" stroke="{FAILED}" {thick} opacity=".75"/>')
        failed, back = self.failed(fault, peer), failover.median_back(trials)
        extra = sum(trial.extra() for trial in trials) / sum(trial.sent for trial in trials)
        label = f"{failed:,} failed" if failed else "none failed"
        label += f" · back {seconds(back)} s" if back is not None else " · not back"
        label += f" · load {extra:+.1%}" if abs(extra) >= 0.0005 else ""
        parts.append(f'<text x="{x + WIDTH - 5}" y="{y + 13}" text-anchor="end" class="s">{label}</text>')
        return parts


HEADER = (
    "| the endpoint | proxy | failed | sent | p99 back after, s | worst p99 | above 100 ms | longest "
    "| extra load |"
)
LEGEND = [
    "* *failed*: any response but 200, a connection that is refused or cut, no response within 5 s; all rounds together. "
    "Every request counts from the time at which it was due.",
    "* *p99 back*: from the fault until the p99 of every further window of 100 ms is below twice the healthy p99 and "
    f"{failover.FLOOR * 1e3:g} ms, up to the end of the trial, {failover.END - failover.FAULT:g} s after the fault. A "
    "failed request counts as one without end. Median of the rounds, and their range.",
    "* *worst p99*: of any window of 100 ms, without those in which more than 1 % failed; *above 100 ms*: requests with a "
    "response that took longer; *longest*: of any request.",
    "* *extra load*: requests that endpoints received, to requests that were sent. A request that never reached an "
    "endpoint counts below zero; connections that were refused are not requests.",
]
INTRODUCTION = (
    f"All proxies have 1 s to connect and {failover_peers.PER_TRY_MS} ms for a try, prefer the endpoint with fewer "
    "requests in flight, and do not repeat a POST that was sent. All but nginx, which has no active checks, check "
    "`/health` each second: three bad answers in a row take an endpoint out, two good ones bring it back. These checks "
    "are not counted as load."
)


def shown(peer: str) -> str:
    """The configuration, with names instead of this machine's ports and folder."""

    class Shown:
        port, admin_port, folder = 8080, 9900, "/run"
        ports = {str(number): 9001 + number for number in range(failover.ENDPOINTS)}

    return getattr(failover_peers, peer)(Shown()).strip()


def seconds(value: float | None) -> str:
    return "not back" if value in (None, math.inf) else f"{value:.1f}"


def bold(text: str, peer: str) -> str:
    return f"**{text}**" if peer == "pointsman" else text


def up(milliseconds: float) -> float:
    """The place of a p99 in its cell, from the top."""
    share = math.log(min(max(milliseconds, LOW), HIGH) / LOW) / math.log(HIGH / LOW)
    return HEIGHT * (1 - share)


def wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > 14:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
