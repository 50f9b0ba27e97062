"""Files of queries: what lines mean, which are refused, and how a query is named."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from promptseg import queries
from promptseg.batch import VERBS, Batch
from promptseg.concepts import Concept
from promptseg.errors import ImageError, PromptError
from promptseg.geometry import Box
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions, TidyOptions
from promptseg.prompts import Points
from promptseg.queries import AskedImage, read

QUERY = {"verb": "find", "text": "cat"}


def written(tmp_path, *lines):
    path = tmp_path / "queries.jsonl"
    said = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(said))
    return path


def line(*queries, image="a.jpg"):
    return {"image": image, "queries": list(queries)}


def only(tmp_path, query):
    """The one question that a file with one query asks."""
    asked = read(written(tmp_path, line(query)))
    assert asked.broken == []
    [[question]] = [image.questions for image in asked.images]
    return question


def why(tmp_path, broken):
    """The message about a line that is refused."""
    asked = read(written(tmp_path, broken))
    assert asked.images == []
    [(number, error)] = asked.broken
    assert number == 1
    assert isinstance(error, PromptError)
    return str(error)


def test_a_line_is_an_image_with_its_queries(tmp_path):
    """Every verb, its prompts and its options are those of the library."""
    everything = {"verb": "everything", "detail": "coarse"}
    find = {
        "id": "cat",
        "verb": "find",
        "text": "cat",
        "include": [[1, 2, 3, 4]],
        "exclude": [[5, 6, 7, 8]],
        "threshold": 0.4,
        "max": 20,
        "tidy": {"max_iou": 0.5},
    }
    segment = {"verb": "segment", "points": [[320, 200]], "labels": [0], "box": [1, 2, 30, 40]}
    [image], broken = read(written(tmp_path, line(find, segment, everything)))
    assert broken == []
    assert image.name == "a.jpg"
    assert image.path == tmp_path / "a.jpg"
    one, two, three = image.questions
    assert one.concept == Concept("cat", include=[(1, 2, 3, 4)], exclude=[(5, 6, 7, 8)])
    tidy = TidyOptions(max_iou=0.5)
    assert one.options == FindOptions(threshold=0.4, max_masks=20, tidy=tidy)
    assert (two.points, two.box) == (Points([(320, 200)], [0]), Box(1, 2, 30, 40))
    assert two.options == SegmentOptions()
    assert three.options == EverythingOptions(detail="coarse")
    ids = [each.id for each in image.questions]
    assert ids[0] == "cat"
    assert re.fullmatch("segment-[0-9a-f]{8} everything-[0-9a-f]{8}", " ".join(ids[1:]))


@pytest.mark.parametrize(
    ("verb", "record", "asked"),
    [
        ("find", FindOptions, {"text": "cat"}),
        ("segment", SegmentOptions, {"box": [1, 2, 3, 4]}),
        ("everything", EverythingOptions, {}),
    ],
)
def test_every_option_of_a_record_may_be_said(tmp_path, verb, record, asked):
    """By its name, with its own default; but for what files have no place for."""
    values = {entry.name: getattr(record(), entry.name) for entry in fields(record)}
    for name in ("tidy", "logits", "mask_size"):
        values.pop(name, None)
    tidy = {entry.name: getattr(TidyOptions(), entry.name) for entry in fields(TidyOptions)}
    said = {"verb": verb, **asked, **values, "tidy": tidy}
    assert only(tmp_path, said).options == record()


def test_lines_about_one_image_are_put_together(tmp_path):
    """The same question asked twice of an image has a number the second time."""
    query = {"verb": "everything"}
    lines = [line(query), "", line(query, image="b.jpg"), line(query, image="./a.jpg")]
    [first, second], broken = read(written(tmp_path, *lines))
    assert broken == []
    [made] = [each.id for each in second.questions]
    assert [each.id for each in first.questions] == [made, f"{made}-2"]


def test_one_image_in_many_spellings_is_one(tmp_path):
    """Whichever way leads to it, under the first of its names; a link to a picture is another."""
    (tmp_path / "img").mkdir()
    (tmp_path / "way").symlink_to("img")
    ways = ["img/s1.png", "img/../img/s1.png", f"{tmp_path}/img/s1.png", "way/s1.png"]
    (tmp_path / "img" / "link.png").symlink_to("s1.png")
    lines = [line(QUERY, image=way) for way in (*ways, "img/link.png")]
    images, broken = read(written(tmp_path, *lines))
    assert broken == []
    assert [image.name for image in images] == ["img/s1.png", "img/link.png"]
    assert [len(image.questions) for image in images] == [4, 1]
    assert images[0].path == tmp_path / "img/s1.png"


def test_an_image_behind_a_link_to_itself_is_read_as_it_is_written(tmp_path):
    """That it is not there is found out when it is opened."""
    (tmp_path / "loop").symlink_to("loop")
    [image], _ = read(written(tmp_path, line(QUERY, image="loop/a.png")))
    assert image.path == tmp_path / "loop/a.png"


VARIANTS = [
    {"verb": "find", "text": "cat"},
    {"verb": "find", "text": "dog"},
    {"verb": "find", "text": "cat", "include": [[1, 2, 3, 5]]},
    {"verb": "find", "text": "cat", "exclude": [[1, 2, 3, 5]]},
    {"verb": "find", "text": "cat", "threshold": 0.4},
    {"verb": "find", "text": "cat", "max": 3},
    {"verb": "find", "text": "cat", "tidy": {"max_iou": 0.5}},
    {"verb": "find", "text": "cat", "tidy": {"max_containment": 0.5}},
    {"verb": "segment", "box": [1, 2, 3, 5]},
    {"verb": "segment", "box": [1, 2, 3, 5], "mask": "a.png"},
    {"verb": "segment", "box": [1, 2, 3, 5], "mask": "b.png"},
    {"verb": "segment", "points": [[1, 2]]},
    {"verb": "segment", "points": [[1, 2]], "labels": [0]},
    {"verb": "everything"},
    {"verb": "everything", "detail": "coarse"},
]


@given(st.permutations(VARIANTS), st.data())
def test_a_made_id_stays_whatever_is_asked_beside_it(tmp_path_factory, order, data):
    """Unlike questions have unlike ids, in any order, number, line and folder."""
    folder = tmp_path_factory.mktemp("ids")
    alone = {}
    for variant in VARIANTS:
        alone[json.dumps(variant)] = only(folder, variant).id
    assert len(set(alone.values())) == len(VARIANTS)
    cut = data.draw(st.integers(0, len(order)))
    lines = [line(*order[:cut]), line(*order[cut:])]
    [image], _ = read(written(tmp_path_factory.mktemp("ids"), *lines))
    said = [json.dumps(variant) for variant in order]
    assert [each.id for each in image.questions] == [alone[each] for each in said]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"text": "cat", "max": 3}, {"max_masks": 3, "text": "cat"}),
        ({"text": "cat"}, {"text": " cat ", "threshold": 0.5, "tidy": {}}),
        ({"include": [[1, 2, 3, 5]]}, {"include": [[1.0, 2.0, 3.0, 5.0]], "exclude": []}),
    ],
)
def test_one_question_in_two_spellings_is_one(tmp_path, one, other):
    """Short words, defaults and the spelling of numbers make no other id and no other key."""
    first, second = (only(tmp_path, {"verb": "find", **each}) for each in (one, other))
    assert first.id == second.id
    assert first.key("image", "model") == second.key("image", "model")


def test_other_defaults_make_another_key(tmp_path, monkeypatch):
    """As those of a later version; the id stays, so that the new answer replaces the old one."""
    before = only(tmp_path, {"verb": "find", "text": "cat"})

    @dataclass(frozen=True, kw_only=True)
    class Later(FindOptions):
        threshold: float = 0.3

    Later.__qualname__ = FindOptions.__qualname__
    monkeypatch.setitem(queries.RECORDS, "find", Later)
    monkeypatch.setitem(VERBS, Later, "find")
    after = only(tmp_path, {"verb": "find", "text": "cat"})
    assert before.id == after.id
    assert before.key("image", "model") != after.key("image", "model")


def test_a_made_id_never_takes_a_given_one(tmp_path):
    """The id that is given later in the line counts before the made one."""
    made = only(tmp_path, {"verb": "everything"}).id
    said = [{"verb": "everything"}, {"verb": "everything", "id": made}]
    [image], _ = read(written(tmp_path, line(*said)))
    assert [each.id for each in image.questions] == [f"{made}-2", made]


def test_blank_lines_and_other_ends_of_lines_are_skipped(tmp_path):
    """Windows' line ends and mark at the start of a file are no obstacle; lines keep numbers."""
    path = tmp_path / "queries.jsonl"
    good = json.dumps(line({"verb": "everything"})).encode()
    path.write_bytes(b"\xef\xbb\xbf" + good + b"\r\n\r\n  \r\nno\r\n")
    asked = read(path)
    assert len(asked.images) == 1
    assert [each.line for each in asked.broken] == [4]


def test_a_broken_line_leaves_the_others(tmp_path):
    """It is named by its number, counted from 1."""
    asked = read(written(tmp_path, line({"verb": "everything"}), '{"image": "b.j', "[1]"))
    assert [image.name for image in asked.images] == ["a.jpg"]
    assert [each.line for each in asked.broken] == [2, 3]


def test_an_image_without_queries_is_left_out(tmp_path):
    """A list that is empty asks nothing and is no mistake."""
    asked = read(written(tmp_path, line(), line({"verb": "everything"}, image="b.jpg")))
    assert [image.name for image in asked.images] == ["b.jpg"]
    assert asked.broken == []


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("{", "not JSON: "),
        ('{"image": 1' + "0" * 5000 + "}", "a number is too long"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "an object of JSON, got a list"),
        ({"image": "a.jpg"}, "`queries` is a list, got nothing"),
        ({"image": "a.jpg", "queries": QUERY}, "`queries` is a list, got an object"),
        ({"queries": [QUERY]}, "`image` is the path of an image, got nothing"),
        ({"image": 3, "queries": [QUERY]}, "got a number"),
        ({"image": "", "queries": [QUERY]}, "got an empty text"),
        ({"image": "\ud800.png", "queries": [QUERY]}, "`image` is the path of an image"),
        ({"image": "\0.png", "queries": [QUERY]}, r'got "\u0000.png"'),
        ({"image": "a.jpg", "queries": [QUERY], "query": 1}, "no `query`"),
        ('{"image": "a", "queries": [], "image": "b"}', '"image" is there twice'),
        ('{"image": "a", "queries": [{"verb": "find", "text": "a", "text": 3}]}', '"text" is'),
        ('{"image": "a", "queries": [{"tidy": {"smooth": 1, "smooth": 1}}]}', '"smooth" is'),
        (line("cat"), 'query 1: a query is an object of JSON, got "cat"'),
        (line({"text": "cat"}), "`verb` is one of find, segment, everything, got null"),
        (line({"verb": ["find"]}), '`verb` is one of find, segment, everything, got ["find"]'),
        (line({"verb": "track"}), 'got "track"'),
        (line({"verb": "find"}), "needs a phrase or example boxes"),
        (line({"verb": "find", "text": ""}), "a phrase needs a word"),
        (line({"verb": "find", "text": 3}), "a phrase must be text"),
        (line({"verb": "find", "text": "x" * 2000}), "at most 1000 letters"),
        (line({"verb": "find", "text": "a\u0007"}), "control characters"),
        (line({"verb": "find", "text": "\ud800"}), "control characters"),
        (line({**QUERY, "include": [1, 2, 3, 4]}), "a box needs 4 numbers"),
        (line({**QUERY, "include": [[4, 2, 1, 3]]}), "x0 < x1"),
        (line({**QUERY, "include": "1,2,3,4"}), '`include` is a list of boxes, got "1,2,3,4"'),
        (line({**QUERY, "points": [[1, 2]]}), "`find` has no `points`"),
        (line({**QUERY, "mask_size": "model"}), "`find` has no `mask_size`"),
        (line({**QUERY, "threshold": 3}), "0..1"),
        (line({**QUERY, "threshold": "high"}), "must be a number"),
        (line({**QUERY, "threshold": 10**400}), "0..1, got inf"),
        (line({**QUERY, "max": 3, "max_masks": 4}), "are the same"),
        (line({**QUERY, "tidy": 3}), "`tidy` is an object of JSON, got a number"),
        (line({**QUERY, "tidy": {"holes": 3}}), "`tidy` has no `holes`"),
        (line({**QUERY, "id": 7}), "an id is some text, got a number"),
        (line({**QUERY, "id": ""}), "an id is some text, got an empty text"),
        (line({**QUERY, "id": "x"}, {**QUERY, "id": "x"}), "two queries of one image"),
        (line({"verb": "segment"}), "needs points, a box or a mask"),
        (line({"verb": "segment", "text": "cat"}), "`segment` has no `text`"),
        (line({"verb": "segment", "points": [[1]]}), "points need shape"),
        (line({"verb": "segment", "points": [[1, 2], [3]]}), "points"),
        (line({"verb": "segment", "points": [[1, 2]], "labels": [2]}), "0 or 1"),
        (line({"verb": "segment", "box": [1, 2, 3, 4], "labels": [1]}), "are not given"),
        (line({"verb": "segment", "box": [1, 2, 3]}), "a box needs 4 numbers"),
        (line({"verb": "segment", "mask": 3}), "`mask` is the path of a picture"),
        (line({"verb": "everything", "detail": "much"}), "coarse, normal, fine"),
        (line({"verb": "everything", "max": 3}), "`everything` has no `max`"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(tmp_path, broken, words):
    """Wrong kinds, unknown words, impossible values: said by what was got, and nothing asked."""
    said = why(tmp_path, broken)
    assert words in said
    assert "\n" not in said


def test_a_word_of_another_verb_is_pointed_out(tmp_path):
    """The hint says which verb has it."""
    asked = read(written(tmp_path, line({**QUERY, "points": [[1, 2]]})))
    assert asked.broken[0].error.hint.startswith("`segment` has it; `find` has text, include")


def test_a_line_that_is_too_long_is_left_out_and_never_held(tmp_path, monkeypatch):
    """Only its beginning is read; the lines after it keep their numbers."""
    monkeypatch.setattr("promptseg.queries.file.LONGEST_LINE", 90)
    monkeypatch.setattr("promptseg.queries.wording.LONGEST_LINE", 90)
    long = line({**QUERY, "id": "x" * 1000})
    path = written(tmp_path, line(QUERY), long, "[1]", line(QUERY, image="b.jpg"))
    assert [image.name for image in read(path).images] == ["a.jpg", "b.jpg"]
    assert [each.line for each in read(path).broken] == [2, 3]
    assert str(read(path).broken[0].error).startswith("a line is too long")
    with path.open("rb") as file:
        assert max(len(each.content) for each in queries.lines(file)) == 91


def test_text_that_is_not_utf_8_is_said(tmp_path):
    """Its line alone is refused."""
    path = tmp_path / "queries.jsonl"
    path.write_bytes(b'{"image": "\xff"}\n' + json.dumps(line(QUERY)).encode())
    asked = read(path)
    assert str(asked.broken[0].error) == "not text in UTF-8"
    assert len(asked.images) == 1


@given(st.binary(max_size=40))
def test_no_line_is_a_traceback(tmp_path_factory, noise):
    """Whatever the bytes, lines are understood or refused."""
    path = tmp_path_factory.mktemp("noise") / "queries.jsonl"
    good = json.dumps(line(QUERY, image="good")).encode()
    path.write_bytes(b'{"image": "a", "queries": [' + noise + b"]}\n" + noise + b"\n" + good)
    assert "good" in [image.name for image in read(path).images]


@pytest.mark.parametrize("content", ["", "\n \n", '{"image": "a.jpg", "queries": []}'])
def test_a_file_that_asks_nothing_is_said(tmp_path, content):
    """Empty, blank, or with images alone: nobody means that."""
    with pytest.raises(PromptError, match="asks nothing"):
        read(written(tmp_path, content))


def test_a_missing_file_and_a_folder_are_said(tmp_path):
    """With the path."""
    with pytest.raises(PromptError, match=r"there is no file `.*none.jsonl`"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(PromptError, match="is a folder"):
        read(tmp_path)


def test_a_key_tells_queries_images_masks_and_models_apart(tmp_path):
    """The order of keys and the id change nothing; anything that changes the answer does."""
    base = {"verb": "segment", "points": [[1, 2]], "mask": "hint.png"}
    Image.fromarray(np.eye(5, dtype=bool)).save(tmp_path / "hint.png")
    key = only(tmp_path, base).key("image", "model")
    turned = dict(reversed({**base, "id": "mine"}.items()))
    assert only(tmp_path, turned).key("image", "model") == key
    others = {
        only(tmp_path, base).key("other", "model"),
        only(tmp_path, base).key("image", "other"),
        only(tmp_path, {**base, "threshold": 0.5}).key("image", "model"),
    }
    Image.fromarray(~np.eye(5, dtype=bool)).save(tmp_path / "hint.png")
    others.add(only(tmp_path, base).key("image", "model"))
    assert key not in others
    assert len(others) == 4


def test_a_mask_is_read_when_it_is_asked(tmp_path):
    """Beside the file of queries; where it is missing only then it fails."""
    question = only(tmp_path, {"verb": "segment", "mask": "hint.png"})
    place = Batch().image(np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(ImageError, match=r"hint\.png"):
        question.ask(place)
    with pytest.raises(ImageError, match=r"hint\.png"):
        question.key("image", "model")
    Image.fromarray(np.eye(5, dtype=bool)).save(tmp_path / "hint.png")
    question.ask(place)
    [[prompt]] = [query.asked for query in place.queries]
    np.testing.assert_array_equal(prompt.hint.mask, np.eye(5, dtype=bool))


@pytest.mark.parametrize(
    ("query", "label"),
    [
        (QUERY, "cat"),
        ({**QUERY, "id": "mine"}, "cat"),
        ({"verb": "find", "include": [[1, 2, 3, 4]]}, "example"),
        ({"verb": "find", "include": [[1, 2, 3, 4]], "id": "mine"}, "mine"),
        ({"verb": "segment", "box": [1, 2, 3, 4]}, ""),
        ({"verb": "segment", "box": [1, 2, 3, 4], "id": "mine"}, "mine"),
        ({"verb": "everything", "id": "mine"}, ""),
    ],
)
def test_masks_are_labelled_by_the_phrase_or_the_id(tmp_path, query, label):
    """The phrase first, then the id if it was given; regions are of nothing."""
    assert only(tmp_path, query).label == label


def test_an_image_is_its_name_and_path(tmp_path):
    """An absolute path stays what it is."""
    asked = read(written(tmp_path, line(QUERY, image="/photos/a.jpg")))
    assert asked.images[0].path.as_posix() == "/photos/a.jpg"
    assert isinstance(asked.images[0], AskedImage)
