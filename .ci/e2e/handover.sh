#!/usr/bin/env bash
# Five hand-overs (SIGUSR2) at 500 requests a second with a check of every answer: no connection is refused and no
# request fails. A long download and a stream that speaks both ways, begun on the first process, are finished by it. A
# file that does not hold and a binary that does not serve leave the old process serving. Then the same on a socket that
# systemd opened, across a restart.
source "$(dirname "$0")/faults.sh"
need curl python3
start_echo stable
start_echo canary
python3 "$here/streams.py" upstream "$scratch/streams.port" >"$scratch/streams.log" 2>&1 &
pids+=("$!")
for _ in $(seq 400); do [ -s "$scratch/streams.port" ] && break; sleep 0.025; done
routes() {
  write_routes <<TOML
[upstream.streams]
endpoints = ["http://127.0.0.1:$(cat "$scratch/streams.port")"]
[[route]]
name   = "streams"
match  = { path = "/streams/*" }
stable = "streams"
[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 30 }
TOML
}
routes
real=$(realpath "$pointsman")
mkdir "$scratch/bin"
cp "$real" "$scratch/bin/pointsman"

# The process that serves, by its own word; nothing while nobody answers.
serving() {
  curl -sS --max-time 5 "http://127.0.0.1:$admin_port/status" 2>/dev/null |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])' 2>/dev/null || true
}

# gone PID: it has ended; our own children are waited for by the shell.
gone() {
  local state
  state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c1)
  [ -z "$state" ] || [ "$state" = Z ] && echo gone
}

# hand_over: the next process serves. Adds it to those that are ended with the script.
hand_over() {
  local before=$current end=$((SECONDS + 20))
  kill -USR2 "$before"
  while [ "$SECONDS" -lt "$end" ]; do
    current=$(serving)
    [ -n "$current" ] && [ "$current" != "$before" ] && break
    sleep 0.02
  done
  [ -n "$current" ] && [ "$current" != "$before" ] || fail "nobody took over from $before"
  pids+=("$current")
}

# in_vain WHAT PATTERN: a hand-over fails, is loud, and changes nothing.
in_vain() {
  local failed
  failed=$(metric pointsman_hand_overs_failed_total)
  kill -USR2 "$current"
  eventually "the hand-over fails: $1" $((failed + 1)) metric pointsman_hand_overs_failed_total
  equal "the old process serves on: $1" "$current" "$(serving)"
  contains "why: $1" "$2" "$(curl -sS "http://127.0.0.1:$admin_port/status")"
}

pointsman=$scratch/bin/pointsman
start_pointsman
current=$(serving)
equal "the first process" "$pointsman_pid" "$current"
first=$current
python3 "$here/streams.py" client "$port" 16 >"$scratch/client.log" 2>&1 &
client_pid=$!
pids+=("$client_pid")
eventually "both streams run" 2 lines_of "$scratch/client.log" running
start_load 14
sleep 1
for _ in 1 2 3 4 5; do
  before=$current
  hand_over
  [ "$before" = "$first" ] || eventually "the process before ends" gone gone "$before"
  # Another file of the same name: what is started is what lies there.
  cp "$real" "$scratch/bin/pointsman.new"
  mv "$scratch/bin/pointsman.new" "$scratch/bin/pointsman"
  sleep 1
done
equal "the first process has streams to finish" "" "$(gone "$first")"
cp "$scratch/routes.toml" "$scratch/good.toml"
echo 'nonsense = 1' >>"$scratch/routes.toml"
in_vain "a file that does not hold" 'nonsense'
cp "$scratch/good.toml" "$scratch/routes.toml"
printf '#!/bin/sh\nexit 7\n' >"$scratch/bin/pointsman.new"
chmod +x "$scratch/bin/pointsman.new"
mv "$scratch/bin/pointsman.new" "$scratch/bin/pointsman"
in_vain "a binary that ends at once" 'exit status: 7'
head -c 100000 "$real" >"$scratch/bin/pointsman.new"
chmod +x "$scratch/bin/pointsman.new"
mv "$scratch/bin/pointsman.new" "$scratch/bin/pointsman"
in_vain "half a binary" 'cannot be started|ended with'
cp "$real" "$scratch/bin/pointsman.new"
mv "$scratch/bin/pointsman.new" "$scratch/bin/pointsman"
hand_over
end_load
all_ok 6000
wait "$client_pid" || fail "a stream was not finished: $(cat "$scratch/client.log")"
passed=$((passed + 1))
eventually "the first process ends after its streams" gone gone "$first"
equal "nobody lost a stream at a deadline" 0 "$(lines_of "$scratch/pointsman.log" 'were cut')"
kill -TERM "$current"
eventually "the last process drains" gone gone "$current"

command -v systemd-socket-activate >/dev/null || fail "systemd-socket-activate is missing: apt-get install systemd"
# One socket by its address, one by its name; systemd keeps both while a process goes and the next one comes.
named_port=$(free_port)
python3 - "$scratch/routes.toml" <<'PY'
import pathlib, sys
path = pathlib.Path(sys.argv[1])
text = path.read_text()
path.write_text(text.replace("[admin]", '[[listener]]\nname = "named"\naddress = "127.0.0.1:1"\n[admin]', 1))
PY
(cd "$scratch" && exec systemd-socket-activate --listen="127.0.0.1:$port" --listen="127.0.0.1:$named_port" \
  --fdname=plain:named "$pointsman" run routes.toml --workers 1) >"$scratch/pointsman.log" 2>&1 </dev/null &
pids+=($!)
eventually "the first request starts it" 200 status "http://127.0.0.1:$port/"
eventually "it serves by name" 200 status "http://127.0.0.1:$named_port/"
current=$(serving)
start_load 4
sleep 1
hand_over
sleep 1
end_load
all_ok 1500
equal "the named socket was handed over" 200 "$(status "http://127.0.0.1:$named_port/")"
kill -TERM "$current"
eventually "it drains" gone gone "$current"
