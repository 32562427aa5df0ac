"""A tile of many shards: every object has its own pixels, and memory is that of some chunks."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from galflow.cutouts.cut_stream import in_order
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import KNOWN_DEFECT, Flag
from galflow.cutouts.plant import PLANTED_COLUMN
from galflow.storage.checksums import FileSum
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store

Make = Callable[..., Any]
Cut = Callable[..., tuple[CutoutSet, Receipt]]
SIZE = 12
FOUR_A_CHUNK = {"size": SIZE, "chunk_megabytes": 4 * 2 * SIZE**2 * 4 / 2**20, "chunks_per_shard": 3}
N = 203


@pytest.fixture
def tile(array_survey: Make, image: Make, catalog: Make) -> tuple[Any, dict[str, np.ndarray], np.ndarray]:
    """A survey of one tile with objects everywhere, edges and beyond included; its images; its positions."""
    rng = np.random.default_rng(5)
    planes = {band: rng.normal(0, 2, (150, 170)).astype(np.float32) for band in "gr"}
    places = rng.uniform([-20, -20], [190, 170], (N, 2))
    places[17] = np.nan
    images = {band: image(plane.copy()) for band, plane in planes.items()}
    return (
        array_survey(images, catalog(*places.T, ids=np.arange(1000, 1000 + N), mag=np.arange(N) * 1.0)),
        planes,
        places,
    )


def _window(plane: np.ndarray, place: np.ndarray) -> np.ndarray:
    wide = np.pad(plane, 60, constant_values=np.nan)
    x, y = (int(np.floor(v + 0.5)) - SIZE // 2 + 60 for v in place)
    return wide[y : y + SIZE, x : x + SIZE]


def test_every_object_has_its_own_pixels(store: Store, tile: Any, cut: Cut) -> None:
    survey, planes, places = tile
    cutouts, receipt = cut(store, survey, **FOUR_A_CHUNK, plant={"per_tile": 9})
    assert len(cutouts) == receipt.rows == N + 9
    assert cutouts.chunk_objects == 4
    assert len(store.list(f"{receipt.product}/flux/c")) == -(-(N + 9) // 12)
    ids, flags, kinds = (cutouts.column(name).to_pylist() for name in ("object_id", "flags", PLANTED_COLUMN))
    assert sorted(ids[:N]) == list(range(1000, 1000 + N))
    flux, ivar, mask = (cutouts.read(name) for name in ("flux", "ivar", "mask"))
    magnitudes = cutouts.column("mag").to_pylist()
    for row, number in enumerate(ids[:N]):
        place = places[number - 1000]
        assert magnitudes[row] == number - 1000
        if np.isnan(place).any():
            assert flags[row] & Flag.NO_POSITION
            assert np.isnan(flux[row]).all()
            continue
        for band, name in enumerate("gr"):
            expected = _window(planes[name], place)
            np.testing.assert_array_equal(flux[row, band], expected)
            np.testing.assert_array_equal(ivar[row, band] > 0, np.isfinite(expected))
            np.testing.assert_array_equal(mask[row, band] > 0, np.isnan(expected))
        assert bool(flags[row] & Flag.EDGE) == bool(np.isnan(expected).any())
    assert all(kind is None for kind in kinds[:N])
    for row in range(N, N + 9):
        original = ids.index(~ids[row])
        painted = KNOWN_DEFECT | Flag.BRIGHT_NEIGHBOUR
        assert flags[row] & ~painted == (flags[original] & ~painted) | Flag.PLANTED
        assert np.abs(flux[row] - flux[original]).max() > 1
        np.testing.assert_array_equal(ivar[row], ivar[original])
    for path, written in receipt.files.items():
        assert FileSum.of(store.get(f"{receipt.product}/{path}")) == written


def test_complete_objects_come_first_from_the_top_of_the_tile(local_store: Store, tile: Any, cut: Cut) -> None:
    cutouts, _ = cut(local_store, tile[0], **FOUR_A_CHUNK)
    incomplete = (cutouts.read("flags") & int(Flag.EDGE | Flag.NO_POSITION)) != 0
    first = int(np.argmax(incomplete))
    assert incomplete[first:].all()
    assert (np.diff(cutouts.read("y_pixel")[:first]) >= 0).all()


def test_a_set_of_one_shard_keeps_the_catalogues_order(local_store: Store, tile: Any, cut: Cut) -> None:
    cutouts, _ = cut(local_store, tile[0], size=SIZE)
    assert cutouts.read("object_id").tolist() == list(range(1000, 1000 + N))


def test_many_shards_hold_what_one_holds(local_store: Store, tile: Any, cut: Cut) -> None:
    settings: dict[str, Any] = {"plant": {"per_tile": 9}, "pixels": "quantised"}
    many, _ = cut(local_store, tile[0], **FOUR_A_CHUNK, **settings)
    one, _ = cut(local_store, tile[0], size=SIZE, **settings)
    order, other = (np.argsort(s.read("object_id")) for s in (many, one))
    for name in ("flux", "ivar", "mask", "flags", "object_id", "mag"):
        np.testing.assert_array_equal(many.read(name)[order], one.read(name)[other])


def test_results_come_in_order_and_no_more_than_so_many_ahead() -> None:
    made: list[int] = []
    taken = 0
    most = 0
    lock = threading.Lock()

    def make(item: int) -> int:
        nonlocal most
        with lock:
            made.append(item)
            most = max(most, len(made) - taken)
        return item

    with ThreadPoolExecutor(3) as pool:
        for expected, found in enumerate(in_order(pool, make, range(200), 3)):
            assert found == expected
            with lock:
                taken += 1
    assert most <= 5


_PEAK = """
import resource, sys
from galflow.cutouts.cut import cut_tile
from galflow.spec.run import CutoutSpec
from galflow.storage.store import Store
from galflow.surveys.fits_tiles import FitsTiles, FitsTilesOptions
folder, count = sys.argv[1:]
options = {"root": folder, "bands": {"r": "A.fits"}, "tile": "A", "catalog": {"path": f"{count}.csv"}}
survey = FitsTiles("s", "1", FitsTilesOptions(**options))
receipt = cut_tile(Store.open(f"{folder}/store"), survey, survey.tiles()[0], CutoutSpec(size=64), count.zfill(16))
print(receipt.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.full
def test_memory_does_not_grow_with_the_objects(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -1e-4, "CDELT2": 1e-4, "CRPIX1": 1, "CRPIX2": 1}
    fits.PrimaryHDU(rng.normal(0, 1, (800, 800)).astype(np.float32), fits.Header(header)).writeto(tmp_path / "A.fits")
    peaks = {}
    for count in (1_000, 16_000):
        lines = [f"{i},{x:.2f},{y:.2f}" for i, (x, y) in enumerate(rng.uniform(0, 799, (count, 2)))]
        (tmp_path / f"{count}.csv").write_text("\n".join(["object_id,x,y", *lines]))
        told = subprocess.run(
            [sys.executable, "-c", _PEAK, str(tmp_path), str(count)], capture_output=True, text=True, check=True
        )
        rows, peaks[count] = (float(v) for v in told.stdout.split())
        assert rows == count
    # All of their pixels would be 15,000 x 64^2 x 10 bytes = 586 MB; two shards on their way are 160 MB.
    assert peaks[16_000] - peaks[1_000] < 350
