#!/usr/bin/env bash
# Clients that make the proxy keep data, with 128 MiB for the proxy and beside 500 requests a second: the kernel does not kill
# it, other clients get their responses, and its memory comes back.
source "$(dirname "$0")/lib.sh"
start_echo stable
start_echo canary
start_service large large.py
write_split 30 "
[upstream.large]
endpoints = [\"http://127.0.0.1:$large_port\"]
[[route]]
name   = \"large\"
match  = { host = \"hoard.test\", path = \"/*\" }
stable = \"large\""
limit_memory 128
ulimit -n "$(ulimit -Hn)"
start_proxy
is_back() { [ "$(memory_mib VmRSS)" -lt 60 ] && echo yes; }

# attack SHAPE COUNT ADDRESSES REJECTED_MAX MS_MAX: limits for the rejections and the p99 of other requests.
attack() {
  local result
  start_load
  result=$(python3 "$here/exhaustion.py" "$port" 4 "$1" "$2" "$3")
  kill -0 "$proxy_pid" 2>/dev/null || fail "the proxy was killed by $1"
  echo "-- $1, $2 connections of $3 addresses: $result, $(memory_mib VmHWM) MiB at most"
  end_load
  within "resident memory at most, MiB" 1 110 "$(memory_mib VmHWM)"
  no_request "a failure other than a rejection" '[^o5].*|50[^3].*'
  within "rejections" 0 "$4" "$(requests 503)"
  within "latency in milliseconds, p99" 0 "$5" "$(latency 99 ok)"
  eventually "the memory is back" yes is_back
}
# From one address. A thousand connections at once occupy both cores of a small machine for a moment, which is not the
# proxy's: the limit for `readers` leaves room for that.
attack readers 1000 1 0 2500
attack uploads 300 1 0 1000
attack closed 101 1 0 1000
attack stalled 40 1 0 1000
attack peephole 40 1 0 1000
attack deaf 40 1 0 1000
attack heads 24 1 0 1000
attack resets 40 1 0 50
# From many addresses: each has its share, and the proxy cuts the streams that stalled first. A reader is stalled 0.3 s after
# it should have taken a response of 15 KiB at the slow rate, which is 1.3 s: about 650 requests meet full memory.
attack readers 1000 200 1000 2500
attack closed 101 101 1000 1000
attack peephole 40 40 1000 1000
attack deaf 40 40 1000 1000
