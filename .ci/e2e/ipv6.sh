#!/usr/bin/env bash
# An IPv6 listener at 500 requests a second: addresses have brackets where they must, and only there.
source "$(dirname "$0")/faults.sh"
need curl python3
if ! python3 -c 'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' 2>/dev/null; then
  not_checked "IPv6: there is no ::1 here"
  exit 0
fi
start_echo stable
start_echo canary
seen_port=""
start_upstream seen
write_routes <<TOML
[upstream.seen]
endpoints = ["http://127.0.0.1:$seen_port"]

[identity]
trusted_proxies = ["192.0.2.1"]

[[route]]
name   = "seen"
match  = { path = "/headers" }
stable = "seen"

[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 30 }
TOML
# The same port for both kinds of addresses, each with its own listener.
sed -i "s|^address = \"127.0.0.1:$port\"|address = \"127.0.0.1:$port\"\n\n[[listener]]\naddress = \"[::1]:$port\"|" "$scratch/routes.toml"
start_pointsman
start_load 6 --address ::1
# header NAME CURL-ARGUMENTS…: what the upstream saw, one value a line.
header() {
  local name=$1
  shift
  curl -sS --max-time 10 "$@" | python3 -c 'import json, sys
for name, value in json.load(sys.stdin)["headers"]:
    if name == sys.argv[1]: print(value)' "$name"
}
url="http://[::1]:$port/headers"
equal "X-Forwarded-For is bare" "::1" "$(header x-forwarded-for "$url")"
equal "Forwarded has brackets and quotes" "for=\"[::1]\";host=\"[::1]:$port\";proto=http" "$(header forwarded "$url")"
equal "Host is kept" "[::1]:$port" "$(header host "$url")"
equal "X-Forwarded-Host" "[::1]:$port" "$(header x-forwarded-host "$url")"
equal "X-Forwarded-Port" "$port" "$(header x-forwarded-port "$url")"
equal "IPv4 has none" "for=127.0.0.1;host=\"127.0.0.1:$port\";proto=http" "$(header forwarded "http://127.0.0.1:$port/headers")"
equal "from strangers: overwritten" "::1" "$(header x-forwarded-for -H 'X-Forwarded-For: 2001:db8::7' "$url")"
equal "from strangers: overwritten" "for=\"[::1]\";host=\"[::1]:$port\";proto=http" \
  "$(header forwarded -H 'Forwarded: for="[2001:db8::7]:4711"' "$url")"
equal "a host without a port" 'for="[::1]";host="[2001:db8::5]";proto=http' "$(header forwarded -H 'Host: [2001:db8::5]' "$url")"
for host in '::1' '[::1' '[::1]x' '[::1]:' '[::g]' '[1.2.3.4]'; do
  code=$(status -H "Host: $host" "$url")
  # RFC 3986 section 3.2.3 allows an empty port.
  [ "$host" = '[::1]:' ] && [ "$code" = 200 ] || equal "Host: $host" 400 "$code"
done
end_load
all_ok 2500
contains "the log: client" '"client_ip":"::1","peer":"\[::1\]:[0-9]+"' "$(<"$scratch/access.log")"

sed -i 's|^trusted_proxies = .*|trusted_proxies = ["::1/128"]|' "$scratch/routes.toml"
eventually "now it is trusted" 2 metric pointsman_config_generation
start_load 5 --address ::1
equal "from the trusted: appended" "2001:db8::7, ::1" "$(header x-forwarded-for -H 'X-Forwarded-For: 2001:db8::7' "$url")"
equal "from the trusted: appended" "for=\"[2001:db8::7]:4711\", for=\"[::1]\";host=\"[::1]:$port\";proto=http" \
  "$(header forwarded -H 'Forwarded: for="[2001:db8::7]:4711"' "$url")"
for hop in '2001:db8::8' '[2001:db8::8]' '[2001:db8::8]:4711' '2001:DB8:0::8'; do
  curl -sS -o /dev/null -H "X-Forwarded-For: $hop" "$url?xff"
  curl -sS -o /dev/null -H "Forwarded: for=\"$hop\"" "$url?forwarded"
done
end_load
all_ok 2000
told() { lines_of "$scratch/access.log" '"client_ip":"2001:db8::8"'; }
eventually "the client's address is found in each form" 8 told
