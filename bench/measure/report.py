"""The results as Markdown, as a chart and as JSON."""

import dataclasses
import json
import pathlib
import statistics

from . import isolation_report, targets

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
    "instructions": "User instructions and allocations of a request, under callgrind",
    "hung": "A shadow of all requests to an upstream that never answers",
    "overlay": "Kills while the file has 100,000 routes",
    "cores": "One worker on one core, two workers on two",
    "asleep": "A process without connections",
    "soak": "1,000 requests in flight, with reloads",
}
REFERENCE = dict.fromkeys(TITLES, "HAProxy") | {"latency": "nginx", "h2": "nginx", "reload": "", "effect": "", "routes": ""}
REFERENCE |= dict.fromkeys(("instructions", "hung", "overlay", "cores", "soak"), "")
OWN_REFERENCE = {"reload": "calm", "routes": f"{10} routes, or calm", "hung": "none", "cores": "one worker"}
NAMES = {"pointsman": "Pointsman", "haproxy": "HAProxy", "nginx": "nginx", "envoy": "Envoy"}

COLOURS = {"pointsman": "#0f766e", "haproxy": "#64748b", "nginx": "#94a3b8", "envoy": "#cbd5e1"}


def write(folder: pathlib.Path, options, results, facts: dict[str, str]) -> list[pathlib.Path]:
    folder.mkdir(exist_ok=True)
    files = [folder / f"{options.out}{kind}" for kind in (".md", ".svg", ".json", "-targets.svg")]
    charted = chart(results, facts) or isolation_report.chart(results.cells, facts)
    of_targets = targets.chart(results, facts) if options.table else ""
    files[0].write_text(markdown(options, results, facts, files[1].name if charted else "", files[3].name if of_targets else ""))
    for file, drawn in ((files[1], charted), (files[3], of_targets)):
        file.write_text(drawn) if drawn else file.unlink(missing_ok=True)
    data = {"facts": facts, "rounds": options.rounds, "seconds": options.seconds}
    data |= {"series": [dataclasses.asdict(series) for series in results.series]}
    data |= {"cells": [dataclasses.asdict(cell) for cell in results.cells]} if results.cells else {}
    data |= {"targets": [
        dataclasses.asdict(verdict.target) | {"value": verdict.value, "met": verdict.met} for verdict in targets.verdicts(results)
    ]}
    data |= {"errors": results.errors, "notes": results.notes}
    files[2].write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return [file for file in files if file.exists()]


def markdown(options, results, facts, svg: str, of_targets: str) -> str:
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
    lines += targets.table(results)
    if of_targets:
        lines += [f"![Measured values as parts of their targets]({of_targets})", ""]
    for scenario in dict.fromkeys(series.scenario for series in results.series):
        reference = REFERENCE.get(scenario) or OWN_REFERENCE.get(scenario, "")
        lines += [f"## {TITLES[scenario]}", ""]
        lines += [f"| | figure | median | range | ratio to {reference or '-'} | range | rounds |", "|---|---|---|---|---|---|---|"]
        rows = sorted(results.of(scenario), key=lambda series: (series.figure, list(NAMES).index(series.peer)))
        lines += [row(series) for series in rows]
        lines += [""]
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
