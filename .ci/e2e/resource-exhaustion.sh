#!/usr/bin/env bash
# Clients that take much and give nothing, against 128 MiB and beside 500 requests a second of others: it is not killed, the
# others get their answers, and its memory comes back.
source "$(dirname "$0")/faults.sh"
need curl python3
start_echo stable
start_echo canary
python3 "$here/large.py" "$scratch/large.port" >"$scratch/large.log" 2>&1 &
pids+=($!)
for _ in $(seq 400); do [ -s "$scratch/large.port" ] && break; sleep 0.025; done
[ -s "$scratch/large.port" ] || fail "the large service did not start: $(cat "$scratch/large.log")"
write_routes <<TOML
[upstream.large]
endpoints = ["http://127.0.0.1:$(cat "$scratch/large.port")"]
[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 30 }
[[route]]
name   = "large"
match  = { host = "hoard.test", path = "/*" }
stable = "large"
TOML
bytes=$((128 << 20))
if control_group memory "memory.limit_in_bytes|memory.max=$bytes"; then
  launch_with "echo \$\$ >'$group/cgroup.procs'"
else
  not_checked "a control group of 128 MiB: none can be made here; the resident memory is watched instead"
fi
ulimit -n "$(ulimit -Hn)"
start_pointsman
resident() { awk -v of="$1" '$1 == of { print int($2 / 1024) }' "/proc/$pointsman_pid/status"; }
is_back() { [ "$(resident VmRSS:)" -lt 60 ] && echo yes; }

# hoard SHAPE COUNT ADDRESSES REFUSED MS: so many requests of the others may be refused, and 99 of 100 wait for so long.
hoard() {
  start_load 6
  sleep 0.5
  python3 "$here/exhaustion.py" "$port" 5 "$scratch/hoard" "$1" "$2" "$3"
  kill -0 "$pointsman_pid" 2>/dev/null || fail "it was killed by $1"
  echo "-- $1, $2 connections of $3 addresses: $(cat "$scratch/hoard"), $(resident VmHWM:) MiB at most"
  end_load
  within "resident memory at most, MiB" 1 110 "$(resident VmHWM:)"
  none "requests that failed otherwise than by a refusal" '[^o5].*|50[^3].*'
  within "refusals" 0 "$4" "$(of 503)"
  within "milliseconds, 99 of 100" 0 "$5" "$(quantile 99 ok)"
  eventually "the memory is back" yes is_back
}
# By one address.
hoard readers 1000 1 0 1000
hoard uploads 300 1 0 1000
hoard closed 101 1 0 1000
hoard stalled 40 1 0 1000
hoard peephole 40 1 0 1000
hoard deaf 40 1 0 1000
hoard heads 24 1 0 1000
hoard resets 40 1 0 50
# By many: each has its share, and those that have stalled for longest go first.
hoard readers 1000 200 1000 1000
hoard closed 101 101 1000 1000
hoard peephole 40 40 1000 1000
hoard deaf 40 40 1000 1000
