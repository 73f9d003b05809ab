"""An upstream whose responses are hostile texts, in JSON and in fields: `hostile.py NAME`. Each NAME has other texts."""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import peer  # noqa: E402

NAME = sys.argv[1]
IMG = '<img src=x onerror="alert(1)">'
TEXTS = {"one": f"{IMG} one", "two": f"\u202e{IMG} two</td></table><script>alert(1)</script>"}


class Hostile(peer.Handler):
    def answer(self):
        self.body()
        text = TEXTS[NAME]
        content = {"note": text, f"{IMG} key": text, "long": (text + "W" * 4096)[:4096], "list": [text, IMG]}
        self.respond(200, json.dumps(content).encode(), content_type="application/json", x_note=text.encode("ascii", "replace").decode())


peer.serve(Hostile)
