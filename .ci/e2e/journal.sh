#!/usr/bin/env bash
# The journal: `--verify` accepts it and finds a flipped bit; a proxy that starts with a damaged, cut, missing or newer journal
# serves, with at least the kills that were in force; the journal of another machine counts; a full file is replaced, and the
# chain goes on. `--replay` computes the decisions of guards again, and finds counts, evidence and records that do not fit. A second process on the same folder does not start and names the first.
source "$(dirname "$0")/lib.sh"
pointsman=$(realpath "$pointsman")
start_upstreams stable canary
state=$scratch/state

act() {
  (cd "$scratch" && timeout 20 "$pointsman" "$@" </dev/null)
}
verify() {
  act journal --dir "$state" --verify
}
# whole WHAT COMMAND…: the verification succeeds.
whole() {
  local what=$1 output
  shift
  output=$("$@" 2>&1) || fail "$what: $output"
  contains "$what" 'records' "$output"
}
killed() {
  [ "$(admin /v1/kill 2>/dev/null | grep -c "\"$1\"")" -gt 0 ] && echo yes
}
# run_on FOLDER: the proxy runs with a copy of this state folder.
run_on() {
  rm -rf "$state"
  cp -a "$1" "$state"
  start_proxy
}

# ---- two processes on one folder: the second waits half a minute, beside everything else
mkdir "$scratch/shared"
free_ports shared_port shared_admin_port other_port other_admin_port
for one in shared other; do
  declare -n its_port=${one}_port its_admin_port=${one}_admin_port
  cat >"$scratch/shared/$one.toml" <<TOML
schema = 1
admin = { address = "127.0.0.1:$its_admin_port", socket = "off" }
[[listener]]
address = "127.0.0.1:$its_port"
[[route]]
name = "all"
match = { path = "/*" }
respond = { status = 204 }
TOML
done
admin_port=$shared_admin_port
start_proxy run "$scratch/shared/shared.toml" --workers 1
first_pid=$proxy_pid
mv "$scratch/pointsman.log" "$scratch/first.log"
(
  code=0
  "$pointsman" run "$scratch/shared/other.toml" --workers 1 >"$scratch/second.log" 2>&1 || code=$?
  echo "$code" >"$scratch/second.code"
) &
second_pid=$!
pids+=("$second_pid")
admin_port=""

# ---- a whole journal
write_split 30 "[[route]]
name   = \"more\"
match  = { host = \"more.test\", path = \"/*\" }
stable = \"v1\"
canary = { upstream = \"v2\", weight = 50 }"
start_proxy
act kill --route all --reason "stays" --yes >/dev/null
act kill --variant more:canary --reason "goes" --yes >/dev/null
act kill --tenant acme --reason "stays, too" --yes >/dev/null
act revive --variant more:canary --reason "over" --yes >/dev/null
set_weight 30 31
eventually "an edit is in the journal" 1 bash -c "grep -c '\"reload\"' '$state/journal.jsonl'"
act kill --shadow none --reason "no such shadow" --yes >/dev/null 2>&1 && fail "a shadow that does not exist was killed"
whole "verify while it runs" act journal --verify
kill_now "$proxy_pid"
whole "verify after SIGKILL" verify
cp -a "$state" "$scratch/whole"
lines=$(wc -l <"$state/journal.jsonl")
within "records" 6 20 "$lines"
contains "filters by person" 'stays' "$(act journal --dir "$state" --who "$(id -un)")"

# ---- decisions of guards
replay() {
  act journal --dir "$state" --replay "$@"
}
contains "without decisions, all agree" 'all agree: 0 decisions' "$(replay)"
cp -a "$scratch/whole" "$scratch/released"
python3 "$here/release_records.py" "$scratch/released"
rm -rf "$state"; cp -a "$scratch/released" "$state"
whole "verify with decisions of guards" verify
contains "all agree" 'all agree: 3 decisions' "$(replay)"
contains "a row a decision" 'more:canary *errors *rollback *[0-9.]+ *[0-9.]+ *agrees' "$(replay)"
equal "as JSON" "True 3" "$(replay --json | json 'it["agree"], len(it["decisions"])' | tr -d '(),')"
contains "none since tomorrow" 'all agree: 0 decisions' "$(replay --since 2999-01-01)"
contains "a rollback is a line" 'errors \(guard\) +roll back more:canary \(v2\): errors 9.5 ' "$(act journal --dir "$state")"
contains "a resume is a line" 'ana \(token\) +resume all:canary \(v2\): mended' "$(act journal --dir "$state")"
for change in counts figure missing; do
  rm -rf "$state"; cp -a "$scratch/whole" "$state"
  python3 "$here/release_records.py" "$state" "$change"
  equal "the exit code of --replay with other $change" 1 "$(exit_code "$pointsman" journal --dir "$state" --replay)"
  contains "it says which: $change" 'differs:|cannot be replayed:' "$(replay 2>/dev/null || true)"
  contains "it says what to do: $change" 'help: .*--verify' "$(replay 2>&1 || true)"
  whole "verify with other $change" verify
done
run_on "$scratch/released"
eventually "a rollback from before is in the log" 1 grep -c 'rolled back before this start' "$scratch/pointsman.log"
kill_now "$proxy_pid"
whole "the chain goes on behind decisions of guards" verify
contains "the new file still agrees" 'all agree: 3 decisions' "$(replay)"

# ---- damage
cp -a "$scratch/whole" "$scratch/flipped"
python3 - "$scratch/flipped/journal.jsonl" <<'PY'
import sys
lines = open(sys.argv[1], "rb").read().split(b"\n")
at = lines[3].index(b"acme")
lines[3] = lines[3][:at] + bytes([lines[3][at] ^ 1]) + lines[3][at + 1 :]
open(sys.argv[1], "wb").write(b"\n".join(lines))
PY
run_on "$scratch/flipped"
eventually "the first kill, before the flipped bit" yes killed all
contains "the kill of the snapshot, behind it" 'yes' "$(killed acme)"
equal "the damage is a metric" 1 "$(metric pointsman_journal_damaged)"
contains "the log says where" 'journal.*:[45]' "$(<"$scratch/pointsman.log")"
within "the damaged file is kept" 1 1 "$(find "$state" -name '*.damaged*.jsonl' | wc -l)"
act kill --all --reason "in the new file" --yes >/dev/null
kill_now "$proxy_pid"
rm -rf "$state"; cp -a "$scratch/flipped" "$state"
equal "verify finds it" 1 "$(exit_code "$pointsman" journal --dir "$state" --verify)"
contains "and says where" 'journal.jsonl:[45]' "$(verify 2>&1 || true)"

cp -a "$scratch/whole" "$scratch/cut"
truncate -s -20 "$scratch/cut/journal.jsonl"
run_on "$scratch/cut"
eventually "a line that was cut: the kills before it" yes killed all
equal "a cut at the end is no damage" 0 "$(metric pointsman_journal_damaged)"
act kill --all --reason "behind the cut" --yes >/dev/null
kill_now "$proxy_pid"
whole "the chain goes on behind the cut" verify

cp -a "$scratch/whole" "$scratch/missing"
rm "$scratch/missing/journal.jsonl"
run_on "$scratch/missing"
eventually "no journal: the kills of the snapshot" yes killed all
equal "a missing journal is damage" 1 "$(metric pointsman_journal_damaged)"
kill_now "$proxy_pid"

cp -a "$scratch/whole" "$scratch/newer"
sed -i '$ s/"v":1/"v":5/' "$scratch/newer/journal.jsonl"
before=$(sha256sum <"$scratch/newer/journal.jsonl")
run_on "$scratch/newer"
eventually "a newer version: the kills before it" yes killed all
equal "the newer journal cannot be written" 0 "$(metric pointsman_journal_writable)"
answer=$(act kill --all --reason "beside a newer journal" --yes --json 2>"$scratch/alarm") || ended=$?
equal "its exit code" 5 "${ended:-0}"
contains "the command says why" 'NOT RECORDED.*newer|NOT RECORDED.*version 5' "$(<"$scratch/alarm")"
equal "a kill beside it is not on the disk" False "$(json 'it["durable"]' <<<"$answer")"
kill_now "$proxy_pid"
equal "the newer journal is as before" "$before" "$(sha256sum <"$state/journal.jsonl")"

if unshare --uts true 2>/dev/null; then
  rm -rf "$state"
  launch unshare --uts sh -c "hostname elsewhere && exec '$pointsman' run routes.toml --workers 1"
  eventually "a proxy on another machine" 200 status "http://127.0.0.1:$admin_port/readyz"
  act kill --route all --reason "elsewhere" --yes >/dev/null
  kill_now "$proxy_pid"
  start_proxy
  equal "the kill of the other machine" yes "$(killed all)"
  equal "the journal of another machine is no damage" 0 "$(metric pointsman_journal_damaged)"
  contains "the log says so" 'elsewhere' "$(<"$scratch/pointsman.log")"
  kill_now "$proxy_pid"
else
  not_checked "the journal of another machine: this user may not set a host name"
fi

# ---- a full file is replaced
run_on "$scratch/whole"
equal "kills that were answered as durable" 4320 "$(python3 "$here/many_kills.py" "$state/run/admin.sock" all 4320)"
within "full files" 1 2 "$(find "$state" -name 'journal-*.jsonl' | wc -l)"
within "bytes of the new file" 1 16800000 "$(stat -c %s "$state/journal.jsonl")"
whole "the chain goes over the files" act journal --verify
kill_now "$proxy_pid"
start_proxy
equal "the kills are in force after SIGKILL" yesyes "$(killed all)$(killed acme)"
whole "the chain after SIGKILL" act journal --verify
kill_now "$proxy_pid"

# ---- the second process
wait "$second_pid" || fail "the second process was not awaited"
equal "the exit code of a second process" 1 "$(<"$scratch/second.code")"
contains "it names the first" "$first_pid" "$(<"$scratch/second.log")"
equal "the first one serves" 204 "$(status "http://127.0.0.1:$shared_port/")"
