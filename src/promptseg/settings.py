"""Settings from flags, environment and a file, as one frozen record that only the doors read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from promptseg.errors import ConfigError, MissingExtraError, reason
from promptseg.options.checks import require_count

# 512 MiB hold the features of some hundred images of the built-in model.
CACHE_BYTES = 512 * 2**20
# Twice the pixels that fit in 256 MiB of RGB, where Pillow too refuses an image.
MAX_PIXELS = 178_956_970

TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
DEFAULT, FLAG = "default", "flag"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Defaults of the command line. Each is read from `PROMPTSEG_` and its name in capitals."""

    model: str = field(default="builtin", metadata={"help": "name or path of the model"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, mps"})
    dtype: str = field(default="auto", metadata={"help": "auto, float32, bfloat16, float16"})
    cache_bytes: int = field(
        default=CACHE_BYTES, metadata={"help": "bytes of image features kept; 0 keeps none"}
    )
    max_pixels: int = field(
        default=MAX_PIXELS, metadata={"help": "an image of more pixels is refused unread"}
    )

    jobs: str | None = field(
        default=None, metadata={"help": "folder in which jobs are kept, or address of a Redis"}
    )
    store: str | None = field(
        default=None,
        metadata={
            "help": "folder or address of what comes of jobs [default: results, in the folder of "
            "the jobs]"
        },
    )
    queue: str = field(default="default", metadata={"help": "name of the queue of jobs"})
    webhook_hosts: tuple[str, ...] = field(
        default=(), metadata={"help": "hosts that may be told the ends of jobs, such as a.org"}
    )
    webhook_secret: Path | None = field(
        default=None, metadata={"help": "file of the secret that they know us by"}
    )

    def __post_init__(self) -> None:
        require_count(self, "cache_bytes", least=0)
        require_count(self, "max_pixels", least=1)


Record = TypeVar("Record", bound=Settings)


@dataclass(frozen=True)
class Gathered(Generic[Record]):
    """Settings, and where each comes from: `default`, `flag`, a variable's or a file's name."""

    settings: Record
    sources: Mapping[str, str]


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environment`, by default that of the process. Empty counts as unset.

    Raises:
        ConfigError: a number is not a whole number, or out of range.
    """
    return gather(Settings, environment=environment).settings


def gather(
    kind: type[Record],
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    given: Mapping[str, object] | None = None,
) -> Gathered[Record]:
    """Make settings of what is `given`, else of the environment, else of a TOML file.

    What is said nowhere keeps its default. A relative path in a file starts at the file's folder.

    Raises:
        ConfigError: the file cannot be read or has a setting that does not exist; a value is of the
            wrong kind or out of range. The message says where it comes from.
        MissingExtraError: reading a file needs a package of the extra `server`.
    """
    environment = os.environ if environment is None else environment
    kinds = get_type_hints(kind)
    values: dict[str, Any] = {}
    sources = dict.fromkeys((each.name for each in fields(kind)), DEFAULT)
    layers = (
        _of_file(file, kinds) if file else (),
        _of_environment(environment, kinds),
        ((name, value, FLAG) for name, value in (given or {}).items()),
    )
    for layer in layers:
        for name, value, source in layer:
            values[name], sources[name] = value, source
    try:
        return Gathered(kind(**values), sources)
    except ConfigError as error:
        blamed = [sources[name] for name in values if f"`{name}`" in str(error)]
        origin = f" ({', '.join(dict.fromkeys(blamed))})" if blamed else ""
        raise ConfigError(f"{error}{origin}", hint=error.hint) from None


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"PROMPTSEG_{name.upper()}"


def read_table(file: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
        MissingExtraError: this Python reads no TOML of its own, and `tomli` is not installed.
    """
    try:
        toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        raise MissingExtraError(
            "this Python reads no TOML files", hint='Install it: pip install "promptseg[server]"'
        ) from None
    try:
        table: dict[str, Any] = toml.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read `{file}`: {reason(error)}") from error
    except ValueError as error:
        raise ConfigError(
            f"`{file}` is no TOML: {reason(error)}", hint='Write lines such as `host = "0.0.0.0"`'
        ) from error
    return table


def _of_environment(
    environment: Mapping[str, str], kinds: Mapping[str, Any]
) -> Iterator[tuple[str, object, str]]:
    for name, kind in kinds.items():
        if text := environment.get(variable(name)):
            yield name, _parsed(text, kind, variable(name)), variable(name)


def _of_file(file: Path, kinds: Mapping[str, Any]) -> Iterator[tuple[str, object, str]]:
    for name, value in read_table(file).items():
        if name not in kinds:
            near = get_close_matches(name, kinds, n=1, cutoff=0)
            raise ConfigError(
                f"`{file}` sets `{name}`, and there is no such setting",
                hint=f"The nearest is `{near[0]}`",
            )
        yield name, _accepted(value, kinds[name], f"`{name}` in `{file}`", file.parent), str(file)


def _parsed(text: str, kind: Any, source: str) -> object:
    """Read a value of the environment as the field's kind."""
    kind = _plain(kind)
    if get_origin(kind) is tuple:
        return tuple(part for part in map(str.strip, text.split(",")) if part)
    if kind is bool:
        if text.lower() in TRUE + FALSE:
            return text.lower() in TRUE
    elif kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    else:
        return Path(text) if kind is Path else text
    name, hint = WORDS[kind]
    raise ConfigError(f"`{source}` is {name}, got `{text}`", hint=hint)


def _accepted(value: object, kind: Any, source: str, folder: Path) -> object:
    """Take a value of a file as the field's kind, which it has to be already."""
    kind = _plain(kind)
    if get_origin(kind) is tuple:
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return tuple(value)
        raise ConfigError(f"{source} is a list of texts, got {value!r}", hint='As in ["a", "b"]')
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return folder / value
    if type(value) is kind:
        return value
    name, hint = WORDS[kind]
    raise ConfigError(f"{source} is {name}, got {value!r}", hint=hint)


def _plain(kind: Any) -> Any:
    """Return the kind of a field's values: without None, and text where words are listed."""
    parts = [part for part in get_args(kind) if part is not type(None)]
    if get_origin(kind) is Literal:
        return str
    return kind if get_origin(kind) is tuple or not parts else _plain(parts[0])


# What a value of each kind is called, and how to write one.
WORDS = {
    bool: ("true or false", None),
    int: ("a whole number", "Write it in digits, such as 536870912 for 512 MiB"),
    float: ("a number", "Write it in digits, such as 2.5"),
    str: ("a text", 'Put it in quotes, as in "auto"'),
    Path: ("a path", 'Put it in quotes, as in "keys.toml"'),
}
