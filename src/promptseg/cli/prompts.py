"""Prompts as they are typed: `--point X,Y`, `--box X0,Y0,X1,Y1`, `--text cat`, ..."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from promptseg.concepts import Concept
from promptseg.errors import PromptError
from promptseg.geometry import Box
from promptseg.io import images
from promptseg.prompts import NO_TEXT, MaskHint, Points, Prompt
from promptseg.settings import MAX_PIXELS


def parse(
    *,
    points: Sequence[str] = (),
    exclude: Sequence[str] = (),
    boxes: Sequence[str] = (),
    mask: Path | None = None,
    text: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> list[Prompt]:
    """Make the prompts of one run: several boxes are as many objects, anything else is one.

    Raises:
        PromptError: there is no prompt, one is malformed or of words, or several boxes come with
            points.
        ImageError: the mask cannot be read.
    """
    if text is not None:
        raise PromptError(
            NO_TEXT,
            hint=f"Every `{text[:40]}` is found by `promptseg find --text`; say what to segment "
            "with --point, --box or --mask",
        )
    one_object = bool(points or exclude or mask)
    if not (one_object or boxes):
        raise PromptError(
            "no prompt was given", hint="Say what to segment with --point, --box or --mask"
        )
    drawn = [Box.from_sequence(_numbers("--box", box, "X0,Y0,X1,Y1")) for box in boxes]
    if len(drawn) > 1 and one_object:
        raise PromptError(
            f"points and a mask belong to one object, but {len(drawn)} boxes are that many objects",
            hint="Give one box with them, or run once for each object",
        )
    if not one_object:
        return [Prompt(box=box) for box in drawn]
    return [
        Prompt(
            points=_points(points, exclude),
            box=drawn[0] if drawn else None,
            hint=MaskHint(images.read_mask(mask, max_pixels=max_pixels)) if mask else None,
        )
    ]


def parse_concepts(
    *,
    texts: Sequence[str] = (),
    examples: Sequence[str] = (),
    counterexamples: Sequence[str] = (),
    points: Sequence[str] = (),
    boxes: Sequence[str] = (),
) -> list[Concept]:
    """Make the concepts of one run: each text is one, and examples belong to the only one.

    A text that is given twice counts once.

    Raises:
        PromptError: there is none, one is malformed, several texts come with examples, or it is
            asked with what belongs to `segment`.
    """
    for flag, given in (("--point", points), ("--box", boxes)):
        if given:
            raise PromptError(
                f"`find` takes no `{flag}`: it looks for every thing of a kind, not for one object",
                hint=f"For one object ask `promptseg segment {flag}`; for things like one that you "
                "show give its box with --example",
            )
    include, exclude = (
        [Box.from_sequence(_numbers(flag, box, "X0,Y0,X1,Y1")) for box in given]
        for flag, given in (("--example", examples), ("--counterexample", counterexamples))
    )
    if not (texts or include or exclude):
        raise PromptError(
            "nothing to find was given", hint="Say what to find with --text or --example"
        )
    concepts = list(dict.fromkeys(map(Concept, texts)))
    if len(concepts) > 1 and (include or exclude):
        raise PromptError(
            f"examples belong to one concept, but {len(concepts)} texts are that many",
            hint="Give one text with them, or run once for each",
        )
    if len(concepts) > 1:
        return concepts
    return [Concept(concepts[0].text if concepts else None, include=include, exclude=exclude)]


def _points(points: Sequence[str], exclude: Sequence[str]) -> Points | None:
    if not (points or exclude):
        return None
    included = [_numbers("--point", point, "X,Y") for point in points]
    excluded = [_numbers("--exclude", point, "X,Y") for point in exclude]
    labels = [1] * len(included) + [0] * len(excluded)
    return Points([*included, *excluded], labels)


def _numbers(flag: str, text: str, form: str) -> list[float]:
    """Read `text` as numbers in the form that the flag asks for."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    count = len(form.split(","))
    if len(numbers) != count:
        raise PromptError(
            f"`{flag}` takes {count} numbers as {form}, got `{text}`",
            hint=f"Separate them with commas and no spaces, as in `{flag} {_example(count)}`",
        )
    return numbers


def _example(count: int) -> str:
    return ",".join(["320", "200", "410", "310"][:count])
