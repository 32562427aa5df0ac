"""Everything that goes wrong with real data, at once, in one run: recorded, and the rest of the run intact."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from astropy.io import fits

import galflow as library
from galflow.cutouts.flags import NOT_SCORED, Flag
from galflow.spec.run import SurveySpec
from galflow.storage.receipts import Outcome, Receipt
from galflow.surveys.base import Survey, Tile
from galflow.surveys.resolve import open_survey

if TYPE_CHECKING:
    from conftest import Command, Finished, RunToItsEnd, WriteSpec

Here = Callable[..., tuple[int, str, str]]
PLAIN, TRUNCATED, ALL_NAN, LACKING, UNREADABLE, OTHER_PLAIN = (f"t{i:05d}" for i in range(6))
FAR_AWAY, NOWHERE = 7_000_000_000_000_000_001, 7_000_000_000_000_000_003
SCORES = ("kmeans_distance", "vae_neg_elbo", "vae_neg_elbo_sigma", "anomaly_score")
SIZE = 16


def synthetic() -> Survey:
    """The sky behind the FITS files."""
    options = {
        "tiles": 6,
        "tile_size": 192,
        "objects_per_tile": 30,
        "overlap_pixels": 16,
        "magnitude_range": [18.5, 21.5],
    }
    return open_survey(SurveySpec(kind="synthetic", options=options | {"anomaly_fraction": 0.0}))


def write_tile(folder: Path, survey: Survey, tile: Tile) -> None:
    footprint = survey.footprint(tile)
    assert footprint is not None
    assert footprint.wcs is not None
    header = footprint.wcs.to_header()
    for band in survey.bands:
        flux = survey.read(tile, band).flux.copy()
        if tile.name == ALL_NAN:
            flux[:] = np.nan
        path = folder / f"{tile.name}-{band}.fits"
        fits.PrimaryHDU(flux, header).writeto(path)
        if tile.name == UNREADABLE:
            path.write_bytes(b"")
    if tile.name == TRUNCATED:
        path = folder / f"{tile.name}-r.fits"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if tile.name == LACKING:
        (folder / f"{tile.name}-i.fits").unlink()


def write_survey(folder: Path) -> list[int]:
    """FITS tiles and a catalogue with every fault of the list; the ids of its rows, repeated ones included."""
    survey = synthetic()
    for tile in survey.tiles():
        write_tile(folder, survey, tile)
    catalog = survey.survey_catalog()
    assert catalog is not None
    rows = list(zip(*(catalog[n].to_pylist() for n in ("object_id", "ra_deg", "dec_deg", "magnitude")), strict=True))
    rows += [(FAR_AWAY, 10.0, -45.0, 20.0), (rows[0][0], rows[0][1], rows[0][2], 20.5), (NOWHERE, "", "", 21.0)]
    with (folder / "catalog.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["object_id", "ra_deg", "dec_deg", "magnitude"])
        writer.writerows(rows)
    return [int(row[0]) for row in rows]


@dataclass(frozen=True)
class Faulty:
    """The run over the faulty survey."""

    run: Finished
    ids: list[int]
    """Of the catalogue's rows."""
    spec: Path

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The published catalogue's rows, and those of planted copies."""
        return [*self.objects, *self.run.planted.to_pylist()]

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The published catalogue's rows."""
        return self.run.catalog.to_pylist()

    def in_tile(self, tile: str) -> list[dict[str, Any]]:
        """Those of one tile."""
        return [row for row in self.rows if row["tile"] == tile]

    def receipt(self, tile: str) -> Receipt:
        """Of a tile's cutouts."""
        (found,) = (r for r in self.run.receipts("cutouts") if r.details["tile"] == tile)
        return found


@pytest.fixture(scope="module")
def faulty(
    prefect_api: dict[str, str], run_to_its_end: RunToItsEnd, tmp_path_factory: pytest.TempPathFactory
) -> Faulty:
    """One run over a survey in which much is wrong."""
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "tiles").mkdir()
    ids = write_survey(folder / "tiles")
    options = {
        "root": str(folder / "tiles"),
        "bands": {band: f"{{tile}}-{band}.fits" for band in ("g", "r", "i")},
        "catalog": {"path": "catalog.csv"},
        "zero_point": 31.4,
        "background": "none",
    }
    document = {
        "name": "faulty",
        "survey": {"kind": "fits_tiles", "name": "sky", "options": options},
        "cutouts": {"size": SIZE, "plant": {"per_tile": 2}},
        "models": [
            {"name": "vae", "model": "vae.VAE", "options": {"latent": 4, "width": 8}},
            {"name": "kmeans", "model": "kmeans.KMeans"},
        ],
        "training": {"epochs": 2, "batch_size": 16, "reference_fraction": 0.3},
        "cluster": {"workers": 2},
        "output": {"top": 3},
    }
    run = run_to_its_end(folder, document, **prefect_api)
    return Faulty(run, ids, next(folder.glob("*.yaml")))


def test_the_run_ends_well_and_says_nothing_of_traces(faulty: Faulty) -> None:
    assert faulty.run.process.returncode == 0
    assert "Traceback" not in faulty.run.process.stdout + faulty.run.process.stderr


def test_no_row_of_the_catalogue_is_missing(faulty: Faulty) -> None:
    assert sorted(row["object_id"] for row in faulty.objects) == sorted(faulty.ids)
    assert not any(row["flags"] & Flag.PLANTED for row in faulty.objects)
    assert len(faulty.run.planted) == faulty.run.manifest.summary["planted"] > 0


def test_rows_have_all_scores_or_none_and_say_why(faulty: Faulty) -> None:
    for row in faulty.rows:
        present = [row[name] is not None for name in SCORES]
        assert present == [row["outcome"] == "scored"] * len(SCORES)
        # Only objects are ranked, each by its primary row: no planted copy.
        assert (row["anomaly_rank"] is not None) == (row["outcome"] == "scored" and row["is_primary"])
        # What a model has learnt from has no p, and no q.
        held_out = row["anomaly_rank"] is not None and row["split"] != "train"
        assert (row["anomaly_q"] is not None) == held_out
        assert row["split"] != "train" or row["vae_neg_elbo_p"] is None
        assert (row["outcome"] == "scored") == (not row["flags"] & NOT_SCORED)
        assert all(row[name] is None or np.isfinite(row[name]) for name in SCORES)


@pytest.mark.parametrize("tile", [PLAIN, OTHER_PLAIN])
def test_plain_tiles_are_intact(faulty: Faulty, tile: str) -> None:
    receipt = faulty.receipt(tile)
    rows = [r for r in faulty.in_tile(tile) if not r["flags"] & (Flag.EDGE | Flag.PLANTED | Flag.DUPLICATE_ID)]
    assert len(rows) > 10
    assert all(row["outcome"] == "scored" for row in rows)
    assert all(not row["flags"] & (Flag.BAND_MISSING | Flag.NON_FINITE | Flag.MISSING_PIXELS) for row in rows)
    # Its pixels are those of the sky that was written to the files.
    survey = synthetic()
    (written,) = (t for t in survey.tiles() if t.name == tile)
    cutouts = library.open_cutouts(faulty.run.store.uri(receipt.product))
    inner = np.flatnonzero((cutouts["flags"].values & int(Flag.EDGE | Flag.PLANTED)) == 0)
    for band in ("g", "i"):
        image = survey.read(written, band).flux
        for i in inner[:5]:
            row, column = (int(np.floor(float(cutouts[n].values[i]) + 0.5)) - SIZE // 2 for n in ("y_pixel", "x_pixel"))
            expected = image[row : row + SIZE, column : column + SIZE]
            np.testing.assert_allclose(cutouts["flux"].sel(band=band).values[i], expected, rtol=1e-3)


def test_truncated_band_is_missing_and_its_tile_goes_on(faulty: Faulty) -> None:
    receipt = faulty.receipt(TRUNCATED)
    assert receipt.outcome is Outcome.PARTIAL
    (reason,) = (r for r in receipt.reasons if r.startswith("band r: "))
    assert f"{TRUNCATED}-r.fits is truncated" in reason
    assert "fetch it again" in reason
    rows = [row for row in faulty.in_tile(TRUNCATED) if not row["flags"] & Flag.EDGE]
    assert rows
    assert all(row["flags"] & Flag.BAND_MISSING and row["outcome"] == "scored" for row in rows)


def test_missing_band_is_recorded(faulty: Faulty) -> None:
    receipt = faulty.receipt(LACKING)
    assert "band i: the tile has no such file" in receipt.reasons
    rows = [row for row in faulty.in_tile(LACKING) if not row["flags"] & Flag.EDGE]
    assert rows
    assert all(row["flags"] & Flag.BAND_MISSING and row["outcome"] == "scored" for row in rows)


def test_tile_of_nan_is_kept_without_scores(faulty: Faulty) -> None:
    rows = faulty.in_tile(ALL_NAN)
    assert len(rows) > 10
    assert {row["outcome"] for row in rows} == {"not scored: NO_DATA"}
    assert all(row["flags"] & Flag.NON_FINITE for row in rows)
    assert faulty.receipt(ALL_NAN).outcome is Outcome.PARTIAL


def test_unreadable_tile_is_empty_and_its_objects_lie_outside(faulty: Faulty) -> None:
    receipt = faulty.receipt(UNREADABLE)
    assert (receipt.outcome, receipt.rows) == (Outcome.EMPTY, 0)
    assert [reason[:8] for reason in receipt.reasons[:3]] == ["band g: ", "band r: ", "band i: "]
    assert f"{UNREADABLE}-g.fits" in receipt.reasons[0]
    assert not faulty.in_tile(UNREADABLE)


def test_object_outside_every_tile_is_kept(faulty: Faulty) -> None:
    (row,) = (r for r in faulty.rows if r["object_id"] == FAR_AWAY)
    assert (row["tile"], row["outcome"]) == ("outside", "not scored: NO_DATA, OUTSIDE")
    assert (row["ra"], row["dec"]) == (10.0, -45.0)


def test_object_without_a_position_is_kept(faulty: Faulty) -> None:
    (row,) = (r for r in faulty.rows if r["object_id"] == NOWHERE)
    assert row["outcome"] == "not scored: NO_DATA, NO_POSITION"
    assert row["ra"] is None


def test_repeated_id_is_scored_once(faulty: Faulty) -> None:
    repeated = faulty.ids[0]
    first, second = sorted((r for r in faulty.rows if r["object_id"] == repeated), key=lambda r: r["row"])
    assert first["outcome"] == "scored"
    assert second["outcome"] == "not scored: DUPLICATE_ID"
    assert "1 rows repeat an earlier row's object id" in faulty.receipt(first["tile"]).reasons


def test_report_shows_the_reasons(faulty: Faulty) -> None:
    manifest = faulty.run.manifest
    page = faulty.run.store.get(f"reports/{manifest.run}/provenance.html").decode()
    for text in (f"{TRUNCATED}-r.fits is truncated", "the tile has no such file", "not scored: NO_DATA, OUTSIDE",
                 "1 rows repeat an earlier row&#39;s object id", "not scored: NO_DATA",
                 f"{UNREADABLE}-g.fits"):  # fmt: skip
        assert text in page
    # The row that repeats an id is no object.
    assert manifest.summary["rows"] == len(faulty.objects) == manifest.summary["objects"] + 1
    assert manifest.summary["scored"] == sum(row["outcome"] == "scored" for row in faulty.objects)


def test_second_start_finds_the_faulty_survey_done(faulty: Faulty, here: Here) -> None:
    code, output, _ = here("run", str(faulty.spec), "--root", faulty.run.root)
    assert (code, "Nothing to do" in output) == (0, True)


def test_mended_tile_is_all_that_is_cut_anew(faulty: Faulty, here: Here) -> None:
    """The truncated file fetched again: its tile is to do, and what was learnt from it."""
    survey = synthetic()
    (tile,) = (t for t in survey.tiles() if t.name == TRUNCATED)
    path = faulty.spec.parent / "tiles" / f"{TRUNCATED}-r.fits"
    broken = path.read_bytes()
    try:
        header = survey.footprint(tile).wcs.to_header()  # type: ignore[union-attr]
        fits.PrimaryHDU(survey.read(tile, "r").flux, header).writeto(path, overwrite=True)
        code, output, _ = here("plan", str(faulty.spec), "--root", faulty.run.root, "--json")
    finally:
        path.write_bytes(broken)
    todo = {(u["stage"], u["name"]): u["why"] for u in json.loads(output)["units"] if not u["done"]}
    assert code == 0
    assert [name for stage, name in todo if stage == "ingest"] == [TRUNCATED]
    assert todo["ingest", TRUNCATED] == f"tile {TRUNCATED} changed"


def refusal(code: int, output: str, errors: str) -> str:
    """The one line that a command says when the store refuses it."""
    assert code == 1
    assert "Traceback" not in output + errors
    (line,) = (text for text in errors.splitlines() if text.strip())
    assert line.startswith("error: ")
    return line


def test_store_that_cannot_be_written(here: Here, story: dict[str, Any], write_spec: WriteSpec, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    line = refusal(*here("run", str(write_spec(story)), "--root", str(tmp_path / "file" / "store")))
    assert str(tmp_path / "file" / "store") in line
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.mark.full
@pytest.mark.s3
def test_s3_with_wrong_credentials(
    galflow: Command, s3_root: str, s3_server: Any, story: dict[str, Any], write_spec: WriteSpec
) -> None:
    secret = "a-secret-that-is-wrong"
    ended = galflow("run", str(write_spec(story)), "--root", s3_root, AWS_SECRET_ACCESS_KEY=secret)
    line = refusal(ended.returncode, ended.stdout, ended.stderr)
    assert s3_root in line
    assert "AWS_SECRET_ACCESS_KEY" in line
    assert secret not in line
    assert s3_server.secret_key not in line
