#!/usr/bin/env bash
# Whatever a client sends, a request is one line of the log, in either format, and reads back as it was sent; at 500
# requests a second.
source "$(dirname "$0")/faults.sh"
need curl python3
start_echo stable
start_echo canary
write_routes <<'TOML'
[identity]
trusted_proxies = ["127.0.0.0/8"]
tenant = ["header:x-tenant-id"]

[[route]]
name   = "all"
match  = { path = "/*" }
stable = "v1"
canary = { upstream = "v2", weight = 30 }
TOML
start_pointsman
start_load 5
python3 "$here/log_injection.py" send "$port" "$scratch/sent.json"
end_load
all_ok 2000
asked=$(($(of ok) + $(python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))))' "$scratch/sent.json")))
eventually "as many lines as requests" "$asked" lines_of "$scratch/access.log" .
python3 "$here/log_injection.py" json "$scratch/access.log" "$scratch/sent.json" || fail "the JSON log does not read back"
passed=$((passed + 1))

sed -i "s|^sink = .*|sink = \"$scratch/common.log\"\nformat = \"common\"|" "$scratch/routes.toml"
eventually "the other format" 2 metric pointsman_config_generation
start_load 5
python3 "$here/log_injection.py" send "$port" "$scratch/sent.json"
end_load
all_ok 2000
asked=$(($(of ok) + $(python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))))' "$scratch/sent.json")))
eventually "as many lines as requests, in the common format" "$asked" lines_of "$scratch/common.log" .
python3 "$here/log_injection.py" common "$scratch/common.log" "$scratch/sent.json" || fail "the common log does not read back"
passed=$((passed + 1))
