"""The layouts of weights, by name; this loads no torch, so that the command line may name them."""

from __future__ import annotations

from typing import Literal, TypeAlias

Layout: TypeAlias = Literal["promptseg", "transformers", "meta"]
OURS: Layout = "promptseg"
