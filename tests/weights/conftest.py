"""Fixtures of small SAM 2 weights."""

from __future__ import annotations

from stored_sam2 import hub, known_sizes, no_network, unchecked

__all__ = ["hub", "known_sizes", "no_network", "unchecked"]
