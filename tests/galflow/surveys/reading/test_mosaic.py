from __future__ import annotations

import numpy as np
import pytest

from galflow.errors import DataError
from galflow.surveys.reading.mosaic import Mosaic


@pytest.mark.parametrize(("count", "side"), [(1, 8), (5, 9), (16, 10), (17, 7)])
def test_a_cutout_of_the_cell_sees_its_stamp_and_no_other(count: int, side: int) -> None:
    rng = np.random.default_rng(count)
    shapes = [tuple(rng.integers(1, side + 1, size=2)) for _ in range(count)]
    stamps: list[np.ndarray | None] = [np.full(shape, float(i), np.float32) for i, shape in enumerate(shapes)]
    stamps[0] = None
    mosaic = Mosaic(count, side)
    canvas = mosaic.assemble(stamps, np.nan, np.float32)
    assert canvas.shape == mosaic.shape
    for i, (y, x) in enumerate(zip(*mosaic.centres, strict=True)):
        cell = canvas[y - side : y + side, x - side : x + side]
        assert cell.shape == (2 * side, 2 * side)
        if i == 0:
            assert np.isnan(cell).all()
            continue
        assert (cell[np.isfinite(cell)] == i).all()
        height, width = shapes[i]
        own = canvas[y - height // 2 : y - height // 2 + height, x - width // 2 : x - width // 2 + width]
        assert (own == i).all()
        assert np.isfinite(cell).sum() == height * width


def test_a_mosaic_too_large_for_memory_is_refused() -> None:
    with pytest.raises(DataError, match=r"4096 stamps of 424 pixels a side .* lower the number of images in a tile"):
        Mosaic(4096, 424)
