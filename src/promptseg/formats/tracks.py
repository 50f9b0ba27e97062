"""Objects followed through a video, as files of tracks have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from promptseg.errors import MaskError
from promptseg.geometry import Size
from promptseg.masks import RunLength


@dataclass(frozen=True, kw_only=True)
class Track:
    """One object: its masks by the index of the frame, without those where it is not seen."""

    id: int
    masks: Mapping[int, RunLength]
    label: str | None = None
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """What was followed through `length` frames of one video; ids differ.

    Raises:
        MaskError: two tracks have one id, or a mask is of another size or of no frame of it.
    """

    size: Size
    length: int
    tracks: tuple[Track, ...]

    def __post_init__(self) -> None:
        ids = [track.id for track in self.tracks]
        if len(set(ids)) < len(ids):
            raise MaskError(f"ids of tracks must differ, got {ids}")
        for track in self.tracks:
            for index, mask in track.masks.items():
                if not 0 <= index < self.length:
                    raise MaskError(
                        f"track {track.id} has a mask in frame {index}, "
                        f"but the video has {self.length}, counted from 0"
                    )
                if mask.size != self.size:
                    raise MaskError(
                        f"track {track.id} has a mask of {mask.size} in a video of {self.size}"
                    )
