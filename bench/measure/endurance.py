"""What is about one proxy over time: reloads at the limit, cores, kills over many routes, an idle process, a soak."""

import pathlib
import random
import statistics
import threading
import time

from . import brake, instructions, isolation, load, machine, peers

SOAK_CONNECTIONS, SOAK_SAMPLE_SECONDS, SOAK_EDITS_PER_SECOND = 1000, 5.0, 1.0
KILLS, KILL_ROUTES = 20, 100_000
COUNTED = {"split": ("instructions", "allocations"), "h2-10": ("instructions",), "h2-100": ("instructions",)}
CORES = (1, 2)


class Endurance:
    """The scenarios, as a part of the bench."""

    def add_own(self, scenario: str, figure: str, unit: str, values: list[float], ratios: list[float] | None = None):
        self.add_series(scenario, "pointsman", figure, unit, values, ratios or [])

    # A shadow of all requests, to an upstream that accepts and never answers.

    def measure_hung(self):
        target = isolation.Target(self.folder, "silent")
        values: dict[str, list[float]] = {"off": [], "on": []}
        try:
            for number in range(self.rounds):
                for side in random.sample(("off", "on"), 2):
                    port = target.port if side == "on" else None
                    with self.proxy("pointsman", routes=lambda proxy: isolation.pointsman(proxy, port, 0)) as proxy:
                        values[side].append(self.cpu_of(proxy, self.wrk.small))
                print(f"  round {number + 1} off {values['off'][-1]:.2f}, on {values['on'][-1]:.2f}", flush=True)
            if not target.requests():
                raise machine.Failed("the shadow got no request")
        finally:
            target.process.end()
        ratios = [on / off for on, off in zip(values["on"], values["off"])]
        self.add_own("hung", "CPU per request without a shadow", "µs", values["off"])
        self.add_own("hung", "CPU per request with the shadow", "µs", values["on"], ratios)

    # Kills while the file has many routes: a new overlay each.

    def measure_overlay(self):
        def text(proxy) -> str:
            return many_routes(proxy, KILL_ROUTES) + f'[state]\ndir = "{proxy.folder}/state"\n'

        with self.proxy("pointsman", routes=text) as proxy:
            thread = machine.thread_named(proxy.process.pid, "control")
            socket = self.folder / "state" / "run" / "admin.sock"
            machine.wait_for_file(socket)
            caller = Caller(socket, f"r{KILL_ROUTES - 1}:canary")
            in_force, spent = [], []
            for _ in range(3):
                before = machine.thread_seconds(thread)
                for _ in range(KILLS):
                    in_force.append(caller.act("kill"))
                    caller.act("revive")
                spent.append((machine.thread_seconds(thread) - before) / (2 * KILLS) * 1e3)
            print(f"  {statistics.median(spent):.3f} ms of the control thread, in force after "
                  f"{statistics.median(in_force):.2f} ms", flush=True)
        self.add_own("overlay", "CPU of the control thread per kill", "ms", spent)
        self.add_own("overlay", "kill, all workers use it", "ms", in_force)

    # One worker on one core, two workers on two cores, the load on the first of them each time.

    def measure_cores(self):
        names = [name for name in ("pointsman", "haproxy") if name in self.proxies()]
        values = {(name, count): [] for name in names for count in CORES}
        for number in range(self.rounds):
            for name, count in random.sample(list(values), len(values)):
                with self.proxy(name, workers=count) as proxy:
                    values[name, count].append(self.cpu_of(proxy, self.wrk.small))
                print(f"  round {number + 1} {name:<10} {count} workers: {values[name, count][-1]:.2f} µs", flush=True)
        for name in names:
            one, two = values[name, 1], values[name, 2]
            self.add_series("cores", name, "CPU per request, 1 worker", "µs", one, [])
            self.add_series("cores", name, "CPU per request, 2 workers", "µs", two, [b / a for a, b in zip(one, two)])

    # A process without any connection.

    def measure_asleep(self):
        seconds = 4.0 if self.options.quick else 20.0
        wakes: dict[str, list[float]] = {}
        spent: dict[str, list[float]] = {}
        for name in self.found.proxies():
            for _ in range(min(2, self.rounds)):
                with self.proxy(name, checks=False) as proxy:
                    load.Idle(proxy.port, 10).close()
                    # A proxy may need a while until it rests.
                    time.sleep(6)
                    before = proxy.process.activity()
                    time.sleep(seconds)
                    after = proxy.process.activity()
                    wakes.setdefault(name, []).append((after[0] - before[0]) / seconds)
                    spent.setdefault(name, []).append((after[1] - before[1]) / seconds * 1e3)
            print(f"  {name:<10} {wakes[name][-1]:.1f} wake-ups and {spent[name][-1]:.2f} ms of CPU a second", flush=True)
        self.add("asleep", "wake-ups a second", "", wakes)
        self.add("asleep", "CPU a second", "ms", spent)

    # Instructions, under callgrind.

    def measure_instructions(self):
        folder = self.folder / "callgrind"
        folder.mkdir()
        bench = instructions.Bench(folder, self.found.paths["pointsman"], 1000)
        for name, kinds in COUNTED.items():
            figure = bench.measure(name)
            for kind in kinds:
                print(f"  {name}: {getattr(figure, kind):,.2f} {kind}", flush=True)
                self.add_own("instructions", f"{name}, {kind}", "", [getattr(figure, kind)])

    # Many requests in flight for long, with reloads.

    def measure_soak(self):
        seconds = self.options.soak * 60
        script = load.requests_file(self.folder, "soak", [*[(peers.HOST, "/hello")] * 31, (peers.HOST, "/1m")])
        with self.proxy("pointsman") as proxy:
            text = proxy.config.read_text()
            texts = [text.replace(f"weight = {peers.CANARY_PERCENT}", f"weight = {weight}") for weight in (5, 15)]
            editor = load.Editor(proxy.config, texts, SOAK_EDITS_PER_SECOND)
            watch = Watch(proxy.process)
            running = self.wrk.start(proxy.port, seconds, script, connections=SOAK_CONNECTIONS)
            editor.start()
            watch.start()
            try:
                done = self.wrk.finish(running, seconds)
            finally:
                watch.stop()
                editor.stop()
        samples = watch.samples
        part = max(1, len(samples) // 10)
        # The first tenth warms up.
        begin, end = statistics.median(samples[part : 2 * part] or samples), statistics.median(samples[-part:])
        print(f"  {done.requests:,} requests, {done.failed} failed, {editor.edits} edits, {begin:.1f} MiB, then {end:.1f} MiB", flush=True)
        self.add_own("soak", "resident memory", "MiB", samples)
        self.add_own("soak", "resident memory, end to begin", "×", [end / begin])
        self.add_own("soak", "failed requests", "", [float(done.failed)])
        self.add_own("soak", "edits written", "", [float(editor.edits)])
        self.results.notes.append(
            f"soak: {self.options.soak:g} minutes, {SOAK_CONNECTIONS:,} requests in flight, {done.requests:,} requests, one in 32 "
            f"with a response of 1 MiB, p99 {done.p99 * 1e3:.1f} ms; begin and end are medians of the second and the last tenth"
        )


class Watch(threading.Thread):
    """Samples the resident memory of a process, in MiB, until `stop`."""

    def __init__(self, process: machine.Process):
        super().__init__(daemon=True)
        self.process, self.samples, self.stopped = process, [], threading.Event()

    def run(self):
        while not self.stopped.wait(SOAK_SAMPLE_SECONDS if len(self.samples) > 20 else 1.0):
            self.samples.append(self.process.rss_bytes() / 2**20)

    def stop(self):
        self.stopped.set()
        self.join()
        if not self.samples:
            raise machine.Failed("the soak was too short for a sample of memory")


class Caller(brake.Brake):
    """Kills and revives a variant over the admin socket."""

    def __init__(self, path: pathlib.Path, variant: str):  # pylint: disable=super-init-not-called
        self.socket, self.variant = path, variant

    def act(self, verb: str) -> float:
        """Milliseconds until all workers use it; not a number if that was not within a second."""
        outcome = self.call(verb, "a measurement", self.variant)
        taken = outcome.get("in_force_ms")
        return float("nan") if taken is None else taken


def many_routes(proxy, count: int) -> str:
    from . import scenarios

    return scenarios.many_routes(proxy, count, 10)


