"""Tracked objects drawn over their video, as a video file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from promptseg import drawing
from promptseg.drawing.colours import PALETTE
from promptseg.io.frame import Frame
from promptseg.masks import RunLength


class OverlayVideo:
    """Writes frames with their masks over them; an object keeps its colour from frame to frame.

    It is made and used as `io.video_writer.VideoWriter`, by which it writes.

    Raises:
        OutputError: the file cannot be written, or its suffix is no video's.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(
        self, path: str | Path, *, rate: float = 25.0, names: Mapping[int, str] | None = None
    ) -> None:
        """`names` are written on the objects that have one, by id."""
        # PyAV is an extra, which the other formats do without.
        from promptseg.io.video_writer import VideoWriter

        self._writer = VideoWriter(path, rate=rate)
        self._names = dict(names or {})
        self._turns: dict[int, int] = {}

    def __enter__(self) -> OverlayVideo:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, traceback)

    def add(self, frame: Frame, objects: Mapping[int, RunLength]) -> None:
        """Add a frame with the masks of the objects that are in it, by id.

        Raises:
            MaskError: a mask has another size than the frame.
            VideoError: as `VideoWriter.add`.
            OutputError: it cannot be written.
        """
        for each in objects:
            self._turns.setdefault(each, len(self._turns))
        picture = drawing.overlay(
            frame.pixels,
            list(objects.values()),
            colours=[PALETTE[self._turns[each] % len(PALETTE)] for each in objects],
            labels=[self._names.get(each, "") for each in objects],
        )
        self._writer.add(np.asarray(picture), frame.time)

    def finish(self) -> Path:
        """Put the file where it belongs, as `VideoWriter.finish`."""
        return self._writer.finish()

    def discard(self) -> None:
        """Leave no file, as `VideoWriter.discard`."""
        self._writer.discard()
