"""Checks what receivers of notifications got against the journal: `notify_check.py LOG JOURNAL SECRET PAGE`.

LOG is that of receiver.py, with the paths /hook (a receiver of everything), /team (of a rollout), /slack and /am. JOURNAL has the
records as lines of JSON. Each event of the journal is there once per receiver by its key, in order; signatures are right; the
messages for Slack and Alertmanager fit to what their documentations allow. The function `is_genuine` of PAGE agrees. Prints how many checks passed.
"""

import hashlib
import hmac
import json
import re
import sys
import time
from collections import Counter
from datetime import datetime

from jsonschema import Draft202012Validator, FormatChecker

# By Slack's documentation of blocks and text objects: at most 50 blocks, 150 characters in a header, 3 000 in a section, 10
# elements in a context; `emoji` is for plain text, `verbatim` for mrkdwn.
MRKDWN = {
    "type": "object",
    "required": ["type", "text"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "mrkdwn"},
        "text": {"type": "string", "minLength": 1, "maxLength": 3000},
        "verbatim": {"type": "boolean"},
    },
}
PLAIN = {
    "type": "object",
    "required": ["type", "text"],
    "additionalProperties": False,
    "properties": {"type": {"const": "plain_text"}, "text": {"type": "string", "minLength": 1, "maxLength": 150}, "emoji": {"type": "boolean"}},
}


def block(kind, **properties):
    known = {"type": {"const": kind}, "block_id": {"type": "string", "maxLength": 255}, **properties}
    return {"type": "object", "required": ["type", *properties], "additionalProperties": False, "properties": known}


SLACK = {
    "type": "object",
    "required": ["text", "blocks"],
    "additionalProperties": False,
    "properties": {
        "text": {"type": "string", "minLength": 1, "maxLength": 4000},
        "blocks": {
            "type": "array",
            "minItems": 1,
            "maxItems": 50,
            "items": {
                "oneOf": [
                    block("header", text=PLAIN),
                    block("section", text=MRKDWN),
                    block("context", elements={"type": "array", "minItems": 1, "maxItems": 10, "items": {"oneOf": [MRKDWN, PLAIN]}}),
                    block("divider"),
                ]
            },
        },
    },
}
# By the OpenAPI document of Alertmanager's API v2: a list of postable alerts.
LABELS = {"type": "object", "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"}, "additionalProperties": {"type": "string"}}
ALERTS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["labels"],
        "additionalProperties": False,
        "properties": {
            "labels": {**LABELS, "required": ["alertname"]},
            "annotations": LABELS,
            "startsAt": {"type": "string", "format": "date-time"},
            "endsAt": {"type": "string", "format": "date-time"},
            "generatorURL": {"type": "string", "format": "uri"},
        },
    },
}
BODY = {
    "type": "object",
    "required": ["v", "id", "event", "severity", "at", "title", "text", "do", "host"],
    "properties": {
        "v": {"const": 1},
        "severity": {"enum": ["info", "warning", "critical"]},
        "title": {"type": "string", "minLength": 1},
        "do": {"type": "array", "items": {"type": "string"}},
    },
}
checks = 0


def check(holds, why):
    global checks
    if not holds:
        sys.exit(f"FAILED: {why}")
    checks += 1


def fits(schema, value, what):
    faults = [fault.message for fault in Draft202012Validator(schema, format_checker=FormatChecker()).iter_errors(value)]
    check(not faults, f"{what}: {faults} in {json.dumps(value)[:1500]}")


def heard(record):
    """The event of a record for a receiver of everything and for one of the rollout; None: it hears of nothing."""
    what = record["what"]
    if what == "rollout":
        act = record["act"]
        if act in ("raise", "lower", "approve", "archive", "refused"):
            return None, None
        # A kill is heard by receivers of everything; what follows from it, by those of the rollout.
        follows = {"killed": "kill", "revived": "revive"}.get(act)
        return (None, follows) if follows else (act, act)
    if what in ("kill", "revive"):
        return what, None
    if what == "reload" and record.get("outcome") == "rejected":
        return "config_rejected", None
    return None, None


def main():
    log, journal, secret, page = sys.argv[1:5]
    shown = {}
    exec(re.search(r"```python\n(.*?)```", open(page, encoding="utf-8").read(), re.S)[1], shown)
    lines = [json.loads(line) for line in open(log, encoding="utf-8")]
    records = [json.loads(line) for line in open(journal, encoding="utf-8")]
    for path, column in (("/hook", 0), ("/team", 1), ("/slack", 0)):
        arrived = [line for line in lines if line["path"] == path and line["status"] in ("200", "slow")]
        keys = [line["headers"]["idempotency-key"] for line in arrived if not line["headers"]["idempotency-key"].startswith("test-")]
        once = list(dict.fromkeys(keys))
        seqs = [int(key.split("-")[0]) for key in once if key.split("-")[0].isdigit()]
        expected = [record["seq"] for record in records if heard(record)[column]]
        # The end of a rejection is heard as the end of a condition: a record of a reload or of a start.
        ends = {record["seq"] for record in records if record["what"] in ("reload", "start")}
        check([seq for seq in seqs if seq in expected] == expected, f"{path}: records {seqs}, and the journal has {expected}")
        check(set(seqs) <= set(expected) | ends, f"{path}: records {seqs} are more than {expected}")
        check(len(seqs) == len(set(seqs)), f"{path}: two keys for one record: {seqs}")
        again = {key: times for key, times in Counter(keys).items() if times > 1}
        print(f"   {path}: {len(once)} messages, {len(keys)} deliveries, delivered again with the same key: {again or 'none'}", file=sys.stderr)
        for line in arrived:
            if path == "/slack":
                fits(SLACK, json.loads(line["body"]), "a message for Slack")
                continue
            body, headers = json.loads(line["body"]), line["headers"]
            fits(BODY, body, "a message")
            check(body["id"] == headers["idempotency-key"], f"{path}: the key is not the id")
            signed = f"{headers['x-pointsman-timestamp']}.{line['body']}".encode()
            right = "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
            check(hmac.compare_digest(right, headers["x-pointsman-signature"]), f"{path}: a wrong signature")
            check(abs(int(headers["x-pointsman-timestamp"]) - line["at"]) < 30, f"{path}: an old timestamp")
            named = {name: headers[name.lower()] for name in ("X-Pointsman-Timestamp", "X-Pointsman-Signature")}
            if time.time() - line["at"] < 200:
                check(shown["is_genuine"](secret.encode(), named, line["body"].encode()), f"{path}: the page's function refuses it")
                check(not shown["is_genuine"](secret.encode(), named, line["body"].encode() + b" "), "it accepts another body")
            seq = body["id"].split("-")[0]
            for record in records if seq.isdigit() else []:
                if record["seq"] == int(seq):
                    event = heard(record)[column] or "config_applied"
                    check(body["event"] == event, f"{path}: {body['event']} for {record}")
    alerts = [json.loads(line["body"]) for line in lines if line["path"] == "/am/api/v2/alerts"]
    check(alerts, "no alerts")
    for message in alerts:
        fits(ALERTS, message, "a message for Alertmanager")
        for alert in message:
            check(datetime.fromisoformat(alert["startsAt"]) <= datetime.fromisoformat(alert["endsAt"]), f"it ends before it begins: {alert}")
    forbidden = [line for line in lines if secret in json.dumps(line)]
    check(not forbidden, f"the secret is in {forbidden}")
    print(checks)


main()
