"""What cutting moves from a real S3 server: counted at the client's own calls, and by the receipt."""

import functools
import itertools
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from astropy.io import fits

from galflow.errors import ChangedError
from galflow.surveys.fits_tiles import FitsTiles, FitsTilesOptions
from galflow.surveys.reading import fits_parts, ranges
from galflow.surveys.reading.parts import block_pixels, row_pixels

pytestmark = pytest.mark.s3


@pytest.fixture
def moved(monkeypatch):
    """File name -> (first, last) bytes of each request for its content; and under "" all requests for files."""
    found = defaultdict(list)
    call = s3fs.S3FileSystem._call_s3

    async def counting(self, method, *args, **kwargs):
        if method in ("get_object", "head_object"):
            name = kwargs["Key"].rsplit("/", 1)[-1]
            found[""].append(method)
            if method == "get_object":
                first, _, last = kwargs.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
                found[name].append((int(first), int(last) if last else None))
        return await call(self, method, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counting)
    return found


def bytes_once(requests):
    """How many bytes these requests moved; none of them twice."""
    ordered = sorted(requests)
    assert all(last is not None for _, last in ordered)
    assert all(b[0] > a[1] for a, b in itertools.pairwise(ordered)), "a byte was asked for twice"
    return sum(last + 1 - first for first, last in ordered)


def header():
    return fits.Header({"CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 500.0, "CRPIX2": 400.0, "CTYPE1": "RA---TAN",
                        "CTYPE2": "DEC--TAN", "CDELT1": -5e-5, "CDELT2": 5e-5, "MAGZERO": 24.6})  # fmt: skip


def write_sparse(path, side, x, y, rng):
    """A float32 image of which only what is looked at holds noise; the rest is a hole in the file."""
    begin = fits.PrimaryHDU(np.zeros((1, 1), np.float32), header()).header
    begin["NAXIS1"] = begin["NAXIS2"] = side
    text = begin.tostring().encode()
    with path.open("wb") as file:
        file.write(text)
        file.truncate(-(-(len(text) + 4 * side * side) // 2880) * 2880)
    pixels = np.memmap(path, ">f4", "r+", len(text), (side, side))
    for rows in np.unique(np.concatenate([block_pixels((side, side)).ravel(), row_pixels((side, side))]) // side):
        pixels[rows] = rng.normal(0, 1, side)
    for a, b in zip(x.astype(int), y.astype(int), strict=True):
        window = np.s_[max(0, b - 40) : b + 40, max(0, a - 40) : a + 40]
        pixels[window] = rng.normal(0, 1, pixels[window].shape)
    pixels.flush()


def write_catalog(path, x, y):
    pq.write_table(pa.table({"object_id": np.arange(1, len(x) + 1), "x": x, "y": y}), path)


def options(root, end=".fits", **more):
    return FitsTilesOptions(
        root=str(root), bands={"vis": f"vis{end}"}, tile="t", zero_point_keyword="MAGZERO",
        catalog={"path": "catalog.parquet"}, **more,
    )  # fmt: skip


def put(folder, root):
    server = s3fs.S3FileSystem(use_listings_cache=False)
    for path in folder.iterdir():
        server.put(str(path), f"{root}/{path.name}", max_concurrency=1)


def require_same(found, expected):
    for name in ("flux", "ivar", "mask"):
        np.testing.assert_array_equal(found.read(name), expected.read(name))
    assert found.rows().equals(expected.rows())
    assert found.attributes == expected.attributes


def few_of_a_large_tile(side, count, tmp_path, s3_root, moved, store, cut, size=64):
    """Cut ``count`` objects; the share of the tile's bytes that moved, and the receipt."""
    rng = np.random.default_rng(7)
    folder = tmp_path / "data"
    folder.mkdir()
    x, y = rng.uniform(0, side, (2, count))
    write_sparse(folder / "vis.fits", side, x, y, rng)
    write_catalog(folder / "catalog.parquet", x, y)
    put(folder, s3_root)
    survey = FitsTiles("large", "1", options(s3_root))
    [tile] = survey.tiles()
    _ = survey.pixel_scale_arcsec
    moved.clear()
    found, receipt = cut(store, survey, tile, size=size, defects="cutouts")
    once = bytes_once(moved["vis.fits"])
    assert receipt.details["requests"] == len(moved[""])
    assert receipt.details["bytes_read"] == once + bytes_once(moved["catalog.parquet"])
    assert receipt.details["read_whole"] == ""
    total = (folder / "vis.fits").stat().st_size
    assert receipt.details["file_bytes"] == total + (folder / "catalog.parquet").stat().st_size
    local = FitsTiles("large", "1", options(folder))
    require_same(found, cut(store, local, size=size, defects="cutouts", chunks_per_shard=3)[0])
    return once / total, receipt


def test_few_objects_move_few_bytes(tmp_path, s3_root, moved, local_store, cut):
    share, receipt = few_of_a_large_tile(4000, 6, tmp_path, s3_root, moved, local_store, cut, size=32)
    assert share < 0.2  # the sky's sample, 6 %, and rows' pieces that lie too close to be asked for one by one
    assert receipt.rows == 6


@pytest.mark.full
@pytest.mark.timeout(1800)  # 1.5 GB go through a server on this machine
def test_a_hundred_objects_of_euclid_s_tile_move_less_than_5_per_cent(tmp_path, s3_root, moved, local_store, cut):
    share, receipt = few_of_a_large_tile(19_200, 100, tmp_path, s3_root, moved, local_store, cut)
    assert share < 0.05
    assert receipt.rows == 100


SIDE = 1500


@pytest.fixture
def field(tmp_path):
    """A folder of an image with its mask and variance in one file, and 300 objects; positions of these."""
    rng = np.random.default_rng(8)
    folder = tmp_path / "data"
    folder.mkdir()
    flux = rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32)
    mask = (rng.random((SIDE, SIDE)) < 1e-3).astype(np.int16)
    variance = (1 + 0.2 * rng.random((SIDE, SIDE))).astype(np.float32)
    x, y = rng.uniform(0, SIDE, (2, 300))
    write_catalog(folder / "catalog.parquet", x, y)
    return folder, (flux, mask, variance), (x, y)


IN_ONE_FILE = {
    "extension": 1,
    "mask": {"pattern": "vis.fits", "extension": 2},
    "weight": {"pattern": "vis.fits", "extension": 3, "kind": "variance"},
}


@pytest.mark.parametrize("defects", [True, "cutouts"])
def test_all_objects_move_each_byte_at_most_once(field, s3_root, moved, local_store, cut, defects):
    folder, planes, _ = field
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(plane, header()) for plane in planes)]
    fits.HDUList(hdus).writeto(folder / "vis.fits")
    put(folder, s3_root)
    survey = FitsTiles("dense", "1", options(s3_root, **IN_ONE_FILE))
    [tile] = survey.tiles()
    moved.clear()
    found, receipt = cut(local_store, survey, tile, size=32, defects=defects)
    once = bytes_once(moved["vis.fits"])
    assert 0.99 < once / (folder / "vis.fits").stat().st_size <= 1.0
    assert receipt.details["bytes_read"] == once + bytes_once(moved["catalog.parquet"])
    assert receipt.details["read_whole"] == (
        "trails and spikes are looked for over the tile (cutouts.defects: true)"
        if defects is True
        else "band vis: its cutouts have 13.7 % of the tile's pixels"
    )
    local = FitsTiles("dense", "1", options(folder, **IN_ONE_FILE))
    require_same(found, cut(local_store, local, size=32, defects=defects, chunks_per_shard=3)[0])


def test_of_a_compressed_tile_the_tiles_touched_move(field, s3_root, moved, local_store, cut, monkeypatch):
    folder, planes, (x, y) = field
    # In a file this small a request costs as much as all of it; here requests cost nothing.
    monkeypatch.setattr(fits_parts, "cost", lambda ranges: int((ranges[:, 1] - ranges[:, 0]).sum()))
    monkeypatch.setattr(fits_parts, "joined", functools.partial(ranges.joined, gap=1))
    write_catalog(folder / "catalog.parquet", x[:3], y[:3])
    hdu = fits.CompImageHDU(planes[0], header(), compression_type="RICE_1", quantize_level=16, quantize_method=1)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(folder / "vis.fits.fz")
    put(folder, s3_root)
    survey = FitsTiles("packed", "1", options(s3_root, ".fits.fz"))
    [tile] = survey.tiles()
    _ = survey.pixel_scale_arcsec
    moved.clear()
    found, receipt = cut(local_store, survey, tile, size=16, defects=False)
    total = (folder / "vis.fits.fz").stat().st_size
    assert receipt.details["read_whole"] == ""
    assert bytes_once(moved["vis.fits.fz"]) < 0.3 * total  # of the sky's sample alone 17 %
    local = FitsTiles("packed", "1", options(folder, ".fits.fz"))
    monkeypatch.setattr(local, "read", lambda *_: pytest.fail("read whole"))
    require_same(found, cut(local_store, local, size=16, defects=False, chunks_per_shard=3)[0])


def test_a_file_replaced_between_two_ranges_is_noticed(field, s3_root, local_store, cut, monkeypatch):
    folder, planes, (x, y) = field
    write_catalog(folder / "catalog.parquet", x[:3], y[:3])
    fits.PrimaryHDU(planes[0], header()).writeto(folder / "vis.fits")
    put(folder, s3_root)
    survey = FitsTiles("changing", "1", options(s3_root))
    [tile] = survey.tiles()
    of_rows = fits_parts._of_rows

    def replaced(*args):
        found = of_rows(*args)
        fits.PrimaryHDU(planes[0] + 1, header()).writeto(folder / "vis.fits", overwrite=True)
        put(folder, s3_root)
        return found

    monkeypatch.setattr(fits_parts, "_of_rows", replaced)
    with pytest.raises(ChangedError, match=r"vis.fits was replaced while the run was under way"):
        cut(local_store, survey, tile, size=16, defects=False)
