"""`sam2`'s way to build a model (`promptseg.compat.sam2` has the public names)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch

from promptseg import api
from promptseg.errors import ConfigError

Device: TypeAlias = "str | torch.device"


@dataclass(frozen=True)
class Sam2:
    """What `build_sam2` gives: a model, and how it answers where a single mask is wanted.

    With `falls_back` by SAM 2's rule (`engine.candidates.single`), else always by its candidate
    for prompts that leave no doubt.
    """

    model: api.Model
    falls_back: bool = True


def build_sam2(
    config_file: str | Path | None = None,
    ckpt_path: str | Path | None = None,
    device: Device = "auto",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    *,
    dtype: str = "float32",
) -> Sam2:
    """Load SAM 2 or 2.1 from a checkpoint.

    Sizes are read from the checkpoint's tensors, so `config_file` is not looked at. The best
    device there is serves by default, where `sam2` asks for CUDA. `apply_postprocessing` lets a
    single mask whose outline wavers be replaced by the best of three. Weights are float32 unless
    `dtype` says `auto`, `bfloat16` or `float16`.

    Raises:
        ConfigError: no checkpoint, another mode than "eval", overrides of the configuration, or a
            device or dtype that is not there.
        WeightsError: the checkpoint is damaged, or of another kind.
    """
    if hydra_overrides_extra:
        raise ConfigError(
            "there is no configuration to override here, got "
            f"`hydra_overrides_extra` {list(hydra_overrides_extra)}",
            hint="Leave it out; sizes are read from the checkpoint",
        )
    if mode != "eval":
        raise ConfigError(
            f"a model is built for `eval` only, got mode `{mode}`",
            hint="Leave `mode` out",
        )
    if ckpt_path is None:
        raise ConfigError(
            "`build_sam2` needs a checkpoint, got none",
            hint="Pass `ckpt_path`, or a name to `build_sam2_hf`",
        )
    model = api.load(ckpt_path, device=str(device), dtype=dtype)
    return Sam2(model, falls_back=bool(apply_postprocessing))


def build_sam2_hf(
    model_id: str,
    device: Device = "auto",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    *,
    dtype: str = "float32",
) -> Sam2:
    """Load a model by its name on the hub, such as `facebook/sam2.1-hiera-large`.

    Raises:
        ConfigError: an unknown name, or as `build_sam2`.
        WeightsError: the checkpoint is not at hand and cannot be fetched, or is damaged.
    """
    return build_sam2(
        None, model_id, device, mode, hydra_overrides_extra, apply_postprocessing, dtype=dtype
    )


def as_sam2(model: Sam2 | api.Model, wanted_by: str) -> Sam2:
    """Take what `build_sam2` gives, or a loaded model.

    Raises:
        ConfigError: the model is none of SAM 2.
    """
    given = Sam2(model) if isinstance(model, api.Model) else model
    if not isinstance(given, Sam2) or given.model.spec.sure is None:
        raise ConfigError(
            f"`{wanted_by}` needs a SAM 2 model, got {model!r}",
            hint="Make one with `build_sam2(...)` or `promptseg.load('sam2.1-large')`",
        )
    return given
