"""The results as Markdown, as a chart and as JSON."""

import dataclasses
import json
import pathlib
import statistics

from . import isolation_report

TITLES = {
    "small": "Small GET: sticky weighted split, target rules, metrics",
    "log": "The same with the access log on",
    "body": "1 MiB bodies",
    "latency": "Added latency, requests evenly spread",
    "idle": "Idle keep-alive connections",
    "reload": "Reload storm: routes.toml rewritten ten times a second at full load",
    "effect": "From a write to its effect, at full load",
    "routes": "Routing growth",
    "tls_full": "TLS 1.3: a full handshake and one GET a connection",
    "tls_resumed": "TLS 1.3: a resumed handshake and one GET a connection",
    "tls": "Small GET over TLS, kept connections",
    "h2": "HTTP/2 over TLS, 8 connections",
    "grpc": "gRPC unary calls, HTTP/2 without TLS on both sides",
    "websocket": "WebSocket: a message of 64 bytes there and back",
    "tls_idle": "Idle keep-alive connections under TLS",
    "shadow": "Faulty shadows: the effect on the requests",
}
REFERENCE = dict.fromkeys(TITLES, "HAProxy") | {"latency": "nginx", "h2": "nginx", "reload": "", "effect": "", "routes": ""}
OWN_REFERENCE = {"reload": "calm", "routes": f"{10} routes, or calm"}
NAMES = {"pointsman": "Pointsman", "haproxy": "HAProxy", "nginx": "nginx", "envoy": "Envoy"}

# (scenario, figure, what is compared, target)
TARGETS = [
    ("small", "CPU per request", "ratio", 1.00),
    ("small", "CPU per request", "to envoy", 0.45),
    ("log", "CPU per request", "ratio", 1.15),
    ("body", "CPU per request", "ratio", 0.70),
    ("latency", "added p50", "to nginx", 1.00),
    ("latency", "added p99", "to nginx", 1.00),
    ("idle", "memory per idle connection", "value", 6144),
    ("reload", "failed requests, all rounds", "value", 0),
    ("reload", "p99 in the storm", "ratio", 1.2),
    ("effect", "write to effect", "p99", 300),
    ("routes", "CPU per request, 100,000 routes", "ratio", 2.0),
    ("routes", "reload of 100,000 routes, write to effect", "value", 1000),
    ("routes", "p99 while it reloads", "ratio", 1.1),
    ("tls_full", "CPU per connection", "ratio", 1.00),
    ("tls_resumed", "CPU per connection", "ratio", 1.00),
    ("tls", "CPU per request", "ratio", 1.00),
    ("h2", "CPU per request, 100 streams", "ratio", 1.00),
    ("h2", "CPU per request, 100 streams", "to envoy", 0.5),
    ("tls_idle", "memory per idle connection", "value", 20480),
]
COLOURS = {"pointsman": "#0f766e", "haproxy": "#64748b", "nginx": "#94a3b8", "envoy": "#cbd5e1"}


def write(folder: pathlib.Path, options, results, facts: dict[str, str]) -> list[pathlib.Path]:
    folder.mkdir(exist_ok=True)
    files = [folder / f"{options.out}.{kind}" for kind in ("md", "svg", "json")]
    charted = chart(results, facts) or isolation_report.chart(results.cells, facts)
    files[0].write_text(markdown(options, results, facts, files[1].name if charted else ""))
    files[1].write_text(charted) if charted else files[1].unlink(missing_ok=True)
    data = {"facts": facts, "rounds": options.rounds, "seconds": options.seconds}
    data |= {"series": [dataclasses.asdict(series) for series in results.series]}
    data |= {"cells": [dataclasses.asdict(cell) for cell in results.cells]} if results.cells else {}
    data |= {"errors": results.errors, "notes": results.notes}
    files[2].write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return [file for file in files if file.exists()]


def markdown(options, results, facts, svg: str) -> str:
    versions = ", ".join(f"{NAMES.get(name, name)} {facts[name]}" for name in facts if name not in ("date", "machine"))
    lines = [
        f"# Comparison of {facts['date']}", "",
        f"{facts['machine']}. {versions}. One run, {options.rounds} rounds in random order, {options.seconds:g} s each; "
        "one worker pinned to one core, load and upstreams to another; CPU is the proxy's own user and system time. "
        "Ratios are to the reference in the same round.", "",
    ]
    if svg:
        alt = "p99 with the shadow, to that without" if results.cells else "CPU per request, as a ratio to HAProxy"
        lines += [f"![{alt}]({svg})", ""]
    for scenario in dict.fromkeys(series.scenario for series in results.series):
        reference = REFERENCE.get(scenario) or OWN_REFERENCE.get(scenario, "")
        lines += [f"## {TITLES[scenario]}", ""]
        lines += [f"| | figure | median | range | ratio to {reference or '-'} | range | rounds |", "|---|---|---|---|---|---|---|"]
        rows = sorted(results.of(scenario), key=lambda series: (series.figure, list(NAMES).index(series.peer)))
        lines += [row(series) for series in rows]
        lines += [*verdicts(results, scenario), ""]
    lines += isolation_report.tables(results.cells, TITLES["shadow"])
    if results.notes:
        lines += ["## Notes", "", *(f"* {note}" for note in results.notes), ""]
    if results.errors:
        lines += ["## Failed", "", *(f"* {' '.join(error.split())}" for error in results.errors), ""]
    return "\n".join(lines)


def row(series) -> str:
    span = f"{number(min(series.values))} to {number(max(series.values))}"
    ratio, ratio_span = "", ""
    if series.ratios:
        ratio = f"{statistics.median(series.ratios):.2f}"
        ratio_span = f"{min(series.ratios):.2f} to {max(series.ratios):.2f}"
    median = f"{number(series.median())} {series.unit}".strip()
    name = NAMES.get(series.peer, series.peer)
    return f"| {name} | {series.figure} | {median} | {span} | {ratio} | {ratio_span} | {len(series.values)} |"


def verdicts(results, scenario: str) -> list[str]:
    """One line for each target of this scenario that could be measured."""
    lines = []
    for where, figure, compared, target in TARGETS:
        series = find(results, where, figure, "pointsman")
        if where != scenario or not series:
            continue
        measured = measured_value(results, series, compared)
        if measured is None:
            continue
        kind = {"ratio": "ratio", "to envoy": "ratio to Envoy", "to nginx": "ratio of medians to nginx", "value": "median", "p99": "p99"}[compared]
        word = "met" if measured <= target else "**missed**"
        unit = series.unit if compared in ("value", "p99") else ""
        lines.append(f"* {figure}, {kind}: {number(measured)} {unit}".rstrip() + f", target {number(target)}: {word}")
    return ["", *lines] if lines else []


def measured_value(results, series, compared: str):
    if compared == "value":
        return series.median()
    if compared == "p99":
        return sorted(series.values)[min(len(series.values) - 1, len(series.values) * 99 // 100)]
    if compared == "ratio":
        return statistics.median(series.ratios) if series.ratios else None
    other = find(results, series.scenario, series.figure, compared.removeprefix("to "))
    if compared == "to nginx":  # Differences of latencies: their ratio within one round means little.
        return series.median() / other.median() if other and other.median() > 0 else None
    return statistics.median(a / b for a, b in zip(series.values, other.values)) if other else None


def find(results, scenario: str, figure: str, peer: str):
    wanted = (scenario, figure, peer)
    return next((s for s in results.series if (s.scenario, s.figure, s.peer) == wanted), None)


def number(value: float) -> str:
    if value == int(value) and abs(value) < 1e5:
        return str(int(value))
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def chart(results, facts) -> str:
    """Bars of the CPU ratio to HAProxy, the range of the rounds as a line through each end."""
    groups = [(name, [s for s in results.of(name) if s.ratios]) for name in ("small", "log", "body")]
    groups = [(name, sorted(found, key=lambda s: list(NAMES).index(s.peer))) for name, found in groups if found]
    if not groups:
        return ""
    left, width, bar, gap = 110, 560, 18, 34
    most = max(max(series.ratios) for _, found in groups for series in found) * 1.05
    scale = width / max(most, 1.2)
    parts, y = [], 56
    for name, found in groups:
        parts.append(f'<text x="12" y="{y}" class="h">{TITLES[name]}</text>')
        y += 12
        for series in found:
            middle = statistics.median(series.ratios)
            low, high = (left + value * scale for value in (min(series.ratios), max(series.ratios)))
            centre = y + bar / 2
            parts.append(f'<text x="{left - 8}" y="{centre + 4}" text-anchor="end">{NAMES[series.peer]}</text>')
            parts.append(f'<rect x="{left}" y="{y}" width="{middle * scale:.1f}" height="{bar}" fill="{COLOURS[series.peer]}"/>')
            if high - low > 0.5:
                parts.append(f'<path d="M{low:.1f} {centre}H{high:.1f}M{low:.1f} {centre - 4}v8M{high:.1f} {centre - 4}v8" class="r"/>')
            parts.append(f'<text x="{max(high, left + middle * scale) + 8:.1f}" y="{centre + 4}">{middle:.2f}</text>')
            y += bar + 6
        y += gap
    one = left + scale
    height = y - gap + 34
    axis = f'<path d="M{one:.1f} 40V{height - 26}" class="a"/><text x="{one:.1f}" y="{height - 10}" text-anchor="middle" class="s">HAProxy = 1</text>'
    style = (
        "text{font:13px system-ui,sans-serif;fill:#334155}.h{font-weight:600}.s{font-size:11px}.t{font-size:15px;font-weight:600}"
        ".r{stroke:#0f172a;stroke-width:1.2;fill:none}.a{stroke:#0f172a;stroke-dasharray:3 3;opacity:.5}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 70} {height}" role="img" '
        f'aria-label="CPU per request as a ratio to HAProxy"><style>{style}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="12" y="24" class="t">CPU per request, HAProxy in the same round = 1 (lower is better), {facts["date"][:10]}</text>'
        + "".join([axis, *parts]) + "</svg>\n"
    )
