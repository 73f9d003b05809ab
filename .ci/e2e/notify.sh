#!/usr/bin/env bash
# Notifications, end to end: a real Alertmanager shows the alerts of a rollout, which end with their cause; a webhook, the one of a
# team and a Slack hook get each event of the journal once by its key, in order and signed, although they are down for a while and
# the proxy is killed meanwhile, twice. Messages fit to what Slack and Alertmanager document. DOWN=600 keeps them down for ten
# minutes.
source "$(dirname "$0")/lib.sh"
pointsman=$(realpath "$pointsman")
docs=$(cd "$here/../../docs" && pwd)
python_packages pipelines check_jsonschema,yaml check-jsonschema==0.39.0 PyYAML
unpacked prometheus-alertmanager prometheus-alertmanager
need amtool unshare

secret=$(openssl rand -hex 32)
export HOOK_SECRET=$secret
free_ports receiver_port alertmanager_port port admin_port
# up: the receivers are there. down: their port refuses.
up() {
  rm -f "$scratch/receiver.port"
  PORT_FILE=$scratch/receiver.port python3 "$here/receiver.py" "$scratch/received" "$receiver_port" >>"$scratch/receiver.log" 2>&1 &
  receiver_pid=$!
  pids+=("$receiver_pid")
  wait_for_file "$scratch/receiver.port" "$receiver_pid" || fail "the receiver did not start: $(tail -n 3 "$scratch/receiver.log")"
}
down() { kill_now "$receiver_pid"; }
up

cat >"$scratch/alertmanager.yml" <<YML
route:
  receiver: none
receivers:
  - name: none
YML
# Debian's binary reads its templates from /usr/share. Where the package is only unpacked, it runs with another /usr/share.
templates=/usr/share/prometheus/alertmanager
alertmanager=(prometheus-alertmanager)
if [ ! -e "$templates/default.tmpl" ]; then
  binary=$(command -v prometheus-alertmanager)
  beside=$(dirname "$binary")/../share/prometheus/alertmanager
  [ -e "$beside/default.tmpl" ] || fail "no template in $beside"
  # shellcheck disable=SC2016
  alertmanager=(unshare --mount bash -c 'mount -t tmpfs none /usr/share && mkdir -p "$1" && cp -r "$0/." "$1" && shift && exec "$@"'
    "$(realpath "$beside")" "$templates" "$binary")
fi
"${alertmanager[@]}" --config.file="$scratch/alertmanager.yml" --storage.path="$scratch/alertmanager" --cluster.listen-address= \
  --web.listen-address="127.0.0.1:$alertmanager_port" >"$scratch/alertmanager.log" 2>&1 &
pids+=($!)
ready() { status "http://127.0.0.1:$alertmanager_port/-/ready"; }
eventually "Alertmanager runs" 200 ready || fail "$(tail -n 3 "$scratch/alertmanager.log")"
# alerts: the names of the active ones of the rollout or the configuration, without events that end by themselves.
alerts() {
  curl -sS "http://127.0.0.1:$alertmanager_port/api/v2/alerts?active=true" |
    json "' '.join(sorted(one['labels']['alertname'] for one in it if one['labels']['alertname'] in ('PointsmanRolledBack', 'PointsmanHeld',
      'PointsmanKilled', 'PointsmanApprovalAwaited', 'PointsmanConfigRejected')))"
}

start_echo stable
start_echo canary
write_routes <<TOML
[identity]
user = ["cookie:uid"]

[notify]
to     = ["webhook:http://127.0.0.1:$receiver_port/hook", "slack:http://127.0.0.1:$receiver_port/slack",
          "alertmanager:http://127.0.0.1:$alertmanager_port", "alertmanager:http://127.0.0.1:$receiver_port/am"]
secret = "\${HOOK_SECRET}"

[[route]]
name   = "checkout"
match  = { path = "/*" }
stable = "v1"
sticky = ["user", "client_ip"]
canary = { upstream = "v2", rollout = "checkout-v2" }

[rollout.checkout-v2]
approvers = { lead = ["ana"] }
notify    = ["webhook:http://127.0.0.1:$receiver_port/team"]
[[rollout.checkout-v2.stage]]
name         = "few"
weight       = 5
min_duration = "1s"
min_requests = 20
[[rollout.checkout-v2.stage]]
name         = "half"
weight       = 50
min_requests = 20
approve      = ["lead"]
[[rollout.checkout-v2.stage]]
name         = "all"
weight       = 100
min_requests = 20
TOML
sed -i "s|^\[upstream.v2\]|&\nrevision = \"1.0\"|; s|^address = \"127.0.0.1:$admin_port\"|&\ntokens = \"tokens.toml\"|" "$scratch/routes.toml"
act() { (cd "$scratch" && timeout 60 "$pointsman" "$@" </dev/null); }
act token new ana --role approver:lead --role viewer --json >"$scratch/minted"
json "it['token']" <"$scratch/minted" >"$scratch/ana.token"
json "it['toml']" <"$scratch/minted" >"$scratch/tokens.toml"
state() { act rollout show checkout-v2 --json | json "it.get('doing') or it['state']"; }
# got PATH EVENT: how many messages about it arrived.
got() {
  python3 - "$scratch/received" "$@" <<'PYTHON'
import json, pathlib, sys
lines = [json.loads(line) for line in pathlib.Path(sys.argv[1]).read_text().splitlines()] if pathlib.Path(sys.argv[1]).exists() else []
print(len({one["headers"]["idempotency-key"] for one in lines if one["path"] == sys.argv[2] and json.loads(one["body"]).get("event") == sys.argv[3]}))
PYTHON
}
checked=$(act check routes.toml 2>&1) || fail "the file is not valid: $checked"
start_proxy
start_load --failing

echo "-- test messages"
act notify test >"$scratch/out" || fail "notify test: $(<"$scratch/out")"
sed 's/^/   /' "$scratch/out"
equal "each receiver has a line" 5 "$(grep -c '✓' "$scratch/out")"
equal "the webhook got it" 1 "$(got /hook test)"
shown=$(act notify ls)
contains "the list has the receivers" "webhook:127.0.0.1:$receiver_port" "$shown"
for path in /hook /slack /team; do
  case "$shown" in *"$path"*) fail "the list has the path $path of a URL: $shown" ;; esac
done
curl -sS -o /dev/null "http://127.0.0.1:$receiver_port/answer/team/500"
code=0
act notify test >"$scratch/out" 2>&1 || code=$?
equal "the exit code where one answers with an error" 1 "$code"
equal "the others got it" 4 "$(grep -c '✓' "$scratch/out")"
curl -sS -o /dev/null "http://127.0.0.1:$receiver_port/answer/team/200"

python_checks "docs/notifications.md" documents.py "$pointsman" "$scratch" "" "$docs/notifications.md"

echo "-- alerts"
eventually "it asks for an approval" awaiting_approval state
eventually "Alertmanager shows it" PointsmanApprovalAwaited alerts
eventually "the team heard of it" 1 got /team ask
contains "amtool shows it" 'checkout-v2' "$(amtool alert query --alertmanager.url="http://127.0.0.1:$alertmanager_port" alertname=PointsmanApprovalAwaited -o extended)"

echo "-- receivers are down for ${DOWN:=8} s, and the proxy is killed twice"
down
downed=$(now_ms)
curl -sS -o /dev/null "http://127.0.0.1:$canary_port/fails/100"
eventually "it is rolled back" rolled_back state
curl -sS -o /dev/null "http://127.0.0.1:$canary_port/fails/0"
eventually "Alertmanager shows the rollback, and the approval is over" PointsmanRolledBack alerts
contains "the list shows what waits" 'webhook' "$(act notify ls)"
kill_now "$proxy_pid"
start_proxy
equal "it is still rolled back" rolled_back "$(state)"
act rollout resume checkout-v2 --reason "it is repaired" --yes >/dev/null
still() { case " $(alerts) " in *" PointsmanRolledBack "*) echo yes ;; *) echo no ;; esac; }
eventually "the alert of the rollback ends with the resume" no still
act kill --rollout checkout-v2 --reason "a drill: <!channel> & \"quotes\"" --yes >/dev/null
eventually "Alertmanager shows the kill" yes bash -c "$(declare -f alerts json); alertmanager_port=$alertmanager_port; case \" \$(alerts) \" in *\" PointsmanKilled \"*) echo yes ;; esac"
kill_now "$proxy_pid"
start_proxy
act revive --rollout checkout-v2 --resume --reason "over" --yes >/dev/null
left=$((DOWN * 1000 - ($(now_ms) - downed)))
[ "$left" -le 0 ] || sleep "$((left / 1000)).$(printf '%03d' $((left % 1000)))"
up
returned=$(now_ms)
pending() { act notify ls --json | json "sum(one['pending'] for one in it['receivers'])"; }
# The next try of a receiver that is back may be as late as it was down.
for _ in $(seq $((DOWN + 40))); do
  [ "$(pending)" != 0 ] || break
  sleep 1
done
equal "nothing waits any more" 0 "$(pending)"
echo "   all have arrived $(($(now_ms) - returned)) ms after the receivers were back"
equal "the rollback" 1 "$(got /hook rollback)"
equal "the rollback, for the team" 1 "$(got /team rollback)"
equal "the kill" 1 "$(got /hook kill)"
eventually "all conditions are over, or it asks again" yes bash -c "$(declare -f alerts json); alertmanager_port=$alertmanager_port; case \"\$(alerts)\" in '' | PointsmanApprovalAwaited) echo yes ;; esac"

echo "-- killed while a slow receiver has a message"
eventually "it asks again" awaiting_approval state
for path in hook team slack; do curl -sS -o /dev/null "http://127.0.0.1:$receiver_port/answer/$path/slow"; done
act rollout hold checkout-v2 --reason "a look" --yes >/dev/null
act rollout resume checkout-v2 --reason "seen" --yes >/dev/null
sleep 1.3
kill_now "$proxy_pid"
start_proxy
eventually "it still asks" awaiting_approval state
act rollout approve checkout-v2 --token-file ana.token >/dev/null || fail "an approval"
act rollout wait checkout-v2 --until complete --timeout 30s >/dev/null || fail "it is not complete"
for path in hook team slack; do curl -sS -o /dev/null "http://127.0.0.1:$receiver_port/answer/$path/200"; done

echo "-- a rejected file"
cp "$scratch/routes.toml" "$scratch/valid.toml"
echo 'nmae = "typo"' >>"$scratch/routes.toml"
eventually "Alertmanager shows it" PointsmanConfigRejected alerts
cp "$scratch/valid.toml" "$scratch/routes.toml"
eventually "it ends with its cause" "" alerts
eventually "the webhook heard of both" "1 1" bash -c "$(declare -f got); scratch=$scratch; echo \$(got /hook config_rejected) \$(got /hook config_applied)"
eventually "nothing waits" 0 pending
end_load 0
contains "metrics count them" '^pointsman_notifications_total\{.*outcome="sent".*\} [1-9]' \
  "$(curl -sS -H "Authorization: Bearer $(<"$scratch/ana.token")" "http://127.0.0.1:$admin_port/metrics")"
act journal --limit 1000 --json >"$scratch/records"
python_checks "what the receivers got" notify_check.py "$scratch/received" "$scratch/records" "$secret" "$docs/notifications.md"
if grep -q "$secret" "$scratch/pointsman.log" "$scratch/state/outbox.json"; then fail "the secret is in the log or in the outbox"; fi
contains "Alertmanager refused nothing" '^0$' "$(curl -sS "http://127.0.0.1:$alertmanager_port/metrics" |
  awk '/^alertmanager_alerts_invalid_total/ { n += $2 } END { print n + 0 }')"
