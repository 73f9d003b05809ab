#!/usr/bin/env bash
# The HTTP/2 Bomb against 128 MiB, at 500 requests a second: it is not killed, its memory stays below, and the others get
# their answers. Shapes: many large fields, many small ones, some of each, and many crumbs of a cookie.
source "$(dirname "$0")/faults.sh"
need curl python3
start_echo stable
start_echo canary
write_routes <<'TOML'
[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 30 }
TOML
bytes=$((128 << 20))
if control_group memory "memory.limit_in_bytes|memory.max=$bytes"; then
  launch_with "echo \$\$ >'$group/cgroup.procs'"
else
  not_checked "a control group of 128 MiB: none can be made here; the resident memory is watched instead"
fi
start_pointsman
start_load 45 --connections 400
sleep 1
attack() {
  python3 "$here/h2_bomb.py" "$port" 6 "$scratch/bomb" shop.test "$@"
  local now most
  now=$(awk '$1 == "VmRSS:" { print $2 }' "/proc/$pointsman_pid/status")
  most=$(awk '$1 == "VmHWM:" { print $2 }' "/proc/$pointsman_pid/status")
  echo "   $1 fields $2 of $3 bytes: $(cat "$scratch/bomb"), $((now >> 10)) MiB now, $((most >> 10)) MiB at most"
  within "resident memory at most, MiB" 1 128 $((most >> 10))
}
attack 400 x 3900
attack 400 x 1
attack 90 x 100
attack 20 x 1
attack 400 cookie 8
end_load
kill -0 "$pointsman_pid" || fail "it was killed"
# What the attack needs is refused before it is too much, and of the others' requests hardly any: they hold little.
none "requests that failed otherwise than by a refusal for want of memory" '[^o5].*|50[^3].*'
within "refusals for want of memory" 0 200 "$(of 503)"
within "requests with a good answer" 20000 10000000 "$(of ok)"
within "milliseconds, 99 of 100" 0 2000 "$(quantile 99 ok)"
