#!/usr/bin/env bash
# Five hand-overs (SIGUSR2) at 500 requests a second: no connection is refused and no request fails. A long download and a
# bidirectional stream that began on the first process end there. After an invalid file or a binary that does not start, the
# old process keeps serving. Then the same with a socket that systemd opened.
source "$(dirname "$0")/lib.sh"
need systemd-socket-activate
start_echo stable
start_echo canary
start_service streams streams.py upstream
write_split 30 "
[upstream.streams]
endpoints = [\"http://127.0.0.1:$streams_port\"]
[[route]]
name   = \"streams\"
match  = { path = \"/streams/*\" }
stable = \"streams\""
real=$(realpath "$pointsman")
pointsman=$scratch/bin/pointsman
mkdir "$scratch/bin"
# replace_binary FILE: another file under the same name, as a package manager does it.
replace_binary() {
  cp "$1" "$pointsman.new"
  chmod +x "$pointsman.new"
  mv "$pointsman.new" "$pointsman"
}
replace_binary "$real"

# serving: the id of the process that serves; nothing if none does.
serving() {
  admin /status 2>/dev/null | json 'it["pid"]' 2>/dev/null || true
}

# ended PID: a zombie has ended, too: the shell has not waited for it yet.
ended() {
  local state
  state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c1)
  [ -n "$state" ] && [ "$state" != Z ] || echo yes
}

# hand_over: the next process serves. Sets current.
hand_over() {
  local before=$current end=$((SECONDS + 20))
  kill -USR2 "$before"
  while [ "$SECONDS" -lt "$end" ]; do
    current=$(serving)
    [ -n "$current" ] && [ "$current" != "$before" ] && break
    sleep 0.02
  done
  [ -n "$current" ] && [ "$current" != "$before" ] || fail "no process took over from $before"
  pids+=("$current")
}

# failed_hand_over WHAT PATTERN: it is counted, logged, and changes nothing.
failed_hand_over() {
  local failed
  failed=$(metric pointsman_hand_overs_failed_total)
  kill -USR2 "$current"
  eventually "the hand-over fails: $1" $((failed + 1)) metric pointsman_hand_overs_failed_total
  equal "the old process serves: $1" "$current" "$(serving)"
  contains "the status has the cause: $1" "$2" "$(admin /status)"
}

start_proxy
first=$proxy_pid current=$proxy_pid
equal "the first process" "$first" "$(serving)"
python3 "$here/streams.py" client "$port" >"$scratch/client.log" 2>&1 &
client_pid=$!
pids+=("$client_pid")
eventually "both streams run" 2 count_lines "$scratch/client.log" running
start_load
for _ in 1 2 3 4 5; do
  before=$current
  hand_over
  [ "$before" = "$first" ] || eventually "the process before ends" yes ended "$before"
  replace_binary "$real"
  sleep 0.5
done
equal "the first process still has streams" "" "$(ended "$first")"
cp "$scratch/routes.toml" "$scratch/valid.toml"
echo 'nonsense = 1' >>"$scratch/routes.toml"
failed_hand_over "an invalid file" 'nonsense'
cp "$scratch/valid.toml" "$scratch/routes.toml"
printf '#!/bin/sh\nexit 7\n' >"$scratch/exit-7"
replace_binary "$scratch/exit-7"
failed_hand_over "a binary that ends at once" 'exit status: 7'
head -c 100000 "$real" >"$scratch/half"
replace_binary "$scratch/half"
failed_hand_over "half a binary" 'cannot be started|ended with'
replace_binary "$real"
hand_over
end_load 1
all_ok
kill -TERM "$client_pid"
wait "$client_pid" || fail "a stream did not end well: $(cat "$scratch/client.log")"
passed=$((passed + 1))
eventually "the first process ends after its streams" yes ended "$first"
equal "no deadline cut a stream" 0 "$(count_lines "$scratch/pointsman.log" 'were cut')"
kill -TERM "$current"
eventually "the last process drains" yes ended "$current"

# One socket by its address, one by its name; systemd keeps both while the processes change.
named_port=$(free_port)
sed -i "s/^\[admin\]/[[listener]]\nname = \"named\"\naddress = \"127.0.0.1:1\"\n[admin]/" "$scratch/routes.toml"
launch systemd-socket-activate --listen="127.0.0.1:$port" --listen="127.0.0.1:$named_port" \
  --fdname=plain:named "$pointsman" run routes.toml --workers 1
eventually "the first request starts it" 200 status "http://127.0.0.1:$port/"
eventually "the named listener serves" 200 status "http://127.0.0.1:$named_port/"
current=$(serving)
start_load
hand_over
end_load 1
all_ok
equal "the named socket was handed over" 200 "$(status "http://127.0.0.1:$named_port/")"
kill -TERM "$current"
eventually "the process drains" yes ended "$current"
