#!/usr/bin/env bash
# A full disk under the access log at 500 requests a second: no request fails or waits, every lost line is counted, the
# file has whole lines only, and the log continues when there is space again.
source "$(dirname "$0")/lib.sh"
start_echo stable
start_echo canary
disk=$scratch/disk
mkdir "$disk"
if mount -t tmpfs -o size=256k tmpfs "$disk" 2>/dev/null; then
  undo_first+=("umount -l '$disk'")
  log=$disk/access.log kept=$disk/access.log
  free_space() { mount -o remount,size=64m "$disk"; }
else
  not_checked "a disk that fills up: this user may not mount one; /dev/full instead"
  log=/dev/full kept=$scratch/access.log
  free_space() { sed -i "s|^sink = .*|sink = \"$kept\"|" "$scratch/routes.toml"; }
fi
write_split 30
sed -i "s|^sink = .*|sink = \"$log\"|" "$scratch/routes.toml"
start_proxy
lost() { metric 'pointsman_access_log_dropped_total{cause="sink"}'; }
loses() { [ "$(lost)" -ge 100 ] && echo yes; }
start_load
eventually "lost lines are counted while the disk is full" yes loses
contains "the proxy logs the cause" '"ERROR".*access log cannot be written.*No space left' "$(<"$scratch/pointsman.log")"
free_space
end_load 3
all_ok
within "latency in milliseconds, p99" 0 500 "$(latency 99 ok)"
# The log is flushed ten times a second, and the counter of lost lines is updated once a second.
written_and_lost() { echo $(($(wc -l <"$kept") + $(lost))); }
eventually "every request is a line or is counted as lost" "$(requests ok)" written_and_lost
echo "   lines lost: $(lost); written: $(wc -l <"$kept")"
within "lines that were written after there was space again" 1000 10000000 "$(wc -l <"$kept")"
python3 - "$kept" <<'PY' || fail "not every line is whole"
import json, sys
content = open(sys.argv[1]).read()
assert content.endswith("\n")
for line in content.splitlines():
    json.loads(line)
PY
passed=$((passed + 1))
equal "the proxy logs the error once" 1 "$(count_lines "$scratch/pointsman.log" 'cannot be written')"
