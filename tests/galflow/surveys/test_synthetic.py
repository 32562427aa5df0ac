from __future__ import annotations

import pickle

import numpy as np
import pytest
from pydantic import ValidationError

from galflow.errors import DataError, SpecError
from galflow.surveys.drawing.anomalies import KINDS
from galflow.surveys.synthetic import Synthetic
from galflow.surveys.synthetic_options import SyntheticOptions


def survey(**options: object) -> Synthetic:
    small: dict[str, object] = {"tile_size": 192, "objects_per_tile": 10, "anomaly_fraction": 0.0}
    return Synthetic("synthetic", "1", SyntheticOptions.model_validate(small | options))


def test_two_instances_give_the_same_pixels_and_a_copy_survives_pickling() -> None:
    one, two = survey(), pickle.loads(pickle.dumps(survey()))
    for a, b in zip(one.tiles(), two.tiles(), strict=True):
        assert a == b
        np.testing.assert_array_equal(one.read(a, "r").flux, two.read(b, "r").flux)


def test_the_noise_is_what_the_inverse_variance_says() -> None:
    made = survey(sky_sigma_njy=(10.0, 12.0, 15.0))
    tile = made.tiles()[0]
    for band, sigma in zip(made.bands, (10.0, 12.0, 15.0), strict=True):
        image = made.read(tile, band)
        residual = image.flux - made.truth_image(tile, band)
        assert residual.std() == pytest.approx(sigma, rel=0.02)
        assert image.ivar is not None
        np.testing.assert_allclose(image.ivar, sigma**-2, rtol=1e-6)
        assert residual.mean() == pytest.approx(0.0, abs=0.3)
    assert survey(give_ivar=False).read(tile, "g").ivar is None


def test_galaxies_lie_where_and_are_as_bright_as_the_truth_says() -> None:
    made = survey(tiles=1, magnitude_range=(19.0, 20.0), objects_per_tile=5, overlap_pixels=0, catalog="tile_truth")
    tile = made.tiles()[0]
    truth, light = made.catalog(tile).to_pydict(), made.truth_image(tile, "i")
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    compared = 0
    for row in range(len(truth["x"])):
        cx, cy = truth["x"][row], truth["y"][row]
        away = np.hypot(np.array(truth["x"]) - cx, np.array(truth["y"]) - cy)
        if min(cx, cy, 191 - cx, 191 - cy) < 22 or np.sort(away)[1] < 60:
            continue
        near = np.hypot(y - cy, x - cx) < 22
        flux = light[near].sum()
        assert -2.5 * np.log10(flux / 3631e9) == pytest.approx(truth["magnitude"][row], abs=0.12)
        assert (light * x)[near].sum() / flux == pytest.approx(cx, abs=0.4)
        assert (light * y)[near].sum() / flux == pytest.approx(cy, abs=0.4)
        compared += 1
    assert compared >= 2


def test_an_object_in_the_overlap_is_in_both_tiles_at_one_place_on_the_sky() -> None:
    made = survey(overlap_pixels=90, objects_per_tile=30, anomaly_fraction=0.5, catalog="tile_truth")
    left, right = (made.catalog(tile).to_pylist() for tile in made.tiles())
    shared = {row["object_id"] for row in left} & {row["object_id"] for row in right}
    assert len(shared) >= 5
    by_id = {row["object_id"]: row for row in right}
    for row in left:
        if row["object_id"] in shared:
            other = by_id[row["object_id"]]
            assert row["ra_deg"] == other["ra_deg"]
            assert row["x"] - other["x"] == pytest.approx(192 - 90)
    first, second = made.tiles()
    np.testing.assert_allclose(
        made.truth_image(first, "i")[:, 102:], made.truth_image(second, "i")[:, :90], rtol=1e-4, atol=1e-3
    )
    assert not np.array_equal(made.read(first, "i").flux[:, 102:], made.read(second, "i").flux[:, :90])


def test_the_sky_positions_are_those_of_the_wcs() -> None:
    made = survey()
    everything = made.survey_catalog()
    assert everything is not None
    assert min(everything["object_id"].to_pylist()) > 2**53
    assert len(set(everything["object_id"].to_pylist())) == len(everything)
    found = set()
    for tile in made.tiles():
        footprint, rows = made.footprint(tile), made.catalog(tile)
        assert footprint.wcs is not None
        x, y = footprint.wcs.all_world2pix(rows["ra_deg"].to_numpy(), rows["dec_deg"].to_numpy(), 0)
        np.testing.assert_allclose(x, rows["x"].to_numpy(), atol=1e-5)
        np.testing.assert_allclose(y, rows["y"].to_numpy(), atol=1e-5)
        assert made.read(tile, "g").wcs is not None
        found |= set(rows["object_id"].to_pylist())
    assert found == set(everything["object_id"].to_pylist())


def test_a_larger_survey_holds_the_smaller_one_unchanged() -> None:
    small, large = survey(tiles=2), survey(tiles=3)
    assert small.tiles() == large.tiles()[:2]
    last = small.tiles()[1]
    np.testing.assert_array_equal(small.read(last, "r").flux, large.read(last, "r").flux)


def test_a_revision_changes_the_tile_it_names_and_no_other() -> None:
    before, after = survey(), survey(revision={"t00001": 1})
    (a0, a1), (b0, b1) = before.tiles(), after.tiles()
    assert a0.identity == b0.identity
    assert a1.identity != b1.identity
    assert before.options.content() == after.options.content()
    np.testing.assert_array_equal(before.read(a0, "r").flux, after.read(b0, "r").flux)
    assert not np.array_equal(before.read(a1, "r").flux, after.read(b1, "r").flux)
    with pytest.raises(SpecError, match="revision names the tile 't00002'; the tiles are t00000 to t00001"):
        survey(revision={"t00002": 1})


def test_anomalies_are_painted_over_the_objects_that_the_truth_names() -> None:
    options = {"objects_per_tile": 25, "tiles": 1, "tile_size": 320, "overlap_pixels": 0, "catalog": "tile_truth"}
    plain, odd = survey(**options), survey(**options, anomaly_fraction=0.6, anomaly_side=32)
    truth = odd.catalog(odd.tiles()[0])
    kinds = truth["anomaly"].to_pylist()
    assert set(kinds) <= {"", *KINDS}
    assert 8 <= sum(kind != "" for kind in kinds) <= 22
    change = np.abs(odd.read(odd.tiles()[0], "i").flux - plain.read(plain.tiles()[0], "i").flux)
    for band in ("g", "r"):
        change += np.abs(odd.read(odd.tiles()[0], band).flux - plain.read(plain.tiles()[0], band).flux)
    rows = list(zip(truth["x"].to_pylist(), truth["y"].to_pylist(), kinds, strict=True))
    for x, y, kind in rows:
        if kind:
            near = change[max(0, round(y) - 16) : round(y) + 16, max(0, round(x) - 16) : round(x) + 16]
            assert near.max() > 40.0, kind
    untouched = np.ones(change.shape, bool)
    for x, y, kind in rows:
        if kind:
            untouched[max(0, round(y) - 16) : round(y) + 16, max(0, round(x) - 16) : round(x) + 16] = False
    # Galaxies whose centre lies just off the tile may have anomalies too: look away from the sides.
    inner = np.zeros_like(untouched)
    inner[:, 40:-40] = untouched[:, 40:-40]
    assert inner.sum() > 5000
    assert change[inner].max() == 0.0


def test_its_own_detection_finds_the_bright_galaxies() -> None:
    made = survey(catalog="detect", magnitude_range=(19.0, 21.0), tiles=1)
    tile = made.tiles()[0]
    assert made.survey_catalog() is None
    found = made.catalog(tile)
    truth = survey(catalog="tile_truth", magnitude_range=(19.0, 21.0), tiles=1).catalog(tile)
    inside = [
        (x, y) for x, y in zip(truth["x"].to_pylist(), truth["y"].to_pylist(), strict=True) if min(x, y, 191 - x) > 5
    ]
    distance = np.hypot(
        np.subtract.outer([x for x, _ in inside], found["x"].to_numpy()),
        np.subtract.outer([y for _, y in inside], found["y"].to_numpy()),
    )
    assert (distance.min(axis=1) < 2.0).mean() > 0.85
    assert "flux_i" in found.column_names


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValidationError, match="sky_sigma_njy has 2 numbers; give one, or 3"):
        survey(sky_sigma_njy=(1.0, 2.0))
    with pytest.raises(ValidationError, match="overlap_pixels is 96; give less than half of tile_size"):
        survey(overlap_pixels=96)
    with pytest.raises(ValidationError, match="anomaly kind 'comet' is unknown"):
        survey(anomaly_kinds=("comet",))
    with pytest.raises(ValidationError, match="magnitude_range is"):
        survey(magnitude_range=(23.0, 19.0))
    made = survey()
    with pytest.raises(DataError, match="synthetic has no band 'z'; its bands are g, r, i"):
        made.read(made.tiles()[0], "z")


@pytest.mark.parametrize(
    ("catalog", "joins", "detects"), [("truth", False, False), ("tile_truth", True, False), ("detect", True, True)]
)
def test_whether_rows_of_two_tiles_may_be_one_object(catalog: str, joins: bool, detects: bool) -> None:
    made = Synthetic("s", "1", SyntheticOptions.model_validate({"catalog": catalog}))
    assert (made.joins_tiles, made.detects) == (joins, detects)


def test_arms_leave_the_catalogue_as_it_is_and_no_arms_leave_earlier_products() -> None:
    smooth, spiral = survey(), survey(arms=0.6)
    tile, other = smooth.tiles()[0], spiral.tiles()[0]
    assert tile.identity != other.identity
    assert "arms" not in smooth.options.content()
    assert spiral.options.content()["arms"] == 0.6
    assert smooth.survey_catalog().equals(spiral.survey_catalog())  # type: ignore[union-attr]
    one, two = smooth.read(tile, "r").flux, spiral.read(other, "r").flux
    assert not np.array_equal(one, two)
    assert two.sum() == pytest.approx(one.sum(), rel=0.05)
