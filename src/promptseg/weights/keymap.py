"""Tables that take tensors from the names of another layout to ours and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from promptseg.errors import WeightsError


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """One layout of weights, told in rules from its names to ours; `{}` stands for one dotted part.

    `renames` are one to one. `stacks` take tensors, numbered by the only `{}`, as the rows of one.
    `copies` name tensors that the layout holds twice, with the name that counts.
    """

    renames: Mapping[str, str]
    stacks: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)

    def to_ours(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name tensors of the layout as ours.

        Raises:
            WeightsError: a tensor has no rule, a row is missing or of another shape or dtype than
                the first, or a copy differs from what it copies.
        """
        known = dict(tensors)
        for copy, original in self.copies.items():
            if copy in known and not _equal(known.pop(copy), known.get(original)):
                raise WeightsError(f"tensor `{copy}` is not what it copies, `{original}`")
        ours = {}
        for pattern, name in self.stacks.items():
            if rows := {key: known.pop(key) for key in list(known) if _match(pattern, key)}:
                ours[name] = torch.cat(_ordered(rows, pattern))
        return ours | {name: known[key] for key, name in rename(known, self.renames).items()}

    def to_theirs(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name our tensors as in the layout.

        Raises:
            WeightsError: a tensor has no rule.
        """
        left = dict(tensors)
        theirs: dict[str, Tensor] = {}
        for pattern, name in self.stacks.items():
            if name in left:
                rows = torch.split(left.pop(name), 1)
                theirs |= {pattern.format(i): row for i, row in enumerate(rows)}
        back = {ours: name for name, ours in self.renames.items()}
        theirs |= {name: left[key] for key, name in rename(left, back).items()}
        for copy, original in self.copies.items():
            if original in theirs:
                theirs[copy] = theirs[original]
        return theirs


def rename(names: Mapping[str, object], rules: Mapping[str, str]) -> dict[str, str]:
    """Give each name, in order, its new one by the only rule that fits it.

    Raises:
        WeightsError: no rule fits a name, or several do.
    """
    table = [(_compiled(pattern), new) for pattern, new in rules.items()]
    renamed, unknown = {}, []
    for name in names:
        fits = [new.format(*found.groups()) for old, new in table if (found := old.fullmatch(name))]
        if len(fits) == 1:
            renamed[name] = fits[0]
        else:
            unknown.append(name)
    if unknown:
        raise WeightsError(f"{len(unknown)} tensors have no single rule, first: `{unknown[0]}`")
    return renamed


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\{\}", r"([^.]+)"))


def _match(pattern: str, name: str) -> bool:
    return _compiled(pattern).fullmatch(name) is not None


def _ordered(rows: Mapping[str, Tensor], pattern: str) -> list[Tensor]:
    wanted = [pattern.format(i) for i in range(len(rows))]
    if missing := [name for name in wanted if name not in rows]:
        raise WeightsError(f"tensor `{missing[0]}` is missing")
    first = rows[wanted[0]]
    for name in wanted:
        if not first.ndim or not _are_alike(rows[name], first):
            raise WeightsError(
                f"tensor `{name}` is {_kind(rows[name])}, which is no row beside {_kind(first)}"
            )
    return [rows[name] for name in wanted]


def _equal(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and _are_alike(one, other) and torch.equal(one, other)


def _are_alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {tensor.dtype}"
