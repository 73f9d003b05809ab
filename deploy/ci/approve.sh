#!/bin/sh
# Approves a stage of a rollout once it asks: `approve.sh ROLLOUT STAGE ROLE REASON`. An approval counts from the moment when all
# else holds, so this waits for that moment, at most APPROVE_LIMIT seconds, by default an hour. Ends with 0 when it has approved,
# or when the rollout is past the stage; with 2 when it is held, killed or rolled back meanwhile; 4 when it has not asked in time.
set -u
rollout=$1 stage=$2 role=$3 reason=$4
end=$(($(date +%s) + ${APPROVE_LIMIT:-3600}))

# field NAME: a field of the rollout itself. The JSON is indented: fields of its parts have more spaces before them.
field() { printf '%s\n' "$shown" | sed -n "s/^  \"$1\": \"\\(.*\\)\",\\{0,1\\}\$/\\1/p"; }
# place: `done`, `current` or `ahead`: where the stage is.
place() {
  printf '%s\n' "$shown" | awk -v wanted="$stage" '
    /^    \{/ { name = place = "" }
    /^      "name": / { name = $0; sub(/^[^:]*: "/, "", name); sub(/",?$/, "", name) }
    /^      "place": / { place = $2; gsub(/[",]/, "", place) }
    /^    \}/ && name == wanted && place != "" { print place; exit }'
}

while :; do
  shown=$(pointsman rollout show "$rollout" --json) || exit 1
  where=$(place)
  case $(field state)/$(field doing)/$(field stage) in
    running/awaiting_approval/"$stage") break ;;
    rolled_back/* | killed/* | held/*)
      echo "$rollout asks for no approval: pointsman rollout show $rollout"
      exit 2
      ;;
    complete/*) where=done ;;
  esac
  case $where in
    done)
      echo "$rollout is past the stage $stage: nothing to approve"
      exit 0
      ;;
    '')
      echo "$rollout has no stage $stage: pointsman rollout show $rollout"
      exit 2
      ;;
  esac
  if [ "$(date +%s)" -ge "$end" ]; then
    echo "$rollout has not asked for an approval of $stage in time: pointsman rollout show $rollout"
    exit 4
  fi
  sleep "${POLL:-5}"
done
pointsman rollout approve "$rollout" --as "$role" --reason "$reason"
