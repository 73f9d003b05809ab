#!/usr/bin/env bash
# Services that are released together, each behind a proxy of its own: `several-proxies.sh STAGE|complete LIMIT ROLLOUT@ADMIN…`,
# such as `several-proxies.sh complete 5h cart-v2@http://10.0.0.1:9900 search-v2@http://10.0.0.2:9900`. Waits for all. When one is
# rolled back or killed, the others are rolled back; when one is held, the others are held; when one is late, all are held. Ends
# with the code of the first that did not get there. It needs bash 5.1.
set -u
stage=$1 limit=$2
shift 2

declare -A waiting
for one in "$@"; do
  pointsman rollout wait "${one%%@*}" --admin "${one#*@}" --until "$stage" --timeout "$limit" &
  waiting[$!]=$one
done
while [ ${#waiting[@]} -gt 0 ]; do
  code=0
  wait -n -p ended "${!waiting[@]}" || code=$?
  first=${waiting[$ended]}
  unset "waiting[$ended]"
  [ "$code" -ne 0 ] || continue
  act=hold
  [ "$code" -ne 2 ] || act=rollback
  for one in "$@"; do
    # The first one stands still by itself, unless it is only late.
    [ "$one" != "$first" ] || [ "$code" -eq 4 ] || continue
    pointsman rollout "$act" "${one%%@*}" --admin "${one#*@}" --reason "released together with ${first%%@*}, which ended with $code" --yes ||
      echo "ERROR: ${one#*@} refuses it or does not answer. Do it by hand: pointsman rollout $act ${one%%@*} --admin ${one#*@}" >&2
  done
  [ ${#waiting[@]} -eq 0 ] || kill "${!waiting[@]}" 2>/dev/null
  exit "$code"
done
