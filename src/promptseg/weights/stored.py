"""Tensors as they lie in files, whoever wrote them: nothing is run and nothing is named anew."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from promptseg.errors import WeightsError, reason

DAMAGED_HINT = "Copy or download it again, or leave the model out to use the built-in one"
KINDS_HINT = "Weights are a .safetensors file, a PyTorch .pt file, or a folder with one of them"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
# As transformers and the hub name them.
TRANSFORMERS_FILE = "model.safetensors"
TRANSFORMERS_CONFIG = "config.json"

# How files begin that are found in the place of weights, and what they are.
_BEGINNINGS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file that it points to",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"\x89png": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"gguf": "a GGUF file",
    b"\x89hdf": "an HDF5 file",
}
_BEGINNING = 24
# How an archive of torch begins, by which torch itself goes, and a bare pickle, as before 1.6.
_ARCHIVE, _PICKLE = b"PK\x03\x04", b"\x80"
# Before this one, what is read with `weights_only` might still run code (CVE-2025-32434).
_SAFE_TORCH = "2.6"
# Those of which each value is a number by itself, as it is not in coarser ones.
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# Under these keys checkpoints keep their tensors: SAM 2's own trainer and release, and Lightning.
_WRAPPERS = ("model", "state_dict")
# What torch raises for a file that is cut short or of another kind.
_UNREADABLE = (
    EOFError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class Stored:
    """Tensors by the names that the file gives them; they may lie in the file until they are used.

    Each is plain: dense, on the CPU, with as many numbers as its shape says. `metadata` is a
    safetensors header, `sizes` the `config.json` that transformers puts beside its file; either is
    empty where there is none.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    sizes: Mapping[str, object]


def read(path: Path) -> Stored:
    """Read a weights file, or the only one in a folder, by what is in it and not by its name.

    Raises:
        WeightsError: the file is missing, damaged, no weights, or holds more than plain tensors;
            it is a pickle and torch is too old to read one safely; or the folder has no weights, or
            several.
    """
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.exists() and not path.is_file():
            raise WeightsError(f"`{path}` is neither a file nor a folder", hint=KINDS_HINT)
        alone = path.name != TRANSFORMERS_FILE
        return _read_file(path, {} if alone else _read_sizes(path.with_name(TRANSFORMERS_CONFIG)))
    except OSError as error:
        raise WeightsError(
            f"cannot read the weights `{path}`: {reason(error)}", hint=KINDS_HINT
        ) from error


def require_intact(path: Path) -> None:
    """Compare a PyTorch archive's bytes with the checksums in it, which reading alone does not.

    Raises:
        WeightsError: they are not those that were written.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if broken := archive.testzip():
            raise WeightsError(
                f"`{path}` is damaged: `{broken}` in it is not what was written", hint=DAMAGED_HINT
            )


def _read_folder(folder: Path) -> Stored:
    file = folder / TRANSFORMERS_FILE
    if not file.is_file():
        found = sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES)
        if not found:
            raise WeightsError(f"the folder `{folder}` holds no weights", hint=KINDS_HINT)
        if len(found) > 1:
            names = ", ".join(f"`{each.name}`" for each in found)
            raise WeightsError(
                f"the folder `{folder}` holds {len(found)} weights files: {names}",
                hint="Name the file that you mean; weights in several parts are not read",
            )
        [file] = found
    return _read_file(file, _read_sizes(folder / TRANSFORMERS_CONFIG))


def _read_sizes(path: Path) -> Mapping[str, object]:
    if not path.is_file():
        return {}
    try:
        sizes = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"`{path}` is not JSON", hint=DAMAGED_HINT) from error
    if not isinstance(sizes, dict):
        raise WeightsError(f"`{path}` holds no sizes of a network", hint=DAMAGED_HINT)
    return sizes


def _read_file(path: Path, sizes: Mapping[str, object]) -> Stored:
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
    for start, kind in _BEGINNINGS.items():
        if beginning.lower().startswith(start):
            raise WeightsError(f"`{path}` is {kind}", hint=KINDS_HINT)
    # After eight bytes of length, whatever these are, a safetensors header is a JSON object.
    is_safetensors = beginning[8:9] == b"{"
    if not is_safetensors and beginning.startswith((_ARCHIVE, _PICKLE)):
        content = _unpickle(path, archive=beginning.startswith(_ARCHIVE))
        return Stored(path, _tensors_of(content, path), {}, sizes)
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
            return Stored(path, _plain(tensors, path), opened.metadata() or {}, sizes)
    except (SafetensorError, AttributeError) as error:  # the latter for a dtype that torch lacks
        raise WeightsError(
            f"`{path}` is not a safetensors file, or it is damaged", hint=DAMAGED_HINT
        ) from error


def _unpickle(path: Path, *, archive: bool) -> object:
    if torch.__version__ < _SAFE_TORCH:
        raise WeightsError(
            f"`{path}` is a pickle, which torch {torch.__version__} cannot read safely",
            hint=f"Update torch to {_SAFE_TORCH} or later, or take the weights as .safetensors",
        )
    # By its name torch takes a .safetensors file for one whatever it is, and a bare pickle cannot
    # stay in its file; both are rare, and read through.
    in_place = archive and path.suffix != ".safetensors"
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # Of pickles by other writers torch says that it may not know all that is in them.
            warnings.simplefilter("ignore")
            return torch.load(
                path if in_place else file, map_location="cpu", weights_only=True, mmap=in_place
            )
    except UnpicklingError as error:
        raise WeightsError(
            f"`{path}` holds more than tensors, which might run as code, so it is not read",
            hint="Take the weights as .safetensors, or save the tensors alone: "
            "`torch.save({'model': network.state_dict()}, path)`",
        ) from error
    except _UNREADABLE as error:
        raise WeightsError(
            f"`{path}` is not a PyTorch file, or it is damaged", hint=DAMAGED_HINT
        ) from error


def _tensors_of(content: object, path: Path) -> Mapping[str, Tensor]:
    """Take the tensors out of a checkpoint, which may wrap them once."""
    if isinstance(content, Mapping):
        for wrapper in _WRAPPERS:
            if isinstance(inner := content.get(wrapper), Mapping):
                content = inner
                break
        if content and all(_is_named_tensor(item) for item in content.items()):
            return _plain(content, path)
    raise WeightsError(
        f"`{path}` holds no tensors by name",
        hint="A checkpoint is a dictionary of tensors, or has one under `model`",
    )


def _plain(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Take tensors as numbers alone, that nothing is learnt of.

    Raises:
        WeightsError: one is of another kind than all that can be compared, joined and digested.
    """
    for name, tensor in tensors.items():
        if not name.isprintable():
            raise WeightsError(f"`{path}` holds a tensor named {name!r}", hint=DAMAGED_HINT)
        if not _is_dense(tensor):
            kind = f"{tuple(tensor.shape)} of {tensor.dtype}, {tensor.layout}, on {tensor.device}"
            raise WeightsError(
                f"`{path}` holds tensors that are not dense, first: `{name}`, {kind}",
                hint="Save each as a plain tensor: `tensor.to_dense().cpu().clone()`",
            )
        if tensor.is_floating_point() and tensor.dtype not in _FLOATS:
            raise WeightsError(
                f"`{path}` holds numbers that are not read, first: `{name}` of {tensor.dtype}",
                hint="Save them as float32, float16 or bfloat16",
            )
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _is_dense(tensor: Tensor) -> bool:
    """Tell whether all numbers of a tensor are there, each in a place of its own."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return False
    if tensor.is_nested or tensor.is_quantized:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _is_named_tensor(item: tuple[object, object]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)
