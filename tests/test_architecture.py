"""What the package may import, and what importing it may do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import promptseg
from promptseg import errors

NOUNS = (
    "batch",
    "client",
    "concepts",
    "drawing",
    "errors",
    "filling",
    "formats.answers",
    "formats.coco",
    "formats.contact_sheet",
    "formats.detections",
    "formats.geojson",
    "formats.index",
    "formats.label_studio",
    "formats.labelme",
    "formats.outcomes",
    "formats.overlay",
    "formats.png",
    "formats.records",
    "formats.recognise",
    "formats.sam",
    "formats.svg",
    "formats.yolo",
    "geometry",
    "io.headers",
    "io.images",
    "io.windows",
    "masks",
    "options",
    "prompts",
    "queries",
    "regions",
    "requests",
    "results",
    "seams",
    "settings",
    "shapes",
    "tidying",
    "tiles",
)


def in_a_new_process(code):
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, timeout=200
    )
    assert ended.stderr == b""
    return ended.stdout.decode()


def test_import_is_silent_and_light():
    """`import promptseg` says nothing, and loads neither numpy nor torch."""
    code = "import sys, promptseg; print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert in_a_new_process(code) == "False False\n"


def test_the_nouns_load_without_torch():
    """Prompts, masks, results and exports work where torch is not loaded."""
    imports = "; ".join(f"import promptseg.{noun}" for noun in NOUNS)
    assert in_a_new_process(f"{imports}; import sys; print('torch' in sys.modules)") == "False\n"


def test_every_public_name_is_there():
    """Each name of `__all__` loads, and is listed by `dir`."""
    for name in promptseg.__all__:
        assert getattr(promptseg, name) is not None
    assert set(promptseg.__all__) <= set(dir(promptseg))


def test_every_error_is_public():
    """What can be raised can be caught by its name."""
    kinds = [
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, errors.PromptsegError)
    ]
    assert set(kinds) <= set(promptseg.__all__)


def test_an_unknown_name_is_an_attribute_error():
    """A misspelt name fails as it does in any module."""
    with pytest.raises(AttributeError, match="segmnet"):
        promptseg.segmnet  # noqa: B018 - the access itself is what is tested


def test_importing_changes_no_global_switch():
    """Loading the api leaves torch's threads, precision and gradients as they were."""
    code = (
        "import torch; switches = lambda: (torch.get_num_threads(), torch.is_grad_enabled(), "
        "torch.get_default_dtype(), torch.backends.cuda.matmul.allow_tf32); "
        "before = switches(); import promptseg.api; print(switches() == before)"
    )
    assert in_a_new_process(code) == "True\n"


def test_files_stay_small(root):
    """A file of the package has fewer than 400 lines."""
    sizes = {path: len(path.read_text().splitlines()) for path in package_files(root)}
    assert {str(path): lines for path, lines in sizes.items() if lines >= 400} == {}


def test_files_are_named_for_what_they_know(root):
    """No file is called after having no subject."""
    vague = {"utils", "misc", "common", "helpers", "core", "base", "manager"}
    assert [path for path in package_files(root) if path.stem in vague] == []


def package_files(root: Path):
    return sorted((root / "src" / "promptseg").rglob("*.py"))
