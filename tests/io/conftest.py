"""Moving frames, and files of them of every kind."""

from __future__ import annotations

import pytest

from clips import KINDS, LENGTH, clip, encode, uneven


@pytest.fixture(scope="module")
def moving():
    """Frames of a clip, 41 of 126 x 82."""
    return clip(3, length=LENGTH).frames


@pytest.fixture(scope="module")
def files(moving, tmp_path_factory):
    """A file of each kind, by name, shown at uneven times where the container can."""
    folder = tmp_path_factory.mktemp("clips")
    return {kind: encode(moving, folder, kind, milliseconds=uneven(LENGTH)) for kind in KINDS}
