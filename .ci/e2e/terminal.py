"""Runs a command in a terminal of 60 columns and 20 rows until it has drawn three frames: `terminal.py COMMAND ARGUMENTS…`.

Each frame overwrites the one before, no line is wider than the terminal, and Ctrl-C ends the command with 0.
"""

import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
import time

COLUMNS, ROWS = 60, 20
pid, terminal = pty.fork()
if pid == 0:
    # Before the command draws anything.
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
text, end, interrupted = "", time.monotonic() + 20, False
while time.monotonic() < end:
    try:
        piece = os.read(terminal, 65536)
    except OSError:  # The command ended.
        break
    if not piece:
        break
    text += piece.decode(errors="replace")
    if not interrupted and text.count("\x1b[J") >= 3:
        os.write(terminal, b"\x03")
        interrupted = True
if not interrupted or time.monotonic() >= end:
    os.kill(pid, signal.SIGKILL)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
frames = text.split("\x1b[H")[1:]
plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).replace("\r", "") for frame in frames]
wide = [line for frame in plain for line in frame.split("\n") if len(line) > COLUMNS]
long = [frame for frame in plain if frame.count("\n") >= ROWS]
for what, wrong in [
    (f"exit code {code}", code != 0),
    (f"{len(frames)} frames", len(frames) < 3),
    (f"lines wider than {COLUMNS}: {wide}", wide),
    ("a frame has more rows than the terminal", long),
    ("no rates", "REQ/S" not in plain[-1]),
]:
    if wrong:
        sys.exit(f"FAILED: {what}\n{plain[-1] if plain else text}")
