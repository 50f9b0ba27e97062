"""What a weights file is, told by its tensors and never by its name: layout, family, sizes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn

from torch import Tensor

from promptseg.errors import ConfigError, WeightsError
from promptseg.nn.parts.memory import MemoryConfig
from promptseg.nn.sam2 import config as sam2
from promptseg.nn.sam2.config import HieraConfig, Sam2Config
from promptseg.weights.families import looks_like
from promptseg.weights.header import SAM2, TINY, AnyConfig, Header
from promptseg.weights.hollow import hollow
from promptseg.weights.keymap import KeyMap
from promptseg.weights.keymaps.sam2 import META, TRANSFORMERS
from promptseg.weights.layouts import OURS, Layout
from promptseg.weights.stored import DAMAGED_HINT, Stored
from promptseg.weights.transformers_sizes import sizes_of

KEYMAPS: dict[Layout, KeyMap] = {"meta": META, "transformers": TRANSFORMERS}
# Beginnings of names that, of all known families, only this layout of SAM 2 has.
_MARKS: dict[Layout, tuple[str, ...]] = {
    "meta": ("image_encoder.trunk.blocks.", "sam_prompt_encoder.", "sam_mask_decoder."),
    "transformers": ("vision_encoder.backbone.blocks.", "mask_decoder.conv_s", "memory_encoder."),
}
# The published sizes, by name. What tensors do not tell is that of the one which they fit.
SIZES = {
    "tiny": sam2.TINY,
    "small": sam2.SMALL,
    "base-plus": sam2.BASE_PLUS,
    "large": sam2.LARGE,
}
KNOWN_HINT = "`promptseg models list` has the models that are known"


@dataclass(frozen=True)
class Identified:
    """What a file holds: `tensors` by our names, and the sizes of the network they belong to.

    `digest` is the one they were written with, empty where the layout has none.
    """

    layout: Layout
    config: AnyConfig
    tensors: Mapping[str, Tensor]
    digest: str = ""

    @property
    def family(self) -> str:
        """The kind of network: `sam2` or `tiny`."""
        return SAM2 if isinstance(self.config, Sam2Config) else TINY

    @property
    def version(self) -> str | None:
        """`2` or `2.1`; None where the weights are for images only, which do not tell."""
        return self.config.version if isinstance(self.config, Sam2Config) else None

    @property
    def size(self) -> str | None:
        """The published size, or None."""
        if not isinstance(self.config, Sam2Config):
            return None
        trunk = self.config.trunk
        return next((name for name, known in SIZES.items() if known.trunk == trunk), None)

    @property
    def name(self) -> str:
        """The name of such weights in the catalogue, such as `sam2.1-large`."""
        if self.family == TINY:
            return TINY
        name = f"sam{self.version or '2'}-{self.size or 'custom'}"
        return name if self.version else f"{name}, images only"


def identify(stored: Stored) -> Identified:
    """Tell layout, family and sizes from the tensors.

    What shapes do not tell, such as the sides of windows, is taken from our header, from
    transformers' `config.json`, or from the published size of that width and depth.

    Raises:
        WeightsError: the tensors are of another family or of a size that is not known, or one has
            no name here or is missing.
    """
    given = stored.tensors
    if stored.metadata.get("format", "").startswith(OURS):
        header = Header.from_metadata(stored.metadata)
        _check_count(header.config, given)
        return Identified(OURS, header.config, given, header.digest)
    layout = _layout_of(given)
    tensors = KEYMAPS[layout].to_ours(given)
    try:
        shown = _shown(tensors)
    except (LookupError, ValueError):
        _refuse_unfit(given, layout, "its tensors are of no SAM 2 that is known")
    known = _fitting(shown)
    if stored.sizes:
        # What transformers leaves out is what it takes by default, the sizes of the tiny network.
        known = sizes_of(stored.sizes, known or sam2.TINY)
    config = _whole(shown, known)
    if config is None:
        trunk = f"a trunk of width {shown.width} and {shown.depths} blocks"
        _refuse_unfit(given, layout, f"it has {trunk}, which is no size that is known")
    _check_count(config, given)
    return Identified(layout, config, tensors)


def their_names(layout: Layout, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name our tensors as a layout does, each once."""
    if layout == OURS:
        return dict(tensors)
    keymap = KEYMAPS[layout]
    return {
        name: each for name, each in keymap.to_theirs(tensors).items() if name not in keymap.copies
    }


def refuse_missing(wanted: Collection[str], given: Collection[str]) -> None:
    """Say which tensors are missing, if any.

    Raises:
        WeightsError: one is.
    """
    if names := sorted(set(wanted) - set(given)):
        raise WeightsError(
            f"{len(names)} of its {len(wanted)} tensors are missing, first: `{names[0]}`",
            hint=DAMAGED_HINT,
        )


@dataclass(frozen=True)
class _Shown:
    """The sizes that shapes and names show."""

    width: int
    depths: tuple[int, ...]
    window: int
    background: int
    channels: int
    hidden: int
    memory: MemoryConfig | None


def _shown(tensors: Mapping[str, Tensor]) -> _Shown:
    """Measure our tensors.

    Raises:
        LookupError: one is missing, or has too few axes.
        ValueError: a number in a name has too many digits.
    """
    pools = [place for place in _numbers(tensors, "trunk.blocks.{}.shortcut.") if place]
    ends = [0, *pools, _count(tensors, "trunk.blocks.{}.")]
    return _Shown(
        width=tensors["trunk.patches.weight"].shape[0],
        depths=tuple(end - start for start, end in pairwise(ends)),
        window=tensors["trunk.window"].shape[3],
        background=tensors["trunk.background"].shape[3],
        channels=tensors["mask_decoder.mask_tokens"].shape[1],
        hidden=tensors["mask_decoder.transformer.layers.0.mlp.layers.0.weight"].shape[0],
        memory=_shown_memory(tensors),
    )


def _shown_memory(tensors: Mapping[str, Tensor]) -> MemoryConfig | None:
    if not any(_is_memory(name) for name in tensors):
        return None
    ages = tensors["memory.ages"]
    return MemoryConfig(
        version="2.1" if any(_is_later(name) for name in tensors) else "2",
        channels=ages.shape[3],
        slots=ages.shape[0],
        layers=_count(tensors, "memory.attention.layers.{}."),
        hidden=tensors["memory.attention.layers.0.mlp.layers.0.weight"].shape[0],
        blocks=_count(tensors, "memory.encoder.fuser.{}."),
    )


def _fitting(shown: _Shown) -> Sam2Config | None:
    """Return the published size of that width and depth."""
    for known in SIZES.values():
        if (known.trunk.width, known.trunk.depths) == (shown.width, shown.depths):
            return known
    return None


def _whole(shown: _Shown, known: Sam2Config | None) -> Sam2Config | None:
    """Take what is shown, and the rest from sizes that are known."""
    if known is None or len(shown.depths) != len(known.trunk.depths):
        return None
    first, second, third, fourth = shown.depths
    try:
        return Sam2Config(
            trunk=HieraConfig(
                width=shown.width,
                heads=known.trunk.heads,
                depths=(first, second, third, fourth),
                windows=(shown.window, *known.trunk.windows[1:]),
                global_blocks=known.trunk.global_blocks,
                background=shown.background,
            ),
            image_side=known.image_side,
            channels=shown.channels,
            heads=known.heads,
            hidden=shown.hidden,
            memory=shown.memory,
        )
    except (ConfigError, ArithmeticError) as error:
        raise WeightsError(f"its sizes make no network: {error}", hint=KNOWN_HINT) from error


def _layout_of(tensors: Collection[str]) -> Layout:
    stranger = looks_like(tensors)
    for layout, marks in _MARKS.items():
        if not stranger and any(name.startswith(marks) for name in tensors):
            return layout
    first = next(iter(tensors), None)
    if first is None:
        raise WeightsError("it holds no tensors", hint=DAMAGED_HINT)
    found = f"it looks like {stranger}" if stranger else f"its first tensor is `{first}`"
    raise WeightsError(f"it is none of the models known here: {found}", hint=KNOWN_HINT)


def _refuse_unfit(given: Collection[str], layout: Layout, otherwise: str) -> NoReturn:
    """Say what is missing, where nothing else is wrong, of the published size that fits best."""
    whole = [hollow(size).state_dict() for size in SIZES.values()]
    halves = [{name: ours[name] for name in ours if not _is_memory(name)} for ours in whole]
    olds = [{name: ours[name] for name in ours if not _is_later(name)} for ours in whole]
    wanted = [their_names(layout, ours).keys() for ours in (*halves, *olds, *whole)]
    own = set(given) - set(KEYMAPS[layout].copies)
    if fitting := [names for names in wanted if own <= names]:
        refuse_missing(min(fitting, key=len), own)
    raise WeightsError(otherwise, hint=KNOWN_HINT)


def _check_count(config: AnyConfig, tensors: Collection[str]) -> None:
    """Refuse sizes of which even the names would fill the memory."""
    if isinstance(config, Sam2Config):
        memory = config.memory
        repeated = sum(config.trunk.depths) + (memory.layers + memory.blocks if memory else 0)
    else:
        repeated = sum(config.depths)
    if repeated > len(tensors):
        raise WeightsError(
            f"its {len(tensors)} tensors make no network of such sizes: {config}", hint=DAMAGED_HINT
        )


def _is_memory(name: str) -> bool:
    return name.startswith("memory.")


def _is_later(name: str) -> bool:
    """Tell whether only SAM 2.1 has one of our tensors."""
    return name.startswith(("memory.absence", "memory.pointer_ages."))


def _count(tensors: Collection[str], beginning: str) -> int:
    """Return how many numbers stand for `{}`, however high a name may count.

    Raises:
        LookupError: none does.
    """
    numbers = _numbers(tensors, beginning)
    if not numbers:
        raise LookupError(beginning)
    return len(numbers)


def _numbers(tensors: Collection[str], beginning: str) -> list[int]:
    """Return the numbers that stand for `{}` in names that begin so, each once, ascending."""
    wanted = re.compile(re.escape(beginning).replace(r"\{\}", r"(\d+)"))
    return sorted({int(fit[1]) for name in tensors if (fit := wanted.match(name))})
