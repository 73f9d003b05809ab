#!/usr/bin/env bash
# WebSocket with the library `websockets` on both sides, over cleartext and TLS, and with a browser, which uses HTTP/2 over TLS
# (RFC 8441); a kill that closes streams; a drain with an open stream.
source "$(dirname "$0")/lib.sh"
need openssl
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
[ -n "$browser" ] || fail "no browser: install the package chromium"
python_packages websockets websockets websockets==17.4
tls_port=$(free_port)
self_signed "$scratch/leaf" localhost DNS:localhost,IP:127.0.0.1
start_service stable websocket.py serve stable
start_service canary websocket.py serve canary

routes() {
  write_routes <<TOML
[[listener]]
name    = "https"
address = "127.0.0.1:$tls_port"
[listener.tls]
certificates = [{ cert = "$scratch/leaf.crt", key = "$scratch/leaf.key" }]

[[route]]
name   = "ws"
match  = { path = "/ws/*" }
stable = "v1"
canary = { upstream = "v2", weight = 0 }
limits = { upgrade = ["websocket"] }
[[route.target]]
header = { x-canary = "1" }
serve  = "canary"

[[route]]
name   = "pages"
match  = { path = "/*" }
stable = "v1"
$*
TOML
}
routes
start_proxy run routes.toml --workers 1 --drain-deadline 2s

python_checks "the library over cleartext" websocket.py check "ws://127.0.0.1:$port/ws"
SSL_CERT_FILE=$scratch/leaf.crt python_checks "the library over TLS" websocket.py check "wss://localhost:$tls_port/ws"
# The version of curl may not support WebSocket; the headers alone ask for an upgrade.
upgrade=(-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' -H 'Sec-WebSocket-Version: 13')
equal "Upgrade is ignored where the route does not allow it" 200 "$(status --http1.1 "${upgrade[@]}" "http://127.0.0.1:$port/plain")"
equal "Upgrade: h2c is ignored" 200 "$(status --http2 "http://127.0.0.1:$port/plain")"

# browse NAME URL: opens a page and prints its report.
browse() {
  local before pid
  before=$(count_lines "$scratch/stable.log" '^report')
  timeout 90 "$browser" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
    --disable-background-networking --disable-extensions --ignore-certificate-errors --no-proxy-server \
    --user-data-dir="$scratch/$1" --remote-debugging-port=0 "$2" >"$scratch/$1.log" 2>&1 &
  pid=$!
  pids+=("$pid")
  for _ in $(seq 900); do
    [ "$(count_lines "$scratch/stable.log" '^report')" -gt "$before" ] && break
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  grep '^report' "$scratch/stable.log" | tail -n "+$((before + 1))" | tail -n 1
}
# opened PROTOCOL: how many WebSockets the log has.
opened() {
  grep '"event":"open"' "$scratch/access.log" | grep -c "\"protocol\":\"$1\"" || true
}
before=$(opened 'HTTP/1.1')
equal "a browser over HTTP/1.1" "report ok" "$(browse plain "http://127.0.0.1:$port/page")"
eventually "its WebSockets in the log" "$((before + 23))" opened 'HTTP/1.1'
equal "a browser over TLS" "report ok" "$(browse secure "https://localhost:$tls_port/page")"
eventually "its WebSockets in the log, over HTTP/2" 23 opened 'HTTP/2.0'
eventually "all are closed" 0 metric 'pointsman_upgrades_open{route="ws",variant="stable"}'

python3 "$here/websocket.py" keep "ws://127.0.0.1:$port/ws/echo" "" >"$scratch/on-stable" 2>&1 &
on_stable=$!
python3 "$here/websocket.py" keep "ws://127.0.0.1:$port/ws/echo" "x-canary:1" >"$scratch/on-canary" 2>&1 &
on_canary=$!
pids+=("$on_stable" "$on_canary")
eventually "one on the canary" 1 metric 'pointsman_upgrades_open{route="ws",variant="canary"}'
eventually "one on stable" 1 metric 'pointsman_upgrades_open{route="ws",variant="stable"}'
routes "[kill]
variants = [\"ws:canary\"]
close_streams = \"1s\""
begun=$SECONDS
wait "$on_canary" || true
equal "the kill cuts the canary's stream" cut "$(tail -n 1 "$scratch/on-canary")"
within "seconds from the kill to the cut" 1 4 "$((SECONDS - begun))"
equal "the stream of stable stays open" alive "$(tail -n 1 "$scratch/on-stable")"
equal "the cut is counted" 1 "$(metric pointsman_killed_streams_total)"

kill -TERM "$proxy_pid"
sleep 1
equal "the stream stays open in the drain" alive "$(tail -n 1 "$scratch/on-stable")"
wait "$proxy_pid" || true
wait "$on_stable" || true
equal "the drain's deadline cuts it" cut "$(tail -n 1 "$scratch/on-stable")"
contains "the last line of the proxy's log counts it" '"cut":1,"upgrades":1' "$(tail -n 1 "$scratch/pointsman.log")"
contains "the access log has the reason" '"event":"close".*' "$(grep '"drain_deadline"' "$scratch/access.log")"
