from __future__ import annotations

import hashlib
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import s3fs
from astropy.coordinates import SkyCoord
from astropy.io import fits
from PIL import Image as Picture
from pydantic import ValidationError

from galflow.errors import ChangedError, SpecError, StoreError
from galflow.photometry import njy_per_count
from galflow.surveys.base import Plane, TileFile
from galflow.surveys.reading import mosaic, stamp_decoding, stamp_files
from galflow.surveys.reading.stamp_reading import check_unchanged
from galflow.surveys.reading.stamps_options import StampsOptions
from galflow.surveys.reading.table_metadata import reasons_of
from galflow.surveys.stamps import Stamps

DATA = Path(os.environ.get("GALFLOW_DATA", Path(__file__).parents[4] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real data are absent: {DATA} (set GALFLOW_DATA)")


def survey(root: Path | str, **options: object) -> Stamps:
    base: dict[str, object] = {"root": str(root), "pattern": "*.npy", "bands": ("g", "r"), "pixel_scale_arcsec": 0.2}
    return Stamps("stamps", "1", StampsOptions.model_validate(base | options))


def pixels(seed: int, side: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, side, side)).astype(np.float32)


def write(root: Path, count: int = 5) -> None:
    for i in range(count):
        np.save(root / f"gal_{i:03d}.npy", pixels(i))


def cut(made: Stamps, file: str, side: int = 9) -> np.ndarray:
    """(B, side, side) the pixels of a file, by way of tiles, catalogue and mosaic."""
    for tile in made.tiles():
        for row in made.catalog(tile).to_pylist():
            if row["file"] == file:
                y, x = int(row["y"]) - side // 2, int(row["x"]) - side // 2
                return np.stack([made.read(tile, band).flux[y : y + side, x : x + side] for band in made.bands])
    raise AssertionError(f"{file} is in no tile")


def test_every_image_is_where_the_catalogue_says(tmp_path: Path) -> None:
    write(tmp_path, 11)
    made = survey(tmp_path, images_per_tile=3)
    assert 2 <= len(made.tiles()) <= 4
    assert [tile.name for tile in made.tiles()] == sorted(tile.name for tile in made.tiles())
    for i in range(11):
        np.testing.assert_array_equal(cut(made, f"gal_{i:03d}.npy"), pixels(i))
    for tile in made.tiles():
        rows = made.catalog(tile)
        assert rows["ra_deg"].null_count == rows["dec_deg"].null_count == len(rows)
        assert rows["read_error"].null_count == len(rows)
        # All that is not an image is missing.
        assert np.isfinite(made.read(tile, "g").flux).sum() == 81 * len(rows)
    assert made.largest_cutout == 18


def test_an_added_image_changes_one_tile_only(tmp_path: Path) -> None:
    write(tmp_path, 40)
    before = {tile.name: tile.identity for tile in survey(tmp_path, tile_bits=3).tiles()}
    np.save(tmp_path / "new.npy", pixels(99))
    after = {tile.name: tile.identity for tile in survey(tmp_path, tile_bits=3).tiles()}
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == {f"h3-{hashlib.sha256(b'new.npy').digest()[0] >> 5:x}"}


def test_identity_follows_content_options_and_labels_but_not_the_place(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for root in (first, second):
        root.mkdir()
        write(root)
        (root / "labels.csv").write_text("file,kind\n" + "".join(f"gal_{i:03d}.npy,spiral\n" for i in range(5)))

    def identity(root: Path, **options: object) -> str:
        made = survey(root, labels=str(root / "labels.csv"), **options)
        (tile,) = made.tiles()
        return tile.identity

    assert identity(first) == identity(second)
    assert identity(first, crop=7) != identity(first)
    (second / "labels.csv").write_text("file,kind\ngal_000.npy,merger\n")
    assert identity(first) != identity(second)
    (second / "labels.csv").write_text((first / "labels.csv").read_text())
    np.save(second / "gal_001.npy", pixels(77))
    assert identity(first) != identity(second)


def test_an_unreadable_image_keeps_its_row_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path, 4)
    (tmp_path / "gal_001.npy").write_bytes(b"truncated")
    np.save(tmp_path / "gal_002.npy", np.zeros((3, 9, 9)))
    made = survey(tmp_path)
    (tile,) = made.tiles()
    rows = {row["file"]: row for row in made.catalog(tile).to_pylist()}
    assert len(rows) == 4
    assert "gal_001.npy cannot be decoded" in rows["gal_001.npy"]["read_error"]
    assert "shape (3, 9, 9)" in rows["gal_002.npy"]["read_error"]
    assert rows["gal_000.npy"]["read_error"] is None
    assert np.isnan(cut(made, "gal_001.npy")).all()
    np.testing.assert_array_equal(cut(made, "gal_003.npy"), pixels(3))


def test_a_tile_of_nothing_readable_is_still_a_tile(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.npy").write_bytes(b"")
    made = survey(tmp_path)
    (tile,) = made.tiles()
    assert np.isnan(made.read(tile, "r").flux).all()
    assert made.catalog(tile)["read_error"].null_count == 0
    assert made.largest_cutout is None


def test_a_store_that_fails_is_no_fault_of_the_image(tmp_path: Path) -> None:
    write(tmp_path, 2)
    made = survey(tmp_path)
    (tile,) = made.tiles()
    (tmp_path / "gal_000.npy").unlink()
    with pytest.raises(StoreError, match=r"gal_000.npy does not exist"):
        made.read(tile, "g")


def test_a_tile_is_decoded_once_for_all_bands_and_the_survey_can_be_pickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 6)
    made = pickle.loads(pickle.dumps(survey(tmp_path)))
    (tile,) = made.tiles()
    opened: list[str] = []
    from galflow.surveys.reading import files

    read = files.read_bytes
    monkeypatch.setattr(files, "read_bytes", lambda uri: opened.append(uri) or read(uri))  # type: ignore[func-returns-value]
    made.read(tile, "g")
    made.read(tile, "r")
    made.catalog(tile)
    assert len(opened) == len(set(opened)) == 6


def test_ids_come_from_the_name_or_its_hash_and_never_collide(tmp_path: Path) -> None:
    for name in ("x_43153636661947951.npy", "y_43153636661947952.npy"):
        np.save(tmp_path / name, pixels(1))
    made = survey(tmp_path, id_pattern=r"_(\d+)\.")
    (tile,) = made.tiles()
    assert made.catalog(tile)["object_id"].to_pylist() == [43153636661947951, 43153636661947952]
    assert made.catalog(tile).schema.field("object_id").type == pa.int64()
    (tile,) = survey(tmp_path).tiles()
    digest = hashlib.sha256(b"x_43153636661947951.npy").digest()
    assert survey(tmp_path).catalog(tile)["object_id"][0].as_py() == int.from_bytes(digest[:8], "big") // 2
    np.save(tmp_path / "z_43153636661947952.npy", pixels(1))
    with pytest.raises(SpecError, match=r"y_43153636661947952.npy and z_43153636661947952.npy have the same object id"):
        survey(tmp_path, id_pattern=r"_(\d+)\.").tiles()
    with pytest.raises(SpecError, match=r"finds None in x_.*npy; expected an integer below 2\^63"):
        survey(tmp_path, id_pattern=r"id(\d+)").tiles()


def test_labels_folders_and_names_become_columns_and_select(tmp_path: Path) -> None:
    for folder, score in (("spiral", 12), ("spiral", 40), ("merger", 77)):
        (tmp_path / folder).mkdir(exist_ok=True)
        np.save(tmp_path / folder / f"g{score}_score{score}.npy", pixels(score))
    (tmp_path / "t.csv").write_text("name,grp,survey\ng12_score12.npy,3,sdss\ng77_score77.npy,4,sdss\n")
    options: dict[str, object] = {
        "pattern": "*/*.npy",
        "folder_column": "label",
        "name_pattern": r"score(?P<score>\d+)",
        "numbers": ("score",),
        "labels": str(tmp_path / "t.csv"),
        "label_file_column": "name",
        "label_columns": {"grp": "group"},
    }
    made = survey(tmp_path, **options)
    (tile,) = made.tiles()
    rows = made.catalog(tile).select(["file", "label", "score", "group"]).to_pylist()
    assert rows == [
        {"file": "merger/g77_score77.npy", "label": "merger", "score": 77.0, "group": 4},
        {"file": "spiral/g12_score12.npy", "label": "spiral", "score": 12.0, "group": 3},
        {"file": "spiral/g40_score40.npy", "label": "spiral", "score": 40.0, "group": None},
    ]
    chosen = survey(tmp_path, **options, select={"label": "spiral", "group": ("3", "4")})
    (tile,) = chosen.tiles()
    assert chosen.catalog(tile)["file"].to_pylist() == ["spiral/g12_score12.npy"]
    with pytest.raises(SpecError, match=r"no image below .* 3 match the pattern alone"):
        survey(tmp_path, **options, select={"label": "ring"}).tiles()
    with pytest.raises(SpecError, match="select names the column 'kind'; the columns are file, label, score, group"):
        survey(tmp_path, **options, select={"kind": "ring"}).tiles()
    with pytest.raises(SpecError, match=r"the column 'survey' is one that galflow writes itself; give it another name"):
        survey(tmp_path, **(options | {"label_columns": {}})).tiles()
    with pytest.raises(SpecError, match=r"have 0 columns 'group', expected one; their columns are name, grp, survey"):
        survey(tmp_path, **(options | {"label_columns": {"group": "group"}})).tiles()


def test_one_file_a_band(tmp_path: Path) -> None:
    for i, band in ((1, "g"), (1, "r"), (2, "g")):
        fits.PrimaryHDU(pixels(i)[0 if band == "g" else 1]).writeto(tmp_path / f"obj{i}_{band}.fits")
    made = survey(tmp_path, pattern="obj{id}_{band}.fits", zero_point_ab=27.0)
    (tile,) = made.tiles()
    rows = made.catalog(tile).to_pylist()
    assert [row["file"] for row in rows] == ["1", "2"]
    assert rows[1]["read_error"] == "2 has no file for band r; expected one for each band"
    assert made.unit == made.read(tile, "g").unit == "nJy"
    np.testing.assert_allclose(cut(made, "1"), pixels(1) * njy_per_count(27.0), rtol=1e-6)
    with pytest.raises(SpecError, match=r"has \{band\} without \{id\}; give both"):
        survey(tmp_path, pattern="obj_{band}.fits").tiles()


def test_images_of_many_sizes_share_their_centres(tmp_path: Path) -> None:
    sizes = {"a": (5, 9), "b": (8, 8), "c": (12, 3)}
    for name, (height, width) in sizes.items():
        plane = np.zeros((2, height, width), np.float32)
        plane[:, height // 2, width // 2] = 1.0
        np.save(tmp_path / f"{name}.npy", plane)
    made = survey(tmp_path, psf_fwhm_arcsec=0.7)
    (tile,) = made.tiles()
    image = made.read(tile, "r")
    rows = made.catalog(tile)
    y, x = rows["y"].to_numpy().astype(int), rows["x"].to_numpy().astype(int)
    assert (image.flux[y, x] == 1.0).all()
    assert np.nansum(image.flux) == 3.0
    assert image.psf is not None
    assert image.psf.fwhm_arcsec == 0.7


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="zero_point_ab converts counts, but unit is nJy already"):
        survey(tmp_path, zero_point_ab=27.0, unit="nJy")
    with pytest.raises(ValidationError, match="crop = 3 is smaller than bin = 8"):
        survey(tmp_path, crop=3, bin=8)
    with pytest.raises(ValidationError, match="id_pattern has no group in round brackets"):
        survey(tmp_path, id_pattern="abc")
    with pytest.raises(ValidationError, match="name_pattern is no regular expression"):
        survey(tmp_path, name_pattern="(?P<a")
    with pytest.raises(SpecError, match=r"NO_SUCH_VARIABLE, which is not set"):
        survey("${NO_SUCH_VARIABLE}/x")
    with pytest.raises(SpecError, match=r"no image below .* 0 match the pattern alone"):
        survey(tmp_path).tiles()


@needs_data
def test_the_galaxy_zoo_pictures_at_32_pixels() -> None:
    made = survey(
        DATA / "galaxyzoo_sloan",
        pattern="*.jpg",
        bands=("r", "g", "b"),
        crop=256,
        bin=8,
        bin_mode="mean",
        background="constant",
        pixel_scale_arcsec=0.04,
        labels=str(DATA / "galaxyzoo_labels.csv"),
        label_columns={"question": "question", "answer": "answer", "group": "group"},
    )
    (tile,) = made.tiles()
    rows = made.catalog(tile)
    assert len(rows) == 43
    assert rows["group"].null_count == 0
    assert rows["read_error"].null_count == 43
    name = rows["file"][0].as_py()
    with Picture.open(DATA / "galaxyzoo_sloan" / name) as picture:
        raw = np.asarray(picture, dtype=float)
    small = raw[84:340, 84:340, 0].reshape(32, 8, 32, 8).mean(axis=(1, 3))
    rim = np.ones(raw.shape[:2], bool)
    rim[26:-26, 26:-26] = False
    np.testing.assert_allclose(cut(made, name, 32)[0], small - np.median(raw[rim][:, 0]), atol=1e-3)
    assert made.pixel_scale_arcsec == pytest.approx(0.32)


@needs_data
def test_the_hsc_thumbnails_and_blends() -> None:
    thumbs = survey(
        DATA / "hsc_wgan_thumbs",
        pattern="*/*.png",
        bands=("i", "r", "g"),
        folder_column="label",
        id_pattern=r"objectid(\d+)",
        name_pattern=r"score(?P<published_score>\d+)",
        numbers=("published_score",),
        pixel_scale_arcsec=0.168,
        select={"label": ("trails", "bluecore", "redextended")},
        images_per_tile=40,
    )
    counts: dict[str, int] = {}
    for tile in thumbs.tiles():
        rows = thumbs.catalog(tile)
        assert rows["read_error"].null_count == len(rows)
        assert (rows["object_id"].to_numpy() > 2**53).all()
        for label in rows["label"].to_pylist():
            counts[label] = counts.get(label, 0) + 1
    assert counts == {"trails": 10, "bluecore": 50, "redextended": 9}
    blends = survey(
        DATA / "hsc_cosmos_blends",
        pattern="*.npz",
        bands=("g", "r", "i", "z", "y"),
        array="images",
        id_pattern=r"(\d+)\.",
    )
    (tile,) = blends.tiles()
    rows = blends.catalog(tile)
    assert len(rows) == 20
    assert rows["read_error"].null_count == 20
    key = rows["object_id"][3].as_py()
    original = np.load(DATA / "hsc_cosmos_blends" / f"{key}.npz")["images"]
    y, x = int(rows["y"][3].as_py()) - original.shape[1] // 2, int(rows["x"][3].as_py()) - original.shape[2] // 2
    cell = blends.read(tile, "z").flux[y : y + original.shape[1], x : x + original.shape[2]]
    np.testing.assert_array_equal(cell, original[3])


def wcs_header(ra: float, dec: float, axes: tuple[str, str] = ("RA---TAN", "DEC--TAN")) -> fits.Header:
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = axes
    header["CRVAL1"], header["CRVAL2"] = ra, dec
    header["CRPIX1"], header["CRPIX2"] = 5.0, 5.0  # the centre of 9 pixels
    header["CDELT1"], header["CDELT2"] = -0.2 / 3600, 0.2 / 3600
    return header


def test_a_stamp_with_a_wcs_has_a_position_on_the_sky(tmp_path: Path) -> None:
    galactic = SkyCoord(l=120, b=30, unit="deg", frame="galactic").icrs
    broken = wcs_header(10.0, 20.0)
    broken["CDELT1"] = 0.0
    headers = {
        "a": wcs_header(150.0, 2.0),
        "b": wcs_header(120.0, 30.0, ("GLON-TAN", "GLAT-TAN")),
        "c": fits.Header(),
        "d": broken,
    }
    for name, header in headers.items():
        fits.PrimaryHDU(pixels(1)[0], header).writeto(tmp_path / f"{name}.fits")
    made = survey(tmp_path, pattern="*.fits", bands=("r",))
    (tile,) = made.tiles()
    table = made.catalog(tile)
    expected = {"a": (150.0, 2.0), "b": (galactic.ra.deg, galactic.dec.deg)}
    for row in table.to_pylist():
        if row["source_name"] in expected:
            assert (row["ra_deg"], row["dec_deg"]) == pytest.approx(expected[row["source_name"]])
        else:
            assert row["ra_deg"] is row["dec_deg"] is None
        assert row["read_error"] is None
    (reason,) = reasons_of(table)
    assert reason.startswith("d.fits: ")
    assert reason.endswith("the stamp has no position on the sky")
    binned = survey(tmp_path, pattern="a.fits", bands=("r",), crop=8, bin=4, bin_mode="mean")
    (tile,) = binned.tiles()
    assert binned.catalog(tile)["dec_deg"][0].as_py() == pytest.approx(2.0 + 1.5 * 0.2 / 3600, abs=1e-9)


def test_an_image_keeps_the_name_its_owner_gave_it(tmp_path: Path) -> None:
    (tmp_path / "spiral").mkdir()
    np.save(tmp_path / "spiral" / "NGC 1.v2.npy", pixels(1))
    made = survey(tmp_path, pattern="**.npy")
    (tile,) = made.tiles()
    row = made.catalog(tile).to_pylist()[0]
    assert (row["file_name"], row["source_name"]) == ("spiral/NGC 1.v2.npy", "NGC 1.v2")
    for band in ("g", "r"):
        fits.PrimaryHDU(pixels(1)[0]).writeto(tmp_path / f"obj7_{band}.fits")
    apart = survey(tmp_path, pattern="obj{id}_{band}.fits")
    (tile,) = apart.tiles()
    row = apart.catalog(tile).to_pylist()[0]
    assert (row["file_name"], row["source_name"], row["file"]) == ("obj7_g.fits", "7", "7")


def test_exact_zeros_are_data_unless_declared(tmp_path: Path) -> None:
    plane = pixels(1)
    plane[:, :3] = 0.0
    np.save(tmp_path / "a.npy", plane)
    made = survey(tmp_path)
    (tile,) = made.tiles()
    image = made.read(tile, "g")
    assert image.ivar is None
    assert np.isfinite(image.flux).sum() == 81
    declared = survey(tmp_path, blank_value=0.0)
    (tile,) = declared.tiles()
    assert np.isfinite(declared.read(tile, "g").flux).sum() == 54


def test_an_image_replaced_after_planning_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, 3)
    made = survey(tmp_path)
    (tile,) = made.tiles()
    np.save(tmp_path / "gal_001.npy", pixels(55))
    with pytest.raises(ChangedError, match=r"gal_001.npy was replaced since it was planned"):
        made.read(tile, "g")
    with pytest.raises(ChangedError):
        made.catalog(tile)


@pytest.mark.s3
def test_an_image_replaced_in_an_object_store_is_noticed(tmp_path: Path, s3_root: str) -> None:
    write(tmp_path, 3)
    remote = s3fs.S3FileSystem(use_listings_cache=False)
    remote.put(str(tmp_path) + "/", s3_root + "/", recursive=True)
    (tile,) = survey(s3_root).tiles()
    assert np.isfinite(survey(s3_root).read(tile, "g").flux).any()
    buffer = io.BytesIO()
    np.save(buffer, pixels(55))
    remote.pipe_file(f"{s3_root}/gal_001.npy", buffer.getvalue())
    with pytest.raises(ChangedError, match=r"gal_001.npy was replaced since it was planned"):
        survey(s3_root).read(tile, "g")


def test_an_etag_that_is_no_checksum_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of an image that was uploaded in parts: of its bytes alone nothing is known."""
    file = TileFile("flux/g/a", "s3://bucket/a.npy", "etag:0123456789abcdef-2")
    monkeypatch.setattr("galflow.surveys.reading.stamp_reading.checksum", lambda uri: "etag:0123456789abcdef-2")
    check_unchanged(file, b"content")
    monkeypatch.setattr("galflow.surveys.reading.stamp_reading.checksum", lambda uri: "etag:another-2")
    with pytest.raises(ChangedError, match=r"a.npy was replaced"):
        check_unchanged(file, b"content")


def test_a_picture_that_needs_too_much_memory_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 3)
    decode_file = stamp_decoding.decode_file

    def hungry(content: bytes, name: str, **options: object) -> stamp_files.Decoded:
        if "001" in name:
            raise MemoryError
        return decode_file(content, name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(stamp_decoding, "decode_file", hungry)
    made = survey(tmp_path)
    (tile,) = made.tiles()
    errors = made.catalog(tile)["read_error"].to_pylist()
    assert errors[0] is errors[2] is None
    assert "gal_001.npy needs more memory than there is" in errors[1]


def test_one_huge_image_does_not_cost_the_tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 8)
    np.save(tmp_path / "gal_003.npy", pixels(3, side=60))
    monkeypatch.setattr(mosaic, "MOST_PIXELS", 20_000)
    made = survey(tmp_path)
    (tile,) = made.tiles()
    rows = {row["file"]: row["read_error"] for row in made.catalog(tile).to_pylist()}
    assert "this stamp of 60 pixels a side is more than 4 times as large" in rows.pop("gal_003.npy")
    assert set(rows.values()) == {None}
    np.testing.assert_array_equal(cut(made, "gal_005.npy"), pixels(5))


def test_labels_in_another_encoding_with_a_bad_line(tmp_path: Path) -> None:
    write(tmp_path, 2)
    (tmp_path / "l.csv").write_bytes("file;Größe\ngal_000.npy;1,5\ngal_001.npy;2;3\n".encode("latin-1"))
    made = survey(tmp_path, labels=str(tmp_path / "l.csv"))
    (tile,) = made.tiles()
    table = made.catalog(tile)
    assert table["Größe"].to_pylist() == [1.5, None]
    assert "1 rows are left out" in reasons_of(table)[0]


def test_weights_flags_and_psfs_are_arrays_of_the_same_file(tmp_path: Path) -> None:
    """Of mixed sizes: cropped or padded to one, the numbers as they stand in the files, and all of it counted."""
    written = {}
    for name, height, width in (("a", 9, 12), ("b", 7, 7)):
        rng = np.random.default_rng(height)
        weights = rng.uniform(1, 2, (2, height, width)).astype(np.float32)
        weights[0, 3, 3] = 0
        flags = np.zeros((height, width), np.int16)
        flags[4, 4], flags[5, 5] = 1 << 3, 1 << 1
        psfs = rng.uniform(0, 1, (2, 5, 5))
        written[name] = {
            "images": rng.normal(size=(2, height, width)),
            "weights": weights,
            "flags": flags,
            "psfs": psfs,
            "peaks": np.zeros((3, 2)),
        }
        np.savez(tmp_path / f"{name}.npz", **written[name])
    made = survey(
        tmp_path,
        pattern="*.npz",
        array="images",
        weight={"array": "weights"},
        mask={"array": "flags", "planes": {"1": "SATURATED", "3": "BAD"}},
        psf={"array": "psfs"},
        crop=8,
        pad=True,
        zero_point_ab=27.0,
        tile_bits=0,
    )
    (tile,) = made.tiles()
    rows, image = made.catalog(tile), made.read(tile, "g")
    assert image.ivar is not None
    assert image.mask is not None
    factor = njy_per_count(27.0)
    for name, x, y in zip(rows["source_name"].to_pylist(), rows["x"].to_pylist(), rows["y"].to_pylist(), strict=True):
        stored = written[name]
        height, width = stored["flags"].shape
        for row, column in ((3, 3), (4, 4), (5, 5), (3, 4), (6, 5)):
            at = int(y) - height // 2 + row, int(x) - width // 2 + column
            bad = (row, column) == (4, 4)
            expected = np.nan if bad else stored["images"][0, row, column] * factor
            np.testing.assert_allclose(image.flux[at], expected, rtol=1e-5)
            known = 0 if bad else stored["weights"][0, row, column] / factor**2
            np.testing.assert_allclose(image.ivar[at], known, rtol=1e-5)
            planes = {(4, 4): Plane.BAD, (5, 5): Plane.SATURATED}
            assert image.mask[at] == int(planes.get((row, column), 0))
    assert np.count_nonzero(image.ivar) == 8 * 8 - 2 + 7 * 7 - 2
    assert image.psf is not None
    assert image.psf.image is not None
    mean = np.mean([written[n]["psfs"][0] / written[n]["psfs"][0].sum() for n in "ab"], axis=0)
    np.testing.assert_allclose(image.psf.image, mean, rtol=1e-5)
    assert made.prepared(tile) == {
        "images": 2, "unreadable": 0, "resampled": 0, "cropped": 1, "padded": 1, "binned": 0,
        "native_yx": [[7, 7], [9, 12]], "made_yx": [[8, 8], [8, 8]],
    }  # fmt: skip


def test_planes_in_files_of_their_own_and_stamps_of_another_scale(tmp_path: Path) -> None:
    """Sigma maps and masks beside the images, each image on the scale of its WCS, all brought to one scale."""
    for name, scale in (("a", 0.2), ("b", 0.4)):
        header = wcs_header(150.0, 2.0)
        for card in ("CDELT1", "CDELT2", "CD1_1", "CD2_2"):
            if card in header:
                header[card] = np.sign(header[card]) * scale / 3600
        level = np.full((20, 20), scale**2, np.float32)
        fits.PrimaryHDU(level, header).writeto(tmp_path / f"{name}fitim.fits")
        fits.PrimaryHDU(np.full((20, 20), 2.0, np.float32)).writeto(tmp_path / f"{name}sigma.fits")
        fits.PrimaryHDU(np.zeros((20, 20), np.int16)).writeto(tmp_path / f"{name}mskim.fits")
    made = survey(
        tmp_path,
        bands=("r",),
        pattern="{id}fitim.fits",
        weight={"pattern": "{id}sigma.fits", "kind": "sigma"},
        mask={"pattern": "{id}mskim.fits"},
        resample_arcsec=0.4,
        crop=8,
    )
    (tile,) = made.tiles()
    image = made.read(tile, "r")
    assert image.pixel_scale_arcsec == made.pixel_scale_arcsec == 0.4
    seen = np.isfinite(image.flux)
    assert seen.sum() == 2 * 8 * 8
    np.testing.assert_allclose(image.flux[seen], 0.16, rtol=1e-5)  # one surface brightness
    told = made.prepared(tile)
    assert (told["resampled"], told["cropped"], told["native_yx"]) == (1, 2, [[20, 20], [20, 20]])
    assert image.ivar is not None
    x, y = (made.catalog(tile)[name].to_numpy().astype(int) for name in "xy")
    assert image.ivar[y[1], x[1]] == pytest.approx(0.25)
    # Of 2.25 pixels' side 1 whole and 2 halves along each axis.
    assert image.ivar[y[0], x[0]] == pytest.approx(0.25 / (1 + 2 * 0.25) ** 2, rel=1e-5)
    (tmp_path / "bsigma.fits").unlink()
    (tile,) = made.tiles()
    assert made.catalog(tile)["read_error"].to_pylist() == [
        None,
        "it has no weight file; expected one that {id}sigma.fits names",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pad": True}, "pad fills images up to crop; give crop"),
        ({"weight": {"kind": "sigma"}}, "say where it lies: pattern"),
        ({"weight": {"pattern": "{id}_w.fits"}}, r"give it and pattern an \{id\} that they share"),
        ({"hdu": {"g": 1}}, r"hdu names bands \['g'\]; the survey has \['g', 'r'\]"),
        ({"psf": {"hdu": {"g": 1}}}, r"psf.hdu names bands \['g'\]"),
    ],
)
def test_planes_that_cannot_be_meant_are_refused(options: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=said):
        survey(tmp_path, **options)


@needs_data
def test_the_hsc_blends_with_their_weights_and_psfs() -> None:
    """Twenty real blends of twenty sizes at 64 pixels."""
    folder = DATA / "hsc_cosmos_blends"
    blends = survey(
        folder,
        pattern="*.npz",
        bands=("g", "r", "i", "z", "y"),
        array="images",
        weight={"array": "weights"},
        psf={"array": "psfs"},
        id_pattern=r"(\d+)\.",
        pixel_scale_arcsec=0.168,
        crop=64,
        pad=True,
    )
    (tile,) = blends.tiles()
    image, rows = blends.read(tile, "i"), blends.catalog(tile)
    assert image.ivar is not None
    observed = 0
    for row in rows.to_pylist():
        with np.load(folder / f"{row['object_id']}.npz") as stored:
            weights, pixels = stored["weights"][2], stored["images"][2]
        y, x = weights.shape[0] // 2, weights.shape[1] // 2
        at = int(row["y"]), int(row["x"])
        assert image.flux[at] == pixels[y, x]
        assert image.ivar[at] == weights[y, x]
        height, width = (min(64, n) for n in weights.shape)
        inner = weights[y - height // 2 : y - height // 2 + height, x - width // 2 : x - width // 2 + width]
        observed += np.count_nonzero(inner)
    assert np.count_nonzero(image.ivar) == observed
    assert image.psf is not None
    assert image.psf.image is not None
    assert image.psf.image.shape == (41, 41)
    told = blends.prepared(tile)
    sides = np.array([np.load(path)["images"].shape[1:] for path in folder.glob("*.npz")])
    assert told["cropped"] == (sides.max(axis=1) > 64).sum() > 0
    assert told["padded"] == (sides.min(axis=1) < 64).sum() > 0
    assert told["native_yx"] == [sides.min(axis=0).tolist(), sides.max(axis=0).tolist()]


@needs_data
def test_a_euclid_stamp_with_band_noise_and_psf_in_extensions() -> None:
    names = {"vis": "VIS", "y": "NIR_Y", "j": "NIR_J", "h": "NIR_H"}
    made = survey(
        DATA / "euclid_q1_stamp",
        pattern="*.fits",
        bands=tuple(names),
        hdu={band: f"{name}_FLUX" for band, name in names.items()},
        weight={"hdu": {band: f"{name}_RMS" for band, name in names.items()}, "kind": "sigma"},
        psf={"hdu": {band: f"{name}_PSF" for band, name in names.items()}},
        pixel_scale_arcsec=0.1,
    )
    (tile,) = made.tiles()
    rows = made.catalog(tile)
    assert rows["read_error"].to_pylist() == [None]
    at = int(rows["y"][0].as_py()), int(rows["x"][0].as_py())
    with fits.open(DATA / "euclid_q1_stamp" / "group.fits") as hdus:
        for band, name in names.items():
            image = made.read(tile, band)
            assert image.ivar is not None
            assert image.psf is not None
            assert image.psf.image is not None
            assert image.flux[at] == hdus[f"{name}_FLUX"].data[150, 150]
            sigma = hdus[f"{name}_RMS"].data
            np.testing.assert_allclose(image.ivar[at], float(sigma[150, 150]) ** -2, rtol=1e-5)
            known = np.isfinite(hdus[f"{name}_FLUX"].data) & (sigma < 1e15)
            assert np.count_nonzero(image.ivar) == known.sum()
            psf = hdus[f"{name}_PSF"].data
            assert image.psf.image.shape == (33, 33)
            middle = psf.shape[0] // 2
            assert image.psf.image[16, 16] == pytest.approx(psf[middle, middle] / psf.sum(), rel=1e-5)
