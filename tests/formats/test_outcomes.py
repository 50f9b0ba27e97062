"""The log of what queries came to: nothing is lost, and nothing half is believed."""

from __future__ import annotations

import copy
import errno
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.errors import MaskError, OutputError, PromptError
from promptseg.formats.outcomes import (
    SHOWN,
    Name,
    OutcomeLog,
    masks_from_json,
    outcome_to_json,
)
from promptseg.io import files
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


AT_WORK = """
import sys, time
from promptseg.formats.outcomes import OutcomeLog
with OutcomeLog(sys.argv[1]):
    print("at work", flush=True)
    time.sleep(60)
"""


def test_two_logs_of_one_file_are_never_at_work_together(tmp_path):
    """The second is refused in one sentence; what was killed keeps nobody out."""
    path = tmp_path / "results.jsonl"
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "results.jsonl").symlink_to(path)
    command = [sys.executable, "-c", AT_WORK, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "at work\n"
        for way in (path, tmp_path / "link" / "results.jsonl"):
            with pytest.raises(
                OutputError, match=f"another run is at work in `{way.parent}`"
            ) as no:
                OutcomeLog(way)
            assert "-o" in no.value.hint
        os.kill(other.pid, signal.SIGKILL)
    with OutcomeLog(path) as log:
        log.add(CAT, "find", "k", masks())
        log.tidy()
        # Still at work: the file is another one now, and the lock is not.
        with pytest.raises(OutputError, match="another run"):
            OutcomeLog(path)
    with OutcomeLog(path) as log:
        assert log.knows(CAT, "k")


def test_where_nothing_can_be_locked_the_work_goes_on(tmp_path, monkeypatch, caplog):
    """As on some file systems of a network, with a warning."""

    def refuse(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files, "_lock", refuse)
    with caplog.at_level(logging.WARNING), OutcomeLog(tmp_path / "results.jsonl") as log:
        log.add(CAT, "find", "k", masks())
    assert caplog.messages == [
        f"nothing keeps other runs out of `{tmp_path}`, which cannot be locked: no locks available"
    ]


def damaged(change):
    """A line of JSON about a cat, changed."""
    said = {**CAT._asdict(), "verb": "find", "key": "k", **outcome_to_json(masks(count=1))}
    change(said)
    return json.dumps(said)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.update(masks="x"),
        lambda said: said.update(masks=None),
        lambda said: said.update(masks=[3]),
        lambda said: said.pop("masks"),
        lambda said: said.update(size=[7, 11]),
        lambda said: said.update(size={"height": "7", "width": 11}),
        lambda said: said.update(size={"height": 7, "width": 13}),
        lambda said: said.update(size={"height": 0, "width": 0}),
        lambda said: said.update(complete="yes"),
        lambda said: said["masks"][0].pop("rle"),
        lambda said: said["masks"][0].update(rle="x"),
        lambda said: said["masks"][0]["rle"].update(counts="\ud800"),
        lambda said: said["masks"][0]["rle"].update(counts=[3]),
        lambda said: said["masks"][0].update(label=["cat"]),
        lambda said: said["masks"][0].pop("score"),
        lambda said: said["masks"][0].update(score="x"),
        lambda said: said["masks"][0].update(score=float("nan")),
        lambda said: said["masks"][0].update(score=float("inf")),
        lambda said: said["masks"][0].update(object=1.5),
        lambda said: said["masks"][0].update(stability=[]),
        lambda said: said.update(error=3) or said.pop("masks"),
    ],
)
def test_a_damaged_line_is_named_and_not_believed(tmp_path, caplog, change):
    """Its query is not known, those of the others are; putting in order leaves it out."""
    path = tmp_path / "results.jsonl"
    with OutcomeLog(path) as log:
        log.add(DOG, "find", "k", masks())
    good = path.read_text()
    path.write_text(good + damaged(change) + "\n")
    with caplog.at_level(logging.WARNING), OutcomeLog(path) as log:
        assert not log.knows(CAT)
        assert log.knows(DOG, "k")
        log.tidy()
    [said] = caplog.messages
    assert said.startswith(f"line 2 of `{path}` is damaged, so a.jpg, query `cat` has no answer")
    assert "\n" not in said
    assert path.read_text() == good


def test_a_damaged_line_takes_no_answer_away(tmp_path):
    """What an earlier line says of the query holds."""
    path = tmp_path / "results.jsonl"
    with OutcomeLog(path) as log:
        log.add(CAT, "find", "k", masks())
    with path.open("a") as file:
        file.write(damaged(lambda said: said.update(masks="x")) + "\n")
    with OutcomeLog(path) as log:
        same(log.masks(CAT, "k"), masks())


def test_of_very_many_damaged_lines_some_are_named(tmp_path, caplog):
    """The others are counted."""
    path = tmp_path / "results.jsonl"
    path.write_text((damaged(lambda said: said.pop("size")) + "\n") * (SHOWN + 7))
    with caplog.at_level(logging.WARNING), OutcomeLog(path):
        pass
    assert len(caplog.messages) == SHOWN + 1
    assert caplog.messages[-1] == f"and 7 more lines of `{path}` are damaged"


def places_in(said, before=()):
    """Every place in a value of JSON."""
    pairs = said.items() if isinstance(said, dict) else enumerate(said)
    for key, value in pairs:
        yield (*before, key)
        if isinstance(value, (dict, list)):
            yield from places_in(value, (*before, key))


RECORD = outcome_to_json(masks(count=2))
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=3,
)


@given(st.sampled_from(list(places_in(RECORD))), JUNK)
def test_whatever_is_damaged_is_no_traceback(place, junk):
    """A value in place of another makes masks that can be used, or one of our errors."""
    said = copy.deepcopy(RECORD)
    inner = said
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = junk
    try:
        found = masks_from_json(json.loads(json.dumps(said)))
    except MaskError:
        return
    assert np.isfinite(found.scores).all()
    assert len(outcome_to_json(found)["masks"]) == len(found)


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


def test_what_is_no_file_of_lines_is_said(tmp_path):
    """A folder, a device, a pipe, a link to itself: one sentence, with where to write instead."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "around").symlink_to("around/results.jsonl")
    for name, what in (
        ("folder", "it is a folder"),
        ("device", "it is no regular file"),
        ("pipe", "it is no regular file"),
        ("loop", "too many levels of symbolic links"),
        ("around/results.jsonl", "too many levels of symbolic links"),
    ):
        with pytest.raises(OutputError, match=f"cannot write `.*{name}`: {what}") as raised:
            OutcomeLog(tmp_path / name)
        assert "-o" in raised.value.hint
