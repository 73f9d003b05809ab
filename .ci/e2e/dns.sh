#!/usr/bin/env bash
# The addresses of an upstream's name change at 500 requests a second: new ones are used within the TTL, the last valid ones
# stay when the DNS server fails or is silent, and no request is lost. When an address refuses connections or /etc/hosts
# changes, the proxy looks up the name before its TTL ends.
source "$(dirname "$0")/lib.sh"
# DNS servers use port 53: a random address keeps two runs apart.
server=127.53.$((RANDOM % 256)).$((RANDOM % 254 + 1))
# The proxy reads the system's resolv.conf and hosts; in a mount namespace it has its own.
if ! unshare --mount sh -c 'mount --bind /dev/null /etc/resolv.conf' 2>/dev/null; then
  not_checked "names whose addresses change: no mount namespace can be created here"
  exit 0
fi
echo "nameserver $server" >"$scratch/resolv.conf"
echo "127.0.0.1 localhost" >"$scratch/hosts"
# Two servers of one name have one port.
start_echo stable 0 127.0.0.11
start_echo canary "$stable_port" 127.0.0.12
echo 127.0.0.11 >"$scratch/answer"
if ! try_service names name_server.py "$server" "$scratch/answer" "$scratch/used"; then
  not_checked "names whose addresses change: no DNS server can run here: $(tail -n 1 "$scratch/names.log")"
  exit 0
fi
write_routes <<TOML
[upstream.named]
endpoints = ["http://shop.pointsman-e2e.test:$stable_port"]

[[route]]
name   = "all"
match  = { path = "/*" }
stable = "named"
TOML
wrap_proxy "[ -n \"\$APART\" ] || APART=1 exec unshare --mount \"\$0\" \"\$@\"
mount --bind '$scratch/resolv.conf' /etc/resolv.conf || exit 1
mount --bind '$scratch/hosts' /etc/hosts || exit 1"
start_proxy
# answer NAME WORDS…: changes what the DNS server answers and waits until the proxy has looked up the name. Sets NAME to
# the time of the change.
answer() {
  printf -v "$1" '%s' "$(now_ms)"
  shift
  : >"$scratch/used"
  echo "$*" >"$scratch/answer.next"
  mv "$scratch/answer.next" "$scratch/answer"
  was_used() { grep -qxF "$*" "$scratch/used" && echo yes; }
  eventually "a lookup is answered with $*" yes was_used "$@"
}
start_load
sleep 1
answer moved 127.0.0.12
sleep 4
answer failing servfail
sleep 2
answer missing nxdomain
sleep 2
answer both 127.0.0.11 127.0.0.12
end_load 2
all_ok
equal "responses of the second address at first" 0 "$(served_ok canary 0 "$moved")"
took=$(load_rows ok "$moved" 9e15 canary | awk -F'\t' -v from="$moved" '!n || $1 < n { n = $1 } END { printf "%.0f\n", n - from }')
echo "   the new address was used after $took ms"
within "the new address is used: milliseconds" 0 3500 "$took"
equal "responses of the first address after that" 0 "$(served_ok stable $((moved + 3500)) "$both")"
within "a DNS server that fails changes nothing" $(((missing - failing) * 4 / 10)) 100000 "$(served_ok canary "$failing" "$missing")"
within "a missing name changes nothing" $(((both - missing) * 4 / 10)) 100000 "$(served_ok canary "$missing" "$both")"
contains "the proxy logs it" '"WARN".*cannot be resolved' "$(<"$scratch/pointsman.log")"
within "both addresses are used: the first" 100 100000 "$(served_ok stable "$both")"
within "both addresses are used: the second" 100 100000 "$(served_ok canary "$both")"
# With a TTL of ten minutes a container moves to another address.
answer settled ttl=600 127.0.0.11
only_first() { [ "$(served "http://127.0.0.1:$port/")$(served "http://127.0.0.1:$port/")" = stablestable ] && echo yes; }
eventually "the first address alone is used" yes only_first
start_load
sleep 1
kill_now "$stable_pid"
answer recreated ttl=600 127.0.0.12
end_load 4
no_request "a failure before the move" '[^o].*' 0 $((recreated - 1000))
no_request "a failure more than 3 s after the move" '[^o].*' $((recreated + 3000))
within "responses of the new address" 300 100000 "$(served_ok canary $((recreated + 3000)))"
# The hosts file has precedence over DNS.
start_echo stable "$stable_port" 127.0.0.11
start_load
echo "127.0.0.11 shop.pointsman-e2e.test" >>"$scratch/hosts"
listed=$(now_ms)
end_load 4
all_ok
equal "responses of the other address after 3 s" 0 "$(served_ok canary $((listed + 3000)))"
within "responses of the address in the hosts file" 300 100000 "$(served_ok stable $((listed + 3000)))"
# The name is no longer in the file, and the DNS server is silent.
echo "127.0.0.1 localhost" >"$scratch/hosts"
answer silent silence
start_load
end_load 2
all_ok
