import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import s3fs
from astropy.io import fits

from galflow.errors import DataError, SpecError, StoreError
from galflow.surveys.fits_tiles import FitsTiles, FitsTilesOptions
from galflow.surveys.reading import files
from galflow.surveys.reading.files import (
    checksum,
    expand_root,
    list_entries,
    open_bytes,
    read_bytes,
)

NAMES = ["a.fits", "b,1.fits", "deep/c.fits", "deep/er/d.fits", "[odd]?.fits", "a.txt"]


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        path = tmp_path / "in [1]" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return f"file://{tmp_path}/in [1]"


def listed(root, pattern):
    return [entry.uri for entry in list_entries(root, pattern)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.fits", ["[odd]?.fits", "a.fits", "b,1.fits"]),
        ("**.fits", ["[odd]?.fits", "a.fits", "b,1.fits", "deep/c.fits", "deep/er/d.fits"]),
        ("*/*.fits", ["deep/c.fits"]),
        ("deep/**", ["deep/c.fits", "deep/er/d.fits"]),
        ("a.fits", ["a.fits"]),
        ("[odd]?.fits", ["[odd]?.fits"]),
        ("nothing/*.fits", []),
    ],
)
def test_listing(folder, pattern, expected):
    assert listed(folder, pattern) == [f"{folder}/{name}" for name in expected]


def test_listing_is_fresh(folder):
    assert len(listed(folder, "*.fits")) == 3
    Path(f"{folder[7:]}/new.fits").touch()
    assert len(listed(folder, "*.fits")) == 4


def test_checksum_follows_the_bytes(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    assert checksum(f"file://{path}") == "sha256:" + hashlib.sha256(b"one").hexdigest() == checksum(str(path))
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 12345))
    assert checksum(str(path)) == "sha256:" + hashlib.sha256(b"two").hexdigest()


def test_an_unchanged_file_is_hashed_once(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    first = checksum(str(path))
    monkeypatch.setattr(files.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert checksum(str(path)) == first


def test_reading(folder):
    uri = f"{folder}/a.fits"
    assert read_bytes(uri) == b"a.fits"
    with open_bytes(uri) as file:
        file.seek(2)
        assert file.read() == b"fits"
    for reader in (read_bytes, open_bytes, checksum):
        with pytest.raises(StoreError, match=r"nope.fits does not exist"):
            reader(f"{folder}/nope.fits")


def test_roots(monkeypatch, tmp_path):
    monkeypatch.setenv("SKY_HERE", str(tmp_path))
    monkeypatch.delenv("SKY_NOT", raising=False)
    assert expand_root("${SKY_HERE}/x/") == f"file://{tmp_path}/x"
    assert expand_root("s3://bucket/p/") == "s3://bucket/p"
    monkeypatch.chdir(tmp_path)
    assert expand_root("here") == f"file://{tmp_path}/here"
    with pytest.raises(SpecError, match="environment variable SKY_NOT, which is not set"):
        expand_root("${SKY_NOT}/x")
    with pytest.raises(SpecError, match="expected a folder"):
        expand_root("")
    with pytest.raises(SpecError, match="gopherx:// cannot be read"):
        read_bytes("gopherx://host/file")


@pytest.fixture
def bucket(s3_root):
    """A client of the test session's S3 server, and the s3:// prefix of this test alone."""
    return s3fs.S3FileSystem(use_listings_cache=False), s3_root


@pytest.mark.s3
def test_s3_listing_checksum_and_reading(bucket):
    server, root = bucket
    server.pipe(f"{root}/list/a.fits", b"one")
    server.pipe(f"{root}/list/deep/b.fits", b"two")
    assert listed(f"{root}/list", "*.fits") == [f"{root}/list/a.fits"]
    entries = list_entries(f"{root}/list", "**.fits")
    assert [entry.uri for entry in entries] == [f"{root}/list/a.fits", f"{root}/list/deep/b.fits"]
    assert entries[0].checksum == checksum(entries[0].uri) == "etag:" + hashlib.md5(b"one").hexdigest()
    server.pipe(f"{root}/list/a.fits", b"three")
    assert checksum(entries[0].uri) == "etag:" + hashlib.md5(b"three").hexdigest()
    assert read_bytes(entries[0].uri) == b"three"
    for reader in (read_bytes, checksum, open_bytes):
        with pytest.raises(StoreError, match=r"nope.fits does not exist"):
            reader(f"{root}/list/nope.fits")


@pytest.mark.s3
def test_s3_survey_equals_the_local_one(bucket, tmp_path):
    server, root = bucket
    rng = np.random.default_rng(8)
    for tile in ("t1", "t2"):
        header = fits.Header(
            {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 1.0, "CDELT1": -1e-4}
        )
        header["CDELT2"], header["CRPIX1"], header["CRPIX2"] = 1e-4, 32.0, 32.0
        pixels = rng.normal(0, 1, (64, 80)).astype(np.float32)
        hdus = [fits.PrimaryHDU(), fits.CompImageHDU(pixels, header, compression_type="RICE_1")]
        fits.HDUList(hdus).writeto(tmp_path / f"{tile}.fits")
        server.put(str(tmp_path / f"{tile}.fits"), f"{root}/survey/{tile}.fits")
    here, there = (
        FitsTiles("x", "1", FitsTilesOptions(root=place, bands={"g": "{tile}.fits"}))
        for place in (str(tmp_path), f"{root}/survey")
    )
    assert [tile.name for tile in there.tiles()] == ["t1", "t2"]
    for one, other in zip(here.tiles(), there.tiles(), strict=True):
        assert np.array_equal(here.read(one, "g").flux, there.read(other, "g").flux)
        assert there.footprint(other).shape == (64, 80)
        assert there.pixel_scale_arcsec == here.pixel_scale_arcsec == 0.36
    content = (tmp_path / "t1.fits").read_bytes()
    server.pipe(f"{root}/survey/t1.fits", content[:-3000])
    with pytest.raises(DataError, match="truncated"):
        there.read(there.tiles()[0], "g")
