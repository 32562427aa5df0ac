from __future__ import annotations

import base64
import zlib

import numpy as np
import pyarrow as pa
import pytest

from galflow.catalog.carried import UNIT
from galflow.report.site.data_files import data_file
from galflow.report.site.gallery import Gallery
from galflow.report.site.latents import LatentMap, latent_map, latents_file, latents_name
from galflow.report.site.packing import packed
from galflow.report.site.sheets import objects_with_pixels
from galflow.storage.store import Store


def unpacked(found: dict) -> np.ndarray:
    codes = np.frombuffer(zlib.decompress(base64.b64decode(found["data"])), np.uint8).reshape(len(found["low"]), -1)
    low, high = (np.array(found[name])[:, None] for name in ("low", "high"))
    values = np.sinh(low + (codes - 1.0) * (high - low) / 254)
    return np.where(codes == 0, np.nan, values).reshape(-1, found["height"], found["width"])


def test_packed_pixels_come_back_within_a_step():
    rng = np.random.default_rng(3)
    sigmas = rng.normal(0, 1, (2, 9, 7))
    sigmas[0, 4, 3], sigmas[1, 2, 2] = 2000.0, np.nan
    back = unpacked(packed(sigmas))
    assert np.isnan(back[1, 2, 2])
    known = np.isfinite(sigmas)
    np.testing.assert_allclose(np.arcsinh(back[known]), np.arcsinh(sigmas[known]), atol=0.025)
    assert np.isnan(unpacked(packed(np.full((1, 3, 3), np.nan)))).all()


def test_pixels_are_bounded_in_bytes():
    assert objects_with_pixels(5, 64) >= 10_000
    assert objects_with_pixels(10, 512) * 10 * 128**2 <= 250_000_000


def test_a_data_file_cannot_end_its_script():
    data = data_file("rows-00000", {"name": ["</script><b>\u2028"]})
    assert b"<" not in data
    assert data.isascii()
    with pytest.raises(ValueError, match="JSON compliant"):
        data_file("x", [float("nan")])


def gallery(**columns: pa.Array) -> Gallery:
    fields = [
        pa.field(name, values.type, metadata={UNIT: b"mag"} if "mag" in name else {})
        for name, values in columns.items()
    ]
    return Gallery(pa.table(list(columns.values()), schema=pa.schema(fields)), ())


def test_brightness_is_a_magnitude_of_the_first_band_else_one_from_its_flux():
    some = pa.array([20.0, 21.0])
    assert gallery(mag_g=some, r_mag=some).magnitude(["r", "g"]) == "r_mag"
    assert gallery(size=some).with_magnitude(["r"], "nJy").magnitude(["r"]) is None
    found = gallery(flux_r=pa.array([3631.0, -1.0])).with_magnitude(["HSC-R", "r"], "nJy")
    assert found.magnitude(["r"]) == "mag_r"
    np.testing.assert_allclose(found.rows.column("mag_r").to_pylist()[0], 22.5)
    assert found.rows.column("mag_r").to_pylist()[1] is None
    assert gallery(flux_r=some).with_magnitude(["r"], "counts").magnitude(["r"]) is None


def test_neighbours_in_latents_are_the_nearest_and_lost_sheets_have_none(store: Store):
    rng = np.random.default_rng(5)
    latents = rng.normal(0, 1, (30, 3)).astype(np.float32)
    latents[7] = latents[3] + 1e-4
    latents[11] = np.nan
    store.put_once(f"r/{latents_name(0)}", latents_file(latents))
    found = latent_map(store, "r", "vae", {0: 30, 1: 5})
    assert isinstance(found, LatentMap)
    assert found.near[3][0] == 7
    assert found.near[7][0] == 3
    assert len(found.axes) == 35
    content = found.content()
    assert content["near"][11] == content["near"][32] == []
    assert content["axes"][0][32] is None
    assert latent_map(store, "r", "vae", {4: 5}) is None
