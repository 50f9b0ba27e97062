"""Files of weights to networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from promptseg.errors import WeightsError
from promptseg.nn.sam3.config import Sam3Config
from promptseg.nn.sam3.model import Sam3Network
from promptseg.nn.sam3.tokenizer import Tokenizer
from promptseg.nn.tiny.model import TinyNetwork
from promptseg.weights.catalog import Published, Source
from promptseg.weights.download import locate, require
from promptseg.weights.header import TINY, AnyConfig, identity_of
from promptseg.weights.hollow import AnyNetwork, hollow
from promptseg.weights.identify import Identified, identify, refuse_missing
from promptseg.weights.layouts import OURS
from promptseg.weights.stored import DAMAGED_HINT, Stored, read
from promptseg.weights.tokenizers import find_tokenizer

# Bytes (torch's `c10/core/alignment.h`, `gAlignment`).
ALIGNMENT = 64


class Loaded(NamedTuple):
    """A network ready to answer, and what its file was found to be."""

    network: AnyNetwork
    found: Identified


class Examined(NamedTuple):
    """A file of weights, and what it was found to be."""

    stored: Stored
    found: Identified


def load_builtin(path: Path) -> TinyNetwork:
    """Make the built-in model's network of a weights file, in float32.

    Raises:
        WeightsError: the file is missing, damaged, or of another kind.
    """
    network, found = load_any(path)
    if not isinstance(network, TinyNetwork):
        raise WeightsError(
            f"cannot use the weights `{path}`: they are of `{found.name}`, not of the built-in "
            "model",
            hint="The built-in model's are written by `promptseg train`",
        )
    return network


def load_source(source: Source) -> AnyNetwork:
    """Make the network of what a user named; what is not on this machine is fetched.

    Raises:
        ConfigError: the hub has no such model.
        WeightsError: the weights cannot be had, are damaged, or are not those of that name.
    """
    return _load(locate(source), source).network


def load_at_hand(source: Source) -> Loaded:
    """Make the network of what a user named, which must be on this machine.

    Raises:
        WeightsError: the weights are not there, are damaged, or are not those of that name.
    """
    return _load(require(source), source)


def examine(source: Source) -> Examined:
    """Find out what it is that a user named, which must be on this machine; make no network.

    Raises:
        WeightsError: the weights are not there, are damaged, or are not those of that name.
    """
    return _examine(require(source), source)


def load_any(path: Path) -> Loaded:
    """Make the network of a file or folder of weights, whatever its layout, in float32.

    Where the file has float32 too, tensors that are aligned stay in it until they are used. The
    network's digest is that of its tensors and sizes: the same weights have the same in every
    layout.

    Raises:
        WeightsError: the file is missing or damaged, or its tensors are not exactly those of a
            network that is known.
    """
    return _load(path, None)


def _load(path: Path, source: Source | None) -> Loaded:
    stored, found = _examine(path, source)
    with _naming(path):
        return Loaded(_network(found, stored), found)


def _examine(path: Path, source: Source | None) -> Examined:
    stored = read(path)
    with _naming(path):
        found = identify(stored)
    if isinstance(source, Published) and not found.is_named(source.name):
        raise WeightsError(
            f"`{path}` holds `{found.name}`, not `{source.name}`",
            hint=f"Remove it and run `promptseg models pull {source.name}`",
        )
    return Examined(stored, found)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say of which file it is what is wrong with weights within the block."""
    try:
        yield
    except WeightsError as error:
        raise WeightsError(
            f"cannot use the weights `{path}`: {error}", hint=error.hint or DAMAGED_HINT
        ) from error


def _network(found: Identified, stored: Stored) -> AnyNetwork:
    network = hollow(found.config)
    ours = network.state_dict()
    _check(found, stored.tensors, found.theirs(ours))
    tensors = {name: _aligned(found.tensors[name].to(each.dtype)) for name, each in ours.items()}
    rules = stored.metadata.get("tokenizer", "") if found.layout == OURS else ""
    tokenizer = _tokenizer(found.config, stored.path.parent, rules)
    # What we write has the digest of what is in the file, which may be coarser.
    written = found.tensors if found.layout == OURS else tensors
    digest = identity_of(found.config, written, tokenizer.to_json() if tokenizer else "")
    if found.layout == OURS:
        _prove(found, digest if rules or not tokenizer else identity_of(found.config, written))
    if isinstance(network, Sam3Network):
        network.tokenizer = tokenizer
    network.spec = replace(network.spec, digest=digest)
    network.load_state_dict(tensors, assign=True)
    return network.eval()


def _prove(found: Identified, digest: str) -> None:
    if found.digest != digest:
        what = "tensors" if found.family == TINY else "tensors or sizes"
        raise WeightsError(f"its {what} are not those it was written with: their digest differs")


def _tokenizer(config: AnyConfig, folder: Path, rules: str) -> Tokenizer | None:
    """Take a tokenizer from a file itself, or else from its folder; None where there is none."""
    finder = config.finder if isinstance(config, Sam3Config) else None
    if finder is None:
        return None
    context, vocabulary = finder.text.context, finder.text.vocabulary
    if not rules:
        return find_tokenizer(folder, context=context, vocabulary=vocabulary)
    try:
        return Tokenizer.from_json(rules, context=context)
    except ValueError as error:
        raise WeightsError("the rules for phrases in its header make no tokenizer") from error


def _check(found: Identified, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Compare a file's tensors with those of the network, by the names that they have there."""
    refuse_missing(wanted, given)
    idle = {*found.keymap.copies, *found.keymap.idle(given)} if found.keymap else set()
    if unknown := sorted(given.keys() - wanted.keys() - idle):
        raise WeightsError(f"{len(unknown)} tensors are unknown, first: `{unknown[0]}`")
    for name, like in wanted.items():
        tensor = given[name]
        if tensor.shape != like.shape:
            raise WeightsError(f"tensor `{name}` is {tuple(tensor.shape)}, not {tuple(like.shape)}")
        if tensor.is_floating_point() != like.is_floating_point():
            raise WeightsError(f"tensor `{name}` has numbers of another kind: {tensor.dtype}")
        if tensor.is_floating_point() and not _is_finite(tensor.float()):
            raise WeightsError(f"tensor `{name}` holds NaN or infinity")


def _is_finite(tensor: Tensor) -> bool:
    """Look at the extremes, which are NaN where any number is: forty times as quick as at all."""
    return all(bool(extreme.isfinite()) for extreme in tensor.aminmax())


def _aligned(tensor: Tensor) -> Tensor:
    """Return a tensor that begins where torch lets its own begin.

    In a safetensors file it may begin anywhere, and kernels add up in another order there, so that
    the same weights would give other bits.
    """
    return tensor if tensor.data_ptr() % ALIGNMENT == 0 else tensor.clone()
