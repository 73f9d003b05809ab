#!/usr/bin/env bash
# 64 file descriptors and 300 clients, at 500 requests a second: accepted connections are served, the proxy does not spin,
# its log has the cause; after the clients left it serves as before and applies the edit of the meantime.
source "$(dirname "$0")/lib.sh"
start_echo stable
start_echo canary
write_split 30
wrap_proxy 'ulimit -n 64'
start_proxy
# Fills the pools of upstream connections, so that requests need no new ones later.
curl -s -o /dev/null --parallel --parallel-immediate --parallel-max 16 --no-progress-meter "http://127.0.0.1:$port/?sleep=500&n=[1-16]"
start_load --connections 6 --warm 6
sleep 1
came=$(now_ms)
python3 "$here/idle_clients.py" "$port" 300 "$scratch/clients" &
clients_pid=$!
pids+=("$clients_pid")
wait_for_file "$scratch/clients" "$clients_pid" || fail "the clients could not connect"
connected=$(now_ms)
before=$(cpu_ms)
set_weight 30 60
sleep 3
used=$(($(cpu_ms) - before))
leaving=$(now_ms)
kill -TERM "$clients_pid"
wait "$clients_pid" || true
left=$(now_ms)
end_load 4
echo "   $(<"$scratch/clients") of 300 clients got a response; $used ms of CPU in 3 s"
no_request "the response to another request, or none" 'wrong|cut|late|refused'
no_request "a failure before the clients came" '[^o].*' 0 "$came"
# While they connect, a request that needs a new connection to an upstream may fail.
no_request "a failure after the clients connected" '[^o].*' "$connected" "$leaving"
# Connections of the clients are still in the listener's backlog and take the last descriptors for a moment; the proxy retries
# an endpoint that it could not connect to after a second.
no_request "a failure after the clients left" '[^o].*' $((left + 1500))
within "the proxy does not spin: milliseconds of CPU in 3 s" 0 2000 "$used"
contains "the proxy logs the cause" '"WARN".*cannot accept.*Too many open files' "$(<"$scratch/pointsman.log")"
within "it does not flood its log: lines" 1 1000 "$(count_lines "$scratch/pointsman.log" 'cannot accept')"
within "it counts the errors" 1 100000 "$(metric pointsman_accept_errors_total)"
eventually "the edit is applied" 2 metric pointsman_config_generation
start_load --connections 6
end_load 2
all_ok
