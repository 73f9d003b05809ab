"""Runs a pipeline as its system would: `pipelines.py FILE FOLDER push|pull [--event JOB COMMAND] [--set JOB NAME=VALUE]…`.

FILE is a workflow of GitHub Actions or the file of GitLab CI. Jobs run in the order of their needs, each command with the shell
that the system takes, in FOLDER; a job whose needs did not succeed is skipped, `if` and `rules` are obeyed, a manual job is
started by a person at once. `${{ secrets.NAME }}` is $NAME of this process, and so is each variable that the file sets, when this
process has it. `--event` runs a command before a job, `--set` a variable for one job.

Prints `JOB RESULT CODE` for each job; all that the commands print goes to standard error. The commands that ran are appended to
FOLDER/.ran. `pipelines.py FILE FOLDER ran` fails when one has never run.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml


class Job:
    """A job: its needs, its commands with their shell, its variables, and when it runs."""

    def __init__(self, name, needs, commands, shell, variables):
        self.name, self.needs, self.commands, self.shell, self.variables = name, needs, commands, shell, variables
        self.condition, self.on_failure = None, False
        self.tokens = {"push": set(), "pull": set()}


def github(file):
    common = file.get("env", {})
    for name, job in file["jobs"].items():
        needs = job.get("needs", [])
        needs = [needs] if isinstance(needs, str) else needs
        commands = [step["run"] for step in job["steps"] if "run" in step]
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]
        found = Job(name, needs, commands, shell, {**common, **job.get("env", {})})
        found.condition = job.get("if")
        yield found


def gitlab(file):
    reserved = {"stages", "workflow", "variables", "default", "include"}
    for name, job in file.items():
        if name in reserved or name.startswith("."):
            continue
        job = {**file.get(job.get("extends"), {}), **job}
        found = Job(name, job.get("needs", []), ["\n".join(job["script"])], ["bash", "-eo", "pipefail", "-c"], dict(file["variables"]))
        found.tokens["pull"] = {"VIEWER_TOKEN"}
        found.tokens["push"] = {"VIEWER_TOKEN", "POINTSMAN_TOKEN"} | ({"TECH_LEAD_TOKEN"} if job.get("environment") == "tech-lead" else set())
        rules = job.get("rules", [])
        if len(rules) > 1 or rules and set(rules[0]) - {"if", "when", "allow_failure"}:
            sys.exit(f"{name}: rules that this reader does not know: {rules}")
        if rules:
            found.condition = rules[0]["if"]
            found.on_failure = rules[0].get("when") == "on_failure"
        yield found


def applies(job, results, event):
    """Whether its condition holds, or its system's default: all that it needs has succeeded."""
    failed = any(results[need] == "failure" for need in job.needs)
    succeeded = all(results[need] == "success" for need in job.needs)
    if job.condition is None:
        return succeeded
    if "$CI" in job.condition:
        if job.condition != "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH":
            sys.exit(f"{job.name}: a condition that this reader does not know: {job.condition}")
        return event == "push" and (failed if job.on_failure else succeeded)
    text = job.condition.replace("&&", " and ").replace("||", " or ").replace("failure()", str(failed))
    text = text.replace("github.event_name", repr({"push": "push", "pull": "pull_request"}[event]))
    text = re.sub(r"needs\.(\w+)\.result", lambda found: repr(results[found[1]]), text)
    if not re.fullmatch(r"[\w\s'=()]+", text):
        sys.exit(f"{job.name}: a condition that this reader does not know: {job.condition}")
    return eval(text) and (succeeded or "failure()" in job.condition)


def value(text):
    return re.sub(r"\$\{\{ *(?:secrets|vars)\.(\w+) *\}\}", lambda found: os.environ[found[1]], str(text))


def run(job, folder, event, own):
    names = {name: os.environ.get(name, value(text)) if "${{" not in str(text) else value(text) for name, text in job.variables.items()}
    # A job has the tokens that its system gives it. GitLab keeps protected variables from requests to merge.
    given = {name: text for name, text in os.environ.items() if not name.endswith("_TOKEN") or name in job.tokens[event]}
    environment = {**given, **names, **own}
    for command in job.commands:
        with (folder / ".ran").open("a") as ran:
            ran.write(f"{job.name}: {command!r}\n")
        code = subprocess.run(
            job.shell + [command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=400, check=False
        ).returncode
        if code:
            return code
    return 0


def main():
    path, folder, event = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    file = yaml.safe_load(path.read_text())
    jobs = list(github(file) if "jobs" in file else gitlab(file))
    if event == "ran":
        ran = (folder / ".ran").read_text().splitlines()
        missing = [f"{job.name}: {command}" for job in jobs for command in job.commands if f"{job.name}: {command!r}" not in ran]
        if missing:
            sys.exit("never ran: " + "; ".join(missing))
        print(sum(len(job.commands) for job in jobs))
        return
    options = sys.argv[4:]
    events = {options[at + 1]: options[at + 2] for at, word in enumerate(options) if word == "--event"}
    own = {options[at + 1]: dict([options[at + 2].split("=", 1)]) for at, word in enumerate(options) if word == "--set"}
    unknown = (set(events) | set(own)) - {job.name for job in jobs}
    if unknown:
        sys.exit(f"no such job: {unknown}")
    results = {}
    while len(results) < len(jobs):
        job = next(job for job in jobs if job.name not in results and all(need in results for need in job.needs))
        if not applies(job, results, event):
            results[job.name] = "skipped"
            print(job.name, "skipped", "-")
            continue
        if job.name in events:
            subprocess.run(["bash", "-c", events[job.name]], cwd=folder, check=True, stdout=sys.stderr)
        code = run(job, folder, event, own.get(job.name, {}))
        results[job.name] = "failure" if code else "success"
        print(job.name, results[job.name], code, flush=True)


main()
