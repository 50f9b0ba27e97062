"""Requests of every kind together: the same answers as alone, and no work done twice."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_finder import FakeBoth, FakeFinder, painted
from fake_network import FakeNetwork
from promptseg.concepts import Concept
from promptseg.engine.batches import Limits
from promptseg.engine.cache import FeatureCache
from promptseg.engine.digest import Name
from promptseg.engine.runtime import Runtime
from promptseg.engine.verbs import Verbs, without_frames
from promptseg.errors import OutOfMemoryError, PromptError, PromptsegError
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions
from promptseg.prompts import MaskHint, Points, Prompt
from promptseg.requests import EverythingRequest, FindRequest, SegmentRequest

CPU = Runtime.choose("cpu", "float32")
# Mean reds of 1/2 and more, so that points have scores worth something.
IMAGES = [
    painted(("red", 0, 0, 14, 8), ("blue", 0, 10, 4, 14)),
    painted(("red", 0, 0, 14, 14)),
    painted(("red", 0, 0, 6, 14), ("green", 8, 2, 12, 6), ("red", 8, 8, 14, 14)),
]
POINT, OTHER = Points([(7, 7)]), Points([(3, 4), (11, 12)], [1, 0])
LONG = "one two three four five six seven"
BAD_HINT = Prompt(points=POINT, hint=MaskHint(np.full((5, 5), 0.5)))
COARSE = EverythingOptions(
    points_per_side=3, threshold=0.1, stability_threshold=0.1, edge_margin=0, min_contrast=0
)


def verbs_of(network=None, *, images=1, objects=1, concepts=1, abreast=1, cache_bytes=2**20):
    """Put a network behind the engine, with limits of one's own."""
    limits = Limits(images=images, objects=objects, concepts=concepts, abreast=abreast)
    return Verbs(network or FakeBoth(), CPU, FeatureCache(cache_bytes), limits=limits)


def find(image, *concepts, **options):
    """Ask `find` something."""
    return FindRequest.of(image, list(concepts), FindOptions(**options))


def shown(outcome):
    """All there is to see of an answer."""
    if isinstance(outcome, PromptsegError):
        return type(outcome).__name__, str(outcome)
    columns = (outcome.scores, outcome.objects, outcome.candidates, outcome.presence)
    labels = None if outcome.labels is None else outcome.labels.tolist()
    return (
        outcome.size,
        outcome.runs,
        [column.tolist() for column in columns],
        labels,
        outcome.complete,
    )


def answers_of(verbs, requests):
    """Run, and put what came in the order asked; each request is answered once."""
    ended = list(verbs.run(requests))
    assert sorted(each.request for each in ended) == list(range(len(requests)))
    return [outcome for _, outcome, _ in sorted(ended, key=lambda each: each.request)]


ASKED = st.sampled_from(
    [
        lambda image: find(image, "red"),
        lambda image: find(image, "red", "a very small blue", "green", max_masks=1),
        lambda image: find(image, Concept("blue", include=[(1, 1, 3, 3)]), threshold=0.25),
        lambda image: find(image, Concept(exclude=[(1, 1, 3, 3)]), mask_size="model"),
        lambda image: find(image, "red", "red", max_iou_across=0.5),
        lambda image: find(image),
        lambda image: find(image, "red", LONG),
        lambda image: SegmentRequest.of(image, POINT),
        lambda image: SegmentRequest.of(image, [OTHER, POINT], SegmentOptions(all_candidates=True)),
        lambda image: SegmentRequest.of(image, []),
        lambda image: SegmentRequest.of(image, BAD_HINT),
        lambda image: EverythingRequest(image, COARSE),
    ]
)


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.tuples(ASKED, st.sampled_from(IMAGES)), max_size=9),
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 7), st.integers(1, 2)),
    st.sampled_from([0, 2**20]),
    st.randoms(use_true_random=False),
)
def test_a_mixed_batch_equals_its_queries_one_by_one(asked, limits, cache_bytes, chance):
    """Whatever the verbs, their order and number, how many at a time, and what is kept."""
    requests = [ask(image) for ask, image in asked]
    alone = [shown(answers_of(verbs_of(), [request])[0]) for request in requests]
    network = FakeBoth(room=chance.choice([2, 1000]))
    parts = dict(zip(("images", "objects", "concepts", "abreast"), limits, strict=True))
    verbs = verbs_of(network, **parts, cache_bytes=cache_bytes)
    assert [shown(each) for each in answers_of(verbs, requests)] == alone
    order = list(range(len(requests)))
    chance.shuffle(order)
    shuffled = answers_of(verbs, [requests[place] for place in order])
    assert [shown(each) for each in shuffled] == [alone[place] for place in order]


@pytest.mark.parametrize("abreast", [1, 2])
@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_each_image_is_encoded_once_whatever_the_verbs(cache_bytes, abreast):
    """Also with nothing kept, and for equal pixels; each phrase is read once."""
    network = FakeBoth()
    requests = [
        request
        for image in (IMAGES[0], IMAGES[1], IMAGES[0].copy())
        for request in (
            EverythingRequest(image, COARSE),
            find(image, "red", "blue"),
            SegmentRequest.of(image, POINT),
            find(image, "blue", "green"),
        )
    ]
    answers_of(verbs_of(network, cache_bytes=cache_bytes, abreast=abreast), requests)
    assert network.encoded == [1, 1]
    assert sorted(phrase for some in network.was_read for phrase in some) == [
        "blue",
        "green",
        "red",
    ]


def test_answers_come_as_soon_as_they_are_known():
    """Those about the first image before the second is looked at, and a `find` before the rest."""
    network = FakeBoth()
    requests = [
        EverythingRequest(IMAGES[0], COARSE),
        SegmentRequest.of(IMAGES[0], POINT),
        find(IMAGES[1], "red"),
        find(IMAGES[0], "red"),
    ]
    running = verbs_of(network).run(requests)
    assert next(running).request == 3
    assert network.decoded == []
    assert [next(running).request, next(running).request] == [1, 0]
    assert network.encoded == [1]
    assert next(running).request == 2
    assert network.encoded == [1, 1]


def test_images_are_looked_at_side_by_side_where_every_core_has_one(two_threads):
    """Neither of two begins to be answered before both are looked at; a lone one needs no other."""
    together = threading.Barrier(2)

    class Meeting(FakeBoth):
        def encode(self, pixels):
            together.wait(30)
            return super().encode(pixels)

    requests = [SegmentRequest.of(image, POINT) for image in IMAGES[:2]]
    alone = [shown(answers_of(verbs_of(), [request])[0]) for request in requests]
    verbs = verbs_of(Meeting(), abreast=2)
    assert [shown(each) for each in answers_of(verbs, requests)] == alone
    assert verbs.images == 2
    lone = verbs_of(FakeBoth(), abreast=2)
    assert [shown(each) for each in answers_of(lone, requests[:1])] == alone[:1]


def test_where_memory_runs_out_side_by_side_images_come_in_turn(two_threads):
    """What did not fit beside another is asked again by itself, and so are all from then on."""
    inside, most = [], []

    class Narrow(FakeBoth):
        def encode(self, pixels):
            inside.append(1)
            most.append(len(inside))
            try:
                time.sleep(0.05)
                if len(inside) > 1:
                    raise MemoryError
                return super().encode(pixels)
            finally:
                inside.pop()

    verbs = verbs_of(Narrow(), abreast=2)
    requests = [SegmentRequest.of(image, POINT) for image in IMAGES[:2]]
    alone = [shown(answers_of(verbs_of(), [request])[0]) for request in requests]
    for _ in range(8):
        assert [shown(each) for each in answers_of(verbs, requests)] == alone
        verbs.encoder.cache.clear()
        if verbs.images == 1:
            break
    assert verbs.images == 1
    most.clear()
    assert [shown(each) for each in answers_of(verbs, requests)] == alone
    assert max(most) == 1


def test_a_request_that_does_not_fit_fails_alone():
    """A refused phrase, a hint of another model: their neighbours on the image are answered."""
    requests = [
        find(IMAGES[0], "red", LONG),
        find(IMAGES[0], "blue"),
        SegmentRequest.of(IMAGES[0], BAD_HINT),
        SegmentRequest.of(IMAGES[0], POINT),
    ]
    refused, blue, bad, good = answers_of(verbs_of(concepts=4), requests)
    assert isinstance(refused, PromptError)
    assert isinstance(bad, PromptError)
    assert (len(blue), len(good)) == (1, 1)


def test_an_image_that_does_not_fit_fails_alone():
    """Of three looked at together one is too much for the memory, also by itself."""

    class Picky(FakeBoth):
        def encode(self, pixels):
            if (pixels[:, 0].mean(dim=(1, 2)) == 1).any():
                raise RuntimeError("out of memory")
            return super().encode(pixels)

    requests = [find(image, "red") for image in IMAGES]
    first, second, third = answers_of(verbs_of(Picky(), images=3), requests)
    assert isinstance(second, OutOfMemoryError)
    assert (len(first), len(third)) == (1, 2)


def test_an_error_that_is_kept_holds_no_image():
    """Nor do those that it came from."""
    [error] = answers_of(verbs_of(FakeBoth(room=0)), [find(IMAGES[0], "red")])
    assert isinstance(error, OutOfMemoryError)
    assert error.__traceback__ is None
    assert error.__cause__.__traceback__ is None


def test_an_error_without_frames_is_the_same_error():
    """Only where it came through is forgotten."""
    try:
        raise PromptError("wrong", hint="mend it") from ValueError("why")
    except PromptError as error:
        kept = without_frames(error)
    assert (str(kept), kept.hint, str(kept.__cause__)) == ("wrong", "mend it", "why")


def test_threads_share_what_can_be_asked():
    """Sixteen threads with mixed requests: one encoding and one reading of each."""
    network = FakeBoth()
    verbs = verbs_of(network)
    requests = [
        (find(image, "red", "blue"), SegmentRequest.of(image, POINT), find(image, "green"))
        for image in IMAGES
    ]
    alone = [[shown(each) for each in answers_of(verbs_of(), some)] for some in requests]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda i: answers_of(verbs, requests[i % 3]), range(48)))
    for number, some in enumerate(found):
        assert [shown(each) for each in some] == alone[number % 3]
    assert sum(network.encoded) == 3
    assert sorted(phrase for some in network.was_read for phrase in some) == [
        "blue",
        "green",
        "red",
    ]


def test_a_network_that_only_finds_refuses_the_rest():
    """With what to do about it."""
    verbs = verbs_of(FakeFinder())
    requests = [
        SegmentRequest.of(IMAGES[0], POINT),
        EverythingRequest(IMAGES[0], COARSE),
        SegmentRequest.of(IMAGES[0], []),
        find(IMAGES[0], "red"),
    ]
    *refused, found = answers_of(verbs, requests)
    for error in refused:
        assert isinstance(error, PromptError)
        assert "answers no points or boxes" in str(error)
        assert "`find`" in error.hint
    assert len(found) == 1


def test_a_network_without_words_refuses_to_find():
    """The hint names what does; nothing is encoded for it."""
    network = FakeNetwork()
    good, refused, nothing = answers_of(
        verbs_of(network),
        [SegmentRequest.of(IMAGES[0], POINT), find(IMAGES[1], "red"), find(IMAGES[1])],
    )
    assert len(good) == 1
    assert str(refused) == str(nothing) == "this model knows no words and finds nothing by example"
    assert "`sam3`" in refused.hint
    assert network.encoded == [1]


def test_nothing_asked_is_nothing_found():
    """Without any work; the size is that of what would have been."""
    network = FakeBoth()
    none, small, empty = answers_of(
        verbs_of(network),
        [find(IMAGES[0]), find(IMAGES[0], mask_size="model"), SegmentRequest.of(IMAGES[0], [])],
    )
    assert (none.size, small.size, empty.size) == ((14, 14), (7, 7), (14, 14))
    assert none.labels.tolist() == []
    assert network.encoded == []
    assert list(verbs_of(network).run([])) == []


def test_usage_says_what_is_held(caplog):
    """A mean and 14 x 14 pixels of four bytes for three channels; the log says it at each run."""
    verbs = verbs_of(FakeBoth(room=3), images=2, objects=5, concepts=7)
    with caplog.at_level(logging.DEBUG):
        answers_of(verbs, [find(IMAGES[0], *["red"] * 7)])
    usage = verbs.usage()
    assert (usage.cached_images, usage.cached_bytes, usage.free_bytes) == (0, 0, None)
    assert (usage.images, usage.objects, usage.concepts) == (2, 5, 3)
    assert str(usage) in caplog.text
    answers_of(verbs, [find(IMAGES[0], "red")])
    assert (verbs.usage().cached_images, verbs.usage().cached_bytes) == (1, 12 * (1 + 14 * 14))
    answers_of(verbs, [find(IMAGES[0], "blue")])
    assert (verbs.usage().cache_hits, verbs.usage().cache_misses) == (1, 2)


def test_images_are_equal_by_their_names():
    """Whose they are is part of a name: one look for each, and the same answer."""
    network = FakeBoth()
    verbs = verbs_of(network)
    requests = [find(IMAGES[0], "red") for _ in range(5)]
    names = [Name("x", "a"), Name("x", "b"), Name("x", "a"), None, Name("x", "b")]
    ended = list(verbs.run(requests, names))
    assert len({str(shown(each.outcome)) for each in ended}) == 1
    assert len(network.encoded) == 3
    assert network.was_read == [["red"]] * 3
    assert all(each.spent.encode >= 0 and each.spent.answer > 0 for each in ended)


def test_usage_of_what_a_network_cannot_do_is_none():
    """No objects where there are no points, and no concepts where there are no words."""
    assert verbs_of(FakeFinder(), objects=5, concepts=7).usage().objects == 0
    assert verbs_of(FakeNetwork(), objects=5, concepts=7).usage().concepts == 0


class Breaking(FakeBoth):
    """Breaks down, as nobody expects, where it is asked for green things."""

    def find(self, features, phrases, examples):
        if any("green" in each for some in self.was_read[-1:] for each in some):
            raise ZeroDivisionError("a fault")
        return super().find(features, phrases, examples)


def test_a_fault_ends_its_own_query_only():
    """The neighbours are asked again without it, and the fault is kept whole for who finds it."""
    red, green, point = answers_of(
        verbs_of(Breaking(), cache_bytes=0),
        [find(IMAGES[0], "red"), find(IMAGES[1], "green"), SegmentRequest.of(IMAGES[1], POINT)],
    )
    assert len(red) == 1
    assert len(point) == 1
    assert isinstance(green, ZeroDivisionError)
    assert green.__traceback__ is not None


def test_a_hundred_concepts_are_found_a_few_at_a_time():
    """Never more than four together, and the first is known before the last is asked."""
    network = FakeBoth()
    asked = [find(IMAGES[0], f"red {number}") for number in range(100)]
    ended = verbs_of(network, concepts=4).run(asked)
    assert next(ended).request == 0
    assert len(network.asked) < 25
    assert len(list(ended)) == 99
    assert max(network.asked) == 4
