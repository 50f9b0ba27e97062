"""What a weights file is, told by its tensors and never by its name: layout, family, sizes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from torch import Tensor

from promptseg.errors import ConfigError, WeightsError
from promptseg.nn.sam2 import config as sam2
from promptseg.nn.sam2.config import Sam2Config
from promptseg.nn.sam3 import config as sam3
from promptseg.nn.sam3.config import Sam3Config
from promptseg.weights import shown_sam2, shown_sam3
from promptseg.weights.families import SAM31, SAM31_HINT, is_named_sam31, looks_like
from promptseg.weights.header import TINY, AnyConfig, Header, family_of
from promptseg.weights.hollow import hollow
from promptseg.weights.keymap import KeyMap
from promptseg.weights.keymaps.sam2 import META, TRANSFORMERS
from promptseg.weights.keymaps.sam3 import dialect_of, without_idle_neck
from promptseg.weights.layouts import OURS, Layout
from promptseg.weights.shown_sam3 import Unseen
from promptseg.weights.stored import DAMAGED_HINT, Stored
from promptseg.weights.transformers_sam3 import unseen_in
from promptseg.weights.transformers_sizes import sizes_of

# How SAM 2's tensors are named.
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
SIZES3 = {"sam3": sam3.PUBLISHED}
# What is said of a SAM 3 by whether it has the half that finds, and the one that is clicked.
_HALVES = {(True, True): "", (True, False): ", find only", (False, True): ", segment only"}
KNOWN_HINT = "`promptseg models list` has the models that are known"


@dataclass(frozen=True)
class Identified:
    """What a file holds: `tensors` by our names, and the sizes of the network they belong to.

    `keymap` names them as the file does, None in our layout. `digest` is the one they were written
    with, empty where the layout has none.
    """

    layout: Layout
    config: AnyConfig
    tensors: Mapping[str, Tensor]
    keymap: KeyMap | None = None
    digest: str = ""

    @property
    def family(self) -> str:
        """The kind of network: `sam2`, `sam3` or `tiny`."""
        return family_of(self.config)

    @property
    def version(self) -> str | None:
        """`2`, `2.1` or `3`; None where SAM 2's weights are for images only, which do not tell."""
        if isinstance(self.config, Sam3Config):
            return "3"
        return self.config.version if isinstance(self.config, Sam2Config) else None

    @property
    def size(self) -> str | None:
        """The published size of SAM 2, or None."""
        if not isinstance(self.config, Sam2Config):
            return None
        trunk = self.config.trunk
        return next((name for name, known in SIZES.items() if known.trunk == trunk), None)

    @property
    def name(self) -> str:
        """The name of such weights in the catalogue, such as `sam2.1-large`."""
        if isinstance(self.config, Sam3Config):
            halves = (self.config.finder is not None, self.config.clicker is not None)
            return (_published(self.config) or "sam3-custom") + _HALVES[halves]
        if self.family == TINY:
            return TINY
        name = f"sam{self.version or '2'}-{self.size or 'custom'}"
        return name if self.version else f"{name}, images only"

    def is_named(self, name: str) -> bool:
        """Tell whether these are the weights of a name in the catalogue, as far as they tell."""
        if isinstance(self.config, Sam3Config):
            return _published(self.config) == name
        version, _, size = name.partition("-")
        return self.size == size and self.version in (None, version.removeprefix("sam"))

    def theirs(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name our tensors as the file does, each once."""
        return _theirs(self.keymap, ours)


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
        return Identified(OURS, header.config, given, digest=header.digest)
    stranger = SAM31 if is_named_sam31(stored.path.name) else looks_like(given)
    dialect = None if stranger else dialect_of(given)
    if dialect is not None:
        layout, keymap = dialect.layout, without_idle_neck(dialect.keymap, given)
        tensors = keymap.to_ours(given)
        config: AnyConfig = _sam3_sizes(tensors, stored, keymap)
    else:
        layout = _layout_of(given, stranger)
        keymap = KEYMAPS[layout]
        tensors = keymap.to_ours(given)
        config = _sam2_sizes(tensors, stored, keymap)
    _check_count(config, given)
    return Identified(layout, config, tensors, keymap)


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


def _sam2_sizes(tensors: Mapping[str, Tensor], stored: Stored, keymap: KeyMap) -> Sam2Config:
    given = stored.tensors
    try:
        shown = shown_sam2.shown(tensors)
    except (LookupError, ValueError):
        _refuse_unfit(given, keymap, _sam2_files(), "its tensors are of no SAM 2 that is known")
    known = shown.fitting(SIZES.values())
    if stored.sizes:
        # What transformers leaves out is what it takes by default, the sizes of the tiny network.
        known = sizes_of(stored.sizes, known or sam2.TINY)
    try:
        config = shown.whole(known) if known else None
    except (ConfigError, ArithmeticError) as error:
        raise WeightsError(f"its sizes make no network: {error}", hint=KNOWN_HINT) from error
    if config is None:
        why = f"it has {shown}, which is no size that is known"
        _refuse_unfit(given, keymap, _sam2_files(), why)
    return config


def _sam3_sizes(tensors: Mapping[str, Tensor], stored: Stored, keymap: KeyMap) -> Sam3Config:
    given = stored.tensors
    try:
        shown = shown_sam3.shown(tensors)
    except (LookupError, ValueError):
        _refuse_unfit(given, keymap, _sam3_files(), "its tensors are of no SAM 3 that is known")
    known = shown.fitting(SIZES3.values())
    unseen = Unseen.of(known) if known else None
    if stored.sizes:
        unseen = unseen_in(stored.sizes, unseen or Unseen.of(sam3.PUBLISHED))
    if unseen is None:
        why = f"it has {shown}, which is no size that is known"
        _refuse_unfit(given, keymap, _sam3_files(), why)
    try:
        return shown.whole(unseen)
    except (ConfigError, ArithmeticError) as error:
        raise WeightsError(f"its sizes make no network: {error}", hint=KNOWN_HINT) from error


def _sam2_files() -> Iterable[dict[str, Tensor]]:
    """Make what files of each published size hold, for images only and with either memory."""
    for size in SIZES.values():
        whole = hollow(size).state_dict()
        yield {name: whole[name] for name in whole if not name.startswith("memory.")}
        yield {name: whole[name] for name in whole if not name.startswith(shown_sam2.LATER)}
        yield whole


def _sam3_files() -> Iterable[dict[str, Tensor]]:
    """Make what files of each published size hold: either half, with a memory or not, or both."""
    for size in SIZES3.values():
        whole = hollow(size).state_dict()
        for without in ("clicker.", "finder.", "clicker.memory.", ("finder.", "clicker.memory.")):
            yield {name: whole[name] for name in whole if not name.startswith(without)}
        yield whole


def _refuse_unfit(
    given: Mapping[str, Tensor],
    keymap: KeyMap,
    published: Iterable[Mapping[str, Tensor]],
    otherwise: str,
) -> NoReturn:
    """Say what is missing, where nothing else is wrong, of the published size that fits best."""
    own = set(given) - set(keymap.copies) - keymap.idle(given)
    wanted = [_theirs(keymap, ours) for ours in published]
    if fitting := [size for size in wanted if _is_part(own, given, size)]:
        refuse_missing(min(fitting, key=len), own)
    raise WeightsError(otherwise, hint=KNOWN_HINT)


def _is_part(
    own: Collection[str], given: Mapping[str, Tensor], whole: Mapping[str, Tensor]
) -> bool:
    return all(name in whole and given[name].shape == whole[name].shape for name in own)


def _theirs(keymap: KeyMap | None, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if keymap is None:
        return dict(ours)
    theirs = keymap.to_theirs(ours)
    return {name: each for name, each in theirs.items() if name not in keymap.copies}


def _published(config: Sam3Config) -> str | None:
    """Name the published sizes that a SAM 3 has in all of its parts, or None."""
    for name, known in SIZES3.items():
        halves = config.finder in (None, known.finder), config.clicker is None or known.clicker
        if config.trunk == known.trunk and all(halves):
            return name
    return None


def _layout_of(tensors: Collection[str], stranger: str | None) -> Layout:
    for layout, marks in _MARKS.items():
        if not stranger and any(name.startswith(marks) for name in tensors):
            return layout
    first = next(iter(tensors), None)
    if first is None:
        raise WeightsError("it holds no tensors", hint=DAMAGED_HINT)
    found = f"it looks like {stranger}" if stranger else f"its first tensor is `{first}`"
    hint = SAM31_HINT if stranger == SAM31 else KNOWN_HINT
    raise WeightsError(f"it is none of the models known here: {found}", hint=hint)


def _check_count(config: AnyConfig, tensors: Collection[str]) -> None:
    """Refuse sizes of which even the names would fill the memory."""
    if isinstance(config, Sam2Config):
        memory = config.memory
        repeated = sum(config.trunk.depths) + (memory.layers + memory.blocks if memory else 0)
    elif isinstance(config, Sam3Config):
        repeated = _repeated(config)
    else:
        repeated = sum(config.depths)
    if repeated > len(tensors):
        raise WeightsError(
            f"its {len(tensors)} tensors make no network of such sizes: {config}", hint=DAMAGED_HINT
        )


def _repeated(config: Sam3Config) -> int:
    """Count the layers of a SAM 3."""
    finder, memory = config.finder, config.clicker and config.clicker.memory
    layers = config.trunk.depth
    if finder:
        layers += finder.text.depth + finder.exemplar_layers
        layers += finder.fusion_layers + finder.detector_layers
    return layers + (memory.layers + memory.blocks if memory else 0)
