"""The sizes of a SAM 3 network as its tensors show them, and those that they do not show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from promptseg.nn.sam3.config import (
    ClickerConfig,
    FinderConfig,
    Sam3Config,
    TextConfig,
    TrunkConfig,
)
from promptseg.weights.counting import count
from promptseg.weights.shown_sam2 import shown_memory


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """The sizes that neither shapes nor names show.

    `heads` are those of all that follows the trunk but the text encoder.
    """

    trunk_heads: int
    window: int
    global_blocks: tuple[int, ...]
    image_side: int
    heads: int
    text_heads: int | None
    groups: int | None

    @classmethod
    def of(cls, config: Sam3Config) -> Unseen:
        """Take them from whole sizes."""
        return cls(
            trunk_heads=config.trunk.heads,
            window=config.trunk.window,
            global_blocks=config.trunk.global_blocks,
            image_side=config.image_side,
            heads=config.heads,
            text_heads=config.finder.text.heads if config.finder else None,
            groups=config.finder.groups if config.finder else None,
        )


@dataclass(frozen=True, kw_only=True)
class ShownFinder:
    """The sizes that the half that finds shows."""

    vocabulary: int
    context: int
    width: int
    depth: int
    hidden: int
    exemplar_layers: int
    fusion_layers: int
    detector_layers: int
    queries: int
    roi: int

    def whole(self, unseen: Unseen) -> FinderConfig:
        """Put in what is not shown; the published sizes where that is not known either.

        Raises:
            ConfigError: the sizes do not fit each other.
        """
        usual = FinderConfig()
        return FinderConfig(
            text=TextConfig(
                vocabulary=self.vocabulary,
                context=self.context,
                width=self.width,
                depth=self.depth,
                heads=unseen.text_heads or usual.text.heads,
                hidden=self.hidden,
            ),
            exemplar_layers=self.exemplar_layers,
            fusion_layers=self.fusion_layers,
            detector_layers=self.detector_layers,
            queries=self.queries,
            roi=self.roi,
            groups=unseen.groups or usual.groups,
        )


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The sizes that shapes and names show; a half that has no tensors is None."""

    patch: int
    width: int
    depth: int
    trunk_hidden: int
    background: int
    channels: int
    hidden: int
    finder: ShownFinder | None
    clicker: ClickerConfig | None

    def __str__(self) -> str:
        text = f" and a text encoder of width {self.finder.width}" if self.finder else ""
        return f"a trunk of width {self.width} and {self.depth} blocks{text}"

    def fitting(self, sizes: Iterable[Sam3Config]) -> Sam3Config | None:
        """Return those sizes whose trunk and text encoder are as wide and as deep, or None."""
        for known in sizes:
            same = (known.trunk.width, known.trunk.depth) == (self.width, self.depth)
            text = known.finder.text if known.finder else None
            if self.finder and (text is None or not self._reads_as(text)):
                continue
            if same:
                return known
        return None

    def whole(self, unseen: Unseen) -> Sam3Config:
        """Put in what is not shown.

        Raises:
            ConfigError: the sizes do not fit each other.
        """
        return Sam3Config(
            trunk=TrunkConfig(
                patch=self.patch,
                width=self.width,
                depth=self.depth,
                heads=unseen.trunk_heads,
                hidden=self.trunk_hidden,
                window=unseen.window,
                global_blocks=unseen.global_blocks,
                background=self.background,
            ),
            image_side=unseen.image_side,
            channels=self.channels,
            heads=unseen.heads,
            hidden=self.hidden,
            finder=self.finder.whole(unseen) if self.finder else None,
            clicker=self.clicker,
        )

    def _reads_as(self, text: TextConfig) -> bool:
        assert self.finder is not None
        return (text.width, text.depth) == (self.finder.width, self.finder.depth)


def shown(tensors: Mapping[str, Tensor]) -> Shown:
    """Measure our tensors.

    Raises:
        LookupError: one is missing, or has too few axes.
        ValueError: a number in a name has too many digits.
        ConfigError: the sizes of memory do not fit each other.
    """
    finder = any(name.startswith("finder.") for name in tensors)
    clicker = any(name.startswith("clicker.") for name in tensors)
    perceptron = "finder.fusion.layers.0" if finder else "clicker.mask_decoder.transformer.layers.0"
    patches = tensors["trunk.patches.weight"].shape
    hidden = tensors[f"{perceptron}.mlp.layers.0.weight"].shape
    return Shown(
        patch=patches[2],
        width=patches[0],
        depth=count(tensors, "trunk.blocks.{}."),
        trunk_hidden=tensors["trunk.blocks.0.mlp.layers.0.weight"].shape[0],
        background=tensors["trunk.background"].shape[2],
        channels=hidden[1],
        hidden=hidden[0],
        finder=_finder(tensors) if finder else None,
        clicker=ClickerConfig(memory=shown_memory(tensors, "clicker.")) if clicker else None,
    )


def _finder(tensors: Mapping[str, Tensor]) -> ShownFinder:
    vocabulary, width = tensors["finder.text.tokens"].shape[:2]
    return ShownFinder(
        vocabulary=vocabulary,
        context=tensors["finder.text.positions"].shape[0],
        width=width,
        depth=count(tensors, "finder.text.blocks.{}."),
        hidden=tensors["finder.text.blocks.0.mlp.layers.0.weight"].shape[0],
        exemplar_layers=count(tensors, "finder.exemplars.layers.{}."),
        fusion_layers=count(tensors, "finder.fusion.layers.{}."),
        detector_layers=count(tensors, "finder.detector.layers.{}."),
        queries=tensors["finder.detector.slots"].shape[0],
        roi=tensors["finder.exemplars.content.weight"].shape[2],
    )
