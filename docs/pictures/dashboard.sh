#!/usr/bin/env bash
# Takes the pictures of the dashboard: runs `demo --rollout` in a terminal until its canary is rolled back, and opens the pages in
# Chromium.
#
#     npm install --prefix target/ci-tools/dashboard --no-save --ignore-scripts playwright-core
#     cargo build --profile dist
#     docs/pictures/dashboard.sh target/dist/pointsman [FOLDER]
#
# HISTORY_S: the seconds that the canary serves before it fails (60). CHROMIUM: the browser. NODE_FOLDER: where playwright-core is.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pointsman=$(realpath "${1:?"the binary"}")
folder=${2:-$here}
mkdir -p "$folder"
export CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)}
export NODE_FOLDER=${NODE_FOLDER:-$here/../../target/ci-tools/dashboard}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

python3 - "$pointsman" "$scratch/demo" "${HISTORY_S:-60}" "$here/dashboard.mjs" "$(realpath "$folder")" <<'PYTHON'
"""Runs the demo in a terminal, presses keys, and calls the script that takes the pictures."""
import fcntl, os, pty, re, select, signal, struct, subprocess, sys, termios, time

pointsman, directory, history, script, folder = sys.argv[1:]
PATIENCE = 90
child, terminal = pty.fork()
if child == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    os.environ["NO_COLOR"] = "1"
    os.execv(pointsman, [pointsman, "demo", "--rollout", "--port", "0", "--admin-port", "0", "--dir", directory])
text = ""


def read(seconds):
    """What the demo writes meanwhile."""
    global text
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and select.select([terminal], [], [], left)[0]:
        try:
            text += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(terminal, 65536).decode(errors="replace"))
        except OSError:
            return


def wait_for(pattern):
    global text
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        read(0.2)
        if found := re.search(pattern, re.sub(r"\s+", " ", text)):
            return found
    raise SystemExit(f"dashboard.sh: the demo does not show {pattern!r}:\n{text[-3000:]}")


code = 1
try:
    address = wait_for(r"(http://127\.0\.0\.1:\d+)/sign-in#").group(1)
    begun = time.monotonic()
    wait_for(r"awaiting approval")
    read(max(0, begun + float(history) - time.monotonic()))
    text = ""
    os.write(terminal, b"f")
    wait_for(r"is rolled back by \w+ in stage quarter")
    # The next point of the figures.
    read(12)
    code = subprocess.call(["node", script, address, f"{directory}/you.token", folder], stdin=subprocess.DEVNULL)
finally:
    os.kill(child, signal.SIGTERM)
    end = time.monotonic() + PATIENCE
    while not os.waitpid(child, os.WNOHANG)[0]:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        read(0.1)
sys.exit(code)
PYTHON
