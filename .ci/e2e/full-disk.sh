#!/usr/bin/env bash
# A full disk under the log at 500 requests a second: traffic does not notice, every line that is lost is counted, what
# is written is whole lines, and when there is room again the log goes on.
source "$(dirname "$0")/faults.sh"
need curl python3
start_echo stable
start_echo canary
disk=$scratch/disk
mkdir "$disk"
if mount -t tmpfs -o size=256k tmpfs "$disk" 2>/dev/null; then
  undo_first+=("umount -l '$disk'")
  log=$disk/access.log kept=$disk/access.log
  room() { mount -o remount,size=64m "$disk"; }
else
  not_checked "a disk that really fills up (no right to mount one); /dev/full instead"
  log=/dev/full kept=$scratch/access.log
  room() { sed -i "s|^sink = .*|sink = \"$kept\"|" "$scratch/routes.toml"; }
fi
write_routes <<'TOML'
[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 30 }
TOML
sed -i "s|^sink = .*|sink = \"$log\"|" "$scratch/routes.toml"
start_pointsman
lost() { metric 'pointsman_access_log_dropped_total{cause="sink"}'; }
start_load 10
sleep 5
meanwhile=$(lost)
within "lines that are lost are counted meanwhile" 1 10000000 "$meanwhile"
contains "it says so, and why" '"ERROR".*access log cannot be written.*No space left' "$(<"$scratch/pointsman.log")"
room
end_load
all_ok 4500
within "nobody waited for the disk: milliseconds, 99 of 100" 0 500 "$(quantile 99 ok)"
# The last lines are handed over ten times a second, and what was lost is looked at once a second.
both() { echo $(($(wc -l <"$kept") + $(lost))); }
eventually "every request is a line or is counted as lost" "$(of ok)" both
at_last=$(lost)
echo "   lines lost: $meanwhile after 5 s, $at_last at the end; written: $(wc -l <"$kept")"
within "lines that were written when there was room again" 1000 10000000 "$(wc -l <"$kept")"
python3 - "$kept" <<'PY' || fail "not every line is whole"
import json, sys
content = open(sys.argv[1]).read()
assert content.endswith("\n")
for line in content.splitlines():
    json.loads(line)
PY
passed=$((passed + 1))
equal "its own log is not full of complaints" 1 "$(lines_of "$scratch/pointsman.log" 'cannot be written')"
