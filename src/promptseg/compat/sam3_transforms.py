"""`sam3`'s way to bring images into the network's square (`promptseg.compat.sam3` has the names).

Queries are left in pixels of the image as it was given until they are collated, and no transform
changes an image twice. So a datapoint may be transformed, asked more, and transformed again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from promptseg.compat.sam3_data import Datapoint, Image, image_of
from promptseg.errors import ConfigError, ImageError
from promptseg.geometry import Size
from promptseg.io import images
from promptseg.nn.sam3.model import MEAN, STD

WHITE = 255.0


class Transform(ABC):
    """Changes the image of a datapoint in place, once, and only `after` another has done so."""

    after: str | None = None

    def __call__(self, datapoint: Datapoint) -> Datapoint:
        """Change the image unless that is done already, and return the datapoint.

        Raises:
            ConfigError: it is no datapoint, or this transform comes before one that it follows.
            PromptError: it has no image, or several.
            ImageError: the image is refused.
        """
        image = image_of(datapoint)
        name = type(self).__name__
        if name not in image.done:
            if self.after is not None and self.after not in image.done:
                raise ConfigError(f"`{name}` comes after `{self.after}`")
            image.data = self.change(image)
            image.done.append(name)
        return datapoint

    @abstractmethod
    def change(self, image: Image) -> PIL.Image.Image | Tensor:
        """Return the new data of an image."""


class ComposeAPI:
    """Several transforms, one after the other.

    Raises:
        ConfigError: something else is among them.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)
        for each in self.transforms:
            if not callable(each):
                raise ConfigError(f"a transform is needed, got {type(each).__name__}")

    def __call__(self, datapoint: Datapoint) -> Datapoint:
        """Change the image of a datapoint by those that have not done so, and return it.

        Raises:
            ConfigError: it is no datapoint, or the transforms are in an order that makes no sense.
            PromptError: it has no image, or several.
            ImageError: the image is refused.
        """
        for transform in self.transforms:
            datapoint = transform(datapoint)
        return datapoint


class RandomResizeAPI(Transform):
    """Squash an image into a square, as Pillow does it: bilinear with antialiasing, in bytes.

    There is nothing random about it: `sizes` is one number, and `max_size` and
    `consistent_transform` have no say. An image is converted to RGB as `io.images` says.

    Raises:
        ConfigError: several sizes, or the image's shape is to be kept.
    """

    def __init__(
        self,
        sizes: int | Sequence[int],
        max_size: int | None = None,
        square: bool = False,
        consistent_transform: bool = False,
    ) -> None:
        given = list(sizes) if isinstance(sizes, (list, tuple)) else [sizes]
        if len(given) != 1 or type(given[0]) is not int or given[0] < 1:
            raise ConfigError(
                f"`sizes` is one number of pixels, got {sizes!r}", hint="SAM 3 takes `sizes=1008`"
            )
        if not square:
            raise ConfigError(
                "the network takes squares only, got `square=False`",
                hint="Pass `square=True`: the image is squashed, and masks come back unsquashed",
            )
        self.side = given[0]

    def change(self, image: Image) -> PIL.Image.Image:
        """Return the square as a Pillow image.

        Raises:
            ImageError: the image is refused, or is not of the size that it is said to be.
        """
        if isinstance(image.data, Tensor):
            raise ImageError(
                "an image is a Pillow image or an array before it is transformed, got a tensor"
            )
        pixels = images.to_rgb(image.data)
        size = Size(*pixels.shape[:2])
        if not isinstance(image.size, (list, tuple)) or tuple(image.size) != tuple(size):
            raise ImageError(
                f"`size` is [height, width], here {list(size)}, got {image.size!r}",
                hint="From a Pillow image: `w, h = picture.size`, then `size=[h, w]`",
            )
        square = (self.side, self.side)
        return PIL.Image.fromarray(pixels).resize(square, PIL.Image.Resampling.BILINEAR)


class ToTensorAPI(Transform):
    """Make a tensor of an image: 3 S S, float32 in 0..1."""

    after = "RandomResizeAPI"

    def change(self, image: Image) -> Tensor:
        """Return the tensor."""
        pixels = torch.from_numpy(np.array(image.data))
        return pixels.permute(2, 0, 1).contiguous().float() / WHITE


class NormalizeAPI(Transform):
    """Bring pixels from 0..1 to -1..1.

    Raises:
        ConfigError: `mean` or `std` are others than 0.5, which SAM 3 was trained with.
    """

    after = "ToTensorAPI"

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        for name, given, known in (("mean", mean, MEAN), ("std", std, STD)):
            if not isinstance(given, (list, tuple)) or tuple(given) != known:
                raise ConfigError(
                    f"SAM 3 takes pixels normalised with a `{name}` of {list(known)}, got {given!r}"
                )

    def change(self, image: Image) -> Tensor:
        """Return the normalised tensor."""
        assert isinstance(image.data, Tensor)
        return normalized(image.data)


# What an image has been through when it is ready.
READY = tuple(kind.__name__ for kind in (RandomResizeAPI, ToTensorAPI, NormalizeAPI))


def normalized(pixels: Tensor) -> Tensor:
    """Bring pixels, 3 S S, from 0..1 to what the network takes."""
    return (pixels - _per_channel(MEAN, pixels)) / _per_channel(STD, pixels)


def to_bytes(pixels: Tensor) -> np.ndarray:
    """Read the bytes back of normalised pixels, 3 S S, as S S 3.

    Raises:
        ImageError: they are not those of an image that was transformed.
    """
    levels = (pixels.float() * _per_channel(STD, pixels) + _per_channel(MEAN, pixels)) * WHITE
    whole = levels.round().clamp(0, WHITE)
    # Far more than the rounding of float32, far less than any change of a pixel.
    if not bool(((levels - whole).abs() < 1e-2).all()):
        raise ImageError(
            "a batch has pixels that are not those of an image",
            hint="Change images before `RandomResizeAPI`, and leave the tensors as they are",
        )
    read: np.ndarray = whole.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return read


def _per_channel(numbers: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32, device=like.device)[:, None, None]
