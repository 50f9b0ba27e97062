"""What can go wrong has a name, a sentence and a hint."""

from __future__ import annotations

import pickle

import pytest

from promptseg import errors

KINDS = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, errors.PromptsegError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_says_what_and_how_to_mend_it(kind):
    """The sentence as it was given, without quotes round it, and the hint beside it."""
    error = kind("what is wrong", hint="what to do")
    assert str(error) == "what is wrong"
    assert error.hint == "what to do"
    assert kind("what is wrong").hint is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_drawn_in_the_tree(kind):
    """With the built-in kinds that a caller would expect."""
    built_in = [each.__name__ for each in kind.__bases__ if each.__module__ == "builtins"]
    line = next(line for line in errors.__doc__.splitlines() if f"{kind.__name__}" in line)
    if built_in and kind is not errors.PromptsegError:
        assert line.split("(")[1].split(")")[0].split(", ") == built_in


def test_a_stale_id_is_a_key_error():
    """So that it is caught where keys are looked up."""
    with pytest.raises(KeyError):
        raise errors.QueryError("no query of this run has the id `x`")


def test_errors_travel_between_processes():
    """With their sentence and their hint."""
    error = pickle.loads(pickle.dumps(errors.QueryError("no such id", hint="run it again")))
    assert (str(error), error.hint) == ("no such id", "run it again")


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_written_down_and_made_again(kind):
    """Its kind, its sentence and its hint; one that is not known here is an error all the same."""
    made = errors.from_record(errors.as_record(kind("what is wrong", hint="what to do")))
    assert (type(made), str(made), made.hint) == (kind, "what is wrong", "what to do")
    unknown = errors.from_record({"kind": "reason", "message": "what is wrong", "hint": None})
    assert (type(unknown), str(unknown)) == (errors.PromptsegError, "what is wrong")
