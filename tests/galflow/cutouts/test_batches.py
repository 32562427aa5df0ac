"""What a batch holds: stretched pixels, inverse variance of the stretch, PSFs, catalogue values; object by object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from galflow.cutouts.batches import BatchFields, ObjectReader, join_batches, make_batch, missing_inputs, psf_of
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.set_writing import CutoutData, write_cutout_set
from galflow.cutouts.splits import Split
from galflow.cutouts.stream import TrainingSet
from galflow.errors import DataError
from galflow.photometry import AsinhStretch
from galflow.spec.run import CutoutSpec
from galflow.storage.store import Store

MakeData = Callable[..., CutoutData]
STRETCH = AsinhStretch(3.0, 1000.0, (1.0, 2.0))
EVERYTHING = BatchFields(ivar=True, psf=True, conditions=("magnitude", "count"))
SPEC = CutoutSpec(size=8, chunk_megabytes=4 * 2 * 8 * 8 * 4 / 2**20)


def stored(store: Store, name: str, content: CutoutData, **attributes: Any) -> CutoutSet:
    """``content`` with a magnitude that is ten times the row, unknown in row 2, and a count."""
    n = len(content.flux)
    magnitude = pa.array([None if i == 2 else 10.0 * i for i in range(n)], pa.float64())
    rows = content.rows.append_column("magnitude", magnitude).append_column("count", pa.array(range(n), pa.int64()))
    rows = rows.append_column("kind", pa.array(["spiral"] * n))
    write_cutout_set(store, name, replace(content, rows=rows, attributes={**content.attributes, **attributes}), SPEC)
    return CutoutSet(store, name)


def _random_cutouts(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    flux = (rng.normal(size=(6, 2, 8, 8)) * 10 ** rng.uniform(0, 4, (6, 2, 8, 8))).astype(np.float32)
    ivar = rng.uniform(0.1, 2, flux.shape).astype(np.float32)
    ivar[rng.random(flux.shape) < 0.2] = 0
    flux[(ivar == 0) & (rng.random(flux.shape) < 0.7)] = np.nan
    return flux, ivar


def test_a_missing_pixel_is_zero_and_unobserved_whatever_it_holds() -> None:
    flux, ivar = _random_cutouts()
    batch = make_batch(flux, ivar, STRETCH, with_ivar=True)
    np.testing.assert_array_equal(batch.observed.numpy(), ivar > 0)
    assert torch.isfinite(batch.pixels).all()
    assert (batch.pixels[~batch.observed] == 0).all()
    assert batch.ivar is not None
    assert (batch.ivar[~batch.observed] == 0).all()
    seen = ivar > 0
    expected = STRETCH.forward(np.where(seen, flux, 0).astype(np.float64))
    np.testing.assert_allclose(batch.pixels.numpy()[seen], expected[seen], rtol=1e-5)
    assert make_batch(flux, ivar, STRETCH).ivar is None


def test_the_inverse_variance_of_stretched_pixels_is_that_of_finite_differences() -> None:
    flux, ivar = _random_cutouts(1)
    batch = make_batch(flux, ivar, STRETCH, with_ivar=True)
    assert batch.ivar is not None
    seen = ivar > 0
    x = np.where(seen, flux, 0).astype(np.float64)
    h = 1e-4 * (1 + np.abs(x))
    slope = (STRETCH.forward(x + h) - STRETCH.forward(x - h)) / (2 * h)
    # sigma_y = slope * sigma_x
    np.testing.assert_allclose(batch.ivar.numpy()[seen], (ivar / slope**2)[seen], rtol=1e-3)


def test_stretched_noise_has_the_stated_variance() -> None:
    rng = np.random.default_rng(2)
    truth = np.broadcast_to(np.array([0.0, 50.0, 3000.0], np.float32)[:, None, None, None], (3, 2, 200, 200))
    flux = (truth + rng.normal(size=truth.shape)).astype(np.float32)
    batch = make_batch(flux, np.ones_like(flux), STRETCH, with_ivar=True)
    assert batch.ivar is not None
    pull = (batch.pixels - torch.from_numpy(STRETCH.forward(truth.astype(np.float32)))) * batch.ivar.sqrt()
    found = pull.std(dim=(2, 3)).numpy()
    np.testing.assert_allclose(found[1:], 1.0, atol=0.03)
    # The slope is taken at the noisy pixel: in the sky, with a softening of only 3 sigma, that is 10 % off.
    np.testing.assert_allclose(found[0], [1.10, 1.02], atol=0.02)


# --- beside the pixels


def test_rows_keep_what_is_theirs(local_store: Store, data: MakeData) -> None:
    psf = np.random.default_rng(0).uniform(size=(2, 5, 5)).astype(np.float32)
    content = replace(data(10), psf=psf)
    cutouts = stored(local_store, "a.zarr", content)
    objects = ObjectReader.of(cutouts, EVERYTHING).read(slice(4, 8), np.array([0, 3]))
    batch = objects.batch(STRETCH, EVERYTHING)
    plain = make_batch(content.flux[[4, 7]], content.ivar[[4, 7]], STRETCH, with_ivar=True)
    assert torch.equal(batch.pixels, plain.pixels)
    assert batch.ivar is not None
    assert batch.psf is not None
    assert batch.conditions is not None
    assert torch.equal(batch.ivar, plain.ivar)
    expected = psf / psf.sum((1, 2), keepdims=True)
    np.testing.assert_allclose(batch.psf.numpy(), np.stack([expected, expected]), rtol=1e-6)
    assert batch.conditions.tolist() == [[40.0, 4.0], [70.0, 7.0]]
    only = objects.batch(STRETCH, BatchFields(conditions=("count",)))
    assert (only.ivar, only.psf) == (None, None)
    assert only.conditions is not None
    assert only.conditions.tolist() == [[4.0], [7.0]]
    alone = objects.row(1).batch(STRETCH, EVERYTHING)
    assert torch.equal(alone.pixels, batch.pixels[1:])
    assert alone.conditions is not None
    assert alone.conditions.tolist() == [[70.0, 7.0]]


def test_a_value_that_nobody_knows_is_not_a_number(local_store: Store, data: MakeData) -> None:
    reader = ObjectReader.of(stored(local_store, "a.zarr", data(4)), BatchFields(conditions=("magnitude",)))
    conditions = reader.read(slice(0, 4)).batch(STRETCH, reader.contents).conditions
    assert conditions is not None
    np.testing.assert_array_equal(conditions.numpy()[:, 0], [0, 10, np.nan, 30])


def test_a_fwhm_becomes_a_gaussian_of_that_width(local_store: Store, data: MakeData) -> None:
    cutouts = stored(local_store, "a.zarr", data(3), pixel_scale_arcsec=0.2, psf_fwhm_arcsec=[0.6, 1.0])
    psf = psf_of(cutouts).astype(float)
    assert psf.shape[1:] == (27, 27)  # 2.5 x 5 pixels to either side
    np.testing.assert_allclose(psf.sum((1, 2)), 1, rtol=1e-6)
    for image, fwhm_pixels in zip(psf, (3.0, 5.0), strict=True):
        middle = image[13, 13:]
        assert np.interp(-0.5, -middle / middle[0], np.arange(14)) == pytest.approx(fwhm_pixels / 2, rel=0.02)
        assert image[13, 13] == image.max()
        np.testing.assert_allclose(image, image.T)


def test_what_a_tile_lacks_is_named(local_store: Store, data: MakeData) -> None:
    known = {"tile": "t7", "pixel_scale_arcsec": 0.2, "psf_fwhm_arcsec": [0.6, None]}
    cutouts = stored(local_store, "a.zarr", data(3), **known)
    assert missing_inputs(cutouts, BatchFields(ivar=True, conditions=("magnitude",))) is None
    reason = missing_inputs(cutouts, BatchFields(psf=True))
    assert reason is not None
    assert reason.startswith("tile t7 has no PSF in b1, and a model needs it; give the survey")
    with pytest.raises(DataError, match=r"tile t7 has no catalogue column 'redshift'.* magnitude, count, kind; choose"):
        ObjectReader.of(cutouts, BatchFields(conditions=("redshift",)))
    with pytest.raises(DataError, match=r"column 'kind' of a.zarr holds texts; a model is conditioned on numbers"):
        ObjectReader.of(cutouts, BatchFields(conditions=("kind",)))


def test_contents_join_in_order() -> None:
    one, two = BatchFields(ivar=True, conditions=("a", "b")), BatchFields(psf=True, conditions=("c", "a"))
    assert BatchFields().joined([one, two]) == BatchFields(True, True, ("a", "b", "c"))
    assert one.within(BatchFields(True, True, ("a", "b", "c")))
    assert not two.within(one)


def test_training_batches_hold_each_objects_own(local_store: Store, data: MakeData) -> None:
    """Sets whose PSF images differ in size come in one batch, each centred; in memory and in pieces alike."""
    rng = np.random.default_rng(1)
    psfs = {"a": rng.uniform(size=(2, 3, 3)), "b": rng.uniform(size=(2, 5, 5))}
    sets = []
    for number, (name, psf) in enumerate(psfs.items()):
        content = data(20, ids=np.arange(20) + 100 * number)
        content.flux[:] = np.arange(20)[:, None, None, None] + 100 * number
        sets.append(stored(local_store, f"{name}.zarr", replace(content, psf=psf.astype(np.float32))))
    for memory in (2e9, 3 * 12 * 2000.0):
        training = TrainingSet(sets, STRETCH, validation=0.2, reference=0.2, memory_bytes=memory, contents=EVERYTHING)
        seen = 0
        for batch in training.batches(Split.TRAIN, 6, 3):
            assert batch.ivar is not None
            assert batch.psf is not None
            assert batch.conditions is not None
            flux = STRETCH.inverse(batch.pixels.double(), torch)[:, 0, 0, 0].round().long()
            assert torch.equal(batch.conditions[:, 1].long(), flux % 100)
            for psf, tile in zip(batch.psf.numpy(), (flux // 100).tolist(), strict=True):
                own = list(psfs.values())[tile]
                own = own / own.sum((1, 2), keepdims=True)
                margin = (psf.shape[-1] - own.shape[-1]) // 2
                padded = np.pad(own, [(0, 0), (margin, margin), (margin, margin)])
                np.testing.assert_allclose(psf, padded, rtol=1e-5)
            seen += len(batch)
        assert seen == training.count(Split.TRAIN) > 10


def test_joining_keeps_the_order(local_store: Store, data: MakeData) -> None:
    reader = ObjectReader.of(stored(local_store, "a.zarr", data(5)), BatchFields(ivar=True, conditions=("count",)))
    parts = [reader.read(slice(i, i + 1)).batch(STRETCH, reader.contents) for i in range(5)]
    joined, whole = join_batches(parts), reader.read(slice(0, 5)).batch(STRETCH, reader.contents)
    assert torch.equal(joined.pixels, whole.pixels)
    assert joined.ivar is not None
    assert whole.ivar is not None
    assert torch.equal(joined.ivar, whole.ivar)
    assert joined.conditions is not None
    assert joined.conditions[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert joined.psf is None
