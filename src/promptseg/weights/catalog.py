"""The models that have a name, and what else a user may call a model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TypeAlias

from promptseg.errors import ConfigError
from promptseg.nn import tiny
from promptseg.weights.families import SAM31_HINT, is_named_sam31
from promptseg.weights.stored import SUFFIXES, TRANSFORMERS_CONFIG, TRANSFORMERS_FILE
from promptseg.weights.tokenizers import FILES as TOKENIZER_FILES

BUILTIN = "builtin"
APACHE = "Apache-2.0"


@dataclass(frozen=True)
class Local:
    """Weights on this machine: a file or a folder, and what to call it."""

    name: str
    path: Path


@dataclass(frozen=True)
class Hosted:
    """Weights that the hub keeps in `repository`, in one of `files`, the best first.

    `beside` are files that belong to them, of which a repository may have some or none.
    """

    name: str
    repository: str
    files: tuple[str, ...] = (TRANSFORMERS_FILE,)
    beside: tuple[str, ...] = (TRANSFORMERS_CONFIG, *TOKENIZER_FILES)


@dataclass(frozen=True)
class Published(Hosted):
    """A model of the catalogue: published weights with a name.

    `url` is the publisher's own file, in the publisher's layout; `megabytes` is about its size. A
    `gated` one is given only to those who asked for access.
    """

    url: str = ""
    megabytes: int = 0
    licence: str = APACHE
    gated: bool = False

    @property
    def own_file(self) -> str:
        """The name of the publisher's own file."""
        return self.url.rsplit("/", 1)[-1]


Source: TypeAlias = Local | Hosted

BUILTIN_SOURCE = Local(BUILTIN, Path(tiny.__path__[0]) / "builtin.safetensors")

# Where Meta keeps the files of SAM 2 and 2.1, by version (`checkpoints/download_ckpts.sh` in
# https://github.com/facebookresearch/sam2).
_META = "https://dl.fbaipublicfiles.com/segment_anything_2"
_DATES = {"2.1": "092824", "2": "072824"}
# Four bytes for each parameter.
_MEGABYTES = {"tiny": 156, "small": 184, "base-plus": 323, "large": 898}


def _sam2(version: str, size: str) -> Published:
    file = f"sam{version}_hiera_{size.replace('-', '_')}.pt"
    return Published(
        f"sam{version}-{size}",
        f"facebook/sam{version}-hiera-{size}",
        (TRANSFORMERS_FILE, file),
        (),
        url=f"{_META}/{_DATES[version]}/{file}",
        megabytes=_MEGABYTES[size],
    )


_SAM3 = Published(
    "sam3",
    "facebook/sam3",
    (TRANSFORMERS_FILE, "sam3.pt"),
    url="https://huggingface.co/facebook/sam3/resolve/main/sam3.pt",
    megabytes=3440,
    licence="SAM License",
    gated=True,
)
PUBLISHED = {
    model.name: model
    for model in (*(_sam2(version, size) for version in _DATES for size in _MEGABYTES), _SAM3)
}
NAMED: dict[str, Source] = {BUILTIN: BUILTIN_SOURCE, **PUBLISHED}
_BY_REPOSITORY = {model.repository: model for model in PUBLISHED.values()}
# What the hub takes for the name of a repository.
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*[A-Za-z0-9]")


def find(name: str | Path | None) -> Source:
    """Look up what a user calls a model; None is the built-in one. The network is not asked.

    That is a name of the catalogue, a file or a folder of weights, or `owner/name` on the hub.

    Raises:
        ConfigError: none of these.
    """
    if not isinstance(name, (str, Path, NoneType)):
        raise ConfigError(
            f"a model is called by a name or a path, got {type(name).__name__}", hint=_known()
        )
    if isinstance(name, Path) and name == Path():
        raise ConfigError(
            "an empty path is no weights file",
            hint="Give the folder's whole path, or `.` as text for the current one",
        )
    if name is None:
        return BUILTIN_SOURCE
    if isinstance(name, str) and name in NAMED:
        return NAMED[name]
    path = Path(name)
    if name and is_there(path):
        return Local(path.stem if path.is_file() else path.resolve().name, path)
    if isinstance(name, str):
        if name in _BY_REPOSITORY:
            return _BY_REPOSITORY[name]
        if is_named_sam31(name.rsplit("/", 1)[-1]):
            raise ConfigError(f"`{name}` is SAM 3.1, which is not known here", hint=SAM31_HINT)
        if _REPOSITORY.fullmatch(name) and path.suffix not in SUFFIXES:
            return Hosted(name, name)
    raise ConfigError(f"there is no model and no weights file `{name}`", hint=_known())


def _known() -> str:
    names = ", ".join(f"`{each}`" for each in NAMED)
    return f"Models by name: {names}; or give the path of a file or folder of weights"


def is_there(path: Path) -> bool:
    """Tell whether a path can be seen; one that cannot be a path is not there."""
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a null byte
        return False
