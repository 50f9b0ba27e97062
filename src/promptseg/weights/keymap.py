"""Tables that take tensors from the names of another layout to ours and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from promptseg.errors import WeightsError

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """One layout of weights, told in rules from its names to ours; `{}` stands for one dotted part.

    `renames` are one to one. `stacks` take tensors, numbered by the only `{}`, as the rows of one.
    `splits` cut a tensor into several of as many rows each, and `joins` put such tensors together.
    `squares` lay positions out in a map, from 1 l c to 1 h h c; with a `class_slot` the first of
    them is of no cell and is left out. `copies` name tensors that the layout holds twice, with the
    name that counts. `unused` tensors play no part, and are lost.
    """

    renames: Mapping[str, str]
    stacks: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    joins: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    squares: Mapping[str, str] = field(default_factory=dict)
    class_slot: bool = False
    copies: Mapping[str, str] = field(default_factory=dict)
    unused: Sequence[str] = ()

    def to_ours(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name tensors of the layout as ours.

        Raises:
            WeightsError: a tensor has no rule, a row is missing or of another shape or dtype than
                the first, rows cannot be shared out, positions make no map, or a copy differs from
                what it copies.
        """
        idle = self.idle(tensors)
        known = {name: each for name, each in tensors.items() if name not in idle}
        for copy, original in self.copies.items():
            if copy in known and not _equal(known.pop(copy), known.get(original)):
                raise WeightsError(f"tensor `{copy}` is not what it copies, `{original}`")
        ours = {}
        for pattern, name in self.stacks.items():
            if rows := {key: known.pop(key) for key in fitting(pattern, known)}:
                wanted = [pattern.format(i) for i in range(len(rows))]
                ours[name] = torch.cat(_alike(rows, wanted))
        ours |= _put_together(known, self.joins)
        ours |= _cut(known, self.splits)
        ours |= _reshaped(known, self.squares, self._to_square)
        return ours | {name: known[key] for key, name in rename(known, self.renames).items()}

    def to_theirs(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name our tensors as in the layout; what we do not have is left out, or zero in a slot.

        Raises:
            WeightsError: a tensor has no rule, or one that belongs to others is there without them.
        """
        left = dict(tensors)
        theirs: dict[str, Tensor] = {}
        for pattern, name in self.stacks.items():
            if name in left:
                rows = torch.split(left.pop(name), 1)
                theirs |= {pattern.format(i): row for i, row in enumerate(rows)}
        theirs |= _cut(left, {ours: names for names, ours in self.joins.items()})
        theirs |= _put_together(left, {ours: name for name, ours in self.splits.items()})
        theirs |= _reshaped(left, _turned(self.squares), self._to_line)
        theirs |= {name: left[key] for key, name in rename(left, _turned(self.renames)).items()}
        for copy, original in self.copies.items():
            if original in theirs:
                theirs[copy] = theirs[original]
        return theirs

    def idle(self, names: Collection[str]) -> set[str]:
        """Return those of the layout's names that play no part."""
        return {name for pattern in self.unused for name in fitting(pattern, names)}

    def _to_square(self, line: Tensor) -> Tensor | None:
        if line.ndim != 3:
            return None
        cells = line[:, int(self.class_slot) :]
        side = isqrt(cells.shape[1])
        return torch.unflatten(cells, 1, (side, side)) if 0 < cells.shape[1] == side**2 else None

    def _to_line(self, square: Tensor) -> Tensor | None:
        if square.ndim != 4:
            return None
        return functional.pad(square.flatten(1, 2), (0, 0, int(self.class_slot), 0))


def together(*keymaps: KeyMap) -> KeyMap:
    """Put the rules for the parts of a network together."""
    return KeyMap(
        renames=_merged(each.renames for each in keymaps),
        stacks=_merged(each.stacks for each in keymaps),
        splits=_merged(each.splits for each in keymaps),
        joins=_merged(each.joins for each in keymaps),
        squares=_merged(each.squares for each in keymaps),
        class_slot=any(each.class_slot for each in keymaps),
        copies=_merged(each.copies for each in keymaps),
        unused=tuple(pattern for each in keymaps for pattern in each.unused),
    )


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


def fitting(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that a pattern fits."""
    compiled = _compiled(pattern)
    return [name for name in names if compiled.fullmatch(name)]


def _put_together(
    known: dict[str, Tensor], rules: Mapping[tuple[str, ...], str]
) -> dict[str, Tensor]:
    """Take tensors that belong together out of `known`, and return them as one each."""
    made: dict[str, Tensor] = {}
    for patterns, new in rules.items():
        for parts in {parts: None for pattern in patterns for parts in _parts(pattern, known)}:
            names = [pattern.format(*parts) for pattern in patterns]
            made[new.format(*parts)] = torch.cat(_alike(known, names))
            for name in names:
                del known[name]
    return made


def _cut(known: dict[str, Tensor], rules: Mapping[str, tuple[str, ...]]) -> dict[str, Tensor]:
    """Take tensors out of `known`, and return each as several with as many rows."""
    made: dict[str, Tensor] = {}
    for pattern, news in rules.items():
        for parts in _parts(pattern, known):
            name = pattern.format(*parts)
            tensor = known.pop(name)
            if not tensor.ndim or len(tensor) % len(news):
                raise WeightsError(
                    f"tensor `{name}` is {_kind(tensor)}, whose rows are not {len(news)} times "
                    "as many"
                )
            rows = tensor.chunk(len(news)) if len(tensor) else [tensor] * len(news)
            made |= {new.format(*parts): each for new, each in zip(news, rows, strict=True)}
    return made


def _reshaped(
    known: dict[str, Tensor], rules: Mapping[str, str], reshape: Callable[[Tensor], Tensor | None]
) -> dict[str, Tensor]:
    """Take tensors out of `known`, and return each in its other shape."""
    made: dict[str, Tensor] = {}
    for pattern, new in rules.items():
        for parts in _parts(pattern, known):
            name = pattern.format(*parts)
            tensor = known.pop(name)
            changed = reshape(tensor)
            if changed is None:
                raise WeightsError(f"tensor `{name}` is {_kind(tensor)}, which makes no square map")
            made[new.format(*parts)] = changed
    return made


def _merged(tables: Iterable[Mapping[Key, Value]]) -> dict[Key, Value]:
    return {key: value for table in tables for key, value in table.items()}


def _turned(rules: Mapping[str, str]) -> dict[str, str]:
    return {ours: theirs for theirs, ours in rules.items()}


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\{\}", r"([^.]+)"))


def _parts(pattern: str, names: Collection[str]) -> list[tuple[str, ...]]:
    """Return what stands for the `{}` of a pattern in each name that it fits."""
    compiled = _compiled(pattern)
    return [fit.groups() for name in names if (fit := compiled.fullmatch(name))]


def _alike(given: Mapping[str, Tensor], wanted: Sequence[str]) -> list[Tensor]:
    """Return tensors of one shape and dtype, which are rows of another."""
    if missing := [name for name in wanted if name not in given]:
        raise WeightsError(f"tensor `{missing[0]}` is missing")
    first = given[wanted[0]]
    for name in wanted:
        if not first.ndim or not _are_alike(given[name], first):
            raise WeightsError(
                f"tensor `{name}` is {_kind(given[name])}, which is no row beside {_kind(first)}"
            )
    return [given[name] for name in wanted]


def _equal(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and _are_alike(one, other) and torch.equal(one, other)


def _are_alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {tensor.dtype}"
