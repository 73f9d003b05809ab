#!/bin/sh
# Waits until a rollout has reached a stage, or is complete: `wait.sh ROLLOUT STAGE|complete LIMIT`. A rollout that is not there in
# time is held, so that no further stage begins while no pipeline watches. Ends with the code of `pointsman rollout wait`:
# 0 reached, 2 rolled back or killed, 3 held, 4 not in time, 1 no answer.
set -u
rollout=$1 stage=$2 limit=$3 code=0

say() {
  # An annotation in GitHub Actions, a line elsewhere.
  if [ -n "${GITHUB_ACTIONS:-}" ]; then echo "::error::$*"; else echo "ERROR: $*"; fi
}

pointsman rollout wait "$rollout" --until "$stage" --timeout "$limit" || code=$?
case $code in
  0) ;;
  2) say "$rollout is rolled back or killed: all callers have stable. Read 'pointsman rollout show $rollout'." ;;
  3) say "$rollout is held until a person resumes it: its share stays, its guards go on." ;;
  4)
    say "$rollout has not reached $stage within $limit. It is held; 'pointsman rollout resume $rollout' lets it go on."
    pointsman rollout hold "$rollout" --reason "the pipeline waited for $stage for $limit" --yes
    ;;
  *) say "no answer about $rollout: $code" ;;
esac
exit "$code"
