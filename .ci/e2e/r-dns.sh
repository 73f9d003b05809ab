#!/usr/bin/env bash
# The addresses of an upstream's name change at 500 requests a second: the new ones are used within the time that the
# answer says, and when the name server fails, lies or is silent, the last good ones stay. Nothing is lost.
source "$(dirname "$0")/faults.sh"
need curl python3
server=127.53.53.53
# The proxy reads the system's resolv.conf: it gets one of its own, which nobody else can see.
if ! unshare --mount sh -c 'mount --bind /dev/null /etc/resolv.conf' 2>/dev/null; then
  not_checked "names whose addresses change: no mount namespace can be made here"
  exit 0
fi
echo "nameserver $server" >"$scratch/resolv.conf"
# Two servers of one name have one port.
start_echo stable 0 127.0.0.11
start_echo canary "$stable_port" 127.0.0.12
echo 127.0.0.11 >"$scratch/answer"
python3 "$here/names.py" "$server" "$scratch/answer" "$scratch/ready" >"$scratch/names.log" 2>&1 &
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
mount --bind '$scratch/resolv.conf' /etc/resolv.conf || exit 1"
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
contains "it says so" '"WARN".*could not be resolved' "$(<"$scratch/pointsman.log")"
within "both addresses are used again" 100 100000 "$(served_ok stable "$both")"
within "both addresses are used again" 100 100000 "$(served_ok canary "$both")"
echo silence >"$scratch/answer"
sleep 2
start_load 4
end_load
all_ok 1800
