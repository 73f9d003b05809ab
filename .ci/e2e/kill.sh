#!/usr/bin/env bash
# A kill by the command line at 500 requests a second: no request that is sent after its answer reaches the canary, whatever
# the file on the disk says, after SIGKILL and a new start, and across a hand-over; `revive` brings the canary back. A kill
# closes streams. With a full disk or a read-only folder a kill is in force, says that it is not on the disk, and traffic
# continues.
source "$(dirname "$0")/lib.sh"
pointsman=$(realpath "$pointsman")
real=$pointsman
start_echo stable
start_echo canary
start_service streams streams.py upstream

# act COMMAND…: the command finds the proxy by the socket below the current folder.
act() {
  (cd "$scratch" && timeout 20 "$real" "$@" </dev/null)
}

# refused WHAT PATTERN COMMAND…: the command fails, and its error output matches.
refused() {
  local what=$1 pattern=$2 output code=0
  shift 2
  output=$(act "$@" 2>&1) || code=$?
  [ "$code" -ne 0 ] || fail "$what: \`pointsman $*\` succeeded: $output"
  contains "$what" "$pattern" "$output"
}

# after: the first millisecond after what was just answered.
after() {
  echo $(($(now_ms) + 1))
}

# killed_between WHAT FROM TO, serves_between WHAT FROM TO: how many requests that were sent in between the canary served.
killed_between() {
  local rows
  rows=$(load_rows ok "$2" "$3" canary)
  [ -z "$rows" ] || fail "requests on the canary, $1, in $2 to $3: $(wc -l <<<"$rows"): $(head -n 5 <<<"$rows")"
  passed=$((passed + 1))
}
serves_between() { within "requests on the canary: $1" 20 100000 "$(served_ok canary "$2" "$3")"; }

rejected() { metric pointsman_config_last_reload_success; }
kills() { metric 'pointsman_kills{source="call"}'; }
writable() { metric pointsman_journal_writable; }

write_split 30 "$sticky_by_cookie
[upstream.streams]
endpoints = [\"http://127.0.0.1:$streams_port\"]
[upstream.streams-next]
endpoints = [\"http://127.0.0.1:$streams_port\"]
[[route]]
name   = \"streams\"
match  = { path = \"/streams/*\" }
stable = \"streams\"
canary = { upstream = \"streams-next\", weight = 0 }
[[route.target]]
header = { x-canary = \"1\" }
serve  = \"canary\""
cp "$scratch/routes.toml" "$scratch/valid.toml"
start_proxy
start_load

# ---- a kill, with a valid and with a broken file
sleep 1
first_kill=$(now_ms)
printed=$(act kill --variant all:canary --reason "checkout fails" --yes)
first_killed=$(after)
echo "   $printed"
contains "the answer says where and since when it is in force" 'in force on 1 of 1 worker' "$printed"
equal "kills by call" 1 "$(kills)"
contains "the list has scope and reason" 'all:canary.*checkout fails' "$(act kill --list)"
contains "the status has it" 'all:canary' "$(act status)"
contains "the journal has it" 'kill.*all:canary.*checkout fails' "$(act journal)"
contains "the log has it, at WARN" '"WARN".*all:canary' "$(<"$scratch/pointsman.log")"
echo 'nonsense = 1' >>"$scratch/routes.toml"
eventually "the broken file is rejected" 0 rejected
act kill --route all --reason "with a broken file" --yes >/dev/null
act revive --variant all:canary --reason "the route is killed anyway" --yes >/dev/null
sleep 1
first_revive=$(now_ms)
act revive --route all --reason "repaired" --yes >/dev/null
first_revived=$(after)
sleep 1
second_kill=$(now_ms)
act kill --all --reason "everything" --yes >/dev/null
second_killed=$(after)
equal "the file is still rejected" 0 "$(rejected)"

# ---- SIGKILL and a new start; a reload; a hand-over
cp "$scratch/valid.toml" "$scratch/routes.toml"
eventually "the valid file is accepted" 1 rejected
crash=$(now_ms)
kill_now "$proxy_pid"
start_proxy
restarted=$(after)
equal "kills by call after the start" 1 "$(kills)"
contains "the list after the start" 'everything' "$(act kill --list)"
set_weight 30 60
eventually "an edit is applied" 2 metric pointsman_config_generation
sleep 0.5
before=$proxy_pid
kill -USR2 "$before"
handed_over() { [ "$(admin /status | json 'it["pid"]')" != "$before" ] && echo yes; }
eventually "another process serves" yes handed_over
proxy_pid=$(admin /status | json 'it["pid"]')
pids+=("$proxy_pid")
# An act while the journal is being passed on may be answered as not recorded.
eventually "the new process writes the journal" 1 writable
contains "the list after the hand-over" 'everything' "$(act kill --list)"
act kill --variant all:canary --reason "at the new process" --yes >/dev/null
act revive --variant all:canary --reason "at the new process" --yes >/dev/null
sleep 0.5
second_revive=$(now_ms)
act revive --all --reason "over" --yes >/dev/null
second_revived=$(after)
end_load 1
end=$(now_ms)
serves_between "before the kill" "$load_from" "$first_kill"
killed_between "after the answer of a kill" "$first_killed" "$first_revive"
serves_between "after a revive, with a broken file" "$first_revived" "$second_kill"
killed_between "after a kill with a broken file, SIGKILL, an edit and a hand-over" "$second_killed" "$second_revive"
serves_between "after the last revive" "$second_revived" "$end"
no_request "a failure before SIGKILL" '[^o].*' 0 $((crash - 1000))
no_request "a failure after the new start" '[^o].*' $((restarted + 1000))
equal "kills by call at the end" 0 "$(kills)"
verified=$(act journal --verify) || fail "the chain of the journal: $verified"
refused "a scope that is not killed" 'not killed' revive --all --reason "again" --yes
refused "a route that does not exist" 'al+' kill --route al --reason "a typing error" --yes

# ---- streams
stream() { curl -sN --max-time 30 -o /dev/null "$@" "http://127.0.0.1:$port/streams/download" & }
stream -H 'x-canary: 1'
canary_stream=$!
stream
stable_stream=$!
pids+=("$canary_stream" "$stable_stream")
open_streams() { metric_sum pointsman_requests_in_flight || true; }
streams_run() { [ "$(metric 'pointsman_requests_in_flight')" = 2 ] && echo yes; }
eventually "both streams run" yes streams_run
from=$(now_ms)
act kill --variant streams:canary --close-streams 1s --reason "streams" --yes >/dev/null
code=0
wait "$canary_stream" || code=$?
within "milliseconds until the stream of the killed variant is closed" 900 6000 $(($(now_ms) - from))
[ "$code" -ne 0 ] && [ "$code" -ne 28 ] || fail "curl ended with $code: its stream was not cut"
kill -0 "$stable_stream" || fail "the stream of stable has ended, too"
passed=$((passed + 1))
kill -TERM "$stable_stream"
kill -TERM "$proxy_pid"
gone() { [ ! -S "$scratch/state/run/admin.sock" ] && echo yes; }
eventually "the socket is removed at the end" yes gone

# ---- a full disk, and a read-only folder
disk=$scratch/disk
mkdir "$disk"
if mount -t tmpfs -o size=256k tmpfs "$disk" 2>/dev/null; then
  undo_first+=("umount -l '$disk'")
else
  not_checked "a full disk and a read-only folder: this user may not mount one"
  exit 0
fi
act_there() { (cd "$disk" && timeout 20 "$real" "$@" </dev/null); }
write_split 30
printf '[state]\ndir = "%s"\n' "$disk/state" >>"$scratch/routes.toml"
start_proxy
start_load
equal "the journal can be written" 1 "$(writable)"
dd if=/dev/zero of="$disk/filler" bs=4k 2>/dev/null || true
# Longer than the rest of the file's last page, which is on the disk already.
answer=$(act_there kill --route all --reason "$(printf '\xf0\x9f\x9b\x91%.0s' {1..950})" --yes --json 2>"$scratch/alarm") || ended=$?
equal "the exit code of a kill that is not on the disk" 5 "${ended:-0}"
killed=$(after)
equal "the kill is not on the disk" False "$(json 'it["durable"]' <<<"$answer")"
contains "the command is loud about it" 'NOT RECORDED.*No space left' "$(<"$scratch/alarm")"
equal "the kill is in force" True "$(json 'it["in_force_ms"] is not None' <<<"$answer")"
eventually "the metric shows it" 0 writable
code=0
output=$(act_there revive --route all --reason "too early" --yes 2>&1) || code=$?
[ "$code" -ne 0 ] || fail "a revive without a journal succeeded: $output"
contains "the refusal says why" 'journal' "$output"
before_space=$(now_ms)
rm "$disk/filler"
eventually "the journal can be written again" 1 writable
durable() { echo $(($(metric pointsman_journal_sequence) - $(metric pointsman_journal_durable_sequence))); }
eventually "the kill is on the disk now" 0 durable
act_there revive --route all --reason "over" --yes >/dev/null
end_load 0.5
all_ok
killed_between "on a full disk" "$killed" "$before_space"
kill_now "$proxy_pid"
rm -r "$disk/state"
mkdir "$disk/state"
mount -o remount,ro "$disk" || fail "the disk cannot be made read-only"
sed -i "s|^\[admin\]|&\nsocket = \"$scratch/admin.sock\"|" "$scratch/routes.toml"
start_proxy
eventually "a read-only folder is no failed start" 0 writable
contains "the log says so" '[Rr]ead-only' "$(<"$scratch/pointsman.log")"
answer=$(act kill --all --reason "on a read-only disk" --yes --json --admin "unix:$scratch/admin.sock" 2>"$scratch/alarm") || ended=$?
equal "the exit code of a kill on a read-only disk" 5 "${ended:-0}"
contains "the command says why" 'NOT RECORDED.*Read-only' "$(<"$scratch/alarm")"
equal "a kill there is not on the disk" False "$(json 'it["durable"]' <<<"$answer")"
equal "a kill there is in force" True "$(json 'it["in_force_ms"] is not None' <<<"$answer")"
for _ in $(seq 50); do served -H "cookie: uid=u$RANDOM" "http://127.0.0.1:$port/"; done | sort -u >"$scratch/served"
equal "who serves then" stable "$(<"$scratch/served")"
