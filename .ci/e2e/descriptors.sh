#!/usr/bin/env bash
# 64 file descriptors and 300 clients at the door, at 500 requests a second: those inside are served on, nothing spins,
# the log says what is the matter; when the crowd has left, all is as if nothing had been, an edit included.
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
launch_with 'ulimit -n 64'
start_pointsman
start_load 14 --connections 6
sleep 3
came=$(now_ms)
python3 "$here/idle_clients.py" "$port" 300 "$scratch/crowd" &
crowd_pid=$!
pids+=("$crowd_pid")
sleep 2
before=$(cpu_ms "$pointsman_pid")
sed -i 's/weight = 30 /weight = 60 /' "$scratch/routes.toml"
sleep 3
used=$(($(cpu_ms "$pointsman_pid") - before))
kill -TERM "$crowd_pid"
wait "$crowd_pid" || true
left=$(now_ms)
end_load
echo "   of 300 clients $(cat "$scratch/crowd") were answered; $used ms of CPU in 3 s"
none "an answer that belongs to another request, or none" 'wrong|cut|late|refused'
none "failed before the crowd came" '[^o].*' 0 "$came"
# As it comes, whoever needs a new connection to an upstream may be told that there is none.
none "failed after the crowd had come" '[^o].*' $((came + 3000)) "$left"
# The queue of the listener still has connections of the crowd, which take the last descriptors for a moment; an endpoint
# that could not be connected to meanwhile is tried again after a second.
none "failed after the crowd had left" '[^o].*' $((left + 1500))
within "the proxy does not spin: milliseconds of CPU in 3 s" 0 2000 "$used"
contains "it says what is the matter" '"WARN".*cannot accept.*Too many open files' "$(<"$scratch/pointsman.log")"
within "and does not flood its log: lines" 1 1000 "$(lines_of "$scratch/pointsman.log" 'cannot accept')"
within "and counts it" 1 100000 "$(metric pointsman_accept_errors_total)"
eventually "the edit that fell into the crowd is applied" 2 metric pointsman_config_generation
start_load 4
end_load
all_ok 1800
