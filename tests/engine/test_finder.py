"""Concepts in, every such thing out; worked by hand on the fake finder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fake_finder import FakeFinder, painted
from promptseg.concepts import Concept
from promptseg.engine.batches import Limits
from promptseg.engine.cache import FeatureCache
from promptseg.engine.encoder import Encoder
from promptseg.engine.finder import Finder, Wanted, together
from promptseg.engine.runtime import Runtime
from promptseg.errors import OutOfMemoryError, PromptError
from promptseg.geometry import Size
from promptseg.options import FindOptions, TidyOptions
from promptseg.results import Masks

# Red blobs of four, two and one cells, scored 4/5, 2/3 and 1/2; a blue one of six, 6/7.
SCENE = painted(
    ("red", 0, 0, 2, 2), ("red", 4, 0, 8, 2), ("red", 10, 0, 14, 4), ("blue", 0, 8, 6, 12)
)


def finder_of(network, runtime, *, concepts=4):
    """Make a finder that answers so many concepts together."""
    limits = Limits(images=1, objects=1, concepts=concepts)
    return Finder(network, Encoder(network, runtime, FeatureCache(2**20), limits=limits))


def ask(finder, image, *concepts, **options):
    """Answer concepts about an image, each as masks of its own."""
    asked = [c if isinstance(c, Concept) else Concept(c) for c in concepts]
    [encoded] = finder.encoder.encode([image])
    chosen = FindOptions(**options)
    return list(finder.answer(encoded, [Wanted(each, chosen) for each in asked]))


@pytest.fixture
def finder(runtime):
    """The fake finder behind the engine."""
    return finder_of(FakeFinder(), runtime)


def test_a_phrase_worked_by_hand(finder):
    """The best first; a single cell is worth one half, which is not above the threshold."""
    [red] = ask(finder, SCENE, "red")
    np.testing.assert_allclose(red.scores, [4 / 5, 2 / 3], rtol=1e-6)
    assert red.boxes.tolist() == [[10, 0, 14, 4], [4, 0, 8, 2]]
    np.testing.assert_allclose(red.predicted_boxes, red.boxes, rtol=1e-6)
    assert red.areas.tolist() == [16, 8]
    assert red.labels.tolist() == ["red", "red"]
    assert red.candidates.tolist() == [2, 1]
    assert red.objects.tolist() == [0, 1]
    assert red.presence.tolist() == [1, 1]
    assert red.confident.all()
    assert red.complete


def test_the_threshold_is_strict(finder):
    """Just below one half the single cell is in, and at its very score it is out."""
    assert len(ask(finder, SCENE, "red", threshold=0.499)[0]) == 3
    assert len(ask(finder, SCENE, "red", threshold=0.5)[0]) == 2


def test_no_threshold_lets_all_slots_pass(finder):
    """The five of them, whatever they hold; and as all are taken, there may be more."""
    [red] = ask(finder, SCENE, "red", threshold=0)
    assert len(red) == 5
    assert red.candidates.tolist() == [2, 1, 0, 3, 4]
    assert not red.complete


def test_a_score_that_is_not_a_number_is_above_nothing(runtime):
    """And hides no other, though it sorts before them."""

    class Broken(FakeFinder):
        def find(self, features, phrases, examples):
            found = super().find(features, phrases, examples)
            found.logits[:, 0] = torch.nan
            return found

    for threshold in (0.0, 0.25):
        [red] = ask(finder_of(Broken(), runtime), SCENE, "red", threshold=threshold)
        assert red.candidates.tolist()[:2] == [2, 1]


def test_of_equal_scores_the_earlier_slot_is_first(finder):
    """In reading order, as the fake fills its slots."""
    image = painted(("red", 0, 0, 4, 2), ("red", 6, 0, 10, 2), ("red", 0, 6, 4, 8))
    assert ask(finder, image, "red")[0].candidates.tolist() == [0, 1, 2]


def test_when_all_slots_are_taken_there_may_be_more(finder):
    """Six blobs and five slots, against five blobs of which one is too poor."""
    row = [("red", x, 0, x + 2, 4) for x in (0, 4, 8, 12)]
    many = painted(*row, ("red", 0, 6, 2, 10), ("red", 4, 6, 6, 10))
    [red] = ask(finder, many, "red")
    assert len(red) == 5
    assert not red.complete
    [red] = ask(finder, painted(*row, ("red", 0, 6, 2, 8)), "red")
    assert len(red) == 4
    assert red.complete


def test_a_most_does_not_hide_that_there_may_be_more(finder):
    """The count that is asked for is no matter of what there is."""
    row = [("red", x, y, x + 2, y + 4) for y in (0, 6) for x in (0, 4, 8)]
    [red] = ask(finder, painted(*row), "red", max_masks=2)
    assert len(red) == 2
    assert not red.complete
    assert ask(finder, SCENE, "red", max_masks=1)[0].complete


def test_what_is_not_there_is_no_mask(finder):
    """With its columns all the same, so that they can be gone through."""
    [green] = ask(finder, SCENE, "green")
    assert len(green) == 0
    assert green.labels.tolist() == []
    assert green.predicted_boxes.shape == (0, 4)
    assert finder.network.drawn == [[0]]


def test_only_what_is_kept_is_drawn(finder):
    """Two of three red blobs, one blue, nothing green: in one question each, together."""
    ask(finder, SCENE, "red", "blue", "green")
    assert finder.network.asked == [3]
    assert finder.network.drawn == [[2, 1, 0]]
    ask(finder, SCENE, "red", max_masks=1)
    assert finder.network.drawn[-1] == [1]


@pytest.mark.parametrize(
    ("concept", "areas", "label"),
    [
        (Concept(include=[(11, 1, 12, 3)]), [16, 8], "example"),
        (Concept("blue", include=[(11, 1, 12, 3)]), [24, 16, 8], "blue"),
        (Concept("red blue", exclude=[(1, 9, 3, 11)]), [16, 8], "red blue"),
        (Concept(exclude=[(11, 1, 12, 3)]), [24], "example"),
        (Concept(include=[(-5, 9, 3, 99)]), [24], "example"),
        (Concept(include=[(11, 1, 12, 3)], exclude=[(11, 1, 12, 3)]), [], None),
    ],
)
def test_examples_worked_by_hand(finder, concept, areas, label):
    """Alone, beside a phrase, and only of what is not meant; they may stick out of the image."""
    [masks] = ask(finder, SCENE, concept)
    assert masks.areas.tolist() == areas
    assert set(masks.labels.tolist()) == ({label} if areas else set())


def test_boxes_are_in_pixels_of_the_image(finder):
    """Of one twice as high as the network's square is deep, and an example in its pixels."""
    image = painted(("red", 4, 8, 8, 24), height=28)
    [masks] = ask(finder, image, Concept(include=[(5, 20, 6, 22)]))
    np.testing.assert_allclose(masks.predicted_boxes, [[4, 8, 8, 24]], rtol=1e-6)
    assert masks.size == (28, 14)


def test_predicted_boxes_are_clipped(runtime):
    """A network may see a thing beyond the image."""

    class Wide(FakeFinder):
        def find(self, features, phrases, examples):
            found = super().find(features, phrases, examples)
            return found._replace(boxes=torch.tensor([-0.25, 0.5, 1.5, 2.0]).expand(1, 5, 4))

    finder = finder_of(Wide(), runtime)
    [masks] = ask(finder, painted(("red", 0, 0, 4, 4), height=28), "red")
    assert masks.predicted_boxes.tolist() == [[0, 14, 14, 28]]
    tensors = tensors_of(finder, painted(("red", 0, 0, 4, 4), height=28), "red")
    assert tensors.boxes.tolist() == [[0, 14, 14, 28]]


def test_masks_of_the_models_own_size(finder):
    """Seven cells each way, and boxes still in pixels of the image."""
    [masks] = ask(finder, SCENE, "red", mask_size="model")
    assert masks.size == (7, 7)
    assert masks.areas.tolist() == [4, 2]
    np.testing.assert_allclose(masks.predicted_boxes[0], [10, 0, 14, 4], rtol=1e-6)


def tensors_of(finder, image, phrase, **options):
    """Ask for tensors."""
    [encoded] = finder.encoder.encode([image])
    return finder.tensors(encoded, Wanted(Concept(phrase), FindOptions(**options)))


@pytest.mark.parametrize("size", ["image", "model"])
@pytest.mark.parametrize(("height", "width"), [(14, 14), (29, 17), (5, 3)])
@pytest.mark.parametrize("options", [{}, {"threshold": 0}, {"max_masks": 1}])
def test_tensors_are_what_masks_are(runtime, size, height, width, options):
    """The same pixels, scores, boxes and slots; logits of any kind, as a network's may be."""

    class Noisy(FakeFinder):
        def outline(self, features, detections, slots):
            noise = torch.Generator().manual_seed(3)
            drawn = super().outline(features, detections, slots)
            return [
                (each + torch.randn(each.shape, generator=noise)).bfloat16().double()
                for each in drawn
            ]

    image = np.ascontiguousarray(np.resize(SCENE, (height, width, 3)))
    finder = finder_of(Noisy(), runtime)
    [masks] = ask(finder, image, "red", mask_size=size, **options)
    found = tensors_of(finder, image, "red", mask_size=size, **options)
    np.testing.assert_array_equal(found.masks.numpy(), masks.to_numpy())
    np.testing.assert_array_equal(found.scores.numpy(), masks.scores)
    np.testing.assert_allclose(found.boxes.numpy(), masks.predicted_boxes, rtol=1e-6)
    assert found.slots.tolist() == masks.candidates.tolist()
    assert found.complete == masks.complete


def test_tensors_may_be_changed(finder):
    """They are not of inference mode, and no view of what is kept."""
    found = tensors_of(finder, SCENE, "red")
    for tensor in (found.scores, found.boxes, found.masks, found.slots):
        assert not tensor.is_inference()
        tensor.zero_()
    assert found.presence.item() == 1
    assert tensors_of(finder, SCENE, "red").scores[0] > 0.5


def test_each_phrase_is_read_once(finder):
    """Together with the others of its first call, and never again; examples ask for `visual`."""
    example = Concept(include=[(11, 1, 12, 3)])
    ask(finder, SCENE, "red", "blue", "red", example)
    ask(finder, painted(("red", 0, 0, 4, 4)), "blue", "green", example)
    assert finder.network.was_read == [["red", "blue", "visual"], ["green"]]


@pytest.mark.parametrize("together", [1, 2, 3, 7])
def test_company_and_padding_change_nothing(runtime, together):
    """Phrases of one to six words, with no to three examples, however many at a time."""
    concepts = [
        Concept("red"),
        Concept("a very big and nice blue"),
        Concept("green or blue", include=[(11, 1, 12, 3)], exclude=[(0, 0, 1, 1), (4, 0, 5, 1)]),
        Concept(exclude=[(1, 9, 3, 11)]),
        Concept("nothing"),
    ]
    finder = finder_of(FakeFinder(), runtime, concepts=together)
    found = ask(finder, SCENE, *concepts)
    for concept, masks in zip(concepts, found, strict=True):
        [alone] = ask(finder_of(FakeFinder(), runtime, concepts=1), SCENE, concept)
        assert masks.runs == alone.runs
        assert masks.scores.tolist() == alone.scores.tolist()
        assert masks.complete == alone.complete


def test_where_memory_runs_out_half_is_tried_for_good(runtime):
    """Room for two of eight: 8, 4, 2 and two from then on, in the next call too."""
    finder = finder_of(FakeFinder(room=2), runtime, concepts=8)
    found = ask(finder, SCENE, *["red"] * 8)
    assert finder.network.asked == [2, 2, 2, 2]
    assert finder.concepts == 2
    assert {masks.runs for masks in found} == {found[0].runs}
    ask(finder, SCENE, *["red"] * 3)
    assert finder.network.asked[4:] == [2, 1]


def test_one_concept_that_does_not_fit_is_an_error(runtime):
    """In one sentence, whichever way it is asked."""
    finder = finder_of(FakeFinder(room=0), runtime)
    with pytest.raises(OutOfMemoryError, match="out of memory while finding concepts one"):
        ask(finder, SCENE, "red")
    with pytest.raises(OutOfMemoryError, match="out of memory while finding concepts one"):
        tensors_of(finder, SCENE, "red")


def test_a_phrase_that_is_refused_is_an_error(finder):
    """Before the network is asked anything."""
    with pytest.raises(PromptError, match="at most 6 words"):
        ask(finder, SCENE, "red", "one two three four five six seven")
    assert finder.network.asked == []


def test_a_caller_decides_nothing_by_autocast(finder):
    """Within `torch.autocast` answers are what they are without."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        [within] = ask(finder, SCENE, "red")
    assert within.scores.tolist() == ask(finder, SCENE, "red")[0].scores.tolist()


def test_half_precision_is_enough_to_find():
    """Pixels and features in bfloat16; scores, boxes and masks in float32 as ever."""
    finder = finder_of(FakeFinder(), Runtime.choose("cpu", "bfloat16"))
    [masks] = ask(finder, SCENE, "red")
    found = tensors_of(finder, SCENE, "red")
    assert masks.areas.tolist() == [16, 8]
    assert (found.scores.dtype, found.boxes.dtype) == (torch.float32, torch.float32)
    np.testing.assert_array_equal(found.masks.numpy(), masks.to_numpy())


SIZE = Size(3, 7)


def stripes(*widths, scores):
    """Masks of the first so many columns."""
    stack = np.zeros((len(widths), *SIZE), bool)
    for row, width in enumerate(widths):
        stack[row, :, :width] = True
    return Masks.from_numpy(stack, scores=scores)


def joined(*answers, **options):
    """Join the answers of one request; the areas of what is left."""
    return (together(answers, SIZE, FindOptions(**options)).areas // 3).tolist()


def test_answers_are_joined_in_the_order_asked():
    """And numbered through, as each is a thing of its own."""
    both = together(
        [stripes(5, 2, scores=[0.5, 0.4]), stripes(3, scores=[0.9])], SIZE, FindOptions()
    )
    assert (both.areas // 3).tolist() == [5, 2, 3]
    assert both.objects.tolist() == [0, 1, 2]


def test_doubles_go_within_a_concept_or_across():
    """The same columns under two names: one of them goes where concepts are compared."""
    first, second = stripes(5, 5, scores=[0.6, 0.5]), stripes(5, 2, scores=[0.9, 0.4])
    tidy = TidyOptions(max_iou=0.5)
    assert joined(first, second) == [5, 5, 5, 2]
    assert joined(first, second, tidy=tidy) == [5, 5, 2]
    assert joined(first, second, tidy=tidy, max_iou_across=0.5) == [5, 2]
    assert joined(first, second, max_iou_across=0.5) == [5, 2]


def test_what_is_tidied_away_does_not_count():
    """At most two of each concept are two after the doubles went, also across concepts."""
    first = stripes(5, 5, 2, scores=[0.6, 0.5, 0.4])
    second = stripes(5, 2, 7, scores=[0.9, 0.3, 0.2])
    tidy = TidyOptions(max_iou=0.7)
    assert joined(first, max_masks=2) == [5, 5]
    assert joined(first, max_masks=2, tidy=tidy) == [5, 2]
    # Across: the first keeps its 2, the second its 5, and its 7 overlaps that by 5/7 only.
    apart = TidyOptions(max_iou=0.75)
    assert joined(first, second, max_masks=2, tidy=apart, max_iou_across=0.75) == [2, 5, 7]


def test_one_concept_that_may_have_more_leaves_the_whole_incomplete():
    """And none of nothing is complete, with its columns."""
    some = stripes(5, scores=[0.5])
    assert together([some], SIZE, FindOptions()).complete
    for across in (None, 0.5):
        options = FindOptions(max_iou_across=across)
        more = together([some, replace(some, complete=False)], SIZE, options)
        assert not more.complete
    none = together([], SIZE, FindOptions())
    assert (len(none), none.complete, none.labels.tolist()) == (0, True, [])
