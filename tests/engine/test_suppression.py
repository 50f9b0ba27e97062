"""Of boxes that overlap too much the best stays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from plain_everything import box_iou
from promptseg.engine.suppression import suppress_boxes

corner = st.integers(0, 11)
box = st.tuples(corner, corner, corner, corner).map(
    lambda sides: (
        min(sides[0], sides[2]),
        min(sides[1], sides[3]),
        max(sides[0], sides[2]),
        max(sides[1], sides[3]),
    )
)


@given(
    things=st.lists(st.tuples(box, st.integers(0, 5)), max_size=17),
    most=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
)
def test_it_equals_the_obvious_way(things, most):
    """Compared one by one, from the most worthy down, boxes without an inside among them."""
    boxes = np.array([each for each, _ in things], dtype=np.float64).reshape(-1, 4)
    worth = [float(each) for _, each in things]
    kept = []
    for index in sorted(range(len(things)), key=lambda index: -worth[index]):
        if all(box_iou(things[index][0], things[other][0]) <= most for other in kept):
            kept.append(index)
    assert suppress_boxes(boxes, worth, max_iou=most).tolist() == kept
