"""The log of what queries came to: nothing is lost, and nothing half is believed."""

from __future__ import annotations

import errno
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.errors import MaskError, OutputError, PromptError
from promptseg.formats.outcomes import Name, OutcomeLog, masks_from_json, outcome_to_json
from promptseg.results import Masks

CAT = Name("a.jpg", "cat")
DOG = Name("a.jpg", "dog")


def masks(seed=3, count=2):
    random = np.random.default_rng(seed)
    found = Masks.from_numpy(random.random((count, 7, 11)) < 0.5, scores=random.random(count))
    boxes = random.uniform(0, 7, (count, 4))
    return replace(found, labels=np.full(count, "cat"), predicted_boxes=boxes)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def same(one, other):
    assert one.runs == other.runs
    assert one.size == other.size
    assert one.complete == other.complete
    for column in ("scores", "objects", "candidates", "presence", "confident", "labels"):
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column))


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.booleans())
def test_masks_come_back_as_they_were(seed, count, complete):
    """Through a line of JSON, to the last bit of a score."""
    found = replace(masks(seed, count), complete=complete)
    same(masks_from_json(json.loads(json.dumps(outcome_to_json(found)))), found)


@pytest.mark.parametrize("column", ["scores", "presence", "predicted_boxes"])
def test_what_is_no_number_is_refused_and_leaves_no_line(tmp_path, column):
    """A number that JSON has no word for is an error of its query, and the log goes on."""
    path = tmp_path / "results.jsonl"
    found = masks(count=1)
    with OutcomeLog(path) as log:
        with pytest.raises(MaskError, match="no file can hold"):
            log.add(CAT, "find", "k", replace(found, **{column: getattr(found, column) * np.nan}))
        log.add(DOG, "find", "k", found)
    assert [line["id"] for line in lines(path)] == ["dog"]


def test_a_line_has_what_the_guide_says(tmp_path):
    """Image, id, verb, key; size and masks with labels, boxes and run lengths."""
    path = tmp_path / "results.jsonl"
    found = masks(count=1)
    with OutcomeLog(path) as log:
        log.add(CAT, "find", "k", found)
        log.add(DOG, "find", "k", PromptError("too long", hint="Be brief"))
    done, failed = lines(path)
    assert {key: done[key] for key in ("image", "id", "verb", "key", "size", "complete")} == {
        "image": "a.jpg",
        "id": "cat",
        "verb": "find",
        "key": "k",
        "size": {"height": 7, "width": 11},
        "complete": True,
    }
    [mask] = done["masks"]
    assert mask["label"] == "cat"
    assert mask["box"] == found.boxes[0].tolist()
    assert mask["area"] == found.areas[0]
    assert mask["predicted_box"] == pytest.approx(found.predicted_boxes[0].tolist(), abs=1e-3)
    assert mask["rle"] == found.to_rle()[0]
    assert failed["error"] == {"kind": "PromptError", "message": "too long", "hint": "Be brief"}
    assert "masks" not in failed


def test_what_was_found_is_known_again(tmp_path):
    """By image, id and key, in another process too; errors are not."""
    path = tmp_path / "results.jsonl"
    found = masks()
    with OutcomeLog(path) as log:
        log.add(CAT, "find", "k", found)
        log.add(DOG, "find", "k", PromptError("too long"))
    with OutcomeLog(path) as log:
        assert log.knows(CAT)
        assert log.knows(CAT, "k")
        assert not log.knows(CAT, "other")
        assert not log.knows(DOG)
        same(log.masks(CAT, "k"), found)
        assert log.masks(CAT, "other") is None
        assert log.masks(DOG, "k") is None


def test_half_a_line_is_dropped(tmp_path):
    """However a write was cut short, the lines before it hold and the next one follows them."""
    path = tmp_path / "results.jsonl"
    with OutcomeLog(path) as log:
        log.add(CAT, "find", "k", masks())
        whole = path.read_bytes()
        log.add(DOG, "find", "k", masks(5))
    both = path.read_bytes()
    for cut in range(len(whole), len(both)):
        path.write_bytes(both[:cut])
        with OutcomeLog(path) as log:
            assert log.knows(CAT, "k")
            assert not log.knows(DOG)
        assert path.read_bytes() == whole
    with OutcomeLog(path) as log:
        log.add(DOG, "find", "k", masks(7))
        same(log.masks(DOG, "k"), masks(7))


def test_lines_that_were_replaced_are_left_out(tmp_path):
    """One line for each query, the latest; an error goes once it is answered."""
    path = tmp_path / "results.jsonl"
    with OutcomeLog(path) as log:
        log.add(CAT, "find", "old", masks())
        log.add(DOG, "find", "k", PromptError("no"))
        log.add(CAT, "find", "new", masks(5))
        log.add(DOG, "find", "k", masks(7))
        log.tidy()
    assert [(each["id"], each["key"]) for each in lines(path)] == [("cat", "new"), ("dog", "k")]
    assert all("masks" in each for each in lines(path))


def test_an_error_throws_no_masks_away(tmp_path):
    """Where photos are out of reach for once, what was found is still known afterwards."""
    path = tmp_path / "results.jsonl"
    with OutcomeLog(path) as log:
        log.add(CAT, "find", "k", masks())
        log.add(CAT, "find", "", PromptError("gone"))
        log.tidy()
    assert ["error" in each for each in lines(path)] == [False, True]
    with OutcomeLog(path) as log:
        assert log.knows(CAT, "k")
        log.forgive(CAT)
        log.tidy()
    assert ["error" in each for each in lines(path)] == [False]


def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch):
    """The part of a line that found room is taken back, and it is said how to go on."""
    path = tmp_path / "results.jsonl"
    with OutcomeLog(path) as log:
        log.add(CAT, "find", "k", masks())
        before = path.read_bytes()
        log._writer = Filling(log._writer, room=20)
        with pytest.raises(OutputError, match="no space left") as raised:
            log.add(DOG, "find", "k", masks())
        assert "go on with the same command" in raised.value.hint
        assert path.read_bytes() == before
        assert not log.knows(DOG)


class Filling:
    """A file on a disk with room for so many bytes more."""

    def __init__(self, file, room):
        self.file = file
        self.room = room

    def write(self, part):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = self.file.write(part[: self.room])
        self.room -= count
        return count

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize(
    "line",
    ["cat", "{}", "[1]", '{"image": "a", "id": 3, "verb": "find", "key": "k", "error": {}}'],
)
def test_a_file_of_another_kind_is_not_touched(tmp_path, line):
    """A file of this name that is not ours stays as it is, and its line is named."""
    path = tmp_path / "results.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(OutputError, match=r"line 1 of .* is no result of a query"):
        OutcomeLog(path)
    assert path.read_text() == f"{line}\n"


def test_a_folder_of_that_name_is_said(tmp_path):
    """One sentence, with where to write instead."""
    with pytest.raises(OutputError, match="cannot write") as raised:
        OutcomeLog(tmp_path)
    assert "-o" in raised.value.hint
