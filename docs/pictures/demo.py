#!/usr/bin/env python3
"""Takes a picture of the demo: runs it in a terminal, presses keys, and writes the screens as one animated SVG.

    pip install pyte
    cargo build --release
    python3 docs/pictures/demo.py target/release/pointsman docs/pictures/demo.svg
    python3 docs/pictures/demo.py target/release/pointsman docs/pictures/rollout.svg --rollout

Each frame waits for a text on the screen. A text that does not come within a minute is an error: the screen is printed
and no file is written.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from html import escape

import pyte

COLUMNS, ROWS = 100, 14
# The last line of the help, which fills the screen at the start; the picture shows what comes after it.
HELP_END = "Ctrl-C drains and stops."
SECONDS_PER_FRAME = 3.5
PATIENCE = 60.0

# The title; the keys that are pressed, and the text that a live line shows when they have had their effect.
WEIGHT = (
    "pointsman demo: a canary at 10 %, at 20 %, rolled back by a guard, and resumed",
    [
        ("", r"canary +\d+\.\d % \(set 10\) .* 0 errors/s"),
        ("+", r"canary +(1[5-9]|2\d)\.\d % \(set 20\)"),
        ("f", r"canary +0\.0 % \(rolled back\) .* 0 errors/s"),
        ("or", r"canary +(1[5-9]|2\d)\.\d % \(set 20\) .* 0 errors/s"),
    ],
)
ROLLOUT = (
    "pointsman demo --rollout: a stage, a rollback by a guard, an approval, complete",
    [
        ("", r"few 5 % █+░* [4-7] s of 8 s"),
        ("f", r"next: o ends the fault, then r resumes"),
        ("or", r"quarter 25 % █+░* [4-7] s of 8 s"),
        ("", r"next: all, 100 %, when tech-lead \(you\) approves: press a"),
        ("a", r"canary +100\.0 % \(set 100\) .* 0 errors/s"),
        ("", r"✔ complete"),
    ],
)

CELL_WIDTH, CELL_HEIGHT, MARGIN, BAR = 8.0, 18.0, 16.0, 28.0
BACKGROUND, FRAME, DEFAULT = "#11151c", "#2a3140", "#d5dae3"
COLOURS = {
    "black": "#5c6773", "red": "#f26d6d", "green": "#7fd48a", "brown": "#e6c07b", "yellow": "#e6c07b",
    "blue": "#6cb2f7", "magenta": "#c792ea", "cyan": "#63cfd3", "white": "#f0f3f8", "default": DEFAULT,
}


class Terminal:
    """A child on a pseudo-terminal, and the screen that it has drawn."""

    def __init__(self, command):
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.child, self.fd = pty.fork()
        if self.child == 0:
            os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS), LINES=str(ROWS))
            os.environ.pop("NO_COLOR", None)
            os.execv(command[0], command)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def press(self, keys):
        # Apart: keys that come together are no keys of the demo.
        for key in keys:
            os.write(self.fd, key.encode())
            time.sleep(0.3)

    def wait_for(self, pattern):
        """Reads until the screen shows the pattern. Returns the screen's cells."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            ready, _, _ = select.select([self.fd], [], [], 0.2)
            if ready:
                try:
                    self.stream.feed(os.read(self.fd, 65536))
                except OSError:
                    break  # The child has closed its end.
            if not select.select([self.fd], [], [], 0)[0] and any(re.search(pattern, row) for row in self.screen.display):
                return [[self.screen.buffer[y][x] for x in range(COLUMNS)] for y in range(ROWS)]
        sys.exit(f"demo.py: the screen does not show {pattern!r}:\n" + "\n".join(self.screen.display))

    def close(self):
        """Ends the child, which removes its files, and waits for it."""
        os.kill(self.child, signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if os.waitpid(self.child, os.WNOHANG)[0]:
                return
            try:
                if select.select([self.fd], [], [], 0.1)[0]:
                    os.read(self.fd, 65536)
            except OSError:
                time.sleep(0.05)
        sys.exit("demo.py: the demo does not end")


def after_help(cells, prompt):
    """The prompt and the rows after the help, as many rows as the screen has."""
    plain = cells[0][0]._replace(fg="default", bold=False, reverse=False)
    row = lambda text: [plain._replace(data=letter) for letter in text.ljust(COLUMNS)]
    texts = ["".join(cell.data for cell in row) for row in cells]
    end = next((y for y, text in enumerate(texts) if HELP_END in text), -1)
    rest = [row for row, text in zip(cells[end + 1:], texts[end + 1:]) if text.strip()]
    rest = rest[-(ROWS - 2):]
    return [row(prompt), row("")] + rest + [row("")] * (ROWS - 2 - len(rest))


def colour(cell):
    name = cell.bg if cell.reverse else cell.fg
    return COLOURS.get(name, f"#{name}" if re.fullmatch(r"[0-9a-f]{6}", name) else DEFAULT)


def draw_row(cells, y):
    """One row: blocks as rectangles, so that a bar has no gaps in any font; the rest as runs of text on the grid."""
    top = BAR + MARGIN + y * CELL_HEIGHT
    runs = []
    for x, cell in enumerate(cells):
        kind = cell.data if cell.data in "█▒" else "text"
        style = (kind, colour(cell), cell.bold)
        if runs and runs[-1][0] == style:
            runs[-1][2].append(cell.data)
        else:
            runs.append((style, x, [cell.data]))
    for (kind, fill, bold), x, letters in runs:
        left, width = MARGIN + x * CELL_WIDTH, len(letters) * CELL_WIDTH
        text = "".join(letters)
        if kind != "text":
            opacity = ' opacity="0.45"' if kind == "▒" else ""
            yield f'<rect x="{left:g}" y="{top + 2:g}" width="{width:g}" height="{CELL_HEIGHT - 4:g}" fill="{fill}"{opacity}/>'
        elif text.strip():
            skipped = len(text) - len(text.lstrip())
            text = text.strip()
            weight = ' font-weight="bold"' if bold else ""
            yield (
                f'<text x="{left + skipped * CELL_WIDTH:g}" y="{top + 13:g}" fill="{fill}"{weight}'
                f' textLength="{len(text) * CELL_WIDTH:g}">{escape(text)}</text>'
            )


def draw(frames, title):
    width, height = COLUMNS * CELL_WIDTH + 2 * MARGIN, BAR + ROWS * CELL_HEIGHT + 2 * MARGIN
    share = 100 / len(frames)
    total = SECONDS_PER_FRAME * len(frames)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
        ' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="13"'
        ' role="img" xml:space="preserve">'
    )
    yield f"<title>{title}</title>"
    yield "<style>"
    yield "text { white-space: pre }"
    yield f"@keyframes show {{ 0%, {share - 0.01:.2f}% {{ visibility: visible }} {share:.2f}%, 100% {{ visibility: hidden }} }}"
    yield f".frame {{ visibility: hidden; animation: show {total:g}s step-end infinite }}"
    for number in range(len(frames)):
        yield f".frame:nth-of-type({number + 1}) {{ animation-delay: {number * SECONDS_PER_FRAME:g}s }}"
    yield "@media (prefers-reduced-motion: reduce) { .frame { animation: none } .frame:last-of-type { visibility: visible } }"
    yield "</style>"
    yield f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{BACKGROUND}" stroke="{FRAME}"/>'
    for number, fill in enumerate(["#f26d6d", "#e6c07b", "#7fd48a"]):
        yield f'<circle cx="{MARGIN + 4 + 16 * number:g}" cy="{BAR / 2 + 3:g}" r="5" fill="{fill}"/>'
    yield f'<text x="{width / 2:g}" y="{BAR / 2 + 7:g}" fill="#8b95a5" text-anchor="middle">{title.split(":")[0]}</text>'
    for cells in frames:
        yield '<g class="frame">'
        for y, row in enumerate(cells):
            yield from draw_row(row, y)
        yield "</g>"
    yield "</svg>"


def main():
    if len(sys.argv) not in (3, 4) or sys.argv[3:] not in ([], ["--rollout"]):
        sys.exit(__doc__)
    binary, output, options = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3:]
    title, steps = ROLLOUT if options else WEIGHT
    terminal = Terminal([binary, "demo", *options])
    frames = []
    try:
        for keys, pattern in steps:
            terminal.press(keys)
            frames.append(after_help(terminal.wait_for(pattern), f"$ {title.split(':')[0]}"))
    finally:
        terminal.close()
    with open(output, "w", encoding="utf-8") as file:
        file.write("\n".join(draw(frames, title)) + "\n")
    print(f"{output}: {len(frames)} frames of {COLUMNS} × {ROWS}")


if __name__ == "__main__":
    main()
