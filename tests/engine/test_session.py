"""A session refines one object, step by step, and back."""

from __future__ import annotations

import numpy as np
import pytest

from promptseg.engine.session import Session
from promptseg.errors import PromptError, SessionError
from promptseg.options import SegmentOptions
from promptseg.prompts import Box, MaskHint, Points, Prompt
from promptseg.requests import SegmentRequest

CENTRE = Points([(7, 14)])
LOGITS = SegmentOptions(logits=True)


@pytest.fixture
def session(segmenter, white):
    """A session on the white image that shows its logits."""
    return Session(segmenter, white, options=LOGITS)


def test_the_first_step_is_a_plain_request(session, segmenter, white):
    """Without anything before it, a step answers as `segment` does."""
    [expected] = segmenter.segment([SegmentRequest.of(white, CENTRE)])
    assert session.add(CENTRE).runs == expected.runs


def test_steps_start_from_the_mask_before(session):
    """The peak is 2, then 2 and half of that; the image is encoded once."""
    session.add(CENTRE)
    masks = session.add(Points([(1, 1)]))
    assert masks.logits[0, 3, 3] == 3
    assert masks is session.masks


def test_the_image_is_encoded_once(session, network):
    """Four steps and two undos are one look at the image."""
    for _ in range(4):
        session.add(CENTRE)
    session.undo()
    session.undo()
    assert network.encoded == [1]
    assert network.decoded == [1, 1, 1, 1]


def test_points_accumulate_and_a_box_replaces_a_box(session):
    """What was said is one prompt: all points, the last box, the last hint."""
    session.add(Points([(1, 2)]))
    session.add(Box(0, 0, 3, 3))
    session.add(Points([(5, 6), (7, 8)], labels=[0, 1]))
    session.add(Box(1, 1, 9, 9))
    assert session.prompt == Prompt(
        points=Points([(1, 2), (5, 6), (7, 8)], labels=[1, 0, 1]), box=Box(1, 1, 9, 9)
    )


def test_a_session_can_start_from_a_mask(session):
    """A hint given by hand stands in for the mask before: +-10, half of it 5, and 2 on top."""
    hint = MaskHint(np.ones((28, 14), bool))
    assert session.add(Prompt(points=CENTRE, hint=hint)).logits[0, 3, 3] == 7
    assert session.prompt.hint == hint


def test_a_later_hint_stands_in_for_the_mask_before(session):
    """A hint in the second step is used instead of the first step's answer."""
    session.add(CENTRE)
    masks = session.add(MaskHint(np.ones((28, 14), bool)))
    assert masks.logits[0, 3, 3] == 7


def test_undo_gives_the_very_answer_of_before(session):
    """Undo computes nothing: it is the list of steps minus one."""
    first = session.add(CENTRE)
    session.add(Points([(1, 1)], labels=[0]))
    assert session.undo() is first
    assert session.prompt == Prompt(points=CENTRE)
    assert session.undo() is None
    assert session.prompt is None
    assert session.undo() is None


def test_after_undo_a_step_is_as_if_the_undone_had_not_been(session):
    """The answer after undo and another step is that of a session that never erred."""
    session.add(CENTRE)
    expected = session.add(Points([(1, 1)]))
    session.undo()
    session.add(Points([(13, 27)], labels=[0]))
    session.undo()
    again = session.add(Points([(1, 1)]))
    assert again.runs == expected.runs
    assert np.array_equal(again.logits, expected.logits)


def test_a_refused_step_changes_nothing(session):
    """A point outside the image leaves prompt and answer as they were."""
    first = session.add(CENTRE)
    with pytest.raises(PromptError, match="outside"):
        session.add(Points([(14, 0)]))
    with pytest.raises(PromptError, match="5 x 5"):
        session.add(MaskHint(np.full((5, 5), 0.5)))
    assert session.masks is first
    assert session.prompt == Prompt(points=CENTRE)


def test_a_closed_session_answers_no_more(segmenter, white):
    """After the block `add` says so; what was answered can still be read."""
    with Session(segmenter, white) as session:
        masks = session.add(CENTRE)
    with pytest.raises(SessionError, match="the session is closed"):
        session.add(CENTRE)
    assert session.masks is masks


def test_logits_come_back_only_when_asked_for(segmenter, white):
    """Feeding masks back does not put logits into the answers."""
    session = Session(segmenter, white)
    session.add(CENTRE)
    assert session.add(CENTRE).logits is None
