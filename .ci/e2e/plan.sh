#!/usr/bin/env bash
# `plan` beside a proxy that serves 100 requests a second: the document has the measured rate, callers and errors, the dates,
# the steps of a rollback with when they were done last, and whether the proxy runs the same plan. Without a proxy and
# without a rate it says which figures are missing. The proxy that does not have the rollout yet knows its routes all the same.
source "$(dirname "$0")/lib.sh"
pointsman=$(realpath "$pointsman")
start_echo stable
start_echo canary

# act COMMAND…: the command finds the proxy by the socket below the current folder.
act() {
  (cd "$scratch" && timeout 100 "$pointsman" "$@" </dev/null)
}
plan() { act plan next "$@" >"$scratch/plan.md" 2>"$scratch/plan.err"; }
# has TEXT: the document has it.
has() {
  grep -qF -- "$1" "$scratch/plan.md" || fail "the plan does not have '$1': $(cat "$scratch/plan.md")"
  passed=$((passed + 1))
}
# value WHAT: the value in the row of this figure.
value() { sed -n "s/^| all  *| $1  *| \([^|]*[^| ]\)  *|.*/\1/p" "$scratch/plan.md"; }
measures() { admin /v1/rollouts/next | json "it['traffic'][0]['rate'] is not None and it['traffic'][0]['over_ms'] >= 4000 and it['traffic'][0]['requests'] > 200"; }
counts() { admin /v1/status | json "it['routes'][0]['requests'] > 0 and it['routes'][0]['variants'][0]['requests'] > 0"; }
tables_are_whole() {
  python3 - "$scratch/plan.md" <<'PYTHON'
import re, sys
columns = None
for line in open(sys.argv[1]):
    found = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
    assert columns is None or found in (None, columns), line
    columns = found
print("whole")
PYTHON
}

stages='[rollout.next]
owner = "team-shop | <b>"
ticket = "CHG-1"
approvers = { lead = ["ana"] }
[[rollout.next.stage]]
name = "few"
weight = 20
min_requests = 1000
min_duration = "1h"
approve = ["lead"]
[[rollout.next.stage]]
name = "all"
weight = 100
min_duration = "2h"'
write_split 5 "$sticky_by_cookie"
start_proxy
start_load --rate 100 --sticky

eventually "the proxy has counted requests" True counts

# The running proxy has no rollout; the file of the plan has one.
sed "s|canary = { upstream = \"v2\", weight = 5 }|canary = { upstream = \"v2\", rollout = \"next\" }|" "$scratch/routes.toml" >"$scratch/next.toml"
echo "$stages" >>"$scratch/next.toml"
plan next.toml
has 'does not have this rollout yet'
has 'measured since the proxy started'
equal "warnings" "" "$(cat "$scratch/plan.err")"

mv "$scratch/next.toml" "$scratch/routes.toml"
act reload >/dev/null
eventually "the traffic is measured" True measures
plan --start 2026-12-01T09:00
rate=$(value 'requests a second')
python3 -c "import sys; sys.exit(not 60 < float('$rate') < 140)" || fail "the measured rate is $rate"
passed=$((passed + 1))
has '| measured over '
has 'Tue 2026-12-01 09:00'
has 'runs this file'
has 'team-shop \| \<b\>'
has '**Not rehearsed**'
has 'all callers get stable at the next request'
equal "tables" whole "$(tables_are_whole)"

act rollout rollback next --reason 'drill' --yes >/dev/null
act rollout resume next --reason 'drill is over' --yes >/dev/null
plan
equal "verified steps" 2 "$(grep -c '; verified: 20.* UTC by .*, record ' "$scratch/plan.md")"
end_load >/dev/null
stop_proxy

# Without a proxy.
plan
has '**Missing**: the rate of route all is not known'
contains "the warning" "warning: the rate of route all is not known" "$(cat "$scratch/plan.err")"
plan --rate 200 --callers 5000
equal "the given rate" 200 "$(value 'requests a second')"
equal "the given callers" 5000 "$(value 'distinct callers in an hour')"
equal "the exit code for another name" 64 "$(code=0; act plan nexd 2>/dev/null >&2 || code=$?; echo "$code")"
equal "the exit code for another route" 64 "$(code=0; act plan next --rate x=5 2>/dev/null >&2 || code=$?; echo "$code")"
