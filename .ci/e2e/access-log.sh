#!/usr/bin/env bash
# Each request is one line of the access log in both formats, and its fields read back as the client sent them, at 500
# requests a second.
source "$(dirname "$0")/lib.sh"
start_echo stable
start_echo canary
write_split 30 '
[identity]
trusted_proxies = ["127.0.0.0/8"]
tenant = ["header:x-tenant-id"]'
start_proxy
# check_log FORMAT FILE
check_log() {
  start_load
  python3 "$here/log_injection.py" send "$port" "$scratch/sent.json"
  end_load 1
  all_ok
  eventually "one line a request: $1" $(($(requests ok) + $(json 'len(it)' <"$scratch/sent.json"))) count_lines "$2" .
  python3 "$here/log_injection.py" "$1" "$2" "$scratch/sent.json" || fail "the log does not read back: $1"
  passed=$((passed + 1))
}
check_log json "$scratch/access.log"
sed -i "s|^sink = .*|sink = \"$scratch/common.log\"\nformat = \"common\"|" "$scratch/routes.toml"
eventually "the other format is active" 2 metric pointsman_config_generation
check_log common "$scratch/common.log"
