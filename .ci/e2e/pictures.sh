#!/usr/bin/env bash
# The picture of the README is a screen of the real demo: the script that takes it works, and its frames say what they
# are to show.
source "$(dirname "$0")/lib.sh"
need python3
python_packages pyte pyte pyte

taken=$scratch/demo.svg
python3 "$here/../../docs/pictures/demo.py" "$pointsman" "$taken" || fail "the picture of the demo cannot be taken"
for picture in "$taken" "$here/../../docs/pictures/demo.svg"; do
  said=$(python3 - "$picture" <<'PY'
import sys, xml.etree.ElementTree as xml
svg = "{http://www.w3.org/2000/svg}"
for frame in xml.parse(sys.argv[1]).iter(f"{svg}g"):
    print(" | ".join("".join(text.itertext()) for text in frame.iter(f"{svg}text")))
PY
)
  equal "the frames of $(basename "$picture")" 4 "$(wc -l <<<"$said")"
  contains "the first frame" '\(set 10\).* 0 errors/s' "$(sed -n 1p <<<"$said")"
  contains "the second frame" 'shop canary 10 → 20.*\(set 20\)' "$(sed -n 2p <<<"$said")"
  contains "the third frame" 'canary rolled back after [0-9]\.[0-9] s .*by guard .*canary +0\.0 %' "$(sed -n 3p <<<"$said")"
  contains "the fourth frame" 'resumed shop:canary.*\(set 20\)' "$(sed -n 4p <<<"$said")"
done
