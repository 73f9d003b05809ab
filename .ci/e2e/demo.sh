#!/usr/bin/env bash
# `demo --rollout`. Without a terminal it goes by itself: stages, a fault, a rollback within a second, a resume, an approval,
# complete; and ends with 0. In a terminal the keys do the same, and a second terminal approves with the token of the demo.
source "$(dirname "$0")/lib.sh"
pointsman=$(realpath "$pointsman")

said() { cat "$scratch/demo.log"; }
code=0
(cd "$scratch" && timeout 150 "$pointsman" demo --rollout --port 0 --admin-port 0 --dir "$scratch/demo") \
  >"$scratch/demo.log" 2>&1 </dev/null || code=$?
equal "the exit code of a demo that goes by itself" 0 "$code" || said
contains "a link to the dashboard" '^  dashboard  http://127.0.0.1:[0-9]+/sign-in#link=' "$(said)"
contains "the first stage" '^shop-v2 in stage few: 5 %' "$(said)"
contains "the second stage" '^stage few is passed after [0-9]+ s: quarter begins, 25 %' "$(said)"
contains "the rollback, its stage and its evidence" \
  '^shop-v2 is rolled back by errors in stage quarter, [0-9.]+ s after the fault began .*callers of [0-9]' "$(said)"
contains "the resume" '^shop-v2 goes on in stage quarter' "$(said)"
contains "the approval" '^stage quarter is approved: tech-lead by you' "$(said)"
contains "the last stage" 'all begins, 100 %' "$(said)"
contains "the edit that remains" 'stable = "shop-v2"' "$(said)"
grep '^shop-v2 is rolled back' "$scratch/demo.log" | sed 's/^/   /'
tenths=$(grep -oE 'stage quarter, [0-9]+\.[0-9] s after' "$scratch/demo.log" | tr -dc '0-9')
within "tenths of a second from the fault to the rollback" 0 30 "$((10#$tenths))"
equal "the token is its owner's alone" 600 "$(stat -c %a "$scratch/demo/you.token")"
"$pointsman" journal --dir "$scratch/demo/state" --verify >"$scratch/verified" || fail "the journal: $(<"$scratch/verified")"
"$pointsman" journal --dir "$scratch/demo/state" --replay >"$scratch/replayed" || fail "the journal: $(<"$scratch/replayed")"

python3 "$here/demo_keys.py" "$pointsman" "$scratch/keys" >"$scratch/keys.log" 2>&1 || fail "keys: $(<"$scratch/keys.log")"
sed 's/^/   /' "$scratch/keys.log"
passed=$((passed + 1))
