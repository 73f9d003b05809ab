"""Adds records about releases to a journal: `release_records.py FOLDER [CHANGE]`.

A guard warns, rolls back by the evidence of a relative test and by a run of failures, and a person resumes one of the two.
The evidence is computed here, by the formula of the conditional test, not by the program. With a CHANGE the counts of a
record do not lead to its decision: `counts` changes the run, `figure` the recorded evidence, `missing` removes the counts.
"""
import hashlib
import json
import math
import sys

folder, change = sys.argv[1], (sys.argv[2:] or [""])[0]
GRID = [1.5, 2, 3, 5, 10, 30]
RATIO, ALPHA = 1.1, 0.003


def evidence(exposed, control, events, control_events):
    """log10 of half the mean of the likelihood ratios: the test that begins with the revision."""
    share = exposed / (exposed + control)
    lns = [
        events * math.log(theta / RATIO)
        + (events + control_events) * math.log((1 - share + share * RATIO) / (1 - share + share * theta))
        for theta in GRID
    ]
    return math.log10(0.5 * sum(map(math.exp, lns)) / len(lns))


counts = [5_000, 95_000, 20, 40]
log10 = evidence(*counts)
assert log10 > -math.log10(ALPHA), log10
relative = {
    "guard": "errors",
    "revision": "v2",
    "sentence": "errors 9.5 × stable: 20 of 5000 callers, 40 of 95000 on stable",
    "alpha": ALPHA,
    "evidence_log10": log10 + (1 if change == "figure" else 0),
    "threshold_log10": -math.log10(ALPHA),
    "tested": {"exposures": counts[0], "events": counts[2]},
    "stable": {"exposures": counts[1], "events": counts[3]},
    "test": "worse_than_stable",
    "ratio": RATIO,
    "grid": GRID,
    "tests": [{"window": 0, "weight": 0.5, "counts": {"base": [0.0] * len(GRID), "strata": [counts]}}],
}
run = {
    "guard": "errors",
    "revision": "v2",
    "sentence": "25 failures in a row, of 5 callers",
    "tested": {"exposures": 25, "events": 25},
    "stable": {"exposures": 400, "events": 0},
    "test": "run",
    "failures": 12 if change == "counts" else 25,
    "by_caller": [5] * 5,
    "stable_answers": 400,
    "stable_failures": 0,
}
if change == "missing":
    run = {"sentence": run["sentence"]}

path = f"{folder}/journal.jsonl"
last = open(path, "rb").read().rstrip(b"\n").split(b"\n")[-1]
before = json.loads(last)
seq, prev = before["seq"], hashlib.sha256(last).hexdigest()
acts = [
    ({"name": "errors", "via": "guard"}, "warn", "all:canary", relative),
    ({"name": "errors", "via": "guard"}, "rollback", "all:canary", run),
    ({"name": "errors", "via": "guard"}, "rollback", "more:canary", relative),
    ({"name": "ana", "via": "token"}, "resume", "all:canary", None),
]
with open(path, "ab") as journal:
    for who, act, release, seen in acts:
        seq += 1
        record = {"v": 2, "seq": seq, "at": before["at"], "who": who, "what": "release", "act": act}
        record |= {"release": release, "revision": "v2"} | ({"evidence": seen} if seen else {"reason": "mended"})
        record |= {"config": before["config"], "generation": before["generation"], "prev": prev}
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
        prev = hashlib.sha256(line).hexdigest()
        journal.write(line + b"\n")
