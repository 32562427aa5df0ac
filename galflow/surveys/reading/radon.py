"""Sums along all straight lines of a small map at once: the fast discrete Radon transform.

Two lines of half the rows make one of all rows, so that N^2 lines cost N^2 log N additions (Brady 1998, SIAM J.
Comput. 27, 107; for streaks of satellites: Nir, Zackay & Ofek 2018, AJ 156, 229).
"""

from __future__ import annotations

import numpy as np


def line_sums(maps: np.ndarray) -> np.ndarray:
    """Sums of each map along all lines that go from its first row to its last and 0 to N - 1 columns to the right.

    ``maps``: (M, N, W), N a power of two. The result is (M, N, W + N - 1): at [m, s, c] the sum along the line that
    starts in the first row at column c - N + 1 and ends in the last row s columns further right; beyond the map all
    is 0.
    """
    number, height = maps.shape[:2]
    if height < 1 or height & (height - 1):
        raise ValueError(f"line_sums needs a number of rows that is a power of two, got {height}; pad the map with 0")
    sums = maps[:, :, None, :]
    while sums.shape[1] > 1:
        upper, lower = sums[:, 0::2], sums[:, 1::2]
        rows, columns = sums.shape[2:]
        sums = np.zeros((number, upper.shape[1], 2 * rows, columns + rows), maps.dtype)
        for shift in range(2 * rows):
            # A line starts up to 2 * rows - 1 columns left of the map, in either half up to rows - 1.
            joined, half, step = sums[:, :, shift], shift // 2, (shift + 1) // 2
            joined[..., rows:] = upper[:, :, half]
            joined[..., rows - step : rows - step + columns] += lower[:, :, half]
    return sums[:, 0]
