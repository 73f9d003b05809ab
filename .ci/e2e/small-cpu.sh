#!/usr/bin/env bash
# A fifth of one CPU for the proxy, and a neighbour that asks as fast as it can, at 500 requests a second: slower, but
# nothing is lost, and timeouts are what they say.
source "$(dirname "$0")/faults.sh"
need curl python3 h2load
start_echo stable
start_echo canary
write_routes <<'TOML'
[[route]]
name   = "neighbour"
match  = { path = "/neighbour" }
respond = { status = 200, body = "here\n" }

[[route]]
name    = "impatient"
match   = { path = "/impatient" }
stable  = "v1"
timeout = { request = "1s" }

[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 30 }
TOML
if control_group cpu 'cpu.cfs_period_us|-=100000' 'cpu.cfs_quota_us|cpu.max=20000|20000 100000'; then
  launch_with "echo \$\$ >'$group/cgroup.procs'"
  throttled() { awk '$1 == "nr_throttled" { print $2 }' "$group/cpu.stat"; }
else
  group=""
  not_checked "a fifth of a CPU: no control group can be made here; the load alone runs"
  throttled() { echo 0; }
fi
start_pointsman
start_load 15
sleep 1
timeout 40 h2load --h1 -D 12 -c 8 "http://127.0.0.1:$port/neighbour" >"$scratch/neighbour" 2>&1 &
neighbour_pid=$!
pids+=("$neighbour_pid")
sleep 2
for _ in 1 2 3; do
  curl -sS --max-time 20 -o /dev/null -w '%{http_code} %{time_total}\n' "http://127.0.0.1:$port/impatient?sleep=5000"
done >"$scratch/impatient"
wait "$neighbour_pid" || fail "the neighbour failed: $(tail -n 5 "$scratch/neighbour")"
end_load
all_ok 6000
grep -E '^(finished|requests)' "$scratch/neighbour" | sed 's/^/   neighbour: /'
contains "the neighbour lost nothing" ' 0 failed, 0 errored, 0 timeout' "$(grep ^requests "$scratch/neighbour")"
echo "   throttled $(throttled) times; timeouts of 1 s: $(tr '\n' ' ' <"$scratch/impatient")"
equal "timeouts" 3 "$(lines_of "$scratch/impatient" '^504 ')"
awk '$2 < 1.0 || $2 > 4 { exit 1 }' "$scratch/impatient" || fail "a timeout of 1 s came early, or far too late"
passed=$((passed + 1))
[ -z "$group" ] || within "it was really held back: times" 10 100000 "$(throttled)"
