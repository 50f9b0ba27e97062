"""The small sizes of SAM 2 stand in for published ones here too."""

from __future__ import annotations

from stored_sam2 import known_sizes

__all__ = ["known_sizes"]
