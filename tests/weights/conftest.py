"""Fixtures of small SAM 2 and SAM 3 weights."""

from __future__ import annotations

from stored_sam2 import hub, known_sizes, no_network, unchecked
from stored_sam3 import known_sam3

__all__ = ["hub", "known_sam3", "known_sizes", "no_network", "unchecked"]
