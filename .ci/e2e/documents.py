"""Follows a document as a reader does: `documents.py POINTSMAN DIRECTORY PORTS DOCUMENT`, in DIRECTORY.

* A block marked `console` has commands after `$ `, each with what it prints. Digits and bars stand for any digits and bars, `…`
  in a line for any text, a line `…` for any lines. A command that only reads is repeated until it prints that, for 30 seconds;
  one that acts runs once. Each must end with 0.
* A block marked `sh` is a script that must end with 0, one marked `python` too; `toml`, `text`, `json` and `yaml` are not run; others are a mistake.
* `pointsman demo …` runs in a terminal of its own. "Press `f`" presses that key there, "the screen shows `TEXT`" waits for it.
  A document ends its demo by `q`, before the next one.
* A section (`##`) begins in DIRECTORY.
* In a table with the columns *command* and *it worked when*, each row runs: the first code of the former, then the first code
  of the latter until it prints the second code there.
* Every `pointsman …` in the text has options that the command knows.
* Addresses of the documents (8080, 9900, and those in PORTS, OLD=NEW with commas) are replaced by those of the proxy.

Prints how many commands ran.
"""

import fcntl
import os
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

PATIENCE = 30
COLUMNS, ROWS = 100, 40
BAR = "░▒▓█▏▎▍▌▋▊▉"
NOT_RUN_LANGUAGES = {"toml", "text", "json", "yaml"}
# What acts, or waits by itself: it runs once.
ONCE = re.compile(
    r"rollout (approve|hold|resume|rollback|goto|restart|wait)\b|\bkill (--(?!list)|.* --reason)|\brevive\b|-X POST|token new|notify test"
    r"|sed -i|cat >|>>? ?[\w$\"]|\breload\b|rehearse\b|\b(mv|cp|mkdir|rm)\b|&$"
)
# Blocks that cannot run here: (document, first line) and the reason.
NOT_RUN = {}


class Fault(Exception):
    """What the reader finds wrong."""


# ---- what a document shows


def pattern(line):
    """The regular expression of an expected line, or of a part of one."""
    parts = re.split(rf"(\s*…\s*|[{BAR}][{BAR} ]*|\d[\d.,:]*(?: \d{{3}})*|\s+)", line)
    found = ""
    for part in parts:
        if part.strip() == "…":
            found += r".*"
        elif part[:1] in BAR and part:
            found += rf"[{BAR}\s]*"
        elif part[:1].isdigit():
            found += r"-?\d[\d.,:]*(?:\s\d{3})*"
        elif part.isspace():
            found += r"[ \t]+" if part.strip("\n") else r"\s+"
        else:
            found += re.escape(part)
    return found


def block_pattern(lines):
    text = ""
    for line in lines:
        if line.strip() == "…":
            text += r"(?:.*\n)*?"
        else:
            text += r"[ \t]*" + pattern(line.strip()) + r"[ \t]*\n"
    return re.compile(text)


def squeezed(text):
    return re.sub(r"\s+", " ", text)


# ---- what runs


class Shell:
    """One bash for the document: the folder, variables and background jobs stay from command to command."""

    def __init__(self, directory, binary):
        self.directory = directory
        self.tools = directory / ".reader"
        shutil.rmtree(self.tools, ignore_errors=True)
        (self.tools / "bin").mkdir(parents=True)
        (self.tools / "bin" / "pointsman").symlink_to(binary)
        self.environment = {**os.environ, "PATH": f"{self.tools / 'bin'}:{os.environ['PATH']}", "NO_COLOR": "1"}
        self.environment.pop("POINTSMAN_ADMIN", None)
        self.bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], stdin=subprocess.PIPE, cwd=directory, env=self.environment, text=True, start_new_session=True
        )

    def run(self, command, limit=90):
        """The exit code and what it printed."""
        script, out, code = (self.tools / name for name in ("command", "out", "code"))
        script.write_text(command)
        code.unlink(missing_ok=True)
        self.bash.stdin.write(f'{{ eval "$(cat {script})"; }} </dev/null >{out} 2>&1; echo $? >{code}.new; mv {code}.new {code}\n')
        self.bash.stdin.flush()
        end = time.monotonic() + limit
        while not code.exists():
            if time.monotonic() > end or self.bash.poll() is not None:
                raise Fault(f"{command!r} does not end: {out.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)
        return int(code.read_text()), out.read_text(errors="replace")

    def home(self):
        self.run(f"cd {shlex.quote(str(self.directory))}")

    def end(self):
        try:
            os.killpg(self.bash.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        self.bash.wait()


class Demo:
    """`pointsman demo` in a terminal, read all the time."""

    def __init__(self, words, shell, folder):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            os.chdir(folder)
            os.execvpe("pointsman", words + ["--port", "0", "--admin-port", "0"], shell.environment)
        self.raw, self.mark, self.code = "", 0, None
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        while True:
            try:
                piece = os.read(self.terminal, 65536)
            except OSError:
                break
            if not piece:
                break
            self.raw += piece.decode(errors="replace")
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def screen(self):
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", " ", self.raw[self.mark :]).replace("\r", "")

    def wait_for(self, text):
        wanted = re.compile(pattern(squeezed(text)))
        end = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < end:
            if wanted.search(squeezed(self.screen())):
                return
            time.sleep(0.05)
        raise Fault(f"the screen does not show {text!r}: {self.screen()[-2500:]}")

    def press(self, key):
        self.mark = len(self.raw)
        os.write(self.terminal, key.encode())
        if key == "q":
            self.reader.join(PATIENCE)
            if self.code != 0:
                raise Fault(f"the demo ends with {self.code}: {self.screen()[-1500:]}")

    def ports(self):
        """The ports of the documents, and those of this demo."""
        self.wait_for("Ctrl-C drains and stops")
        found = {}
        for old, name in (("8080", "proxy"), ("9900", "admin"), ("9903", "fault")):
            url = re.search(rf"^ *{name} +http://127\.0\.0\.1:(\d+)", self.screen(), re.M)
            if url:
                found[old] = url[1]
        return found

    def kill(self):
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.reader.join(PATIENCE)


# ---- the reader


class Reader:
    def __init__(self, binary, directory, ports, document):
        self.document, self.directory, self.binary = document, directory, binary
        self.name = str(Path(*Path(document).parts[-2:]))
        self.shell = Shell(directory, binary)
        self.ports, self.demo, self.ran, self.used = dict(ports), None, 0, set()
        self.place = ""

    def local(self, text):
        return re.sub(r"(?<=:)(\d{4})\b", lambda found: self.ports.get(found[1], found[1]), text)

    def read(self):
        lines = Path(self.document).read_text().split("\n")
        at = 0
        while at < len(lines):
            self.place = f"{self.name}:{at + 1}"
            fence = re.match(r"( *)```(\w*)", lines[at])
            if fence:
                end = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == "```")
                self.block(fence[2], [line[len(fence[1]) :] for line in lines[at + 1 : end]], at + 2)
                at = end + 1
            elif lines[at].startswith("|") and lines[at + 1].startswith("|--"):
                end = next(n for n in range(at, len(lines)) if not lines[n].startswith("|"))
                self.table([cells(line) for line in lines[at:end]], at + 1)
                at = end
            else:
                if lines[at].startswith("## "):
                    self.shell.home()
                self.prose(lines[at])
                at += 1
        if self.demo and self.demo.code is None:
            raise Fault("the document does not end its demo")
        for unused in [place for place in NOT_RUN if place[0] == self.name and place not in self.used]:
            raise Fault(f"there is no such block any more: {unused}")

    def prose(self, line):
        for found in re.finditer(r"\b[Pp]ress `(.)`|[Tt]he screen shows `([^`]+)`", line):
            if not self.demo:
                raise Fault("no demo runs")
            if found[1]:
                self.demo.press(found[1])
            else:
                self.demo.wait_for(found[2])
            self.ran += 1
        self.inline(line)

    def inline(self, line):
        for code in re.findall(r"`(pointsman [^`]+)`", line):
            known(self.binary, code)

    def block(self, language, lines, number):
        if language in NOT_RUN_LANGUAGES:
            return
        first = next((line for line in lines if line.strip()), "")
        if (self.name, first) in NOT_RUN:
            self.used.add((self.name, first))
            return
        if language == "sh":
            self.place = f"{self.name}:{number}"
            self.once("\n".join(lines))
        elif language == "python":
            self.once("python3 -c " + shlex.quote("\n".join(lines)))
        elif language == "console":
            for command, expected, line in commands(lines, number):
                self.place = f"{self.name}:{line}"
                self.command(command, expected)
        else:
            raise Fault(f"a block of the language {language!r}: console, sh, python, or one of {sorted(NOT_RUN_LANGUAGES)}")

    def command(self, command, expected):
        if re.match(r"pointsman demo\b", command):
            if self.demo and self.demo.code is None:
                raise Fault("a demo runs already: the document ends it by `q`")
            words = shlex.split(command.split(" #")[0])
            self.demo = Demo(words, self.shell, self.shell.run("pwd")[1].strip())
            self.ports.update(self.demo.ports())
            self.ran += 1
            return
        if ONCE.search(command):
            output = self.once(command)
            if expected and not block_pattern(expected).fullmatch(output.rstrip("\n") + "\n"):
                raise Fault(f"{command!r} prints\n{output}\nand the document has\n" + "\n".join(expected))
            return
        self.until(command, lambda output: not expected or block_pattern(expected).fullmatch(output.rstrip("\n") + "\n"), "\n".join(expected))

    def once(self, command):
        if self.demo:
            self.demo.mark = len(self.demo.raw)
        code, output = self.shell.run(self.local(command))
        if code:
            raise Fault(f"{command!r} ends with {code}: {output}")
        self.ran += 1
        return output

    def until(self, command, fits, expected):
        end = time.monotonic() + PATIENCE
        while True:
            code, output = self.shell.run(self.local(command))
            if code == 0 and fits(output):
                break
            if time.monotonic() > end:
                raise Fault(f"{command!r} ends with {code} and prints\n{output}\nand the document has\n{expected}")
            time.sleep(0.2)
        self.ran += 1

    def table(self, rows, number):
        header = rows[0]
        for row, line in zip(rows[2:], range(number + 2, number + len(rows))):
            self.place = f"{self.name}:{line}"
            for cell in row:
                self.inline(cell)
            if "command" in header and "it worked when" in header:
                acts = re.findall(r"`([^`]+)`", row[header.index("command")])
                looks = re.findall(r"`([^`]+)`", row[header.index("it worked when")])
                if not acts or len(looks) < 2:
                    raise Fault("a row needs a command, a command that looks, and what it prints")
                for before in PREPARED.get(row[0], []):
                    self.until_or_once(before)
                self.once(acts[0])
                self.until(looks[0], lambda output: re.search(pattern(looks[1]), output), looks[1])

    def until_or_once(self, command):
        if ONCE.search(command):
            self.once(command)
        else:
            self.until(command, lambda _: True, "success")


# Rows of tables that need more than the rows before them: what happens first.
PREPARED = {
    "it waits for you": ["pointsman rollout show checkout-v2 | grep -q 'awaiting approval'"],
    "rolled back by a guard, and the cause was not the release": [
        "curl -s -o /dev/null $CANARY/fails/100",
        "pointsman rollout show checkout-v2 | grep -q 'rolled back by'",
        "curl -s -o /dev/null $CANARY/fails/0; true # >once",
    ],
}


def cells(line):
    return [cell.strip().strip("*") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def commands(lines, number):
    """The commands of a block: each with what it prints, and its line."""
    found = []
    for line, at in zip(lines, range(number, number + len(lines))):
        if line.startswith("$ "):
            found.append([line[2:], [], at])
        elif not found:
            raise Fault("a console block begins with `$ `")
        elif not found[-1][1] and incomplete(found[-1][0]):
            found[-1][0] += "\n" + line
        else:
            found[-1][1].append(line)
    return found


def incomplete(command):
    checked = subprocess.run(["bash", "-n"], input=command + "\n", capture_output=True, text=True, check=False)
    return command.endswith("\\") or "unexpected end of file" in checked.stderr or "here-document" in checked.stderr


HELP = {}


def known(binary, code):
    """The command and its options exist."""
    words = code.replace("…", "").split()[1:]
    path = []
    while words and re.fullmatch(r"[a-z-]+", words[0]) and not words[0].startswith("-") and len(path) < 2:
        if help_of(binary, path + [words[0]]) is None:
            break
        path.append(words.pop(0))
    if not path:
        raise Fault(f"`{code}`: there is no such command")
    for option in [word.strip("[]").split("=")[0] for word in words if word.strip("[").startswith("--")]:
        if not re.search(rf"^ +(-\w, )?{re.escape(option)}\b", help_of(binary, path), re.M):
            raise Fault(f"`{code}`: `pointsman {' '.join(path)}` has no option {option}")


def help_of(binary, path):
    if tuple(path) not in HELP:
        shown = subprocess.run([binary, *path, "--help"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        HELP[tuple(path)] = shown.stdout if shown.returncode == 0 and (len(path) < 2 or f"pointsman {' '.join(path)} " in shown.stdout) else None
    return HELP[tuple(path)]


def main():
    binary, directory, ports, document = sys.argv[1:5]
    pairs = [pair.split("=") for pair in ports.split(",") if pair]
    reader = Reader(str(Path(binary).resolve()), Path(directory).resolve(), pairs, document)
    begun = time.monotonic()
    # What it started ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        reader.read()
    except Fault as fault:
        sys.exit(f"{reader.place}: {fault}")
    finally:
        if reader.demo:
            reader.demo.kill()
        reader.shell.end()
    print(f"   {reader.name}: {reader.ran} steps in {time.monotonic() - begun:.0f} s", file=sys.stderr)
    print(reader.ran)


if __name__ == "__main__":
    main()
