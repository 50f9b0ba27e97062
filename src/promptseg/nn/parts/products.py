"""Matrix products with many rows, by the library that is quicker at them.

Where torch is built with MKL it hands float32 products to that, and convolutions to oneDNN. On
AMD's processors MKL reaches half of what oneDNN does (110 beside 240 GFLOP/s on one Zen 5 core,
torch 2.13), so such a product is said as a convolution of 1 x 1; on Intel's this was not measured.
Its dilation means nothing, but without it torch would not hand over one image on one thread
(`use_mkldnn` in aten's `Convolution.cpp`).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# Numbers up to which torch does not hand a convolution over (`use_mkldnn`).
LARGE = 20480
DILATION = 2


class Linear(nn.Linear):
    """A linear layer whose product is made by `linear`."""

    def forward(self, x: Float[Tensor, "*axes below"]) -> Float[Tensor, "*axes above"]:
        """Work on the last axis."""
        return linear(x, self.weight, self.bias)


def linear(
    x: Float[Tensor, "*axes below"],
    weight: Float[Tensor, "above below"],
    bias: Float[Tensor, " above"] | None = None,
) -> Float[Tensor, "*axes above"]:
    """Multiply the last axis by a matrix and add a bias, as torch's function of this name."""
    rows = x.reshape(-1, x.shape[-1])
    if for_onednn(x):
        grid = rows[None, :, None].permute(0, 3, 1, 2)  # 1 below rows 1
        mixed = functional.conv2d(grid, weight[:, :, None, None], bias, dilation=DILATION)
        mixed = mixed.permute(0, 2, 3, 1)
    else:
        mixed = functional.linear(rows, weight, bias)
    return mixed.reshape(*x.shape[:-1], len(weight))


def compare(rows: Float[Tensor, "n r c"], cells: Float[Tensor, "_ s c"]) -> Float[Tensor, "n r s"]:
    """Multiply each of a few rows with each of many cells."""
    if not len(rows) == len(cells) == 1:
        return rows @ cells.transpose(1, 2)
    if for_onednn(cells):
        return linear(cells[0], rows[0]).T.contiguous()[None]
    return (rows[0] @ cells[0].T)[None]


def gather(shares: Float[Tensor, "n r s"], cells: Float[Tensor, "_ s c"]) -> Float[Tensor, "n r c"]:
    """Sum many cells into each of a few rows."""
    if not len(shares) == len(cells) == 1:
        return shares @ cells
    if for_onednn(cells):
        mixed = functional.conv2d(cells[:, :, None], shares[0, :, :, None, None], dilation=DILATION)
        return mixed[:, :, 0]
    return (shares[0] @ cells[0])[None]


def spread(
    shares: Float[Tensor, "n r s"], rows: Float[Tensor, "n r c"], bias: Float[Tensor, " c"]
) -> Float[Tensor, "n s c"]:
    """Sum a few rows, and a bias, into each of many cells."""
    if len(shares) != 1:
        return torch.baddbmm(bias, shares.transpose(1, 2), rows)
    if for_onednn(shares):
        return linear(shares[0].T.contiguous(), rows[0].T, bias)[None]
    return torch.addmm(bias, shares[0].T, rows[0])[None]


def for_onednn(x: Tensor) -> bool:
    """Say whether a product with these rows is handed to oneDNN rather than to MKL."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() > LARGE
        and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )
