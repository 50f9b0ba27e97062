"""Two versions of an image's objects, put together by the page as `merging.js` does it."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from promptseg.server import page

NODE = shutil.which("node")
ASK = """
import {{ merged }} from "{module}";
const [base, ours, theirs] = JSON.parse(process.argv[1]);
let number = 0;
console.log(JSON.stringify(merged(base, ours, theirs, () => `new ${{(number += 1)}}`)));
"""

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


def thing(name: str, label: str = "cat") -> dict[str, Any]:
    return {"id": name, "label": label, "tidy": {"fill_holes": 0, "drop_specks": 0}}


def merged(base: list[Any], ours: list[Any], theirs: list[Any]) -> dict[str, Any]:
    module = (page.folder() / "js" / "merging.js").as_uri()
    assert NODE is not None
    said = json.dumps([base, ours, theirs])
    command = [NODE, "--input-type=module", "-e", ASK.format(module=module), said]
    answer = subprocess.run(command, capture_output=True, check=True, text=True, timeout=30)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def test_what_either_added_stays():
    """Objects that only one of the two has made are all there, theirs below."""
    old, mine, theirs = thing("old"), thing("mine"), thing("theirs")
    found = merged([old], [old, mine], [old, theirs])
    assert found == {"objects": [old, theirs, mine], "both": 0}


def test_a_change_of_one_counts():
    """What one changed and the other left as it was is as it was changed."""
    a, b = thing("a"), thing("b")
    found = merged([a, b], [thing("a", "dog"), b], [a, thing("b", "cup")])
    assert found == {"objects": [thing("a", "dog"), thing("b", "cup")], "both": 0}


def test_what_both_changed_is_there_twice():
    """Of an object that both changed theirs keeps its name, and ours comes beside it."""
    found = merged([thing("a")], [thing("a", "dog")], [thing("a", "cup")])
    assert found["objects"] == [thing("a", "cup"), {**thing("a", "dog"), "id": "new 1"}]
    assert found["both"] == 1


def test_what_one_deleted_goes_unless_the_other_changed_it():
    """A deleted object is gone, but work that was done on it meanwhile is kept."""
    a, b = thing("a"), thing("b")
    assert merged([a, b], [a], [b])["objects"] == []
    assert merged([a], [], [thing("a", "cup")])["objects"] == [thing("a", "cup")]
    assert merged([a], [thing("a", "dog")], [])["objects"] == [thing("a", "dog")]


def test_order_of_parts_is_no_change():
    """An object that comes back from a file with its parts in another order is the same."""
    turned = dict(reversed(thing("a").items()))
    assert merged([thing("a")], [thing("a", "dog")], [turned])["objects"] == [thing("a", "dog")]
