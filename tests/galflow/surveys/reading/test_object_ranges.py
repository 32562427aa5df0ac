"""A file of a real S3 server that is replaced while it is read: an error that names it, never bytes of both."""

import numpy as np
import pytest
import s3fs

from galflow.errors import ChangedError, StoreError
from galflow.surveys.reading.files import open_bytes, ranged_content, read_bytes
from galflow.surveys.reading.object_ranges import OpenedObject

pytestmark = pytest.mark.s3


def put(uri, seed, size=300_000):
    content = np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()
    s3fs.S3FileSystem(use_listings_cache=False).pipe_file(uri, content)
    return content


@pytest.mark.parametrize("ignored", [False, True], ids=["the store refuses", "the store ignores If-Match"])
def test_a_file_replaced_between_two_ranges_is_named(ignored, s3_root, monkeypatch):
    uri = f"{s3_root}/tile.fits"
    first = put(uri, 1)
    opened = OpenedObject(uri)
    assert opened.fetch([(0, 100), (250_000, 250_010)]) == [first[:100], first[250_000:250_010]]
    if ignored:
        call = s3fs.S3FileSystem._call_s3

        async def deaf(self, method, *args, **kwargs):
            kwargs.pop("IfMatch", None)
            return await call(self, method, *args, **kwargs)

        monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", deaf)
    put(uri, 2)
    with pytest.raises(ChangedError, match=r"tile\.fits was replaced while it was read: it was opened with etag \""):
        opened.fetch([(100, 200)])
    put(uri, 1)
    assert opened.fetch([(100, 200)]) == [first[100:200]], "the same bytes again are the same file"


@pytest.mark.parametrize("size", [300_000, 200_000, 400_000])
def test_readers_of_a_replaced_file_get_no_mixture(size, s3_root):
    uri = f"{s3_root}/catalog.parquet"
    first = put(uri, 1)
    with open_bytes(uri) as file:
        assert file.read(1000) == first[:1000]
        content = ranged_content(uri)
        second = put(uri, 2, size)
        file.seek(150_000)
        with pytest.raises(ChangedError, match=r"catalog\.parquet was replaced"):
            file.read(100_000)
    with pytest.raises(ChangedError, match=r"catalog\.parquet was replaced"):
        content.prefetch(np.array([[0, 50], [100_000, 100_050]]))
    assert read_bytes(uri) == second


def test_a_file_that_is_gone_is_named(s3_root):
    uri = f"{s3_root}/gone.fits"
    put(uri, 1)
    opened = OpenedObject(uri)
    s3fs.S3FileSystem(use_listings_cache=False).rm_file(uri)
    with pytest.raises(StoreError, match=r"gone\.fits does not exist"):
        opened.fetch([(0, 10)])
