from __future__ import annotations

import csv
import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from galflow.errors import DataError
from galflow.surveys.reading.near_duplicates import NO_HASH, image_hashes, image_vectors, near_duplicate_groups

DATA = Path(os.environ.get("GALFLOW_DATA", Path(__file__).parents[5] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real data are absent: {DATA} (set GALFLOW_DATA)")


def hashes_of(flux: np.ndarray) -> np.ndarray:
    return image_hashes(flux, np.isfinite(flux))


def groups_of(flux: np.ndarray, max_distance: int = 5) -> np.ndarray:
    seen = np.isfinite(flux)
    return near_duplicate_groups(image_hashes(flux, seen), max_distance, image_vectors(flux, seen))


def galaxies(count: int, noise: float, seed: int) -> np.ndarray:
    """(n, 1, 32, 32) elliptical profiles of many sizes, shapes and angles."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((32, 32)) - 15.5
    size, ratio, angle, power = (
        rng.uniform(low, high, (count, 1, 1)) for low, high in ((1.5, 6.0), (0.3, 1.0), (0.0, np.pi), (0.7, 1.5))
    )
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    radius = np.sqrt(along**2 * ratio + across**2 / ratio) / size
    light = np.exp(-(radius ** (1 / power))) + noise * rng.normal(size=(count, 32, 32))
    return light[:, None].astype(np.float32)


def test_an_offset_or_a_factor_changes_nothing_and_a_turn_does() -> None:
    flux = galaxies(50, 0.05, 1)
    base = hashes_of(flux)
    assert np.bitwise_count(hashes_of(3.7 * flux + 12.5) ^ base).max() <= 1
    for other in (flux[:, :, ::-1], flux[:, :, :, ::-1], np.rot90(flux, axes=(2, 3)), -flux):
        assert np.bitwise_count(hashes_of(other) ^ base).mean() > 15


def test_images_without_structure_are_never_in_a_group() -> None:
    flux = np.full((6, 2, 20, 20), 7.25, np.float32)
    flux[2] = np.nan
    flux[3] = 0.0
    assert (hashes_of(flux) == NO_HASH).all()
    assert groups_of(flux).tolist() == list(range(6))
    assert near_duplicate_groups(hashes_of(flux)).tolist() == list(range(6))
    assert near_duplicate_groups(np.array([], np.uint64)).tolist() == []


def test_pixels_that_are_missing_are_no_data() -> None:
    flux = galaxies(10, 0.05, 2)
    seen = np.ones_like(flux, bool)
    seen[:, :, :2] = False
    holes = np.where(seen, flux, np.float32(1e9))
    np.testing.assert_array_equal(image_hashes(holes, seen), image_hashes(np.where(seen, flux, np.nan), seen))


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.01, 0.1, 10.0])
def test_copies_are_found_and_other_galaxies_are_not(noise: float) -> None:
    flux = galaxies(600, noise, 3)
    copies = 1.3 * flux[:100] + 0.2 + 0.1 * noise * np.random.default_rng(4).normal(size=flux[:100].shape)
    groups = groups_of(np.concatenate([flux, copies.astype(np.float32)]))
    assert (groups[:600] == np.arange(600)).all()
    assert (groups[600:] == np.arange(100)).mean() > 0.95


def test_noise_does_not_group() -> None:
    noise = np.random.default_rng(5).normal(size=(10_000, 1, 32, 32)).astype(np.float32)
    assert (near_duplicate_groups(hashes_of(noise)) == np.arange(10_000)).all()


@pytest.mark.parametrize("max_distance", [0, 1, 3, 5, 15])
def test_all_pairs_within_the_distance_are_found(max_distance: int) -> None:
    rng = np.random.default_rng(6)
    base = rng.integers(0, 2**63, 30, dtype=np.uint64)
    flips = [
        np.uint64(sum(1 << int(b) for b in rng.choice(64, int(k), replace=False))) for k in rng.integers(0, 9, 300)
    ]
    hashes = base[rng.integers(0, 30, 300)] ^ np.array(flips)
    label = np.arange(300)
    for _ in range(300):  # the same by comparing all
        near = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= max_distance
        label = np.where(near, label[None], 300).min(axis=1)
    np.testing.assert_array_equal(near_duplicate_groups(hashes, max_distance), label)


def test_many_hashes_take_seconds() -> None:
    rng = np.random.default_rng(7)
    hashes = rng.integers(0, 2**63, 100_000, dtype=np.uint64)
    hashes[50_000:50_500] = hashes[:500] ^ np.uint64(0b1001)
    hashes[60_000:80_000] = hashes[1000]  # equal ones are no burden
    start = time.perf_counter()
    groups = near_duplicate_groups(hashes)
    assert time.perf_counter() - start < 20
    assert (groups[50_000:50_500] == np.arange(500)).all()
    assert (groups[60_000:80_000] == 1000).all()


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match="max_distance is 16; expected 0 to 15"):
        near_duplicate_groups(np.zeros(2, np.uint64), 16)
    with pytest.raises(DataError, match="1 vectors were given for 2 hashes"):
        near_duplicate_groups(np.zeros(2, np.uint64), 3, np.zeros((1, 1024), np.float16))
    with pytest.raises(DataError, match=r"flux has shape .* expected both \(object, band, y, x\)"):
        image_hashes(np.zeros((2, 8, 8)), np.ones((2, 8, 8), bool))


@needs_data
@pytest.mark.parametrize(("survey", "true_pairs"), [("sloan", 0), ("illustris", 12)])
def test_galaxy_zoo_duplicates_and_recompressed_copies(survey: str, true_pairs: int) -> None:
    """All labelled pairs, no other; distance and bounds were chosen on the SDSS half."""
    with open(DATA / "galaxyzoo_labels.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["survey"] == survey]
    pictures = [Picture.open(DATA / f"galaxyzoo_{survey}" / row["file"]).convert("RGB") for row in rows]

    def cutouts(images: list[Picture.Image]) -> np.ndarray:
        return np.stack([cutout(np.asarray(image, np.float32)) for image in images])

    def cutout(pixels: np.ndarray) -> np.ndarray:
        top, left = pixels.shape[0] // 2 - 128, pixels.shape[1] // 2 - 128
        blocks = pixels[top : top + 256, left : left + 256].reshape(32, 8, 32, 8, 3)
        return np.moveaxis(blocks.mean(axis=(1, 3)), 2, 0)

    def recompressed(image: Picture.Image) -> Picture.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=60)
        return Picture.open(buffer)

    def pairs(groups: np.ndarray) -> np.ndarray:
        return np.triu(groups[:, None] == groups[None], 1)

    flux = cutouts(pictures)
    true = pairs(np.array([int(row["group"]) for row in rows]))
    assert true.sum() == true_pairs
    np.testing.assert_array_equal(pairs(groups_of(flux)), true)
    again = groups_of(np.concatenate([flux, cutouts([recompressed(picture) for picture in pictures])]))
    assert (again[: len(rows)] == again[len(rows) :]).mean() > 0.9
