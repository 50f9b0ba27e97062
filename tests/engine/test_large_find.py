"""Large images are searched part by part, as if they were looked at in one piece."""

from __future__ import annotations

import numpy as np
import pytest

from fake_finder import FakeFinder, painted
from promptseg.api import Model
from promptseg.concepts import Concept
from promptseg.engine.cache import FeatureCache
from promptseg.engine.large_find import _whole, find_tiled
from promptseg.errors import ConfigError, PromptError
from promptseg.io import windows
from promptseg.options import FindOptions, TidyOptions
from promptseg.results import Masks
from promptseg.tiles import Tiling

# Tiles begin at 0, 10 and 20 across, and at 0 and 10 down.
TILING = Tiling(side=14, overlap=4)
HEIGHT, WIDTH = 24, 34
# One in a single tile, and one over the seam between two.
SPOT, BAR = (22, 14, 26, 18), (6, 2, 18, 6)
IMAGE = painted(("red", *SPOT), ("red", *BAR), ("green", 28, 2, 32, 6), height=24, width=34)


@pytest.fixture
def network():
    """The fake finder, counting its calls."""
    return FakeFinder()


@pytest.fixture
def model(network, runtime):
    """A model of the fake finder that keeps no features."""
    return Model("fake", network, runtime, cache=FeatureCache(0))


def search(model, *concepts, image=IMAGE, tiling=TILING, progress=None, **options):
    """Find each concept by tiles."""
    asked = [each if isinstance(each, Concept) else Concept(each) for each in concepts]
    source = windows.open_image(image)
    return find_tiled(model, source, asked, FindOptions(**options), tiling, progress=progress)


def test_things_over_seams_are_one_mask(model):
    """Each red thing once: joined from two tiles, and whole in one."""
    masks = search(model, "red")
    assert masks.size == (HEIGHT, WIDTH)
    assert sorted(masks.boxes.tolist()) == sorted([list(map(float, BAR)), list(map(float, SPOT))])
    assert masks.areas.sum() == 12 * 4 + 4 * 4
    assert masks.labels.tolist() == ["red", "red"]
    assert masks.complete
    assert masks.predicted_boxes is None


def test_a_thing_longer_than_a_tile_is_seen_from_afar(model):
    """One mask of all the image, and no parts of it."""
    sea = painted(("blue", 0, 0, WIDTH, HEIGHT), height=HEIGHT, width=WIDTH)
    assert search(model, "blue", image=sea).areas.tolist() == [WIDTH * HEIGHT]


def test_concepts_come_in_the_order_asked(model):
    """Best first within each."""
    masks = search(model, "green", "red", "nothing", "green")
    assert masks.labels.tolist() == ["green", "red", "red", "green"]
    assert masks.objects.tolist() == [0, 1, 2, 3]
    assert masks.scores[1] >= masks.scores[2]


def test_each_view_is_encoded_once_for_all_concepts(model, network):
    """An overview and six tiles, with nothing kept; each phrase is read once."""
    search(model, "green", "red", "blue")
    assert network.encoded == [1] * 7
    assert network.was_read == [["green", "red", "blue"]]


def test_progress_is_told_by_views(model):
    """After the overview and each tile one step."""
    steps = []
    search(model, "red", progress=steps.append)
    assert [(step.done, step.total) for step in steps] == [(done + 1, 7) for done in range(7)]
    assert steps[-1].found >= 3


def test_more_things_than_slots_are_all_found(model):
    """Nine of them, where the network answers with five at most: no tile shows more than four."""
    places = [(x, y) for y in (0, 10, 20) for x in (0, 10, 20)]
    many = painted(*(("red", x, y, x + 6, y + 6) for x, y in places), height=26, width=26)
    whole = model.find(many, "red", options=FindOptions(threshold=0.1))
    assert len(whole) == 5
    assert not whole.complete
    masks = search(model, "red", image=many)
    assert masks.areas.tolist() == [36] * 9
    assert masks.complete


def test_a_tile_with_more_things_than_slots_is_said(model):
    """Of six in one corner five are found, and the other concept has nothing to do with it."""
    six = [("red", x, y, x + 2, y + 2) for y in (0, 4) for x in (0, 4, 8)]
    crowded = painted(*six, ("green", 28, 2, 32, 6), height=24, width=34)
    assert not search(model, "red", "green", image=crowded, threshold=0.25).complete
    assert search(model, "green", image=crowded, threshold=0.25).complete


def test_an_image_that_fits_in_a_tile_is_found_in_one_piece(model, network):
    """As `find` would, predicted boxes and examples included."""
    small = np.ascontiguousarray(IMAGE[:14, :14])
    concepts = [Concept("red"), Concept(include=[(7, 3, 9, 5)])]
    tiled = search(model, *concepts, image=small)
    assert network.encoded == [1]
    whole = model.find(small, concepts)
    assert tiled.runs == whole.runs
    assert tiled.predicted_boxes.tolist() == whole.predicted_boxes.tolist()
    assert tiled.labels.tolist() == whole.labels.tolist() == ["red", "example"]


def test_masks_are_tidied_at_the_end(model):
    """Once, at the size of the image; at most so many of each concept, or of all together."""
    assert len(search(model, "red", max_masks=1)) == 1
    tidy = TidyOptions(drop_specks=1, max_iou=0.5)
    assert len(search(model, "red", "red", tidy=tidy)) == 4
    assert len(search(model, "red", "red", max_iou_across=0.5)) == 2


def test_nothing_is_an_answer(model):
    """No concepts, and nothing of the kind."""
    assert len(search(model)) == 0
    none = search(model, "nothing")
    assert (len(none), none.complete, none.size) == (0, True, (HEIGHT, WIDTH))
    assert none.labels.tolist() == []


@pytest.mark.parametrize("name", ["include", "exclude"])
def test_examples_are_refused(model, network, name):
    """They are only known in the tile that shows them; the concept is named, nothing is read."""
    example = Concept("red", **{name: [BAR]})
    with pytest.raises(PromptError, match=r"^concept 1: examples are only known in the tile"):
        search(model, "red", example)
    with pytest.raises(PromptError, match=r"^examples are only known in the tile") as caught:
        search(model, example)
    assert "leave the tiling out" in caught.value.hint
    assert network.encoded == []


def test_masks_of_the_models_size_are_refused(model):
    """Parts of a large image have no such size in common."""
    with pytest.raises(ConfigError, match="no common size but the image's"):
        search(model, "red", mask_size="model")


def test_pieces_of_what_the_overview_shows_whole_are_left_out():
    """Two tiles saw a bar of 12 in pieces that do not agree; what lies beside it stays."""
    size = (6, 20)

    def columns(*spans, scores):
        stack = np.zeros((len(spans), *size), bool)
        for row, (first, last) in enumerate(spans):
            stack[row, :, first:last] = True
        return Masks.from_numpy(stack, scores=scores)

    overview = columns((2, 14), scores=[0.6])
    merged = columns((2, 8), (9, 14), (16, 20), scores=[0.9, 0.8, 0.7])
    whole = _whole(merged, overview, Tiling(side=10, overlap=3))
    assert [mask.box.x0 for mask in whole.runs] == [16, 2]
    assert whole.areas.tolist() == [4 * 6, 12 * 6]
    # What a tile has seen of it almost whole is finer, and stays.
    finer = columns((2, 13), scores=[0.9])
    assert _whole(finer, overview, Tiling(side=10, overlap=3)).areas.tolist() == [11 * 6]
