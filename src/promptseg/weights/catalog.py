"""The models that have a name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from promptseg.errors import ConfigError
from promptseg.nn import tiny

BUILTIN = "builtin"


@dataclass(frozen=True)
class Source:
    """Where a model's weights lie, and what to call it."""

    name: str
    path: Path


# Name to file.
CATALOG = {BUILTIN: Path(tiny.__path__[0]) / "builtin.safetensors"}


def find(name: str | Path | None) -> Source:
    """Look up a model by its name, or take the path of a weights file; None is the built-in one.

    Raises:
        ConfigError: neither a known name nor a file.
    """
    if name is None:
        name = BUILTIN
    if isinstance(name, str) and name in CATALOG:
        return Source(name, CATALOG[name])
    path = Path(name)
    if _is_file(path):
        return Source(path.stem, path)
    known = ", ".join(f"`{each}`" for each in CATALOG)
    raise ConfigError(
        f"there is no model and no weights file `{name}`",
        hint=f"Models by name: {known}; or give the path of a .safetensors file",
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a null byte
        return False
