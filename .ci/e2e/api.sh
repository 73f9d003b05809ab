#!/usr/bin/env bash
# The admin API: schemathesis derives calls from /v1/openapi.json, good and bad ones, and checks every answer against it;
# then foreign hosts and sites, tokens that are not valid, huge and deep bodies, 100 operators at once.
source "$(dirname "$0")/lib.sh"

need curl sha256sum
python_packages schemathesis schemathesis schemathesis==4.32.5
schemathesis=(python3 -m schemathesis.cli)

sha256() { printf '%s' "$1" | sha256sum | cut -d' ' -f1; }

# token NAME ROLE [LINE]: the secret is the name.
token() {
  printf '[[token]]\nname = "%s"\nroles = ["%s"]\nsha256 = "%s"\n%s\n' "$1" "$2" "$(sha256 "$1")" "${3:-}"
}

{
  token operator operator
  token viewer viewer
  token expired operator 'expires = 2020-01-01'
} >"$scratch/tokens.toml"
stable_port=1 canary_port=2
write_split 50
sed -i 's/^\[admin\]$/[admin]\ntokens = "tokens.toml"/' "$scratch/routes.toml"
start_proxy
url=http://127.0.0.1:$admin_port
socket=$scratch/state/run/admin.sock

# act PATH TOKEN BODY [CURL-ARGUMENTS…]: the status and the kind of problem.
act() {
  curl -sS --max-time 30 -X POST -H "Authorization: Bearer $2" -H 'Content-Type: application/json' -w '\n%{http_code}' \
    "${@:4}" -d "$3" "$url$1" >"$scratch/answer" || true
  # A body of binary zeros is not printed.
  tail -n 1 "$scratch/answer" | tr -d '\n'
  grep -oE 'urn:pointsman:problem:[a-z-]+' "$scratch/answer" | head -n 1 | sed 's/.*:/ /' || true
}

kill_body='{"route": "all", "reason": "a test"}'

# ---- calls from the document

# Not /v1/events, whose answer does not end; not /explain, whose parameters have the grammar of the command; not
# /v1/history, which needs one of two parameters; not signing in, where wrong tokens wait.
curl -sS -H 'Authorization: Bearer operator' "$url/v1/openapi.json" -o "$scratch/openapi.json"
if ! timeout 120 "${schemathesis[@]}" run "$scratch/openapi.json" --url "$url" -H 'Authorization: Bearer operator' \
  --exclude-path /v1/events --exclude-path /explain --exclude-path /v1/history --exclude-operation-id post_v1_session \
  --phases examples,coverage,fuzzing --max-examples 20 --seed 1 --max-time 45 --request-timeout 20 \
  --no-color >"$scratch/schemathesis.log" 2>&1; then
  sed -n '/FAILURES/,$p' "$scratch/schemathesis.log" | head -n 80
  fail "schemathesis: $(tail -n 3 "$scratch/schemathesis.log")"
fi
passed=$((passed + 1))
stop_proxy
rm -rf "$scratch/state"
start_proxy

# ---- tokens, hosts, sites

equal "an operator kills" "200" "$(act /v1/kill operator "$kill_body")"
equal "a viewer does not" "403 role-missing" "$(act /v1/kill viewer "$kill_body")"
equal "a wrong token" "401 token-unknown" "$(act /v1/kill wrong "$kill_body")"
equal "an expired token" "401 token-expired" "$(act /v1/kill expired "$kill_body")"
equal "a foreign Host" "403 host-not-served" "$(act /v1/kill operator "$kill_body" -H 'Host: evil.example')"
contains "its refusal has the line to add" 'hosts = \[' "$(<"$scratch/answer")"
equal "a foreign Origin" "403 other-site" "$(act /v1/kill operator "$kill_body" -H 'Origin: https://evil.example')"
equal "a cross-site call" "403 other-site" "$(act /v1/kill operator "$kill_body" -H 'Sec-Fetch-Site: cross-site')"
equal "a form" "415 media-type" \
  "$(act /v1/kill operator "$kill_body" -H 'Content-Type: application/x-www-form-urlencoded')"

# ---- bodies

truncate -s 1G "$scratch/huge"
# upload [CURL-ARGUMENTS…]: a body of 1 GiB.
upload() {
  curl -sS --max-time 30 -X POST -H 'Authorization: Bearer operator' -H 'Content-Type: application/json' \
    -w '\n%{http_code}' "$@" "$url/v1/kill" 2>/dev/null | grep -aoE 'urn:pointsman:problem:[a-z-]+' || true
}
before=$(memory_mib VmRSS)
equal "a body of 1 GiB" "urn:pointsman:problem:body-too-large" "$(upload -T "$scratch/huge")"
upload_in_chunks() { upload -T - <"$scratch/huge"; }
# Curl may see the end of the connection while it still sends, and loses the answer.
eventually "the same in chunks" "urn:pointsman:problem:body-too-large" upload_in_chunks
within "the memory for them, in MiB" -64 64 $(($(memory_mib VmRSS) - before))
rm -f "$scratch/huge"
python3 -c 'print("[" * 10000 + "]" * 10000)' >"$scratch/deep"
equal "JSON of 10 000 levels" "400 bad-body" "$(act /v1/kill operator "@$scratch/deep")"

# ---- the same call again, and 100 operators at once

one=$(act /v1/kill operator "$kill_body" -H 'Idempotency-Key: one' && json 'it["record"]["seq"]' < <(sed '$d' "$scratch/answer"))
again=$(act /v1/kill operator "$kill_body" -H 'Idempotency-Key: one' && json 'it["record"]["seq"]' < <(sed '$d' "$scratch/answer"))
equal "the same key is the same record" "$one" "$again"
equal "the same key with another call" "409 key-reused" \
  "$(act /v1/kill operator '{"route": "all", "reason": "other"}' -H 'Idempotency-Key: one')"
equal "an act on an old state" "409 stale" "$(act /v1/kill operator '{"route": "all", "reason": "late", "expect": 1}')"

for n in $(seq 100); do
  printf 'next\nurl = "%s/v1/kill"\nrequest = "POST"\nheader = "Authorization: Bearer operator"\n' "$url"
  printf 'header = "Content-Type: application/json"\ndata = "{\\"tenant\\": \\"t%s\\", \\"reason\\": \\"operator %s\\"}"\n' "$n" "$n"
  printf 'output = "%s/many.%s"\nwrite-out = "%%{http_code}\\n"\n' "$scratch" "$n"
done | sed 1d >"$scratch/many"
equal "100 operators at once" "100 200" \
  "$(curl -sS --no-progress-meter --parallel --parallel-immediate --parallel-max 100 --max-time 60 -K "$scratch/many" 2>/dev/null | sort | uniq -c | xargs)"
count() { curl -sS -H 'Authorization: Bearer viewer' "$url/v1/kill" | json 'len(it["kills"])'; }
equal "each of them counts" 101 "$(count)"

# ---- the socket, events, six failures

equal "the socket needs no token" 200 "$(curl -sS --unix-socket "$socket" -o /dev/null -w '%{http_code}' http://localhost/v1/kill)"
curl -sSN --max-time 60 -H 'Authorization: Bearer viewer' "$url/v1/events?after=0" >"$scratch/events" 2>/dev/null &
events_pid=$!
act_events() { grep -c '"reason":"operator' "$scratch/events" || true; }
for _ in $(seq 300); do
  [ "$(act_events)" -lt 100 ] || break
  sleep 0.1
done
kill "$events_pid" 2>/dev/null || true
wait "$events_pid" 2>/dev/null || true
equal "every act is an event" 100 "$(act_events)"
# On a busy machine the first failures are more than a minute old when the sixth comes.
waited_ms=0
for _ in $(seq 12); do
  from=$(now_ms)
  equal "a failure" "401 token-unknown" "$(act /v1/kill guess "$kill_body")"
  waited_ms=$(($(now_ms) - from))
  [ "$waited_ms" -lt 1000 ] || break
done
within "one after the fifth waits, in ms" 1000 20000 "$waited_ms"

# ---- after kill -9

kill_now "$proxy_pid"
start_proxy
equal "the kills are in force again" 101 "$(count)"
stop_proxy
[ ! -e "$socket" ] || fail "the socket is left behind"
