#!/usr/bin/env bash
# WebSocket with a real library on both sides, over cleartext and TLS, and from a browser, which speaks HTTP/2 to us where
# it can (RFC 8441); a kill that closes streams; a drain with one of them open.
source "$(dirname "$0")/lib.sh"
need curl python3 openssl
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
[ -n "$browser" ] || fail "no browser: install the package chromium"
python_packages websockets websockets websockets==17.4

start_websocket() {
  local name=$1
  python3 "$here/websocket.py" serve "$name" "$scratch/$name.port" >"$scratch/$name.log" 2>&1 &
  pids+=($!)
  for _ in $(seq 100); do [ -s "$scratch/$name.port" ] && break; sleep 0.05; done
  [ -s "$scratch/$name.port" ] || fail "the upstream $name did not start: $(cat "$scratch/$name.log")"
  printf -v "${name}_port" '%s' "$(cat "$scratch/$name.port")"
}

tls_port=$(free_port)
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
  -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -keyout "$scratch/key.pem" -out "$scratch/cert.pem" 2>/dev/null
start_websocket stable
start_websocket canary

routes() {
  write_routes <<TOML
[[listener]]
name    = "https"
address = "127.0.0.1:$tls_port"
[listener.tls]
certificates = [{ cert = "$scratch/cert.pem", key = "$scratch/key.pem" }]

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
run_options="--drain-deadline 4s"
start_pointsman

said=$(timeout 60 python3 "$here/websocket.py" try "ws://127.0.0.1:$port/ws") || fail "the client says: $said"
contains "everything a client can do" '200 at a time: ok' "$said"
said=$(cd "$scratch" && SSL_CERT_FILE="$scratch/cert.pem" timeout 60 python3 "$here/websocket.py" try "wss://localhost:$tls_port/ws") ||
  fail "the client says over TLS: $said"
contains "everything a client can do, over TLS" '200 at a time: ok' "$said"
# curl does not read WebSocket's frames here; the switch is what counts.
asks=(-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' -H 'Sec-WebSocket-Version: 13')
equal "an upgrade where none is allowed is ignored" 200 "$(status --http1.1 "${asks[@]}" "http://127.0.0.1:$port/plain")"
equal "Upgrade: h2c is ignored" 200 "$(status --http2 "http://127.0.0.1:$port/plain")"

# browse NAME URL: opens a page and gives its report.
browse() {
  local before
  before=$(grep -c '^report' "$scratch/stable.log" || true)
  timeout 90 "$browser" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
    --disable-background-networking --disable-extensions --ignore-certificate-errors --no-proxy-server \
    --user-data-dir="$scratch/$1" --remote-debugging-port=0 "$2" >"$scratch/$1.log" 2>&1 &
  local pid=$!
  pids+=("$pid")
  for _ in $(seq 300); do
    [ "$(grep -c '^report' "$scratch/stable.log" || true)" -gt "$before" ] && break
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  grep '^report' "$scratch/stable.log" | tail -n "+$((before + 1))" | tail -n 1
}
# opened PROTOCOL: how many WebSockets were opened so.
opened() {
  grep '"event":"open"' "$scratch/access.log" | grep -c "\"protocol\":\"$1\"" || true
}
before=$(opened 'HTTP/1.1')
equal "a browser, over HTTP/1.1" "report ok" "$(browse plain "http://127.0.0.1:$port/page")"
eventually "its WebSockets in the log" "$((before + 23))" opened 'HTTP/1.1'
equal "a browser, over TLS" "report ok" "$(browse secure "https://localhost:$tls_port/page")"
eventually "its WebSockets in the log, over HTTP/2" 23 opened 'HTTP/2.0'
eventually "all are closed" 0 metric 'pointsman_upgrades_open{route="ws",variant="stable"}'

python3 "$here/websocket.py" hold "ws://127.0.0.1:$port/ws/echo" "" 100 >"$scratch/on-stable" 2>&1 &
stable_pid=$!
python3 "$here/websocket.py" hold "ws://127.0.0.1:$port/ws/echo" "x-canary:1" 100 >"$scratch/on-canary" 2>&1 &
canary_pid=$!
pids+=("$stable_pid" "$canary_pid")
eventually "one on the canary" 1 metric 'pointsman_upgrades_open{route="ws",variant="canary"}'
eventually "one on stable" 1 metric 'pointsman_upgrades_open{route="ws",variant="stable"}'
routes "[kill]
variants = [\"ws:canary\"]
close_streams = \"1s\""
begun=$SECONDS
wait "$canary_pid" || true
equal "the kill" cut "$(tail -n 1 "$scratch/on-canary")"
within "seconds from the kill to the cut" 1 4 "$((SECONDS - begun))"
equal "stable goes on" alive "$(tail -n 1 "$scratch/on-stable")"
equal "it is counted" 1 "$(metric pointsman_killed_streams_total)"

kill -TERM "$pointsman_pid"
sleep 2
equal "a drain leaves it" alive "$(tail -n 1 "$scratch/on-stable")"
code=0
wait "$pointsman_pid" || code=$?
wait "$stable_pid" || true
equal "until the deadline" cut "$(tail -n 1 "$scratch/on-stable")"
contains "the last line tells of it" '"cut":1,"upgrades":1' "$(tail -n 1 "$scratch/pointsman.log")"
contains "and so does the log" '"event":"close".*' "$(grep '"drain_deadline"' "$scratch/access.log")"
