"""How to answer and how to train, as frozen records that the command line is made from."""

from promptseg.options.checks import help_of
from promptseg.options.everything import DETAILS, Detail, EverythingOptions
from promptseg.options.tidy import MOST_SMOOTH, Overlap, TidyOptions
from promptseg.options.track import TrackOptions
from promptseg.options.training import StreamOptions, TrainOptions
from promptseg.options.verbs import FindOptions, MaskSize, SegmentOptions

__all__ = [
    "DETAILS",
    "MOST_SMOOTH",
    "Detail",
    "EverythingOptions",
    "FindOptions",
    "MaskSize",
    "Overlap",
    "SegmentOptions",
    "StreamOptions",
    "TidyOptions",
    "TrackOptions",
    "TrainOptions",
    "help_of",
]
