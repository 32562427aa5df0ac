"""Files of many stamps: the same numbers whatever the format, only a tile's rows in memory, what is lost is told."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from pydantic import ValidationError

from galflow.errors import ChangedError, DataError, SpecError
from galflow.photometry import njy_per_count
from galflow.spec.run import SurveySpec
from galflow.surveys.base import Plane, Survey
from galflow.surveys.multimodal_universe import MultimodalUniverse
from galflow.surveys.recognise import recognise
from galflow.surveys.resolve import open_survey

N, SIDE = 7, 10
RNG = np.random.default_rng(4)
FLUX = RNG.normal(size=(N, 2, SIDE, SIDE)).astype(np.float32)
IVAR = RNG.uniform(1, 2, FLUX.shape).astype(np.float32)
IVAR[2, 0, 3, 3] = 0
GOOD = np.ones((N, SIDE, SIDE), bool)
GOOD[3, 5, 6] = False
IDS = np.arange(N) + 2**53 + 1
SCALE = 0.168


def survey(root: Path, **options: Any) -> Survey:
    given = {"root": str(root), "bands": ["g", "r"], "pixel_scale_arcsec": SCALE, "images_per_tile": 3}
    return open_survey(SurveySpec(kind="stamp_cubes", name="cubes", options=given | options))


def objects(made: Survey) -> dict[int, dict[str, Any]]:
    """Row of the file -> what the survey gives of it, by way of tiles, catalogue and mosaic."""
    found = {}
    for tile in made.tiles():
        images = [made.read(tile, band) for band in made.bands]
        for row in made.catalog(tile).to_pylist():
            y, x = int(row["y"]) - SIDE // 2, int(row["x"]) - SIDE // 2
            part = (slice(y, y + SIDE), slice(x, x + SIDE))
            planes = {
                n: [getattr(i, n)[part] for i in images if getattr(i, n) is not None] for n in ("flux", "ivar", "mask")
            }
            found[len(found)] = row | {name: np.stack(p) for name, p in planes.items() if p} | {"images": images}
    return found


def write(folder: Path, kind: str) -> dict[str, Any]:
    """The file, and the options that name its arrays."""
    named = {"flux": "images", "weight": "w", "mask": "good", "mask_good": True, "object_id": "ids"}
    if kind == "npz":
        np.savez_compressed(folder / "a.npz", images=FLUX, w=IVAR, good=GOOD, ids=IDS, mag=np.arange(N) / 2)
    elif kind == "hdf5":
        h5py = pytest.importorskip("h5py", reason="h5py is not installed (pip install 'galflow[hdf5]')")
        with h5py.File(folder / "a.h5", "w") as file:
            file.create_dataset("images", data=np.moveaxis(FLUX, 1, 3), compression="gzip", chunks=(2, SIDE, SIDE, 2))
            file.create_dataset("w", data=np.moveaxis(IVAR, 1, 3))
            file["good"], file["ids"], file["mag"] = GOOD, IDS, np.arange(N) / 2
        named |= {"band_axis": "last"}
    elif kind == "fits":
        cubes = [fits.ImageHDU(cube, name=name) for name, cube in (("images", FLUX), ("w", IVAR))]
        table = fits.BinTableHDU.from_columns([
            fits.Column("ids", "K", array=IDS), fits.Column("mag", "D", array=np.arange(N) / 2),
        ])  # fmt: skip
        flags = fits.ImageHDU(GOOD.astype(np.uint8), name="good")
        fits.HDUList([fits.PrimaryHDU(), *cubes, flags, table]).writeto(folder / "a.fits")
        named |= {"flux": "IMAGES", "weight": "W", "mask": "GOOD"}
    else:
        columns = {"images": FLUX.tolist(), "w": IVAR.tolist(), "good": GOOD.tolist(), "ids": IDS}
        pq.write_table(pa.table(columns | {"mag": np.arange(N) / 2}), folder / "a.parquet", row_group_size=2)
    return named


@pytest.mark.parametrize("kind", ["npz", "hdf5", "fits", "parquet"])
def test_every_format_gives_the_same(kind: str, tmp_path: Path) -> None:
    made = survey(tmp_path, **write(tmp_path, kind), zero_point_ab=27.0)
    assert [tile.name.rsplit("/", 1)[1] for tile in made.tiles()] == ["00000", "00001", "00002"]
    assert made.inspect(made.tiles()) == []
    factor = njy_per_count(27.0)
    found = objects(made)
    assert [found[row]["object_id"] for row in range(N)] == IDS.tolist()
    assert [found[row]["mag"] for row in range(N)] == [row / 2 for row in range(N)]
    for row in range(N):
        good = np.broadcast_to(GOOD[row], FLUX[row].shape)
        np.testing.assert_allclose(found[row]["flux"], np.where(good, FLUX[row] * factor, np.nan), rtol=1e-6)
        np.testing.assert_allclose(found[row]["ivar"], np.where(good, IVAR[row] / factor**2, 0), rtol=1e-5)
        assert ((found[row]["mask"] != 0) == ~good).all()
    assert found[3]["mask"][1, 5, 6] == int(Plane.BAD)


def test_a_plain_cube_of_one_band_and_a_cube_for_each(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FLUX[:, 0])
    found = objects(survey(tmp_path, bands=["g"]))
    np.testing.assert_array_equal(found[6]["flux"][0], FLUX[6, 0])
    assert len({row["object_id"] for row in found.values()}) == N
    (tmp_path / "a.npy").unlink()
    np.savez(tmp_path / "a.npz", green=FLUX[:, 0], red=FLUX[:, 1])
    found = objects(survey(tmp_path, flux={"g": "green", "r": "red"}))
    np.testing.assert_array_equal(found[5]["flux"], FLUX[5])


def test_psfs_and_sizes_are_those_of_each_image(tmp_path: Path) -> None:
    psfs = RNG.uniform(0.1, 1, (N, 2, 7, 7))
    fwhm = RNG.uniform(0.5, 1, (N, 2))
    fwhm[1, 0] = 0
    np.savez(tmp_path / "a.npz", images=FLUX, p=psfs, fwhm=fwhm, scale=np.full(N, 0.2))
    made = survey(
        tmp_path, flux="images", psf="p", psf_fwhm="fwhm", scale="scale", crop=6, bin=2, pixel_scale_arcsec=None
    )
    assert made.pixel_scale_arcsec == pytest.approx(0.4)
    tile = made.tiles()[0]
    image, rows = made.read(tile, "g"), made.catalog(tile)
    np.testing.assert_allclose(np.nansum(image.flux), FLUX[:3, 0, 2:8, 2:8].sum(), rtol=1e-5)
    assert image.psf is not None
    assert image.psf.image is not None
    assert image.psf.image.sum() == pytest.approx(1)
    assert image.psf.fwhm_arcsec == pytest.approx(np.median(fwhm[[0, 2], 0]))
    np.testing.assert_allclose(rows["psf_fwhm_r"].to_numpy(), fwhm[:3, 1])
    assert rows["psf_fwhm_g"].to_pylist()[1] is None
    assert rows.schema.field("psf_fwhm_g").metadata[b"unit"] == b"arcsec"
    told = made.prepared(tile)
    assert (told["images"], told["cropped"], told["binned"], told["made_yx"]) == (3, 3, 3, [[3, 3], [3, 3]])


def test_only_a_tiles_rows_are_in_memory(tmp_path: Path) -> None:
    """Of 24 MB, 1/15 a tile; a compressed member is read in order."""
    many = np.zeros((300, 1, 140, 140), np.float32)
    many[:, 0, 70, 70] = np.arange(300)
    np.savez_compressed(tmp_path / "a.npz", images=many)
    made = survey(tmp_path, bands=["g"], flux="images", images_per_tile=20)
    tile = made.tiles()[14]
    tracemalloc.start()
    image = made.read(tile, "g")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.nanmax(image.flux) == 299
    mosaic = image.flux.nbytes
    assert peak < 3 * mosaic < many.nbytes


def test_what_is_wrong_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=FLUX, w=IVAR[:, :, :5])
    np.savez(tmp_path / "b.npz", other=FLUX)
    (tmp_path / "c.npz").write_bytes(b"PK nothing")
    made = survey(tmp_path, flux="images", weight="w")
    tiles = {tile.name: tile for tile in made.tiles()}
    assert tiles["b.npz/00000"].bands == tiles["c.npz/00000"].bands == ()
    errors = made.catalog(tiles["a.npz/00000"])["read_error"].to_pylist()
    assert "its weight has shape (2, 5, 10) (band, y, x), its image (2, 10, 10)" in errors[0]
    faults = {fault.tile: str(fault) for fault in made.inspect(list(tiles.values()))}
    assert set(faults) == {"b.npz/00000", "c.npz/00000"}
    assert "has no array 'images'; it has other" in faults["b.npz/00000"]
    np.savez(tmp_path / "a.npz", images=FLUX + 1, w=IVAR)
    with pytest.raises(ChangedError, match="was replaced while the run was under way"):
        survey(tmp_path, flux="images").read(tiles["a.npz/00001"], "g")
    few = survey(tmp_path, flux="images", bands=["g"])
    (first, *_) = few.tiles()
    with pytest.raises(DataError, match="has 2 bands, but 1 are named; correct bands or band_axis"):
        few.read(first, "g")
    with pytest.raises(SpecError, match=r"no file below .* ends in one of"):
        survey(tmp_path / "none").tiles()


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.array([{"a": 1}] * 3, dtype=object))
    made = survey(tmp_path, flux="images")
    (fault,) = made.inspect(made.tiles())
    assert "of pickled objects; save it as a plain array" in str(fault)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bands": []}, "name the bands, in the order"),
        ({"pixel_scale_arcsec": None}, "give pixel_scale_arcsec, or scale"),
        ({"flux": {"g": "a"}}, r"flux names bands \['g'\]; the survey has \['g', 'r'\]"),
        ({"ra_deg": "ra"}, "give both ra_deg and dec_deg"),
        ({"pad": True}, "give crop, the side in pixels"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises((ValidationError, SpecError), match=said):
        survey(tmp_path, **options)


# --- the Multimodal Universe


def universe(root: Path, kind: str) -> None:
    """Three and four objects of two HEALPix pixels."""
    fwhm = np.linspace(0.5, 0.9, N * 2).reshape(N, 2).astype(np.float32)
    rows = {
        "object_id": IDS.astype(str),
        "ra": np.linspace(150, 151, N),
        "dec": np.linspace(1, 2, N),
        "g_cmodel_mag": np.arange(N) + 18.0,
    }
    for pixel, part in ((3, slice(0, 3)), (11, slice(3, N))):
        good = np.repeat(GOOD[:, None], 2, axis=1)
        if kind == "hdf5":
            h5py = pytest.importorskip("h5py", reason="h5py is not installed (pip install 'galflow[hdf5]')")
            path = root / f"healpix={pixel}" / "001-of-001.hdf5"
            path.parent.mkdir(parents=True)
            with h5py.File(path, "w") as file:
                for name, values in rows.items():
                    file[name] = values[part].astype("S") if values.dtype.kind == "U" else values[part]
                file["image_band"] = np.array([[b"hsc-g", b"hsc-r"]] * N)[part]
                for name, cube in (("array", FLUX), ("ivar", IVAR), ("mask", good), ("psf_fwhm", fwhm)):
                    file[f"image_{name}"] = cube[part]
                file["image_scale"] = np.full((N, 2), SCALE, np.float32)[part]
            continue
        images = [
            {
                "band": ["hsc-g", "hsc-r"], "flux": FLUX[n].tolist(), "ivar": IVAR[n].tolist(),
                "mask": good[n].tolist(), "psf_fwhm": fwhm[n].tolist(), "scale": [SCALE, SCALE],
            }
            for n in range(*part.indices(N))
        ]  # fmt: skip
        path = root / "hsc" / "dataset" / "Norder=0" / "Dir=0" / f"Npix={pixel}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            pa.table({"image": images} | {name: values[part] for name, values in rows.items()}), path, row_group_size=2
        )
        margin = root / "hsc_10arcs_margin" / "dataset" / "Norder=0" / "Dir=0"
        margin.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"image": images}), margin / "Npix=3.parquet")


@pytest.mark.parametrize("kind", ["hdf5", "hats"])
def test_the_multimodal_universe_needs_one_word(kind: str, tmp_path: Path) -> None:
    universe(tmp_path, kind)
    found = recognise(str(tmp_path))
    assert (found.kind, found.bands, found.shape) == ("multimodal_universe", ("g", "r"), (SIDE, SIDE))
    assert found.pixel_scale_arcsec == pytest.approx(SCALE)
    made = open_survey(SurveySpec(kind=found.kind, name="m", options=found.options | {"images_per_tile": 2}))
    assert isinstance(made, MultimodalUniverse)
    assert made.pixel_scale_arcsec == pytest.approx(SCALE)
    assert made.inspect(made.tiles()) == []
    by_name = {row["source_name"]: row for row in objects(made).values()}
    assert set(by_name) == set(IDS.astype(str))
    for number, name in enumerate(IDS.astype(str)):
        row = by_name[name]
        good = np.broadcast_to(GOOD[number], FLUX[number].shape)
        np.testing.assert_array_equal(row["flux"], np.where(good, FLUX[number], np.nan))
        np.testing.assert_array_equal(row["ivar"], np.where(good, IVAR[number], 0))
        assert row["ra_deg"] == pytest.approx(np.linspace(150, 151, N)[number])
        assert row["g_cmodel_mag"] == number + 18
        assert row["psf_fwhm_r"] == pytest.approx(np.linspace(0.5, 0.9, N * 2)[2 * number + 1], rel=1e-6)


def test_rows_of_other_bands_and_other_files_are_told(tmp_path: Path) -> None:
    images = [{"band": bands, "flux": FLUX[0].tolist()} for bands in (["hsc-g", "hsc-r"], ["hsc-r", "hsc-g"])]
    path = tmp_path / "Norder=0" / "Dir=0" / "Npix=1.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"image": images}), path)
    options = {"root": str(tmp_path), "pixel_scale_arcsec": 0.2}
    made = open_survey(SurveySpec(kind="multimodal_universe", options=options))
    (fault,) = made.inspect(made.tiles())
    assert "1 rows have the bands hsc-r, hsc-g, the first file hsc-g, hsc-r" in str(fault)
    other = tmp_path / "other"
    other.mkdir()
    np.savez(other / "a.npz", images=FLUX)
    with pytest.raises(SpecError, match=r"is not of the Multimodal Universe: expected image_array.*it has images"):
        open_survey(SurveySpec(kind="multimodal_universe", options=options | {"root": str(other)})).tiles()
