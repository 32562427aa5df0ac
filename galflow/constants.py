"""Numbers of statistics that many files need, each once."""

from __future__ import annotations

SIGMA_PER_MAD = 1.4826
"""Standard deviations in one median absolute deviation of a Gaussian, 1 / Phi^-1(3/4)."""
