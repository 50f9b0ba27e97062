from __future__ import annotations

import numpy as np
import pytest

from promptseg.concepts import Concept
from promptseg.errors import ConfigError, ImageError, PromptError
from promptseg.geometry import Box, Size
from promptseg.options import FindOptions, SegmentOptions
from promptseg.prompts import MaskHint, Points, Prompt
from promptseg.requests import EverythingRequest, FindRequest, SegmentRequest, listed_concepts

IMAGE = np.zeros((3, 5, 3), np.uint8)


def test_one_prompt_and_a_list_of_one_ask_the_same():
    """One prompt is a list of one object."""
    box = Box(0, 0, 2, 2)
    assert SegmentRequest.of(IMAGE, box).prompts == (Prompt(box=box),)
    assert SegmentRequest.of(IMAGE, [box]).prompts == (Prompt(box=box),)


def test_a_request_keeps_the_order_of_its_objects():
    """Each prompt of a list is one object, in order."""
    points, hint = Points([(1, 1)]), MaskHint(np.ones((3, 5), bool))
    request = SegmentRequest.of(IMAGE, [points, hint], SegmentOptions(logits=True))
    assert request.prompts == (Prompt(points=points), Prompt(hint=hint))
    assert request.options.logits
    assert request.size == Size(3, 5)


@pytest.mark.parametrize("prompts", ["a cup", ["a cup"]])
def test_text_is_refused_by_name(prompts):
    """With what knows words, and what does not."""
    with pytest.raises(PromptError, match="SAM 2 and the built-in model know no words, SAM 3 does"):
        SegmentRequest.of(IMAGE, prompts)


@pytest.mark.parametrize("options", [{}, 0, False])
def test_only_none_stands_for_no_options(options):
    """What happens to be false is refused like anything else."""
    with pytest.raises(ConfigError):
        SegmentRequest.of(IMAGE, Box(0, 0, 2, 2), options)


def test_no_objects_is_a_question_too():
    """Zero objects are allowed; the answer is empty."""
    assert SegmentRequest.of(IMAGE, []).prompts == ()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((3, 5), np.uint8),
        np.zeros((3, 5, 4), np.uint8),
        np.zeros((3, 5, 3), np.float32),
        np.zeros((0, 5, 3), np.uint8),
        [[0]],
        None,
    ],
)
def test_an_image_that_is_not_h_w_3_uint8_is_refused(image):
    """The sentence says what an image is, the hint who converts."""
    with pytest.raises(ImageError, match="an image must be") as caught:
        SegmentRequest.of(image, [])
    assert "promptseg.io.images" in caught.value.hint


def test_a_prompt_that_does_not_fit_is_named_by_its_number():
    """Among several prompts the sentence says which is wrong; alone it need not."""
    with pytest.raises(PromptError, match=r"^prompt 1: the point \(5, 1\) lies outside") as caught:
        SegmentRequest.of(IMAGE, [Box(0, 0, 1, 1), Points([(5, 1)])])
    assert caught.value.hint
    with pytest.raises(PromptError, match=r"^the point \(5, 1\) lies outside"):
        SegmentRequest.of(IMAGE, Points([(5, 1)]))


@pytest.mark.parametrize(("prompts", "part"), [(None, "NoneType"), (7, "int")])
def test_what_is_no_list_of_prompts_is_refused(prompts, part):
    """Only prompts and lists of prompts are taken."""
    with pytest.raises(PromptError, match=f"one prompt or a list of them, got {part}"):
        SegmentRequest.of(IMAGE, prompts)


def test_bare_numbers_are_not_guessed_at():
    """A list of pairs is not taken for points, nor a bare kind for a `Prompt`."""
    with pytest.raises(PromptError, match="not a prompt: tuple"):
        SegmentRequest.of(IMAGE, [(1, 1)])
    with pytest.raises(PromptError, match="not a `Prompt`: Box"):
        SegmentRequest(IMAGE, (Box(0, 0, 1, 1),))


def test_options_of_another_type_are_refused():
    """A dict is not a record of options."""
    with pytest.raises(ConfigError, match="`options` must be `SegmentOptions`, got dict"):
        SegmentRequest(IMAGE, (), {"logits": True})


def test_one_concept_and_a_list_of_one_find_the_same():
    """Phrases count as concepts, however the request is made."""
    concept = Concept("cat")
    for asked in ("cat", ["cat"], concept, (concept,)):
        assert FindRequest.of(IMAGE, asked).concepts == (concept,)
        assert FindRequest(IMAGE, asked).concepts == (concept,)
    assert FindRequest.of(IMAGE, "cat").options == FindOptions()
    assert FindRequest.of(IMAGE, "cat").size == Size(3, 5)


def test_requests_know_whether_they_ask_for_anything():
    """Zero objects and zero concepts are questions too, with nothing to do."""
    assert FindRequest.of(IMAGE, "cat").asks
    assert SegmentRequest.of(IMAGE, Box(0, 0, 2, 2)).asks
    assert EverythingRequest(IMAGE).asks
    assert not FindRequest.of(IMAGE, []).asks
    assert not SegmentRequest.of(IMAGE, []).asks


def test_a_concept_that_does_not_fit_is_named_by_its_number():
    """Among several the sentence says which is wrong; alone it need not."""
    outside = Concept(include=[(5, 0, 7, 2)])
    with pytest.raises(PromptError, match=r"^concept 1: the box \(5, 0, 7, 2\) lies outside"):
        FindRequest.of(IMAGE, ["cat", outside])
    with pytest.raises(PromptError, match=r"^the box \(5, 0, 7, 2\) lies outside"):
        FindRequest.of(IMAGE, outside)
    with pytest.raises(PromptError, match=r"^concept 2: `find` asks for phrases .* got int"):
        FindRequest.of(IMAGE, ["cat", "dog", 7])


def test_examples_beside_a_list_are_refused():
    """They would be of one concept; nothing beside it is no examples."""
    assert listed_concepts("cat", include=[(0, 0, 2, 2)])[0].include == (Box(0, 0, 2, 2),)
    assert listed_concepts(["cat", "dog"], include=[]) == (Concept("cat"), Concept("dog"))
    with pytest.raises(PromptError, match="examples of one concept, but a list") as caught:
        listed_concepts(["cat"], exclude=np.array([[0, 0, 2, 2]]))
    assert "Concept(text" in caught.value.hint


@pytest.mark.parametrize("options", [{}, 0, SegmentOptions()])
def test_find_takes_its_own_options(options):
    """Those of another verb are refused like anything else."""
    with pytest.raises(ConfigError, match="`options` must be `FindOptions`, got"):
        FindRequest.of(IMAGE, "cat", options)


def test_find_needs_pixels_too():
    """As every request."""
    with pytest.raises(ImageError, match="an image must be"):
        FindRequest.of(np.zeros((3, 5), np.uint8), "cat")
