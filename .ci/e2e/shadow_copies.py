"""Compares copies with their requests: `shadow_copies.py STABLE_SEEN SHADOW_SEEN`, files of shop.py or shadow_calls.py.

A copy has the id of its request and `x-pointsman-shadow: 1`. Prints how many copies there are, or what differs.
"""

import json
import sys

MARKER = ["x-pointsman-shadow", "1"]


def read(name: str) -> list:
    return [json.loads(line) for line in open(name)]


def identity(seen: dict) -> str:
    return next(value for name, value in seen["headers"] if name == "x-request-id")


requests = {identity(seen): seen for seen in read(sys.argv[1]) if MARKER not in seen["headers"]}
copies = read(sys.argv[2])
for copy in copies:
    if copy["headers"].count(MARKER) != 1:
        sys.exit(f"a copy is not marked: {copy}")
    copy["headers"].remove(MARKER)
    request = requests.get(identity(copy))
    if copy != request:
        sys.exit(f"a copy differs from its request:\n  {copy}\n  {request}")
if len({identity(copy) for copy in copies}) != len(copies):
    sys.exit("a request was copied twice")
print(len(copies))
