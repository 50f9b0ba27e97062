"""What no answer may tell a caller: where files lie, and what objects and code look like."""

from __future__ import annotations

import json
import re

TELLING = re.compile(
    r"(?<![\w-])0x[0-9a-f]{4}"  # an address of memory, and no part of the name of a session
    r"|<[\w.]+ (?:object|at )|<class|<function"  # a repr
    r"|Traceback|line \d+, in|\w\.py\b"
    r"|(?:/(?:home|usr|work|tmp|opt|root|var|etc|proc)/|[A-Za-z]:\\|site-packages)"
    r"|\b(?:numpy|torch|pydantic|starlette|PIL|array|tensor|dtype|errno)\b\s*[.(=]",
    re.IGNORECASE,
)
# Runs of letters that are data: any of them may spell anything.
DATA = ("counts", "png", "label_map", "masks_base64", "id", "session", "request_id", "rle")


def require_nothing_told(answer: bytes, *, sent: str = "") -> None:
    """Refuse an answer that tells what it must not, unless the caller had `sent` it."""
    text = answer.decode(errors="replace")
    if text.startswith("{"):
        try:
            said = [json.loads(text)]
        except json.JSONDecodeError:  # lines, each a value
            said = [json.loads(line) for line in text.splitlines()]
        text = json.dumps([_plain(each) for each in said], ensure_ascii=False)
    told = [found for found in TELLING.findall(text) if found not in sent]
    assert not told, (told, text[:2000])


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items() if name not in DATA}
    if isinstance(value, list):
        return [_plain(each) for each in value[:100]]
    return value
