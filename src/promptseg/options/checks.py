"""What an option may be; each check raises a `ConfigError` that names the option and its value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from numbers import Integral, Real

from promptseg.errors import ConfigError


def require_kind(kind: type, name: str, value: object) -> None:
    """Refuse what is no `kind`, such as a record of options for another verb."""
    if not isinstance(value, kind):
        raise ConfigError(f"`{name}` must be `{kind.__name__}`, got {type(value).__name__}")


def require_least(record: object, **least: int) -> None:
    """Refuse fields that are below their least value."""
    for name, bound in least.items():
        if not getattr(record, name) >= bound:
            raise ConfigError(f"`{name}` is at least {bound}, got {getattr(record, name)}")


def require_number(
    record: object, name: str, *, least: float = -math.inf, most: float = math.inf
) -> None:
    """Refuse a field that is no finite number from `least` to `most`."""
    value = getattr(record, name)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(f"`{name}` must be a number, got {value!r}")
    number = _as_float(value)
    if not (math.isfinite(number) and least <= number <= most):
        bound = "finite" if least == -math.inf else f"at least {least:g}"
        if most < math.inf:
            bound = f"in {least:g}..{most:g}"
        raise ConfigError(f"`{name}` is {bound}, got {number:g}")


def require_share(record: object, name: str, hint: str | None = None) -> None:
    """Refuse a field that is no number in 0..1."""
    value = getattr(record, name)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(f"`{name}` must be a number, got {value!r}")
    number = _as_float(value)
    if not (math.isfinite(number) and 0 <= number <= 1):
        raise ConfigError(f"`{name}` must lie in 0..1, got {number:g}", hint=hint)


def _as_float(value: Real) -> float:
    """Return a number as a float; a whole number that no float holds is beyond all bounds."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def require_count(record: object, name: str, *, least: int, most: int | None = None) -> None:
    """Refuse a field that is no whole number from `least` to `most`."""
    value = getattr(record, name)
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ConfigError(f"`{name}` must be a whole number, got {value!r}")
    number = int(value)
    if number < least or (most is not None and number > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        raise ConfigError(f"`{name}` is {bounds}, got {number}")


def require_flag(record: object, name: str) -> None:
    """Refuse a field that is neither true nor false."""
    if not isinstance(getattr(record, name), bool):
        raise ConfigError(f"`{name}` must be true or false, got {getattr(record, name)!r}")


def require_one_of(record: object, name: str, known: Sequence[str]) -> None:
    """Refuse a field that is none of the known words."""
    if getattr(record, name) not in known:
        raise ConfigError(
            f"`{name}` must be one of {', '.join(known)}, got {getattr(record, name)!r}"
        )


def help_of(record: type, name: str) -> str:
    """Return the sentence that explains one field of an option record."""
    return next(str(entry.metadata["help"]) for entry in fields(record) if entry.name == name)
