"""The results of `isolation` as tables and a chart: a row for each kind of shadow, a column for each proxy."""

import math

from .isolation import BODIES, FAULTS, GOAL, PEERS

NAMES = {"pointsman": "Pointsman", "nginx": "nginx `mirror`", "envoy": "Envoy `request_mirror_policies`"}
PLAIN = {"pointsman": "Pointsman", "nginx": "nginx", "envoy": "Envoy"}
COLOURS = {"pointsman": "#0f766e", "nginx": "#b45309", "envoy": "#7c3aed"}
CALM = ("none", "healthy")
SUCCESS_GOAL = 0.999


def tables(cells, title: str) -> list[str]:
    if not cells:
        return []
    found = {(cell.peer, cell.fault, cell.body_bytes): cell for cell in cells}
    names = [name for name in PEERS if any(cell.peer == name for cell in cells)]
    lines = [
        f"## {title}", "",
        "Latency with the shadow relative to that without, p50 / p99. **Bold** misses the target: more than 5 % above, "
        "or more than one in a thousand without a response. `?`: some rounds were better and some worse than without; "
        "the row without a shadow on both sides shows the noise.", "",
    ]
    lines += [*verdicts(cells, names), ""]
    for body, size in BODIES.items():
        lines += [f"### {size[0].upper()}{size[1:]}", "", header(names), "|---|" + "---|---|---|" * len(names)]
        for fault, kind in FAULTS.items():
            row = [found.get((name, fault, body)) for name in names]
            if any(row):
                lines.append(f"| {kind} | " + " | ".join(summary(cell) for cell in row) + " |")
        lines.append("")
    lines += ["### All figures, median and range of the rounds", "", DETAILS, "|---" * DETAILS.count(" | ") + "|---|"]
    order = {name: at for at, name in enumerate(names)}
    places = {fault: at for at, fault in enumerate(FAULTS)}
    ordered = sorted(cells, key=lambda cell: (cell.body_bytes, places[cell.fault], order[cell.peer]))
    return [*lines, *map(details, ordered), ""]


def header(names: list[str]) -> str:
    return "| shadow | " + " | ".join(f"{NAMES[name]}: latency | answered | memory, MiB" for name in names) + " |"


def summary(cell) -> str:
    """Three columns of a table."""
    if cell is None:
        return "failed | | "
    success = cell.median("success")
    answered = marked(f"{math.floor(success * 1000) / 10:g} %", success < SUCCESS_GOAL)
    memory = marked(f"{cell.off_bytes / 2**20:.1f} → {cell.on_bytes / 2**20:.1f}", cell.memory() > GOAL)
    return f"{ratio(cell, 'p50')} / {ratio(cell, 'p99')} | {answered} | {memory}"


def ratio(cell, figure: str) -> str:
    found = cell.ratios(figure)
    middle = cell.ratio(figure)
    doubtful = " ?" if middle > GOAL and min(found) <= 1 else ""
    return marked(number(middle), middle > GOAL) + doubtful


def marked(text: str, beyond: bool) -> str:
    return f"**{text}**" if beyond else text


def number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def verdicts(cells, names: list[str]) -> list[str]:
    """How many of the results with a faulty shadow meet the target."""
    lines = []
    for name in names:
        ill = [cell for cell in cells if cell.peer == name and cell.fault not in CALM]
        if not ill:
            continue
        kept = {
            figure: sum(cell.ratio(figure) <= GOAL for cell in ill) for figure in ("p50", "p99", "cpu")
        } | {
            "answered": sum(cell.median("success") >= SUCCESS_GOAL for cell in ill),
            "memory": sum(cell.memory() <= GOAL for cell in ill),
        }
        lines.append(
            f"* {NAMES[name]}, {len(ill)} cells with a shadow that is ill; within the goal are p50 in {kept['p50']}, "
            f"p99 in {kept['p99']}, answers in {kept['answered']}, memory in {kept['memory']}, "
            f"CPU per request in {kept['cpu']}."
        )
    bounded = [cell for cell in cells if cell.bound_bytes]
    if bounded:
        worst = max(bounded, key=lambda cell: cell.on_bytes - cell.off_bytes - cell.bound_bytes)
        grown, bound = (worst.on_bytes - worst.off_bytes) / 2**20, worst.bound_bytes / 2**20
        word = "met" if grown <= bound else "**missed**"
        lines.append(
            f"* Pointsman's memory: at most {grown:.1f} MiB more than without ({FAULTS[worst.fault]}, "
            f"{BODIES[worst.body_bytes]}), documented bound {bound:.1f} MiB: {word}."
        )
    return lines


DETAILS = (
    "| body | shadow | proxy | p50, ms | with / without | range | p99, ms | with / without | range | CPU, µs "
    "| with / without | range | answered | copied |"
)


def details(cell) -> str:
    columns = [BODIES[cell.body_bytes], FAULTS[cell.fault], PLAIN[cell.peer]]
    for figure, unit in (("p50", 1e3), ("p99", 1e3), ("cpu", 1)):
        found = cell.ratios(figure) or [math.nan]
        without, with_it = (number(cell.median(figure, side) * unit or math.nan) for side in ("off", "on"))
        span = f"{number(min(found))} to {number(max(found))}"
        columns += [f"{without} → {with_it}", number(cell.ratio(figure)), span]
    columns += [f"{cell.median('success'):.1%}", f"{cell.median('copied'):.0%}"]
    return "| " + " | ".join(columns) + " |"


def chart(cells, facts) -> str:
    """p99 with the shadow to that without, on a logarithmic scale; a dot for each proxy."""
    if not cells:
        return ""
    left, width, line = 190, 520, 20
    most = max(2.0, *(cell.ratio("p99") for cell in cells))

    def across(value: float) -> float:
        return left + width * math.log(max(value, 0.5) / 0.5) / math.log(most * 1.2 / 0.5)

    parts, y = [], 70
    for body, size in BODIES.items():
        parts.append(f'<text x="12" y="{y}" class="h">{size}</text>')
        for fault, kind in FAULTS.items():
            row = [cell for cell in cells if (cell.fault, cell.body_bytes) == (fault, body)]
            if not row:
                continue
            y += line
            parts.append(f'<text x="{left - 12}" y="{y + 4}" text-anchor="end">{kind}</text>')
            parts.append(f'<path d="M{left} {y}H{left + width}" class="g"/>')
            for cell in sorted(row, key=lambda cell: cell.peer == "pointsman"):
                place = across(cell.ratio("p99"))
                parts.append(f'<circle cx="{place:.1f}" cy="{y}" r="5" fill="{COLOURS[cell.peer]}" class="d"/>')
        y += 38
    height = y + 10
    for value in (1, *(10**power for power in range(1, 8) if 10**power < most * 1.2)):
        place = across(value)
        parts.append(f'<path d="M{place:.1f} 56V{height - 34}" class="a"/>')
        parts.append(f'<text x="{place:.1f}" y="{height - 18}" text-anchor="middle" class="s">{value:,} ×</text>')
    for at, name in enumerate(PEERS):
        place = left + at * 110
        parts.append(f'<circle cx="{place}" cy="42" r="5" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{place + 10}" y="46">{PLAIN[name]}</text>')
    style = (
        "text{font:12px system-ui,sans-serif;fill:#334155}.h{font-weight:600}.s{font-size:11px}"
        ".t{font-size:15px;font-weight:600}.d{fill-opacity:.85}"
        ".g{stroke:#e2e8f0}.a{stroke:#0f172a;stroke-dasharray:3 3;opacity:.4}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 30} {height}" role="img" '
        f'aria-label="p99 with the shadow, to that without"><style>{style}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="12" y="24" class="t">p99 with every request copied to such a shadow, p99 without = 1, '
        f'{facts["date"][:10]}</text>'
        + "".join(parts) + "</svg>\n"
    )
