#!/usr/bin/env bash
# The pictures of the README and of docs/rollouts.md are screens of the real demo: the script that takes them works, and
# their frames say what they are to show.
source "$(dirname "$0")/lib.sh"
need python3
python_packages pyte pyte pyte

# frames PICTURE: a line for each frame.
frames() {
  python3 - "$1" <<'PY'
import sys, xml.etree.ElementTree as xml
svg = "{http://www.w3.org/2000/svg}"
for frame in xml.parse(sys.argv[1]).iter(f"{svg}g"):
    print(" | ".join("".join(text.itertext()) for text in frame.iter(f"{svg}text")))
PY
}

taken=$scratch/demo.svg
python3 "$here/../../docs/pictures/demo.py" "$pointsman" "$taken" || fail "the picture of the demo cannot be taken"
for picture in "$taken" "$here/../../docs/pictures/demo.svg"; do
  said=$(frames "$picture")
  equal "the frames of $(basename "$picture")" 4 "$(wc -l <<<"$said")"
  contains "the first frame" '\(set 10\).* 0 errors/s' "$(sed -n 1p <<<"$said")"
  contains "the second frame" 'shop canary 10 → 20.*\(set 20\)' "$(sed -n 2p <<<"$said")"
  contains "the third frame" 'canary rolled back after [0-9]\.[0-9] s .*by guard .*canary +0\.0 %' "$(sed -n 3p <<<"$said")"
  contains "the fourth frame" 'resumed shop:canary.*\(set 20\)' "$(sed -n 4p <<<"$said")"
done

taken=$scratch/rollout.svg
python3 "$here/../../docs/pictures/demo.py" "$pointsman" "$taken" --rollout || fail "the picture of a rollout cannot be taken"
for picture in "$taken" "$here/../../docs/pictures/rollout.svg"; do
  said=$(frames "$picture")
  equal "the frames of $(basename "$picture")" 6 "$(wc -l <<<"$said")"
  contains "the first frame" 'few 5 % .*next: quarter, 25 %, by itself' "$(sed -n 1p <<<"$said")"
  contains "the second frame" 'rolled back by errors in stage few, [0-9]\.[0-9] s after' "$(sed -n 2p <<<"$said")"
  contains "the third frame" 'quarter begins, 25 %' "$(sed -n 3p <<<"$said")"
  contains "the fourth frame" 'asks for an approval: tech-lead \(you\)' "$(sed -n 4p <<<"$said")"
  contains "the fifth frame" 'is approved: tech-lead by you' "$(sed -n 5p <<<"$said")"
  contains "the sixth frame" 'complete' "$(sed -n 6p <<<"$said")"
done
