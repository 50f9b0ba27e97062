"""A loaded model, measured as it is served."""

from __future__ import annotations

import numpy as np
import pytest

import promptseg as ps
from promptseg.evaluate.clicks import Click
from promptseg.evaluate.predictor import Question
from promptseg.evaluate.served import Served
from promptseg.weights.save import save
from small_network import small_network


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save(small_network(), path)
    return ps.load(path, device="cpu")


@pytest.fixture
def image():
    return np.random.default_rng(2).integers(0, 256, (31, 37, 3), np.uint8)


def test_clicks_are_a_session(model, image):
    """Two clicks on one object give what a session gives, though another object comes between."""
    clicks = (Click(7, 5, 1), Click(20, 17, 0))
    view = Served(model).start(image)
    first, other = view.answer([Question(clicks=clicks[:1]), Question(clicks=(Click(3, 3, 1),))])
    [second] = view.answer([Question(clicks=clicks, memory=first.memory)])
    with model.session(image) as session:
        one = session.add(ps.Points([(7.5, 5.5)], [1]))
        two = session.add(ps.Points([(20.5, 17.5)], [0]))
    assert (first.mask == one.best().to_numpy()[0]).all()
    assert (second.mask == two.best().to_numpy()[0]).all()
    assert other.memory is not first.memory


def test_the_choice_is_the_first_of_all_candidates(model, image):
    """Every candidate is there to be compared, the model's own choice first."""
    [answer] = Served(model).start(image).answer([Question(box=ps.Box(3, 4, 29, 23))])
    everything = model.segment(
        image, ps.Box(3, 4, 29, 23), options=ps.SegmentOptions(all_candidates=True)
    )
    assert len(answer.candidates) == len(everything) > 1
    assert (answer.mask == everything.best().to_numpy()[0]).all()
    assert (answer.mask == answer.candidates[0]).all()
