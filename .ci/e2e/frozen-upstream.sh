#!/usr/bin/env bash
# SIGSTOP for an upstream at 500 requests a second: its requests get 504 after the timeout, those of the other upstream are
# not affected, and after SIGCONT both serve.
source "$(dirname "$0")/lib.sh"
start_echo stable
start_echo canary
write_split 30 "timeout = { request = \"1s\" }
$sticky_by_cookie"
start_proxy
start_load --sticky
sleep 2
frozen=$(now_ms)
kill -STOP "$canary_pid"
sleep 4
kill -CONT "$canary_pid"
thawed=$(now_ms)
end_load 3
no_request "the response to another request, or none" 'wrong|late|refused|cut|502|503'
no_request "a failure before SIGSTOP" '[^o].*' 0 $((frozen - 1200))
# Requests that were sent just before SIGCONT time out or get a response after it.
no_request "a failure after SIGCONT" '[^o].*' $((thawed + 1500))
within "requests that timed out" 300 1200 "$(requests 504)"
equal "responses of the frozen upstream" 0 "$(served_ok canary $((frozen + 300)) $((thawed - 1200)))"
within "responses of the other upstream" 600 10000000 "$(served_ok stable $((frozen + 300)) $((thawed - 1200)))"
within "latency of the other upstream in milliseconds, p99" 0 300 "$(latency 99 ok $((frozen + 300)) $((thawed - 1200)))"
within "the shortest timeout in milliseconds" 999 2000 "$(latency 0 504)"
within "timeouts in milliseconds, p99" 1000 2500 "$(latency 99 504)"
within "responses of the upstream after SIGCONT" 150 10000000 "$(served_ok canary $((thawed + 1500)))"
