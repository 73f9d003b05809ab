"""The goals of the project, each with what the run has measured: met, or missed by how much."""

import dataclasses
import statistics

# Memory is flat if it grows by no more than this, in MiB, or by this factor.
FLAT_MIB, FLAT_FACTOR = 4, 1.05


@dataclasses.dataclass(frozen=True)
class Target:
    """A figure of Pointsman and its highest good value.

    `compared` says what of the figure counts: `median` and `p99` of its values, `ratio` to the reference of its series,
    `to PEER` in the same rounds, `medians to PEER` where a ratio within one round means little.
    """

    what: str
    scenario: str
    figure: str
    compared: str
    limit: float
    unit: str = "×"


TARGETS = (
    Target("Small GET, guards, health and retries on, to HAProxy", "small", "CPU per request", "to haproxy", 0.88),
    Target("The same, to Envoy", "small", "CPU per request", "to envoy", 0.35),
    Target("Instructions of it", "instructions", "split, instructions", "median", 13_500, ""),
    Target("Allocations of it", "instructions", "split, allocations", "median", 1, ""),
    Target("With the JSON access log on, to HAProxy with its log", "log", "CPU per request", "to haproxy", 0.90),
    Target("1 MiB bodies, to HAProxy", "body", "CPU per request", "to haproxy", 0.45),
    Target("TLS 1.3, full handshakes, to HAProxy", "tls_full", "CPU per connection", "to haproxy", 0.60),
    Target("TLS 1.3, resumed handshakes, to HAProxy", "tls_resumed", "CPU per connection", "to haproxy", 0.60),
    Target("GET over TLS on a kept connection, to HAProxy", "tls", "CPU per request", "to haproxy", 0.85),
    Target("HTTP/2, 100 streams, to HAProxy", "h2", "CPU per request, 100 streams", "to haproxy", 1.05),
    Target("HTTP/2, 10 streams, to nginx", "h2", "CPU per request, 10 streams", "to nginx", 1.0),
    Target("Instructions of a request over HTTP/2, 100 streams", "instructions", "h2-100, instructions", "median", 40_000, ""),
    Target("Instructions of a request over HTTP/2, 10 streams", "instructions", "h2-10, instructions", "median", 40_000, ""),
    Target("gRPC unary, to HAProxy", "grpc", "CPU per call", "to haproxy", 0.95),
    Target("Added latency p50, to nginx", "latency", "added p50", "medians to nginx", 1.0),
    Target("Added latency p99, to nginx", "latency", "added p99", "medians to nginx", 1.0),
    Target("Idle connection", "idle", "memory per idle connection", "median", 3.7 * 1024, "B"),
    Target("Idle connection under TLS", "tls_idle", "memory per idle connection", "median", 12 * 1024, "B"),
    Target("Routing, 10 to 100,000 routes", "routes", "CPU per request, 100,000 routes", "ratio", 1.2),
    Target("Reload of 100,000 routes, one changed", "routes", "reload of 100,000 routes, write to effect", "median", 1000, "ms"),
    Target("p99 while it reloads, to calm", "routes", "p99 while it reloads", "ratio", 1.2),
    Target("Reload storm, failed requests", "reload", "failed requests, all rounds", "median", 0, ""),
    Target("Reload storm, p99 to calm", "reload", "p99 in the storm", "ratio", 1.1),
    Target("Reload storm, growth of memory", "reload", "growth of resident memory", "median", FLAT_MIB, "MiB"),
    Target("From a write to its effect, p99", "effect", "write to effect", "p99", 300, "ms"),
    Target("A shadow at 100 % to a hung upstream, to none", "hung", "CPU per request with the shadow", "ratio", 1.03),
    Target("A kill over 100,000 routes, control thread", "overlay", "CPU of the control thread per kill", "median", 1, "ms"),
    Target("Two cores instead of one, CPU per request", "cores", "CPU per request, 2 workers", "ratio", 1.05),
    Target("1,000 requests in flight with reloads, memory", "soak", "resident memory, end to begin", "median", FLAT_FACTOR),
    Target("1,000 requests in flight with reloads, failed", "soak", "failed requests", "median", 0, ""),
)


@dataclasses.dataclass
class Verdict:
    """A target and the measured value."""

    target: Target
    value: float

    @property
    def met(self) -> bool:
        return self.value <= self.target.limit

    def words(self) -> str:
        if self.met:
            return "met"
        over = self.value - self.target.limit
        share = f" ({over / self.target.limit:.0%})" if self.target.limit else ""
        return f"**missed** by {number(over)}{share}"


def find(results, scenario: str, figure: str, peer: str = "pointsman"):
    wanted = (scenario, figure, peer)
    return next((s for s in results.series if (s.scenario, s.figure, s.peer) == wanted), None)


def verdicts(results, scenario: str | None = None) -> list[Verdict]:
    """The targets that could be measured."""
    found = []
    for target in TARGETS:
        if scenario in (None, target.scenario):
            value = measured(results, target)
            if value is not None:
                found.append(Verdict(target, value))
    return found


def unmeasured(results) -> list[Target]:
    return [target for target in TARGETS if measured(results, target) is None]


def measured(results, target: Target) -> float | None:
    series = find(results, target.scenario, target.figure)
    if not series:
        return None
    if target.compared == "median":
        return series.median()
    if target.compared == "p99":
        return sorted(series.values)[min(len(series.values) - 1, len(series.values) * 99 // 100)]
    if target.compared == "ratio":
        return statistics.median(series.ratios) if series.ratios else None
    way, _, peer = target.compared.rpartition(" ")
    other = find(results, target.scenario, target.figure, peer)
    if not other:
        return None
    if way == "medians to":
        return series.median() / other.median() if other.median() > 0 else None
    pairs = [value / against for value, against in zip(series.values, other.values) if against > 0]
    return statistics.median(pairs) if pairs else None


def table(results) -> list[str]:
    """Every target that was measured, a row each, and those that were not."""
    found = verdicts(results)
    if not found:
        return []
    met = sum(verdict.met for verdict in found)
    lines = [
        "## Targets", "", f"{met} of {len(found)} met.", "", "| what | measured | target | |", "|---|---|---|---|",
    ]
    for verdict in found:
        unit = verdict.target.unit
        value, limit = (f"{number(figure)} {unit}".strip() for figure in (verdict.value, verdict.target.limit))
        lines.append(f"| {verdict.target.what} | {value} | ≤ {limit} | {verdict.words()} |")
    left = [target.what for target in unmeasured(results)]
    return [*lines, "", *([f"Not measured in this run: {'; '.join(left)}.", ""] if left else [])]


def number(value: float) -> str:
    if value == int(value) and abs(value) < 1e5:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def chart(results, facts: dict[str, str]) -> str:
    """A bar a target: the measured value as a part of the target, which is the dashed line."""
    found = [verdict for verdict in verdicts(results) if verdict.target.limit > 0]
    if not found:
        return ""
    left, width, bar, step = 390, 380, 14, 22
    scale = width / 2
    parts, y = [], 56
    for verdict in found:
        share = verdict.value / verdict.target.limit
        length = min(max(share, 0), 2) * scale
        colour = "#0f766e" if verdict.met else "#b45309"
        unit = verdict.target.unit
        shown = f"{number(verdict.value)} {unit}".strip() + f" of {number(verdict.target.limit)}"
        parts.append(f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{verdict.target.what}</text>')
        parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" fill="{colour}"/>')
        parts.append(f'<text x="{left + max(length, scale) + 8:.1f}" y="{y + 11}" class="s">{shown}</text>')
        y += step
    one, height = left + scale, y + 24
    axis = f'<path d="M{one:.1f} 44V{y}" class="a"/><text x="{one:.1f}" y="{y + 14}" text-anchor="middle" class="s">target</text>'
    style = (
        "text{font:13px system-ui,sans-serif;fill:#334155}.s{font-size:11px}.t{font-size:15px;font-weight:600}"
        ".a{stroke:#0f172a;stroke-dasharray:3 3;opacity:.5}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 150} {height}" role="img" '
        f'aria-label="Measured values as parts of their targets"><style>{style}</style>'
        '<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="12" y="24" class="t">Measured, as a part of the target (shorter is better), {facts["date"][:10]}</text>'
        + "".join([axis, *parts]) + "</svg>\n"
    )
