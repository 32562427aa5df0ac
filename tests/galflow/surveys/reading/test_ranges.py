"""Ranges of a file: what is fetched together, and that no byte is fetched twice, whatever is asked in which order."""

import io

import numpy as np
import pytest

from galflow.surveys.base import TileFile
from galflow.surveys.reading import ranges, transfers
from galflow.surveys.reading.ranges import RangedContent, RangeFile, cost, joined

CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()


class Asked:
    """A store that notes what it was asked for, and gives each byte once."""

    size = len(CONTENT)

    def __init__(self):
        self.requests = []
        self.given = np.zeros(len(CONTENT), bool)

    def fetch(self, wanted):
        for start, stop in wanted:
            assert 0 <= start < stop <= len(CONTENT)
            assert not self.given[start:stop].any(), "a byte was fetched twice"
            self.given[start:stop] = True
        self.requests += wanted
        return [CONTENT[start:stop] for start, stop in wanted]


@pytest.mark.parametrize(
    ("given", "gap", "expected"),
    [
        ([], 5, []),
        ([[3, 9]], 5, [[3, 9]]),
        ([[3, 9], [13, 20], [26, 30]], 5, [[3, 20], [26, 30]]),
        ([[0, 50], [10, 20], [54, 60], [70, 80]], 5, [[0, 60], [70, 80]]),
        ([[70, 80], [0, 5], [5, 8]], 1, [[0, 8], [70, 80]]),
    ],
)
def test_what_lies_closer_than_the_gap_is_one_range(given, gap, expected):
    assert joined(np.array(given, np.int64).reshape(-1, 2), gap).tolist() == expected


def test_cost_counts_requests():
    assert cost(np.array([[0, 10], [20, 25]])) == 15 + 2 * ranges.REQUEST_BYTES


@pytest.mark.parametrize("seed", range(5))
def test_any_reading_gives_the_bytes_and_fetches_none_twice(seed):
    rng, asked = np.random.default_rng(seed), Asked()
    content = RangedContent(len(CONTENT), asked.fetch)
    file = RangeFile(content)
    for _ in range(60):
        starts = np.sort(rng.integers(0, len(CONTENT) - 500, 4))
        content.prefetch(joined(np.stack([starts, starts + rng.integers(1, 500, 4)], axis=1), 64))
        start, count = int(rng.integers(0, len(CONTENT))), int(rng.integers(0, 3000))
        assert file.seek(start) == start == file.tell()
        assert file.read(count) == CONTENT[start : start + count]
        assert file.tell() == min(start + count, len(CONTENT))
    file.seek(-10, io.SEEK_END)
    assert file.read() == CONTENT[-10:]
    file.seek(0)
    assert file.read() == CONTENT
    assert asked.given.all()


def test_of_a_large_file_pixels_are_not_kept_but_headers_are(monkeypatch):
    monkeypatch.setattr(ranges, "_SMALL_FILE", 1000)
    monkeypatch.setattr(ranges, "_SMALL_PART", 100_000)
    monkeypatch.setattr(ranges, "_PART", 50_000)
    asked = Asked()
    content = RangedContent(len(CONTENT), asked.fetch)
    assert content.read(0, 2880) == CONTENT[:2880]
    assert content.read(2880, 290_000) == CONTENT[2880:290_000]
    assert content.read(100, 200) == CONTENT[100:200]
    assert asked.requests[0] == (0, 1 << 16)
    assert all(stop - start <= 50_000 for start, stop in asked.requests[1:])
    asked.given[:] = False
    assert content.read(100_000, 100_010) == CONTENT[100_000:100_010]  # it is fetched anew
    assert asked.given.any()


def test_what_several_bands_read_is_fetched_once(monkeypatch):
    monkeypatch.setattr(ranges, "_SMALL_FILE", 1000)
    monkeypatch.setattr(ranges, "_SMALL_PART", 1000)
    mask = [TileFile(f"mask/{band}", "s3://b/mask.fits", "etag:1") for band in "gr"]
    asked = Asked()
    with transfers.counted(mask) as moved:
        for _ in mask:
            content = transfers.content("s3://b/mask.fits", lambda: asked)
            assert content.read(0, len(CONTENT)) == CONTENT
    assert (moved.requests, moved.bytes_read, moved.file_bytes) == (2, len(CONTENT), len(CONTENT))
    assert moved.details("") == {
        "requests": 2, "bytes_read": len(CONTENT), "file_bytes": len(CONTENT), "read_whole": "",
    }  # fmt: skip


def test_a_file_of_which_each_part_is_read_once_is_not_kept():
    h5py = pytest.importorskip("h5py")
    stored = io.BytesIO()
    values = np.random.default_rng(3).integers(0, 255, (200, 4000), np.uint8)
    with h5py.File(stored, "w") as file:
        file.create_dataset("stamps", data=values, chunks=(10, 4000))
    packed, fetched = stored.getvalue(), []

    def fetch(ranges):
        fetched.append(sum(stop - start for start, stop in ranges))
        return [packed[start:stop] for start, stop in ranges]

    content = RangedContent(len(packed), fetch, forgets=True)
    with io.BufferedReader(RangeFile(content), 1 << 16) as opened, h5py.File(opened, "r") as file:
        np.testing.assert_array_equal(file["stamps"][50:60], values[50:60])
        assert sum(fetched) < len(packed) / 2
        np.testing.assert_array_equal(file["stamps"][:], values)
    before = len(fetched)
    assert content.read(0, 8) == packed[:8]
    assert len(fetched) == before + 1
