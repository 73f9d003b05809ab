#!/usr/bin/env bash
# An IPv6 listener at 500 requests a second: addresses have brackets where the grammar requires them, and only there.
source "$(dirname "$0")/lib.sh"
if ! python3 -c 'import socket; socket.socket(socket.AF_INET6).bind(("::1", 0))' 2>/dev/null; then
  not_checked "IPv6: this machine has no ::1"
  exit 0
fi
start_echo stable
start_echo canary
seen_port=""
start_upstreams seen
write_split 30 "
[upstream.seen]
endpoints = [\"http://127.0.0.1:$seen_port\"]

[identity]
trusted_proxies = [\"192.0.2.1\"]

[[route]]
name   = \"seen\"
match  = { path = \"/headers\" }
stable = \"seen\""
# The same port with IPv4 and IPv6, each with its own listener.
sed -i "s|^address = \"127.0.0.1:$port\"|address = \"127.0.0.1:$port\"\n\n[[listener]]\naddress = \"[::1]:$port\"|" "$scratch/routes.toml"
start_proxy
start_load --address ::1
url="http://[::1]:$port/headers"
equal "X-Forwarded-For has no brackets" "::1" "$(seen_header x-forwarded-for "$url")"
equal "Forwarded has brackets and quotes" "for=\"[::1]\";host=\"[::1]:$port\";proto=http" "$(seen_header forwarded "$url")"
equal "Host is preserved" "[::1]:$port" "$(seen_header host "$url")"
equal "X-Forwarded-Host" "[::1]:$port" "$(seen_header x-forwarded-host "$url")"
equal "X-Forwarded-Port" "$port" "$(seen_header x-forwarded-port "$url")"
equal "IPv4 has no brackets" "for=127.0.0.1;host=\"127.0.0.1:$port\";proto=http" "$(seen_header forwarded "http://127.0.0.1:$port/headers")"
equal "an untrusted X-Forwarded-For is replaced" "::1" "$(seen_header x-forwarded-for -H 'X-Forwarded-For: 2001:db8::7' "$url")"
equal "an untrusted Forwarded is replaced" "for=\"[::1]\";host=\"[::1]:$port\";proto=http" \
  "$(seen_header forwarded -H 'Forwarded: for="[2001:db8::7]:4711"' "$url")"
equal "a host without a port" 'for="[::1]";host="[2001:db8::5]";proto=http' "$(seen_header forwarded -H 'Host: [2001:db8::5]' "$url")"
for host in '::1' '[::1' '[::1]x' '[::1]:' '[::g]' '[1.2.3.4]'; do
  code=$(status -H "Host: $host" "$url")
  # RFC 3986 section 3.2.3 allows an empty port.
  [ "$host" = '[::1]:' ] && [ "$code" = 200 ] || equal "Host: $host" 400 "$code"
done
end_load 1
all_ok
contains "the log has the client" '"client_ip":"::1","peer":"\[::1\]:[0-9]+"' "$(<"$scratch/access.log")"

sed -i 's|^trusted_proxies = .*|trusted_proxies = ["::1/128"]|' "$scratch/routes.toml"
eventually "the client is a trusted proxy" 2 metric pointsman_config_generation
start_load --address ::1
equal "a trusted X-Forwarded-For is extended" "2001:db8::7, ::1" "$(seen_header x-forwarded-for -H 'X-Forwarded-For: 2001:db8::7' "$url")"
equal "a trusted Forwarded is extended" "for=\"[2001:db8::7]:4711\", for=\"[::1]\";host=\"[::1]:$port\";proto=http" \
  "$(seen_header forwarded -H 'Forwarded: for="[2001:db8::7]:4711"' "$url")"
for hop in '2001:db8::8' '[2001:db8::8]' '[2001:db8::8]:4711' '2001:DB8:0::8'; do
  curl -sS -o /dev/null -H "X-Forwarded-For: $hop" "$url?xff"
  curl -sS -o /dev/null -H "Forwarded: for=\"$hop\"" "$url?forwarded"
done
end_load 1
all_ok
eventually "the log has the client's address in one form" 8 count_lines "$scratch/access.log" '"client_ip":"2001:db8::8"'
