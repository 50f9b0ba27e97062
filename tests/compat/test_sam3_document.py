"""The code of sam3's guide runs by its import lines alone, as docs/coming-from-sam3.md shows it."""

from __future__ import annotations

import re
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from fake_finder import FakeFinder, painted
from places import ROOT
from promptseg import api
from promptseg.engine.cache import FeatureCache
from promptseg.engine.runtime import Runtime
from promptseg.masks import RunLength

GUIDE = (ROOT / "docs" / "coming-from-sam3.md").read_text()
# Pixels to a cell of the fake network.
CELL = 80
# What the guide looks for, in the colours that the fake network knows.
MEANT = {"cat": "red", "laptop": "green", "pot": "blue", "handle": "red green"}
PICTURES = {
    # A cat on the left, a laptop on the lower right.
    "000000077595.jpg": painted(("red", 0, 2, 4, 6), ("green", 8, 10, 14, 14)),
    # A pot on the left, above it nothing, an oven's handle in the third row, a pot's in the last.
    "000000136466.jpg": painted(("blue", 0, 0, 2, 4), ("green", 4, 4, 8, 6), ("red", 4, 10, 8, 12)),
}


class Kitchen(FakeFinder):
    """The fake network, with words for what is in a kitchen."""

    def read(self, phrases):
        return super().read([MEANT.get(phrase, phrase) for phrase in phrases])


def code_of_the_guide():
    """Take the blocks that say how it is there, with their import lines changed."""
    code = "\n".join(re.findall(r"^```py\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL))
    [rules] = re.findall(r"^sed -i '(.*)' notebook.py$", GUIDE, re.MULTILINE)
    for rule in rules.split("; "):
        _, old, new, _ = rule.split("/")
        code = re.sub(old, new, code, flags=re.MULTILINE)
    return code


def served(address):
    """Answer as `requests` does, with a picture of ours."""
    picture = PICTURES[address.rsplit("/", 1)[-1]].repeat(CELL // 2, axis=0)
    file = BytesIO()
    Image.fromarray(picture.repeat(CELL // 2, axis=1)).save(file, "PNG")
    return types.SimpleNamespace(content=file.getvalue())


@pytest.fixture
def notebook(monkeypatch):
    """Run the guide's code, and return its variables and the network that answered."""
    network = Kitchen()
    runtime = Runtime.choose("cpu", "float32")
    model = api.Model("kitchen", network, runtime, cache=FeatureCache(2**24))
    monkeypatch.setattr(api, "load", lambda name, **_: {"sam3": model}[name])
    monkeypatch.setitem(sys.modules, "requests", types.SimpleNamespace(get=served))
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [each.allow_tf32 for each in switches]
    variables = {}
    # In a thread of its own, which takes along what it switches on and never off.
    with ThreadPoolExecutor(1) as threads:
        threads.submit(exec, compile(code_of_the_guide(), "guide", "exec"), variables).result()
    yield types.SimpleNamespace(**variables), network
    for each, allowed in zip(switches, before, strict=True):
        each.allow_tf32 = allowed


def box_of(*cells):
    return pytest.approx(np.array(cells) * CELL)


@pytest.mark.filterwarnings("ignore:CUDA is not available:UserWarning")
def test_the_notebook_runs_by_its_import_lines(notebook):
    """Only import lines are changed, and the last run finds the handles without the excluded."""
    variables, _ = notebook
    results = variables.processed_results

    assert [variables.id1, variables.id2, variables.id3, variables.id4] == [1, 2, 3, 4]
    assert list(results) == [3, 4, variables.id6, variables.id7]
    assert results[3]["boxes"].tolist() == [box_of(0, 0, 1, 2)]
    assert results[4]["boxes"].tolist() == [box_of(0, 0, 1, 2)]
    assert results[variables.id6]["boxes"].tolist() == [box_of(2, 2, 4, 3), box_of(2, 5, 4, 6)]
    assert results[variables.id7]["boxes"].tolist() == [box_of(2, 5, 4, 6)]


@pytest.mark.filterwarnings("ignore:CUDA is not available:UserWarning")
def test_the_notebooks_masks_fit_its_photos(notebook):
    """After a second transform, masks still have the photo's size and lie where things are."""
    variables, _ = notebook
    [mask] = variables.processed_results[variables.id7]["masks"]

    width, height = variables.img2.size
    assert mask.shape == (1, height, width)
    assert mask.dtype == torch.bool
    box = RunLength.from_mask(mask[0].numpy()).box
    assert list(box) == [2 * CELL, 5 * CELL, 4 * CELL, 6 * CELL]


@pytest.mark.filterwarnings("ignore:CUDA is not available:UserWarning")
def test_the_notebook_encodes_each_image_once(notebook):
    """Two batches share an image, and most of their phrases."""
    _, network = notebook

    assert sum(network.encoded) == len(PICTURES)
    read = [phrase for phrases in network.was_read for phrase in phrases]
    assert sorted(read) == sorted([*MEANT.values(), "visual"])


def test_every_block_of_the_guide_has_its_twin():
    """Each piece of the notebook is followed by the same in our words."""
    kinds = re.findall(r"^```(py|python)$", GUIDE, re.MULTILINE)

    assert kinds == ["py", "python"] * 7
