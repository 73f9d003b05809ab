"""Takes `demo --rollout` through its stages in a terminal: `demo_keys.py POINTSMAN DIRECTORY`.

The canary fails in the first stage, is rolled back, repaired and resumed; a second process approves the second stage; a person
holds and rolls back by keys; q ends it with 0. No line is wider than the terminal.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

COLUMNS, ROWS, PATIENCE = 90, 30, 60
pointsman, directory = map(os.path.abspath, sys.argv[1:])
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    os.environ["NO_COLOR"] = "1"
    os.execv(pointsman, [pointsman, "demo", "--rollout", "--port", "0", "--admin-port", "0", "--dir", directory])
text = ""


def plain(raw):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw).replace("\r", "")


def give_up(why):
    os.kill(pid, signal.SIGKILL)
    sys.exit(f"FAILED: {why}\n{plain(text[-4000:])}")


def wait_for(pattern):
    """Reads until the text since the last call has the pattern; news may be broken into lines. Returns the seconds it took."""
    global text
    text, begun = "", time.monotonic()
    while time.monotonic() - begun < PATIENCE:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                text += os.read(terminal, 65536).decode(errors="replace")
            except OSError:
                break
        if re.search(pattern, re.sub(r"\s+", " ", plain(text))):
            return time.monotonic() - begun
    return give_up(f"the screen does not show {pattern!r}")


def press(key):
    os.write(terminal, key.encode())


wait_for(r"dashboard http://\S+/sign-in#link=\S+ once, within 60 s: d makes another one.* ◐ few 5 % .* next: quarter, 25 %, .* guard ")
press("d")
wait_for(r"the dashboard, once and within 60 s: http://\S+/sign-in#link=\S+")
press("f")
took = wait_for(r"shop-v2 is rolled back by errors in stage few, \d+\.\d s after the fault began")
print(f"{took:.1f} s from the key to the rollback on the screen, in stage few")
wait_for(r"✖ rolled back: .* next: o ends the fault, then r resumes")
press("o")
wait_for(r"next: r resumes, with fresh evidence")
press("r")
wait_for(r"goes on in stage few")
wait_for(r"◆ awaiting approval: .* next: all, 100 %, when tech-lead \(you\) approves: press a")
press("f")
took = wait_for(r"shop-v2 is rolled back by errors in stage quarter")
print(f"{took:.1f} s from the key to the rollback on the screen, in stage quarter")
press("o")
wait_for(r"next: r resumes, with fresh evidence")
press("r")
wait_for(r"goes on in stage quarter")
wait_for(r"◆ awaiting approval")
approve = [pointsman, "rollout", "approve", "shop-v2", "--token-file", "you.token"]
done = subprocess.run(approve, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
if done.returncode:
    give_up(f"an approval from a second terminal: {done.stdout}{done.stderr}")
wait_for(r"is approved: tech-lead by you")
wait_for(r"◐ all 100 %")
press("f")
took = wait_for(r"shop-v2 is rolled back by [a-z-]+ in stage all")
print(f"{took:.1f} s from the key to the rollback on the screen, in stage all")
press("o")
wait_for(r"next: r resumes, with fresh evidence")
press("r")
wait_for(r"goes on in stage all")
press("k")
wait_for(r"✖ killed")
press("k")
wait_for(r"held: revived")
press("r")
wait_for(r"✔ complete: .* next: r begins anew")
press("r")
wait_for(r"back in stage few")
press("b")
wait_for(r"✖ rolled back")
press("q")
wait_for(r"stopped: every open request was answered")
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
if code:
    sys.exit(f"FAILED: exit code {code}")
