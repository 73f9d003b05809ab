"""The scenarios: each in rounds, with the proxies of a round in random order, each in a new process."""

import contextlib
import dataclasses
import http.client
import pathlib
import random
import statistics
import time

from . import endurance, isolation, load, machine, peers, protocols

# The table of targets, in one run; the soak comes last.
TABLE = (
    "small", "instructions", "log", "body", "tls_full", "tls_resumed", "tls", "h2", "grpc", "latency", "idle", "tls_idle",
    "routes", "reload", "effect", "hung", "overlay", "cores", "asleep", "soak",
)
ALL = (*TABLE, "websocket", "shadow")
OWN = ("instructions", "reload", "effect", "routes", "hung", "overlay", "soak")
# Scenarios with a target to Envoy, which takes longest, and those of the README: a quick run measures it nowhere else.
WITH_ENVOY = ("small", "body", "tls_full", "h2", "grpc", "asleep")
IDLE_CONNECTIONS = 2000
# A connection is idle after some seconds without a request.
IDLE_SECONDS = 3
EDITS = 30
EDITS_PER_SECOND = 10
STORM_SECONDS, QUICK_STORM_SECONDS = 60, 20
ROUTES = (10, 100_000)


@dataclasses.dataclass
class Series:
    """One figure of one proxy, a value per round; `ratios` are to the reference of the same round."""

    scenario: str
    peer: str
    figure: str
    unit: str
    values: list[float]
    ratios: list[float] = dataclasses.field(default_factory=list)

    def median(self) -> float:
        return statistics.median(self.values)


@dataclasses.dataclass
class Results:
    series: list[Series] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    cells: list[isolation.Cell] = dataclasses.field(default_factory=list)

    def of(self, scenario: str) -> list[Series]:
        return [series for series in self.series if series.scenario == scenario]


class Bench(protocols.Protocols, isolation.Isolation, endurance.Endurance):
    def __init__(self, folder: pathlib.Path, found: peers.Found, options):
        machine.raise_descriptor_limit()
        self.folder, self.found, self.options = folder, found, options
        self.rounds, self.seconds = options.rounds, options.seconds
        self.upstreams = peers.Upstreams(folder, found.paths["nginx"])
        if any(name.startswith(("tls", "h2")) for name in options.only):
            protocols.make_certificate(folder)
        if "websocket" in options.only:
            self.echo, self.upstreams.echo_port = protocols.echo_server(folder)
        self.wrk = load.Wrk(found.paths["wrk"], folder)
        self.h2load = protocols.H2Load(found.paths["h2load"], folder)
        self.results = Results()

    def run(self) -> Results:
        for name in self.options.only:
            self.scenario = name
            if name in OWN and "pointsman" not in self.found.proxies():
                self.results.notes.append(f"`{name}` left out: it is about Pointsman alone, and there is no binary")
                continue
            begun = time.monotonic()
            print(f"\n{name}", flush=True)
            try:
                getattr(self, f"measure_{name}")()
            except (machine.Failed, OSError, TimeoutError) as error:
                self.fail(name, error)
            print(f"  {time.monotonic() - begun:.0f} s", flush=True)
        return self.results

    def proxies(self) -> list[str]:
        """The proxies of the present scenario."""
        names = self.found.proxies()
        without_envoy = self.options.quick and self.scenario not in WITH_ENVOY
        return [name for name in names if name != "envoy" or not without_envoy]

    def fail(self, where: str, error: Exception):
        self.results.errors.append(f"{where}: {error}")
        print(f"  FAILED {where}: {error}", flush=True)

    @contextlib.contextmanager
    def proxy(self, name: str, **how):
        running = peers.Proxy(name, self.found.paths[name], self.folder, self.upstreams, **how)
        try:
            yield running
        finally:
            running.end()

    def interleaved(self, scenario: str, rounds: int, measure, extra: tuple[str, ...] = ()) -> dict:
        """Calls `measure(peer)` for each peer in each round, in random order; a peer that fails is left out."""
        values: dict[str, list] = {name: [] for name in (*self.proxies(), *extra)}
        for number in range(rounds):
            order = list(values)
            random.shuffle(order)
            for name in order:
                try:
                    value = measure(name)
                except (machine.Failed, OSError, TimeoutError) as error:
                    self.fail(f"{scenario}, {name}", error)
                    del values[name]
                    continue
                values[name].append(value)
                print(f"  round {number + 1} {name:<10} {shown(value)}", flush=True)
        return {name: found for name, found in values.items() if found}

    def add(self, scenario: str, figure: str, unit: str, values: dict[str, list[float]], reference: str = "haproxy"):
        base = values.get(reference)
        for name, found in values.items():
            ratios = [value / against for value, against in zip(found, base) if against > 0] if base else []
            self.results.series.append(Series(scenario, name, figure, unit, found, ratios))

    def add_series(self, scenario: str, peer: str, figure: str, unit: str, values: list[float], ratios: list[float]):
        self.results.series.append(Series(scenario, peer, figure, unit, values, ratios))

    # CPU per request, closed loop.

    def cpu_of(self, proxy, script: pathlib.Path) -> float:
        """Microseconds of the proxy's CPU for each request of a script."""
        self.wrk.run(proxy.port, 1, script)
        before = proxy.process.cpu_seconds()
        done = self.wrk.run(proxy.port, self.seconds, script)
        spent = proxy.process.cpu_seconds() - before
        if done.failed:
            raise machine.Failed(f"{done.failed} of {done.requests} requests failed")
        return spent / done.requests * 1e6

    def cpu_per_request(self, scenario: str, script: pathlib.Path, access_log: bool = False):
        def measure(name: str) -> float:
            with self.proxy(name, access_log=access_log) as proxy:
                cost = self.cpu_of(proxy, script)
                if access_log and name != "haproxy" and not proxy.log.exists():
                    raise machine.Failed("the access log was not written")
                return cost

        self.add(scenario, "CPU per request", "µs", self.interleaved(scenario, self.rounds, measure))

    def measure_small(self):
        self.cpu_per_request("small", self.wrk.small)

    def measure_log(self):
        self.cpu_per_request("log", self.wrk.small, access_log=True)

    def measure_body(self):
        self.cpu_per_request("body", self.wrk.body)

    # Latency that the proxy adds. Requests that come one by one cost more than those that queue up in a closed loop: at
    # half of a closed loop's rate some proxies are saturated here.

    def measure_latency(self):
        fixed_rate, most = load.FixedRate(self.found.paths["rustc"], self.folder), []
        for name in self.proxies():
            if name != "envoy":
                with self.proxy(name) as proxy:
                    done = self.wrk.run(proxy.port, 2, self.wrk.small)
                    most.append(done.requests / done.seconds)
        rate = min(most or [8000.0]) / 4
        self.results.notes.append(
            f"latency: {rate:,.0f} requests a second, evenly spread over {load.FixedRate.CLIENTS} connections: a quarter of "
            "what the slowest of the proxies (Envoy aside) carries in a closed loop, where requests queue up and are "
            "cheaper. Added = through the proxy − directly"
        )

        def measure(name: str) -> tuple[float, float]:
            if name == "direct":
                return fixed_rate.run(self.upstreams.ports["stable"], self.seconds, rate)
            with self.proxy(name) as proxy:
                return fixed_rate.run(proxy.port, self.seconds, rate)

        found = self.interleaved("latency", self.rounds, measure, extra=("direct",))
        direct = found.pop("direct", None)
        if not direct:
            raise machine.Failed("the measurement without a proxy failed")
        for at, figure in enumerate(("added p50", "added p99")):
            added = {
                name: [(value[at] - base[at]) * 1e6 for value, base in zip(values, direct)]
                for name, values in found.items()
            }
            self.add("latency", figure, "µs", added, reference="nginx")

    def measure_idle(self):
        self.idle_memory("idle", "http", load.Idle)

    def idle_memory(self, scenario: str, edge: str, kind):
        def measure(name: str) -> float:
            with self.proxy(name, edge=edge) as proxy:
                kind(proxy.port, 50).close()
                time.sleep(0.3)
                before = proxy.process.rss_bytes()
                idle = kind(proxy.port, IDLE_CONNECTIONS)
                time.sleep(IDLE_SECONDS)
                grown = proxy.process.rss_bytes() - before
                idle.close()
                return grown / IDLE_CONNECTIONS

        found = self.interleaved(scenario, min(3, self.rounds), measure)
        self.add(scenario, "memory per idle connection", "B", found)

    # Pointsman alone: changes of the configuration.

    def measure_reload(self):
        """The file is rewritten ten times a second under full load."""
        calm, storm, failed, grown, applied = [], [], 0, [], 0
        seconds = QUICK_STORM_SECONDS if self.options.quick else STORM_SECONDS
        for _ in range(min(2, self.rounds)):
            with self.proxy("pointsman") as proxy:
                text = proxy.config.read_text()
                texts = [text.replace(f"weight = {peers.CANARY_PERCENT}", f"weight = {weight}") for weight in (5, 15)]
                self.wrk.run(proxy.port, 1, self.wrk.small)
                calm.append(self.wrk.run(proxy.port, seconds, self.wrk.small).p99)
                before = proxy.process.rss_bytes()
                editor = load.Editor(proxy.config, texts, EDITS_PER_SECOND)
                editor.start()
                done = self.wrk.run(proxy.port, seconds, self.wrk.small)
                editor.stop()
                # What a reload takes is given back within a second.
                time.sleep(1)
                storm.append(done.p99)
                failed += done.failed
                grown.append((proxy.process.rss_bytes() - before) / 2**20)
                applied += editor.edits
                print(f"  p99 {calm[-1] * 1e3:.2f} ms calm, {storm[-1] * 1e3:.2f} ms in the storm", flush=True)
        ratios = [after / before for after, before in zip(storm, calm)]
        one = {"scenario": "reload", "peer": "pointsman"}
        self.results.series += [
            Series(figure="p99 in the storm", unit="ms", values=[value * 1e3 for value in storm], ratios=ratios, **one),
            Series(figure="failed requests, all rounds", unit="", values=[float(failed)], **one),
            Series(figure="growth of resident memory", unit="MiB", values=grown, **one),
            Series(figure="edits written, all rounds", unit="", values=[float(applied)], **one),
        ]

    def measure_effect(self):
        """From the rename of an edit to the first request with the new rules, under full load."""
        with self.proxy("pointsman") as proxy:
            text = proxy.config.read_text()
            taken = self.edits(proxy, lambda weight: text.replace(
                f"weight = {peers.CANARY_PERCENT}", f"weight = {weight}"
            ), 10 if self.options.quick else EDITS, load.Probe(proxy.port))
        self.results.series.append(Series("effect", "pointsman", "write to effect", "ms", [t * 1e3 for t in taken]))

    def edits(self, proxy, text_for, count: int, probe, limit: float = 10) -> list[float]:
        running = self.wrk.start(proxy.port, count * 1.0 + 5, self.wrk.small)
        taken = []
        try:
            for number in range(count):
                weight, arm = ((100, "canary"), (0, "stable"))[number % 2]
                written = load.replace(proxy.config, text_for(weight))
                taken.append(probe.seconds_until(arm, written, limit))
                time.sleep(random.uniform(0.2, 0.5))
        finally:
            probe.close()
            running.kill()
            running.communicate()
        print("  " + " ".join(f"{t * 1e3:.0f}" for t in taken) + " ms", flush=True)
        return taken

    def measure_routes(self):
        cpu: dict[int, list[float]] = {count: [] for count in ROUTES}
        calm: list[float] = []
        during: list[float] = []
        reload_seconds: list[float] = []
        for _ in range(1 if self.options.quick else min(3, self.rounds)):
            for count in random.sample(ROUTES, len(ROUTES)):
                hosts = [f"h{number}.{peers.HOST}" for number in random.sample(range(count), min(count, 1000))]
                script = load.requests_file(self.folder, "routes", [(host, "/service/hello") for host in hosts])
                with self.proxy("pointsman", routes=lambda proxy: many_routes(proxy, count, 0)) as proxy:
                    wait_for_answer(proxy.port, hosts[0])
                    self.wrk.run(proxy.port, 1, script)
                    before = proxy.process.cpu_seconds()
                    done = self.wrk.run(proxy.port, self.seconds, script)
                    cpu[count].append((proxy.process.cpu_seconds() - before) / done.requests * 1e6)
                    if done.failed:
                        raise machine.Failed(f"{done.failed} requests failed with {count} routes")
                    print(f"  {count} routes: {cpu[count][-1]:.2f} µs", flush=True)
                    if count == max(ROUTES):
                        calm.append(done.p99)
                        during.append(self.reload_many(proxy, count, script, reload_seconds))
        small, large = cpu[min(ROUTES)], cpu[max(ROUTES)]
        one = {"scenario": "routes", "peer": "pointsman"}
        self.results.series += [
            Series(figure=f"CPU per request, {min(ROUTES):,} routes", unit="µs", values=small, **one),
            Series(figure=f"CPU per request, {max(ROUTES):,} routes", unit="µs", values=large,
                   ratios=[b / a for a, b in zip(small, large)], **one),
            Series(figure=f"reload of {max(ROUTES):,} routes, write to effect", unit="ms",
                   values=[value * 1e3 for value in reload_seconds], **one),
            Series(figure="p99 while it reloads", unit="ms", values=[value * 1e3 for value in during],
                   ratios=[b / a for a, b in zip(calm, during)], **one),
        ]

    def reload_many(self, proxy, count: int, script: pathlib.Path, taken: list[float]) -> float:
        """p99 under load while the large file is reloaded; `taken` gets the times."""
        texts = {weight: many_routes(proxy, count, weight) for weight in (0, 100)}
        running = self.wrk.start(proxy.port, self.seconds, script)
        probe = load.Probe(proxy.port, f"h{count - 1}.{peers.HOST}", "/service/hello")
        for weight, arm in ((100, "canary"), (0, "stable")):
            written = load.replace(proxy.config, texts[weight])
            taken.append(probe.seconds_until(arm, written, 60))
        probe.close()
        done = self.wrk.finish(running, self.seconds)
        print(f"  reload {taken[-2] * 1e3:.0f} and {taken[-1] * 1e3:.0f} ms, p99 {done.p99 * 1e3:.2f} ms", flush=True)
        return done.p99


def wait_for_answer(port: int, host: str):
    """Waits for a response: with many routes, the port accepts connections before all of them are in use."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/service/hello", headers={"Host": host})
        connection.getresponse().read()
    finally:
        connection.close()


def many_routes(proxy, count: int, weight: int) -> str:
    """`count` routes, each for its own host; the weight is that of the last."""
    routes = [
        f"""[[route]]
name = "r{number}"
match = {{ host = "h{number}.{peers.HOST}", path = "/service/*" }}
stable = "stable"
sticky = ["user"]
canary = {{ upstream = "canary", weight = {weight if number == count - 1 else 10} }}
"""
        for number in range(count)
    ]
    return peers.pointsman_head(proxy) + "".join(routes)


def shown(value) -> str:
    if isinstance(value, tuple):
        return " / ".join(f"{part * 1e6:.0f} µs" for part in value)
    return f"{value:.1f}"
