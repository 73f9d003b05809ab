#!/usr/bin/env bash
# The addresses of an upstream's name change at 500 requests a second: the new ones are used within the time that the
# answer says, and when the name server fails, lies or is silent, the last good ones stay. Nothing is lost. When an address
# cannot be connected to any more, or /etc/hosts changes, the name is looked up again however long its answer may be used.
source "$(dirname "$0")/faults.sh"
need curl python3
# Resolvers are asked at port 53: an address of its own, so that two runs do not meet.
server=127.53.$((RANDOM % 256)).$((RANDOM % 254 + 1))
# The proxy reads the system's resolv.conf: it gets one of its own, which nobody else can see.
if ! unshare --mount sh -c 'mount --bind /dev/null /etc/resolv.conf' 2>/dev/null; then
  not_checked "names whose addresses change: no mount namespace can be made here"
  exit 0
fi
echo "nameserver $server" >"$scratch/resolv.conf"
echo "127.0.0.1 localhost" >"$scratch/hosts"
# Two servers of one name have one port.
start_echo stable 0 127.0.0.11
start_echo canary "$stable_port" 127.0.0.12
echo 127.0.0.11 >"$scratch/answer"
python3 "$here/name_server.py" "$server" "$scratch/answer" "$scratch/ready" >"$scratch/names.log" 2>&1 &
pids+=("$!")
for _ in $(seq 100); do [ -s "$scratch/ready" ] && break; sleep 0.05; done
if ! [ -s "$scratch/ready" ]; then
  not_checked "names whose addresses change: no name server can run here: $(tail -n 1 "$scratch/names.log")"
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
launch_with "[ -n \"\$APART\" ] || APART=1 exec unshare --mount \"\$0\" \"\$@\"
mount --bind '$scratch/resolv.conf' /etc/resolv.conf || exit 1
mount --bind '$scratch/hosts' /etc/hosts || exit 1"
start_pointsman
# answer WORDS…: what the name server says from now on.
answer() {
  echo "$*" >"$scratch/answer.next"
  mv "$scratch/answer.next" "$scratch/answer"
  now_ms
}
start_load 25
sleep 3
moved=$(answer 127.0.0.12)
sleep 5
failing=$(answer servfail)
sleep 4
gone=$(answer nxdomain)
sleep 4
both=$(answer 127.0.0.11 127.0.0.12)
# A failure is followed by patience, which doubles.
end_load
all_ok 11000
equal "the first address alone, at first" 0 "$(served_ok canary 0 "$moved")"
took=$(awk -F'\t' -v from="$moved" '$3 == "ok" && $4 == "canary" && $1 >= from && (!n || $1 < n) { n = $1 } END { printf "%.0f\n", n - from }' "$scratch/load.tsv")
echo "   the new address was used after $took ms"
within "the new address is used: milliseconds" 0 3500 "$took"
equal "the new address alone, from then on" 0 "$(served_ok stable $((moved + 3500)) "$both")"
within "a server that fails changes nothing" 1500 100000 "$(served_ok canary "$failing" "$gone")"
within "a name that is gone changes nothing" 1500 100000 "$(served_ok canary "$gone" "$both")"
contains "it says so" '"WARN".*cannot be resolved' "$(<"$scratch/pointsman.log")"
within "both addresses are used again" 100 100000 "$(served_ok stable "$both")"
within "both addresses are used again" 100 100000 "$(served_ok canary "$both")"
echo silence >"$scratch/answer"
sleep 2
start_load 4
end_load
all_ok 1800
# As with Docker: an answer for ten minutes, and the container is made anew at another address.
answer ttl=600 127.0.0.11 >/dev/null
sleep 12
start_load 9
sleep 2
end "$stable_pid"
recreated=$(answer ttl=600 127.0.0.12)
end_load
none "failed before it was made anew" '[^o].*' 0 $((recreated - 1000))
none "failed more than 3 s after it was made anew" '[^o].*' $((recreated + 3000))
within "served at the new address" 500 100000 "$(served_ok canary $((recreated + 3000)))"
# The hosts file is asked before the name server.
start_echo stable "$stable_port" 127.0.0.11
start_load 7
sleep 1
echo "127.0.0.11 shop.pointsman-e2e.test" >>"$scratch/hosts"
listed=$(now_ms)
end_load
all_ok 3000
equal "the address of the hosts file alone, soon" 0 "$(served_ok canary $((listed + 3000)))"
within "served at the address of the hosts file" 500 100000 "$(served_ok stable $((listed + 3000)))"
