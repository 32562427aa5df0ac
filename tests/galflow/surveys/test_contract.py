"""Every survey under galflow/surveys is found by itself and held to the interface of galflow.surveys.base."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from galflow.errors import DataError
from galflow.spec.run import SurveySpec
from galflow.surveys.base import REQUIRED_COLUMNS, Survey
from galflow.surveys.resolve import find_survey, open_survey, survey_kinds
from tests.galflow.surveys import simulation_files, survey_files

Tiny = dict[str, Any]
"""Options of a survey that reads in a moment."""

SYNTHETIC: Tiny = {"tile_size": 128, "objects_per_tile": 6, "bands": ["g", "r"], "sky_sigma_njy": [5.0]}


def _images(root: Path, seed: int) -> np.ndarray:
    y, x = np.mgrid[:96, :96]
    blobs = sum(400.0 * np.exp(-0.5 * ((y - b) ** 2 + (x - a) ** 2) / 5.0) for a, b in ((20, 30), (60, 70), (75, 20)))
    return np.asarray(blobs + np.random.default_rng(seed).standard_normal((96, 96)), dtype=np.float32)


def _fits_tiles(root: Path, seed: int) -> Tiny:
    for tile in ("a1", "b2"):
        for band in ("g", "r"):
            fits.PrimaryHDU(_images(root, seed)).writeto(root / f"{tile}-{band}.fits", overwrite=True)
    return {
        "root": str(root),
        "bands": {"g": "{tile}-g.fits", "r": "{tile}-r.fits"},
        "pixel_scale_arcsec": 0.2,
    }


def _stamps(root: Path, seed: int) -> Tiny:
    for i in range(9):
        pixels = np.random.default_rng([seed, i]).normal(size=(2, 16, 16))
        np.save(root / f"g{i}.npy", pixels.astype(np.float32))
    return {"root": str(root), "pattern": "*.npy", "bands": ["g", "r"], "pixel_scale_arcsec": 0.2, "tile_bits": 1}


def _stamp_cubes(root: Path, seed: int) -> Tiny:
    rng = np.random.default_rng(seed)
    for name, count in (("a", 5), ("b", 2)):
        np.savez(root / f"{name}.npz", images=rng.normal(size=(count, 2, 16, 16)), mag=rng.uniform(18, 20, count))
    return {
        "root": str(root), "bands": ["g", "r"], "flux": "images", "pixel_scale_arcsec": 0.2, "images_per_tile": 4,
    }  # fmt: skip


def _multimodal_universe(root: Path, seed: int) -> Tiny:
    rng = np.random.default_rng(seed)
    for pixel, count in ((3, 5), (4, 3)):
        planes = [[{"band": f"hsc-{b}", "flux": rng.normal(size=(8, 8)).tolist()} for b in "gr"] for _ in range(count)]
        ids = (rng.integers(1 << 40, size=count) + np.arange(count)).astype(str)
        path = root / "Norder=0" / "Dir=0" / f"Npix={pixel}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"image": planes, "object_id": ids}), path)
    return {"root": str(root), "pixel_scale_arcsec": 0.168}


def _synthetic(root: Path, seed: int) -> Tiny:
    return SYNTHETIC | {"seed": seed}


def _hubble(root: Path, seed: int) -> Tiny:
    return {}


def _sersic_mock(root: Path, seed: int) -> Tiny:
    like = {"kind": "synthetic", "options": SYNTHETIC | {"seed": seed, "catalog": "detect"}}
    return {"like": like, "count": 4, "stamp_size": 24}


def _empty_sky(root: Path, seed: int) -> Tiny:
    like = {"kind": "synthetic", "options": SYNTHETIC | {"seed": seed}}
    return {"like": like, "count": 4, "stamp_size": 24}


OBSERVED: Tiny = {"pixel_scale_arcsec": 0.396, "psf_fwhm_arcsec": 1.3, "sky_sigma_njy": 50.0, "stamp_size": 32}


def _illustris(root: Path, seed: int) -> Tiny:
    for galaxy in (7, 12, 20):
        simulation_files.sunrise(root / f"broadband_{galaxy}.fits", seed=seed + galaxy)
    return {"root": str(root), "galaxies_per_tile": 1} | OBSERVED


def _skirt(root: Path, seed: int) -> Tiny:
    for galaxy in ("m1", "m2"):
        for band in "gr":
            for camera in ("i0", "i1"):
                simulation_files.skirt(root / f"{galaxy}_{camera}_{band}.fits", band, seed=seed, camera=camera)
    pattern = "{galaxy}_{camera}_{band}.fits"
    return {"root": str(root), "pattern": pattern, "bands": ["g", "r"], "light": "seen"} | OBSERVED


SECOND = {
    "des": ("tile", "DES2200-5248"),
    "euclid": ("tile", "102018212"),
    "hsc": ("patch", "4,5"),
    "jwst": ("tile", "jw02561-o002_t004_nircam"),
    "kids": ("tile", "151.1_2.2"),
    "legacy": ("brick", "1502p022"),
    "lsst": ("patch", "4849_22"),
    "sdss": ("field", "002125-1-0019"),
    "vista": ("tile", "frame_2"),
}
"""Surveys known by one word -> what their second tile is called."""


def _known(kind: str) -> Callable[[Path, int], Tiny]:
    """Files after a survey's published data model, two tiles of them."""

    def build(root: Path, seed: int) -> Tiny:
        write = getattr(survey_files, kind)
        write(root, seed)
        write(root, seed + 50, shift=0.05, **dict([SECOND[kind]]))
        return {"root": str(root)}

    return build


BUILDERS: dict[str, Callable[[Path, int], Tiny]] = {
    "empty_sky": _empty_sky,
    "fits_tiles": _fits_tiles,
    "hubble": _hubble,
    "illustris": _illustris,
    "multimodal_universe": _multimodal_universe,
    "sersic_mock": _sersic_mock,
    "skirt": _skirt,
    "stamp_cubes": _stamp_cubes,
    "stamps": _stamps,
    "synthetic": _synthetic,
} | {kind: _known(kind) for kind in SECOND}
"""Kind -> writes small data under a folder, from a seed, and gives the options that read them."""
CHANGED: dict[str, Tiny] = {
    "empty_sky": {"seed": 9},
    "fits_tiles": {"zero_point": 25.0},
    "hubble": {"background": "none"},
    "illustris": {"redshift": 0.1},
    "sersic_mock": {"seed": 9},
    "multimodal_universe": {"zero_point_ab": 27.0},
    "skirt": {"dimming": "bolometric"},
    "stamp_cubes": {"bin": 2},
    "stamps": {"bin": 2},
    "synthetic": {"psf_fwhm_arcsec": 0.9},
} | {kind: {"background": "mesh"} for kind in SECOND}
"""Kind -> an option under which the pixels are others."""
FIXED = {"hubble"}
"""Kinds whose data are part of an installed package and cannot be changed by a test."""

kinds = pytest.mark.parametrize("kind", sorted(survey_kinds()))


def build(kind: str, root: Path, seed: int = 0, **options: Any) -> Survey:
    if kind not in BUILDERS:
        pytest.fail(f"survey {kind} has no entry in BUILDERS and CHANGED; give it one that writes small data")
    root.mkdir(exist_ok=True)
    return open_survey(SurveySpec(kind=kind, name="tiny", options=BUILDERS[kind](root, seed) | options))


@kinds
def test_tiles_are_sorted_named_once_and_stable(kind: str, tmp_path: Path) -> None:
    one, two = build(kind, tmp_path / "a"), build(kind, tmp_path / "a")
    names = [tile.name for tile in one.tiles()]
    assert names == sorted(set(names))
    assert names
    assert one.tiles() == two.tiles()
    for tile in one.tiles():
        assert set(tile.bands) <= set(one.bands)
        assert tile.bands
        assert tile.files
        assert all(file.checksum for file in tile.files)


@kinds
def test_moved_data_keep_their_identity_changed_data_do_not(kind: str, tmp_path: Path) -> None:
    def fingerprints(survey: Survey) -> list[tuple[str, str]]:
        return [(tile.identity, repr(survey.options.content())) for tile in survey.tiles()]

    here = fingerprints(build(kind, tmp_path / "a"))
    assert here == fingerprints(build(kind, tmp_path / "elsewhere"))
    if kind not in FIXED:
        assert not set(here) & set(fingerprints(build(kind, tmp_path / "b", seed=1)))
    assert not set(here) & set(fingerprints(build(kind, tmp_path / "a", **CHANGED[kind])))


@kinds
def test_the_bands_of_a_tile_share_shape_unit_and_scale(kind: str, tmp_path: Path) -> None:
    survey = build(kind, tmp_path / "a")
    for tile in survey.tiles():
        images = {band: survey.read(tile, band) for band in tile.bands}
        assert len({image.flux.shape for image in images.values()}) == 1
        footprint = survey.footprint(tile)
        for image in images.values():
            assert image.unit == survey.unit
            assert image.pixel_scale_arcsec == pytest.approx(survey.pixel_scale_arcsec, rel=1e-3)
            assert image.flux.dtype == np.float32
            assert np.isfinite(image.flux).any()
            assert image.mask is None or image.mask.dtype == np.uint16
            assert image.ivar is None or (image.ivar.dtype == np.float32 and (image.ivar >= 0).all())
            assert footprint is None or footprint.shape == image.flux.shape


@kinds
def test_reading_twice_and_in_another_process_gives_the_same_pixels(kind: str, tmp_path: Path) -> None:
    survey = build(kind, tmp_path / "a")
    copy = pickle.loads(pickle.dumps(survey))
    tile = survey.tiles()[-1]
    band = tile.bands[-1]
    np.testing.assert_array_equal(survey.read(tile, band).flux, copy.read(tile, band).flux)
    for first in tile.bands:  # another order of reading
        np.testing.assert_array_equal(copy.read(tile, first).flux, survey.read(tile, first).flux)


@kinds
def test_the_catalogue_has_its_columns_and_its_objects_lie_on_the_tile(kind: str, tmp_path: Path) -> None:
    survey = build(kind, tmp_path / "a")
    seen: set[int] = set()
    overlapping = survey.survey_catalog() is not None
    for tile in survey.tiles():
        images = {band: survey.read(tile, band) for band in tile.bands}
        table = survey.catalog(tile, images)
        assert table.equals(survey.catalog(tile))
        assert set(REQUIRED_COLUMNS) <= set(table.column_names)
        assert table.schema.field("object_id").type in (pa.int64(), pa.uint64())
        assert len(table) > 0
        ids = table["object_id"].to_pylist()
        assert None not in ids
        assert len(set(ids)) == len(ids)
        assert overlapping or not seen & set(ids)
        seen |= set(ids)
        height, width = images[tile.bands[0]].flux.shape
        x, y = table["x"].to_numpy(), table["y"].to_numpy()
        assert ((x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)).all()
        wcs = images[tile.bands[0]].wcs
        if wcs is None:
            assert table["ra_deg"].null_count == len(table)
        else:
            px, py = wcs.all_world2pix(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy(), 0)
            np.testing.assert_allclose(px, x, atol=0.01)
            np.testing.assert_allclose(py, y, atol=0.01)


@kinds
def test_a_band_that_does_not_exist_is_a_data_error_that_names_it(kind: str, tmp_path: Path) -> None:
    survey = build(kind, tmp_path / "a")
    with pytest.raises(DataError, match="nonesuch"):
        survey.read(survey.tiles()[0], "nonesuch")


@kinds
def test_options_refuse_what_they_do_not_know_and_describe_themselves(kind: str, tmp_path: Path) -> None:
    options = find_survey(kind).Options
    assert options.model_config["extra"] == "forbid"
    assert options.model_config["frozen"] is True
    for name, field in options.model_fields.items():
        assert field.description, f"{kind} option {name} has no help text"
    content = build(kind, tmp_path / "a").options.content()
    assert not set(content) & set(options.locations)
    assert options.locations <= set(options.model_fields)
