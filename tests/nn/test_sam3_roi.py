"""What lies in boxes of a map."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from plain_sam3_finder import plain_roi_align
from promptseg.nn.sam3.roi import pool_boxes

HEIGHT, WIDTH, CHANNELS, SIDE = 5, 11, 3, 2


def noise(*shape, seed=17):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def columns_and_rows():
    """A map whose two channels say where each of its cells is, x and y."""
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(11.0), indexing="ij")
    return torch.stack([x, y], dim=2)[None]


def pooled(box, grid=None, side=SIDE):
    grid = columns_and_rows() if grid is None else grid
    return pool_boxes(grid, torch.tensor([[box]], dtype=torch.float32), side)[0, 0]


def test_a_box_is_read_in_the_middle_of_each_of_its_parts():
    """A box from (1, 2) to (3, 4) has parts of one cell, and the cell at 1 has its middle at 1."""
    inside = pooled((1, 2, 3, 4))
    assert inside[..., 0].tolist() == [[1.5, 2.5], [1.5, 2.5]]
    assert inside[..., 1].tolist() == [[2.5, 2.5], [3.5, 3.5]]


def test_a_wide_part_is_the_mean_of_several_samples():
    """A part of three cells has samples at 0.5, 1.5 and 2.5, of which two see a spot at 2."""
    spot = torch.zeros(1, 5, 11, 1)
    spot[0, :, 2] = 12
    # Half of the cell at 2 is seen from 1.5, and half from 2.5; 3.5 sees nothing of it.
    assert pooled((0, 0, 6, 2), spot)[..., 0].tolist() == [[4, 0], [4, 0]]


@pytest.mark.parametrize("box", [(4, 1, 4, 1), (4, 1, 4.5, 1.25), (4, 1, 2, -1)])
def test_a_box_is_one_cell_wide_at_least(box):
    """A box without an inside, or inside out, is one of a cell at its first corner."""
    assert_close(pooled(box), pooled((4, 1, 5, 2)))


def test_beyond_the_map_by_more_than_a_cell_there_is_nothing():
    """Up to one cell beyond, the edge goes on; further out is zero."""
    assert pooled((12.5, 0, 14.5, 2)).count_nonzero() == 0
    assert pooled((10, 2, 12, 4))[..., 0].tolist() == [[10, 0], [10, 0]]
    assert pooled((-1, 0, 0, 1))[..., 0].tolist() == [[0, 0], [0, 0]]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.floats(-9, 20, width=16)] * 4),
        min_size=4,
        max_size=4,
    )
)
def test_any_boxes_are_pooled_sample_by_sample(boxes):
    """Products of two matrices give what a walk over all samples gives, on a map of their own."""
    grid = noise(2, HEIGHT, WIDTH, CHANNELS)
    rows = torch.tensor(boxes).reshape(2, 2, 4)
    slow = plain_roi_align(grid.permute(0, 3, 1, 2), list(rows), 3)
    quick = pool_boxes(grid, rows, 3)
    assert_close(quick.flatten(0, 1).permute(0, 3, 1, 2), slow, atol=1e-5, rtol=1e-5)


def test_one_map_serves_all_rows():
    """Rows of boxes on one map are answered as on copies of it."""
    grid, boxes = noise(1, HEIGHT, WIDTH, CHANNELS), 3 + 2 * noise(3, 2, 4)
    copies = grid.expand(3, -1, -1, -1)
    assert_close(pool_boxes(grid, boxes, SIDE), pool_boxes(copies, boxes, SIDE))


def test_half_precision_rounds_the_answer_only():
    """In bfloat16 sums are made in float32."""
    grid, boxes = noise(1, HEIGHT, WIDTH, CHANNELS).bfloat16(), 3 + 2 * noise(1, 2, 4)
    exact = pool_boxes(grid.float(), boxes, SIDE)
    assert torch.equal(pool_boxes(grid, boxes, SIDE), exact.bfloat16())
