#!/usr/bin/env bash
# The HTTP/2 Bomb with 128 MiB for the proxy, at 500 requests a second: the kernel does not kill it, its memory stays below,
# and other clients get their responses. Shapes: many large fields, many small ones, some of each, many crumbs of a cookie.
source "$(dirname "$0")/lib.sh"
start_echo stable
start_echo canary
write_split 30
limit_memory 128
start_proxy
start_load --connections 400
# attack FIELDS NAME BYTES
attack() {
  local result
  result=$(python3 "$here/h2_bomb.py" "$port" 4 shop.test "$@")
  kill -0 "$proxy_pid" 2>/dev/null || fail "the proxy was killed by $*"
  echo "   $1 fields $2 of $3 bytes: $result, $(memory_mib VmRSS) MiB now, $(memory_mib VmHWM) MiB at most"
  within "resident memory at most, MiB" 1 128 "$(memory_mib VmHWM)"
}
attack 400 x 3900
attack 400 x 1
attack 90 x 100
attack 20 x 1
attack 400 cookie 8
end_load
# The proxy rejects the attack's requests first, since they take most of the memory.
no_request "a failure other than a rejection for memory" '[^o5].*|50[^3].*'
within "rejections for memory" 0 200 "$(requests 503)"
within "requests with a correct response" $((load_ms * 4 / 10)) 10000000 "$(requests ok)"
within "latency in milliseconds, p99" 0 2000 "$(latency 99 ok)"
