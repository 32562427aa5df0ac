"""A selection while a tile is cut: exactly what it takes is in the set, and the receipt counts the rest by reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from galflow.cutouts.cut import CUTOUTS_VERSION, cutouts_fingerprint
from galflow.cutouts.flags import Flag, has_flag
from galflow.spec.run import CutoutSpec, fingerprint
from galflow.spec.selection import SelectionSpec
from galflow.storage.receipts import Outcome
from galflow.storage.store import Store
from galflow.surveys.base import Image, Psf, Survey
from galflow.surveys.reading.selection import LeftOut, with_left_out
from tests.galflow.cutouts.conftest import Cut, MakeSurvey

SIDE, STEP, SIGMA_STAR = 320, 32, 1.6


@pytest.fixture
def field(array_survey: MakeSurvey, catalog: Callable[..., pa.Table], image: Callable[..., Image]) -> Survey:
    """81 bright sources, each third of them a star, with a magnitude that the tenth lacks and an id given twice."""
    rng = np.random.default_rng(3)
    y, x = (axis.ravel() for axis in np.mgrid[STEP:SIDE:STEP, STEP:SIDE:STEP])
    rows, columns = np.mgrid[:SIDE, :SIDE]
    flux = rng.normal(0, 1, (SIDE, SIDE))
    for i in range(len(x)):
        sigma = SIGMA_STAR * (1.0 if i % 3 == 0 else rng.uniform(1.5, 3.0))
        flux += 4000 / sigma**2 * np.exp(-0.5 * ((columns - x[i]) ** 2 + (rows - y[i]) ** 2) / sigma**2)
    mag = np.linspace(18, 26, len(x))
    mag[9] = np.nan
    ids = np.arange(1, len(x) + 1)
    ids[1] = ids[0]
    psf = Psf(None, fwhm_arcsec=2.3548 * SIGMA_STAR * 0.2)
    return array_survey({"r": image(flux, psf=psf)}, catalog(x, y, ids, mag=mag, flags=np.arange(len(x)) % 4))


def selecting(survey: Survey, **select: Any) -> Survey:
    survey.selection = SelectionSpec.model_validate(select)
    return survey


def test_what_is_cut_and_what_is_counted_is_the_whole_catalogue(field: Survey, cut: Cut, local_store: Store) -> None:
    rules = [{"name": "too faint", "rule": "mag < 22"}, "flags & 2 == 0 and object_id != 5"]
    cutouts, receipt = cut(local_store, selecting(field, where=rules), size=16)
    table = field.catalog(field.tiles()[0]).to_pandas()
    wanted = table[(table.mag < 22) & (table["flags"] & 2 == 0) & (table.object_id != 5)]
    assert cutouts.read("object_id").tolist() == wanted.object_id.tolist()
    np.testing.assert_array_equal(cutouts.read("x_pixel"), wanted.x)
    told = LeftOut.from_json(receipt.details["selection"])
    assert receipt.rows + told.total == told.rows == len(table)
    assert list(told.reasons) == ["mag is missing", "too faint", "flags & 2 == 0 and object_id != 5"]
    assert told.reasons["mag is missing"] == (1, 1)
    assert told.reasons["too faint"] == ((table.mag >= 22).sum(),) * 2
    assert receipt.reasons == ("1 rows repeat an earlier row's object id",), "what is left out is nothing lost"


@pytest.mark.parametrize("stars", ["drop", "keep"])
def test_stars_are_told_by_their_size_before_anything_is_cut(
    stars: str, field: Survey, cut: Cut, local_store: Store
) -> None:
    everything, _ = cut(local_store, field, size=16)
    star = has_flag(everything.read("flags"), Flag.STAR)
    assert star.sum() > 20
    assert (np.flatnonzero(star) % 3 == 0).all()
    cutouts, receipt = cut(local_store, selecting(field, where=["mag < 25 or mag is null"], stars=stars), size=16)
    mag = field.catalog(field.tiles()[0])["mag"].to_numpy()
    bright = ~(mag >= 25)
    wanted = (star if stars == "keep" else ~star) & bright
    np.testing.assert_array_equal(cutouts.read("object_id"), everything.read("object_id")[wanted])
    flagged = has_flag(cutouts.read("flags"), Flag.STAR)
    assert flagged.all() if stars == "keep" else not flagged.any(), "by the stars of the whole tile"
    told = LeftOut.from_json(receipt.details["selection"])
    name, out = ("no star by its size", ~star) if stars == "keep" else ("a star by its size", star)
    assert told.reasons[name] == ((out & bright).sum(), out.sum())
    assert receipt.rows + told.total == told.rows == len(mag)


def test_where_nobody_can_tell_stars_it_is_said(
    array_survey: MakeSurvey, catalog: Callable[..., pa.Table], image: Callable[..., Image], cut: Cut,
    local_store: Store,
) -> None:  # fmt: skip
    flux = np.random.default_rng(0).normal(0, 1, (64, 64))
    survey = selecting(array_survey({"r": image(flux)}, catalog([20, 40], [20, 40])), stars="drop")
    cutouts, receipt = cut(local_store, survey, size=16)
    assert len(cutouts) == 2
    assert "neither a PSF nor enough stars show how large a star is here, so none was left out" in str(
        receipt.details["doubts"]
    )


def test_a_row_repeats_an_id_only_if_the_earlier_one_is_there(field: Survey, cut: Cut, local_store: Store) -> None:
    whole, _ = cut(local_store, field, size=16)
    assert has_flag(whole.read("flags"), Flag.DUPLICATE_ID).sum() == 1
    chosen, _ = cut(local_store, selecting(field, where=["flags == 1"]), size=16)
    assert chosen.read("object_id")[0] == 1
    assert not has_flag(chosen.read("flags"), Flag.DUPLICATE_ID).any()


def test_a_tile_that_lacks_the_column_is_recorded_with_the_reason(field: Survey, cut: Cut, local_store: Store) -> None:
    cutouts, receipt = cut(local_store, selecting(field, where=["magn < 22"]), size=16)
    assert len(cutouts) == 0
    assert receipt.outcome is Outcome.EMPTY
    (reason,) = receipt.reasons
    assert reason.startswith("selection: there is no column 'magn'; did you mean mag?")


def test_a_selection_that_leaves_nothing_says_so(field: Survey, cut: Cut, local_store: Store) -> None:
    _, receipt = cut(local_store, selecting(field, where=["mag < 3"]), size=16)
    assert receipt.reasons == ("the selection leaves no object in this tile",)
    assert receipt.details["selection"]["rows"] == 81


def test_what_was_left_out_of_the_whole_catalogue_is_told_with_one_tiles_rows(
    field: Survey, cut: Cut, local_store: Store
) -> None:
    rows = field.catalog(field.tiles()[0])
    rows = rows.append_column("repeated_id", pa.array(np.zeros(len(rows), bool)))
    before = LeftOut(1000, {"too faint": (919, 950)})
    _, receipt = cut(local_store, selecting(field, stars="drop"), rows=with_left_out(rows, before), size=16)
    told = LeftOut.from_json(receipt.details["selection"])
    assert told.rows == 1000
    assert list(told.reasons) == ["too faint", "a star by its size"]
    assert receipt.rows + told.total == 1000


def test_only_a_selection_changes_the_fingerprint(field: Survey) -> None:
    tile, spec = field.tiles()[0], CutoutSpec()
    plain = cutouts_fingerprint(field, tile, spec)
    content = ["ArraySurvey", "1", {}, "arrays", tile.identity, ["r"], spec, None]
    assert plain == fingerprint(CUTOUTS_VERSION, *content), "nothing of a selection that is not there"
    found = {plain}
    for select in ({"where": ["mag < 22"]}, {"where": ["mag < 23"]}, {"stars": "drop"}):
        found.add(cutouts_fingerprint(selecting(field, **select), tile, spec))
    assert len(found) == 4
    rows = field.catalog(tile)
    counted = (with_left_out(rows, LeftOut(n, {"too faint": (n - 81, n - 81)})) for n in (100, 101))
    assert len({cutouts_fingerprint(field, tile, spec, table) for table in (rows, *counted)}) == 3
