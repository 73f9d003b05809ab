#!/usr/bin/env bash
# A fifth of one CPU for the proxy, and h2load at full speed beside 500 requests a second: slower, but no request is lost,
# and timeouts keep their length.
source "$(dirname "$0")/lib.sh"
need h2load
start_echo stable
start_echo canary
write_split 30 '
[[route]]
name   = "neighbour"
match  = { path = "/neighbour" }
respond = { status = 200, body = "here\n" }

[[route]]
name    = "impatient"
match   = { path = "/impatient" }
stable  = "v1"
timeout = { request = "1s" }'
control_group cpu 'cpu.cfs_period_us|-=100000' 'cpu.cfs_quota_us|cpu.max=20000|20000 100000' ||
  not_checked "a fifth of a CPU: no control group can be created here; the load alone runs"
start_proxy
start_load
timeout 40 h2load --h1 -D 8 -c 8 "http://127.0.0.1:$port/neighbour" >"$scratch/neighbour" 2>&1 &
neighbour_pid=$!
pids+=("$neighbour_pid")
sleep 2
for _ in 1 2 3; do
  curl -sS --max-time 20 -o /dev/null -w '%{http_code} %{time_total}\n' "http://127.0.0.1:$port/impatient?sleep=5000"
done >"$scratch/impatient"
wait "$neighbour_pid" || fail "the neighbour failed: $(tail -n 5 "$scratch/neighbour")"
end_load 1
all_ok
grep -E '^(finished|requests)' "$scratch/neighbour" | sed 's/^/   neighbour: /'
contains "the neighbour lost no request" ' 0 failed, 0 errored, 0 timeout' "$(grep ^requests "$scratch/neighbour")"
echo "   timeouts of 1 s: $(tr '\n' ' ' <"$scratch/impatient")"
equal "timeouts" 3 "$(count_lines "$scratch/impatient" '^504 ')"
awk '$2 < 1.0 || $2 > 4 { exit 1 }' "$scratch/impatient" || fail "a timeout of 1 s is too short, or much too long"
passed=$((passed + 1))
[ -z "$group" ] || within "the kernel throttled the proxy: times" 10 100000 "$(awk '$1 == "nr_throttled" { print $2 }' "$group/cpu.stat")"
