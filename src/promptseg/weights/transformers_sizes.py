"""The sizes of a SAM 2 network as the `config.json` of transformers gives them."""

from __future__ import annotations

from collections.abc import Mapping

from promptseg.errors import ConfigError, WeightsError
from promptseg.nn.sam2.config import HieraConfig, Sam2Config

HINT = "A folder of weights has the `config.json` that transformers wrote with them, or none"


def sizes_of(given: Mapping[str, object], known: Sam2Config) -> Sam2Config:
    """Read the sizes, but for those of the memory; what is not given is that of `known`.

    Raises:
        WeightsError: it is of another model, or its numbers make no sense.
    """
    kind = given.get("model_type")
    if kind not in ("sam2", "sam2_video"):
        raise WeightsError(f"its `config.json` is of a `{kind}`, not of SAM 2", hint=HINT)
    try:
        return _sizes(given, known)
    except (ConfigError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise WeightsError("the sizes in its `config.json` make no SAM 2", hint=HINT) from error


def _sizes(given: Mapping[str, object], known: Sam2Config) -> Sam2Config:
    trunk = part(part(given, "vision_config"), "backbone_config")
    prompts, decoder = part(given, "prompt_encoder_config"), part(given, "mask_decoder_config")
    usual = known.trunk
    heads = number(trunk, "num_attention_heads", usual.heads)
    square = (usual.background, usual.background)
    return Sam2Config(
        trunk=HieraConfig(
            width=number(trunk, "hidden_size", usual.width),
            heads=numbers(trunk, "num_attention_heads_per_stage", (heads,))[0],
            depths=_four(trunk, "blocks_per_stage", usual.depths),
            windows=_four(trunk, "window_size_per_stage", usual.windows),
            global_blocks=numbers(trunk, "global_attention_blocks", usual.global_blocks),
            background=numbers(trunk, "window_positional_embedding_background_size", square)[0],
        ),
        image_side=number(prompts, "image_size", known.image_side),
        channels=number(decoder, "hidden_size", known.channels),
        heads=number(decoder, "num_attention_heads", known.heads),
        hidden=number(decoder, "mlp_dim", known.hidden),
        memory=None,
    )


def part(given: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return what a `config.json` says of a part, which may be nothing.

    Raises:
        TypeError: it is no object.
    """
    part = given.get(name)
    if part is None:
        return {}
    if not isinstance(part, Mapping):
        raise TypeError(f"`{name}` is no object")
    return part


def number(given: Mapping[str, object], name: str, default: int) -> int:
    """Return a number, or what it is by default.

    Raises:
        ValueError: it is no whole number above zero.
    """
    value = given.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"`{name}` is {value}")
    return value


def numbers(given: Mapping[str, object], name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return a list of numbers, or what it is by default.

    Raises:
        ValueError: it is no list of whole numbers.
    """
    values = given.get(name)
    if values is None:
        return default
    if not isinstance(values, list) or not all(isinstance(each, int) for each in values):
        raise ValueError(f"`{name}` is {values}")
    return tuple(values)


def _four(
    given: Mapping[str, object], name: str, default: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    first, second, third, fourth = numbers(given, name, default)
    return first, second, third, fourth
