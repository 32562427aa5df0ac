"""The benchmark of PixelCNN++'s draws: it trains for its time, judges, and draws its page."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks import pixel_draws
from benchmarks.synthetic_galaxies import Galaxies, make_galaxies

SMALL = {"width": 4, "layers": 1, "mixtures": 2}


@pytest.fixture(scope="module")
def galaxies() -> Galaxies:
    return make_galaxies(64, 3, 16)


@pytest.mark.parametrize("variant", ["pixels", "catalogue"])
def test_a_variant_is_trained_judged_and_drawn(galaxies: Galaxies, variant: str) -> None:
    options = pixel_draws.VARIANTS[variant] | SMALL
    trained = pixel_draws.train(galaxies, options, seconds=0.5, seed=0)
    assert trained.steps > 0
    assert trained.model.conditions == tuple(options.get("conditions", ()))
    found = pixel_draws.judge(trained.model, galaxies, draws=40)
    assert set(pixel_draws.ASKED) < set(found["draws"])
    # Half a second of training draws no galaxies, and two halves of the galaxies are alike.
    assert found["draws"]["flux"] > found["floor"]["flux"]
    assert 0 <= found["draws"]["empty"] <= 1
    sheet = Image.open(io.BytesIO(pixel_draws.page(trained.model, galaxies, rows=1)))
    assert np.asarray(sheet.convert("L")).std() > 5
