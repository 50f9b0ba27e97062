"""A list of steps is answered as the library's session answers them one by one, bit for bit."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from adapter_service import error_of, png, red, serving
from hypothesis import given, settings
from hypothesis import strategies as st

import promptseg
from fake_finder import FakeBoth
from fake_model import model_of
from promptseg.engine.digest import Name
from promptseg.formats.records import masks_from_json
from promptseg.masks import RunLength
from promptseg.options import SegmentOptions, TidyOptions
from promptseg.prompts import Box, MaskHint, Points, Prompt
from promptseg.requests import SegmentRequest
from promptseg.server.replays import Given, Replays, keys_of, replay

NAME = Name("image", "anna")
HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def builtin():
    """The model of the package, on a small photo."""
    return promptseg.load("builtin", device="cpu")


@pytest.fixture(scope="module")
def photo():
    shades = np.random.default_rng(7).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.kron(shades, np.ones((8, 8, 1), np.uint8))


def a_mask():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[8:24, 8:40] = True
    return mask


POINTS = st.lists(
    st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(0, 1)),
    min_size=1,
    max_size=3,
).map(lambda points: {"points": [[x, y] for x, y, _ in points], "labels": [p[2] for p in points]})
BOXES = st.tuples(
    st.integers(0, 30), st.integers(0, 20), st.integers(31, WIDTH), st.integers(21, HEIGHT)
).map(lambda box: {"box": list(box)})
LISTS = st.lists(st.one_of(POINTS, BOXES), min_size=1, max_size=4)


def prompt(said, base=None):
    return Prompt(
        points=Points(said["points"], said["labels"]) if "points" in said else None,
        box=Box(*said["box"]) if "box" in said else None,
        hint=None if base is None else MaskHint(base),
    )


def asked(model, image, prompts, options, replays, name=NAME):
    """Replay prompts, and return the masks and how many questions the model was asked."""
    count = 0

    async def ask(prompt, how):
        nonlocal count
        count += 1
        return model.run([SegmentRequest(image, (prompt,), how)])[0]

    found = asyncio.run(replay(prompts, options, name=name, replays=replays, ask=ask))
    return found, count


def same(masks, expected):
    assert masks.runs == expected.runs
    for name in ("scores", "objects", "candidates", "presence", "confident"):
        np.testing.assert_array_equal(getattr(masks, name), getattr(expected, name))


@settings(max_examples=12, deadline=None)
@given(steps=LISTS, with_base=st.booleans(), every=st.booleans())
def test_a_list_is_answered_as_a_session(builtin, photo, steps, with_base, every):
    """With what is remembered and without, in whatever order beginnings are asked for."""
    prompts = [
        prompt(said, a_mask() if with_base and i == 0 else None) for i, said in enumerate(steps)
    ]
    options = SegmentOptions(all_candidates=every)
    session = builtin.session(photo, options=options)
    expected = [session.add(each) for each in prompts]
    replays = Replays()
    for count in (len(prompts), *range(1, len(prompts) + 1)):
        found, questions = asked(builtin, photo, prompts[:count], options, replays)
        same(found, expected[count - 1])
        assert found.logits is None
        assert questions == (len(prompts) if questions else 0)
        forgetful, questions = asked(builtin, photo, prompts[:count], options, Replays(max_bytes=0))
        same(forgetful, expected[count - 1])
        assert questions == count


def test_one_more_step_costs_one_question_and_undo_none():
    """The beginnings of a list are remembered."""
    model, image, replays = model_of(FakeBoth()), red(), Replays()
    prompts = [Prompt(Points([(x, 7)])) for x in range(5)]
    options = SegmentOptions(all_candidates=True)
    for count, questions in ((3, 3), (4, 1), (3, 0), (2, 0), (1, 0), (5, 1), (5, 0)):
        assert asked(model, image, prompts[:count], options, replays)[1] == questions
    assert asked(model, image, [], options, replays) == (None, 0)
    other = [*prompts[:2], Prompt(box=Box(0, 0, 4, 4))]
    assert asked(model, image, other, options, replays)[1] == 1


def test_all_that_an_answer_depends_on_is_in_its_name():
    """Whose image, which, how it is asked, and every part of every step; not how it is tidied."""
    options = SegmentOptions()
    plain = Prompt(Points([(1, 2)]))
    mask = np.zeros((4, 6), bool)
    mask[1] = True
    lists = [
        ([plain], options, NAME),
        ([plain], options, Name("image", "ben")),
        ([plain], options, Name("other", "anna")),
        ([plain], replace(options, all_candidates=True), NAME),
        ([plain], replace(options, threshold=0.5), NAME),
        ([Prompt(Points([(1, 2)], [0]))], options, NAME),
        ([Prompt(Points([(2, 1)]))], options, NAME),
        ([Prompt(Points([(1, 2), (1, 2)]))], options, NAME),
        ([Prompt(Points([(1, 2)]), box=Box(0, 0, 3, 3))], options, NAME),
        ([Prompt(box=Box(0, 0, 3, 3))], options, NAME),
        ([Prompt(Points([(1, 2)]), hint=MaskHint(mask))], options, NAME),
        ([Prompt(Points([(1, 2)]), hint=MaskHint(mask.reshape(6, 4)))], options, NAME),
        ([Prompt(Points([(1, 2)]), hint=MaskHint(mask.astype(np.float32) * 3))], options, NAME),
    ]
    names = [keys_of(*each)[-1] for each in lists]
    assert len(set(names)) == len(names)
    first, second = keys_of([plain, plain], options, NAME)
    assert first == names[0]
    assert second not in names


def test_what_is_remembered_has_a_bound():
    """In bytes; a beginning that is used stays, and a key that comes again counts once."""
    masks = masks_of_area(3)
    logits = np.zeros((16, 16), np.float32)
    one = Given(masks, logits).held_bytes
    assert one >= logits.nbytes
    replays = Replays(max_bytes=3 * one)
    for key in (b"a", b"b", b"b", b"c"):
        replays.keep(key, Given(masks, logits))
    assert replays.held_bytes == 3 * one
    assert replays.longest([b"a"])[0] == 1
    replays.keep(b"d", Given(masks, logits))
    assert replays.held_bytes == 3 * one
    assert [replays.longest([key])[0] for key in (b"a", b"b", b"c", b"d")] == [1, 0, 1, 1]
    assert replays.longest([b"b", b"c", b"x"])[0] == 2


def masks_of_area(side):
    mask = np.zeros((8, 8), bool)
    mask[:side, :side] = True
    return promptseg.Masks.of([RunLength.from_mask(mask)], size=(8, 8))


@pytest.fixture(scope="module")
def client():
    with serving(FakeBoth(), max_points=5, max_pixels=10_000) as client:
        said = client.post("/v1/sessions", json={"image": png(red())}).json()
        client.masks = f"/v1/sessions/{said['id']}/masks"
        yield client


def answered(client, **said):
    answer = client.post(client.masks, json=said)
    assert answer.status_code == 200, answer.text
    return masks_from_json(answer.json())


def test_the_route_answers_as_the_library(client):
    """Every candidate, best first; tidied as asked; the session itself stays as it was."""
    tidy = {"fill_holes": 9, "drop_specks": 9}
    steps = [{"points": [[7, 7]]}, {"box": [2, 2, 12, 12]}, {"points": [[1, 1]], "labels": [0]}]
    options = SegmentOptions(all_candidates=True, tidy=TidyOptions(**tidy))
    twin = client.service.model.session(red(), options=options)
    for count, said in enumerate(steps, start=1):
        masks = answered(client, steps=steps[:count], tidy=tidy)
        expected = twin.add(prompt({"labels": None, **said}))
        assert masks.runs == expected.runs
        assert len(masks) > 1
        assert (np.diff(masks.scores) <= 0).all()
    assert len(answered(client, steps=steps, all_candidates=False)) == 1
    address = client.masks.removesuffix("/masks")
    assert client.get(address).json()["steps"] == 0


def test_a_base_is_where_the_first_step_starts(client):
    """And without a step it is the mask itself, tidied."""
    mask = np.zeros((14, 14), bool)
    mask[2:9, 3:12] = True
    mask[4, 5] = False
    base = RunLength.from_mask(mask).to_coco()
    twin = client.service.model.session(red())
    expected = twin.add(Prompt(Points([(7, 7)]), hint=MaskHint(mask)))
    steps = [{"points": [[7, 7]]}]
    assert answered(client, steps=steps, base=base, all_candidates=False).runs == expected.runs
    mask[4, 5] = True
    [run] = answered(client, base=base, tidy={"fill_holes": 1}).runs
    assert run == RunLength.from_mask(mask)
    assert len(answered(client)) == 0


def test_a_mask_is_tidied_by_itself(client):
    """What was drawn by hand goes by the same rule as what a model drew."""
    mask = np.zeros((14, 14), bool)
    mask[2:9, 3:12] = True
    mask[12, 12] = True
    said = {"rle": RunLength.from_mask(mask).to_coco(), "tidy": {"drop_specks": 1}}
    answer = client.post("/v1/tidy", json={**said, "size": {"height": 14, "width": 14}})
    mask[12, 12] = False
    assert masks_from_json(answer.json()).runs == (RunLength.from_mask(mask),)
    empty = {"rle": RunLength.from_mask(np.zeros((5, 5), bool)).to_coco()}
    answer = client.post("/v1/tidy", json={**empty, "tidy": {"drop_specks": 1}})
    assert answer.json()["masks"] == []
    error_of(client.post("/v1/tidy", json={**said, "size": {"height": 14, "width": 15}}), 422)


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ({"steps": [{}]}, "steps.0"),
        ({"steps": [{"points": [[7, 7]]}, {"points": [[70, 7]]}]}, "steps.1.points"),
        ({"steps": [{"points": [[7, 7]] * 3}] * 2}, "steps"),
        ({"steps": [{"points": [[7, 7]]}] * 101}, "steps"),
        ({"steps": [{"box": [5, 5, 1, 1]}]}, "steps.0.box"),
        ({"base": {"size": [3, 3], "counts": "9"}}, "base"),
        ({"base": {"size": [14, 14], "counts": "!!"}}, "base"),
        ({"base": {"size": [10**6, 10**6], "counts": [10**12]}}, "base"),
        ({"base": "no"}, "base"),
        ({"base": {"size": [14, 14], "counts": [196], "more": 1}}, "base"),
        ({"tidy": {"fill_holes": -1}}, "tidy.fill_holes"),
        ({"step": []}, "step"),
    ],
)
def test_what_makes_no_sense_is_refused(client, said, place):
    """The field is named, and nothing is asked of the model."""
    assert error_of(client.post(client.masks, json=said), 422)["field"] == place


def test_another_session_is_not_there(client):
    """Nor is one that was closed."""
    path = "/v1/sessions/nobody/masks"
    error_of(client.post(path, json={"steps": [{"points": [[7, 7]]}]}), 404)
