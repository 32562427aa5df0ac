"""What the explorer answers over HTTP, and whom it refuses."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from PIL import Image

from flows.gate import Gate, own_names
from galflow.explore.explored import ExploredRun
from galflow.explore.reconstructions import Reconstructions
from galflow.explore.service import create_app
from tests.galflow.explore.conftest import COUNT, EACH, FIRST_ID, MODEL, PICTURED, RUN, SCRIPT, SIDE

TOKEN, PAGE = "t" * 20, "http://127.0.0.1:4321"
Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def ask(local_run: ExploredRun) -> Ask:
    app = Gate(create_app(local_run, TOKEN), PAGE, own_names(4321))

    def asked(path: str, method: str = "GET", headers: dict[str, str] | None = None, **words: Any) -> httpx.Response:
        async def go() -> httpx.Response:
            given = {"Authorization": f"Bearer {TOKEN}"} if headers is None else headers
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=PAGE, headers=given) as client:
                return await client.request(method, path, **words)

        return asyncio.run(go())

    return asked


def test_who_has_no_token_or_another_origin_or_name_is_refused(ask: Ask) -> None:
    token = {"Authorization": f"Bearer {TOKEN}"}
    for path in ("/api/schema", "/api/rows", "/api/sprite.png?row=1", "/api/export?format=csv"):
        assert ask(path, headers={}).status_code == 401
        assert ask(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert ask(path, headers=token | {"Origin": "http://evil.example"}).status_code == 403
        assert ask(path, headers=token | {"Host": "evil.example"}).status_code == 403
        assert ask(path, headers=token | {"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert ask(path).status_code == 200
    assert ask("/api/selections", "POST", headers={}, json={}).status_code == 401


def test_pages_hold_nothing_of_the_run_and_run_no_script_but_their_own(ask: Ask) -> None:
    for path in ("/", "/table.html", "/map.html", "/object.html"):
        page = ask(path, headers={})
        assert page.status_code == 200
        assert "script-src 'self';" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        assert str(FIRST_ID) not in page.text
        assert "alert(1)" not in page.text
    assert ask("/nothing.html").status_code == 404
    assert ask("/site.js").headers["content-type"].startswith("text/javascript")


def test_the_schema_says_what_the_pages_need(ask: Ask) -> None:
    said = ask("/api/schema").json()
    assert (said["run"], said["rows"], said["bands"], said["magnitude"]) == (RUN, COUNT, ["g", "r"], "mag_r")
    assert said["scores"][0] == "anomaly_score_sigma"
    assert said["classes"] == ["artefact", "galaxy", "star"]
    assert said["tiles"] == ["t0", "t1"]
    kinds = {column["name"]: column["kind"] for column in said["columns"]}
    assert (kinds["flags"], kinds["triage"], kinds["mag_r"], kinds["is_primary"]) == (
        "flag",
        "text",
        "number",
        "boolean",
    )
    edges, counts = said["distributions"]["edges"], said["distributions"]["counts"]["anomaly_score_sigma"]
    assert len(counts) == len(edges) + 1
    assert sum(counts) == COUNT


def test_pages_of_rows_are_filtered_sorted_and_exact(ask: Ask) -> None:
    found = ask("/api/rows", params={"order": "anomaly_rank", "limit": 3, "offset": 2}).json()
    assert found["total"] == COUNT
    assert [row["object_id"] for row in found["rows"]] == [str(FIRST_ID + i) for i in (2, 3, 4)]  # exact, as text
    falling = {"order": "mag_r", "descending": True}
    faint = ask("/api/rows", params={"where": "mag_r > 20 and flags & 1 == 0"} | falling).json()
    magnitudes = [row["mag_r"] for row in faint["rows"]]
    assert 0 < faint["total"] < COUNT
    assert magnitudes == sorted(magnitudes, reverse=True)
    assert min(magnitudes) > 20
    last = ask("/api/rows", params=falling | {"offset": COUNT - 6}).json()["rows"]
    assert [row["mag_r"] for row in last] == [None] * 6  # what is missing comes last either way
    chosen = ask("/api/rows", params={"column": ["ra"], "limit": 1}).json()["rows"][0]
    assert set(chosen) == {"_row", "ra"}


def test_text_and_cone_find_objects(ask: Ask) -> None:
    assert ask("/api/rows", params={"text": "m17"}).json()["total"] == 1
    assert ask("/api/rows", params={"text": str(FIRST_ID + 3)}).json()["total"] == 1
    assert ask("/api/rows", params={"text": "T1"}).json()["total"] == EACH
    row = ask(f"/api/objects/{FIRST_ID + 7}").json()["row"]
    near = ask("/api/rows", params={"cone": f"{row['ra']},{row['dec']},0.0001"}).json()
    assert row["object_id"] in [one["object_id"] for one in near["rows"]]
    assert near["total"] < 5
    assert ask("/api/rows", params={"cone": "1,2"}).status_code == 400


def test_what_is_wrong_is_said(ask: Ask) -> None:
    for words, said in (
        ({"where": "magg < 2"}, "did you mean mag_r"),
        ({"where": "mag_r <"}, "at its end"),
        ({"order": "nothing"}, "there is no column 'nothing'"),
        ({"limit": 100_000}, "at most 1000"),
        ({"lasso": '{"x": "ra", "y": "dec", "points": [[1, 2]]}'}, "3 to 500"),
        ({"lasso": '{"x": "tile", "y": "dec", "points": [[1, 2], [3, 4], [5, 6]]}'}, "has no numbers"),
    ):
        answer = ask("/api/rows", params=words)
        assert answer.status_code == 400
        assert said in answer.json()["error"]
    assert "has no object" in ask("/api/objects/5").json()["error"]
    assert "no object id" in ask("/api/objects/five").json()["error"]


def test_strings_with_script_in_them_stay_text(ask: Ask) -> None:
    answer = ask(f"/api/objects/{FIRST_ID}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["row"]["source_name"] == SCRIPT
    found = ask("/api/rows", params={"where": f"source_name == '{SCRIPT}'"}).json()
    assert found["total"] == 1


def test_a_map_counts_all_rows_and_a_lasso_selects_those_within(ask: Ask) -> None:
    found = ask("/api/points", params={"x": "ra", "y": "dec", "colour": "anomaly_score_sigma", "cells": 8}).json()
    counts = np.frombuffer(base64.b64decode(found["counts"]), "<u4")
    assert counts.sum() == found["count"] == COUNT == len(found["ids"])
    assert found["whole"]
    lasso = {"x": "ra", "y": "dec", "points": [[149, 1], [150.5, 1], [150.5, 3], [149, 3]]}
    assert ask("/api/selections", "POST", json=lasso).json() == {"rows": EACH}
    some = {"where": "flags & 1 == 0"}
    assert ask("/api/selections", "POST", json=lasso, params=some).json() == {"rows": EACH // 2}
    within = {"lasso": json.dumps(lasso)}
    assert ask("/api/rows", params=within | {"where": "flags & 1 == 0"}).json()["total"] == EACH // 2
    part = ask("/api/points", params={"x": "ra", "y": "dec", **within}).json()
    assert part["count"] == EACH
    assert ask("/api/points", params={"x": "tile", "y": "dec"}).status_code == 400


def test_pictures_come_alone_and_side_by_side(ask: Ask) -> None:
    one = Image.open(io.BytesIO(ask(f"/api/objects/{FIRST_ID}/cutout.png").content))
    assert one.size == (16, 16)
    rows = [0, EACH + 1, 3]
    sheet = np.asarray(Image.open(io.BytesIO(ask("/api/sprite.png", params={"row": rows, "side": 16}).content)))
    assert sheet.shape == (16, 160, 4)
    np.testing.assert_array_equal(sheet[:, :16, :3], np.asarray(one))
    assert (sheet[:, 16:32, 3] == 0).all()  # without a cutout: transparent
    assert sheet[:, 32:48, :3].max() > 200
    said = ask(f"/api/objects/{FIRST_ID}/pixels").json()["pixels"]
    assert (said["bands"], said["width"], said["to_north"]) == (["g", "r"], 16, 0.0)
    assert ask(f"/api/objects/{FIRST_ID + EACH + 1}/pixels").json() == {"pixels": None}
    assert ask(f"/api/objects/{FIRST_ID + EACH + 1}/cutout.png").status_code == 400
    assert ask("/api/sprite.png", params={"row": [COUNT]}).status_code == 400


def test_an_object_is_found_in_an_order(ask: Ask) -> None:
    words = {"order": "anomaly_rank", "where": "flags & 1 == 0"}
    assert ask(f"/api/objects/{FIRST_ID + 8}/place", params=words).json() == {"place": 4}
    assert ask(f"/api/objects/{FIRST_ID + 9}/place", params=words).json() == {"place": -1}


@pytest.mark.parametrize("kind", ["parquet", "fits", "votable", "csv"])
def test_a_selection_is_taken_along_as_a_table(ask: Ask, tmp_path: Path, kind: str) -> None:
    words = {"format": kind, "where": "flags & 1 == 0", "order": "anomaly_rank", "limit": 10}
    issued = ask("/api/exports", "POST", params=words).json()
    assert issued["rows"] == 10
    answer = ask(f"/api/export/{issued['ticket']}", headers={})  # as a browser downloads: by the ticket alone
    assert answer.status_code == 200
    assert RUN in answer.headers["content-disposition"]
    assert ask(f"/api/export/{issued['ticket']}", headers={}).status_code == 400  # once
    path = tmp_path / f"out.{kind}"
    path.write_bytes(answer.content)
    if kind == "parquet":
        table = Table.from_pandas(pq.read_table(path).to_pandas())
        assert pq.read_schema(path).field("ra").metadata[b"unit"] == b"deg"
    else:
        table = Table.read(path, format={"csv": "ascii.csv"}.get(kind, kind))
        if kind != "csv":
            assert str(table["ra"].unit) == "deg"
    assert [int(i) for i in table["object_id"]] == [FIRST_ID + 2 * i for i in range(10)]
    if kind == "votable":
        assert table["ra"].meta["ucd"] == "pos.eq.ra;meta.main"
        assert np.ma.getmaskarray(table["vae_kl"]).all() or np.isnan(np.asarray(table["vae_kl"], float)).all()


def test_stamps_have_pixels_and_the_place_on_the_sky(ask: Ask, local_run: ExploredRun) -> None:
    answer = ask("/api/export", params={"format": "stamps", "where": f"object_id >= {FIRST_ID + EACH}", "limit": 3})
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    row = ask(f"/api/objects/{FIRST_ID + EACH}").json()["row"]
    assert f"{FIRST_ID + EACH + 1}" in archive.read("LEFT_OUT.txt").decode()
    with fits.open(io.BytesIO(archive.read(f"{FIRST_ID + EACH}_t1.fits"))) as files:
        flux, header = files["FLUX"].data, files["FLUX"].header
        assert (header["BUNIT"], header["BAND2"], files["MASK"].data.shape) == ("nJy", "r", (2, 16, 16))
        place = (row["cutout"], row["row"])
        np.testing.assert_array_equal(flux, local_run.pictures.read("flux", [place])[place])
        ra, dec = WCS(header, naxis=2).pixel_to_world_values(8, 8)
    assert abs(ra - row["ra"]) * 3600 < 0.2
    assert abs(dec - row["dec"]) * 3600 < 0.2


@pytest.mark.parametrize(("kind", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_contact_sheets(ask: Ask, kind: str, begins: bytes) -> None:
    answer = ask("/api/export", params={"format": kind, "limit": 33, "order": "anomaly_rank"})
    assert answer.content.startswith(begins)
    too_many = ask("/api/exports", "POST", params={"format": "parquet", "where": "mag_r < 0"})
    assert "no row is selected" in too_many.json()["error"]


def test_reconstructions_are_stored_ones_or_computed_now(ask: Ask, local_run: ExploredRun) -> None:
    (stored,) = ask(f"/api/objects/{FIRST_ID}/explained").json()["explained"]
    (computed,) = ask(f"/api/objects/{FIRST_ID + PICTURED}/explained").json()["explained"]
    assert [(one["model"], one["origin"]) for one in (stored, computed)] == [
        (MODEL, "stored"),
        (MODEL, "computed"),
    ]
    assert (stored["width"], len(stored["low"])) == (SIDE, 2)
    assert ask(f"/api/objects/{FIRST_ID + EACH + 1}/explained").json() == {"explained": []}  # it has no cutout
    place = local_run.places([0])[0]
    assert place is not None
    (known,) = local_run.reconstructions.of("t0", *place)
    # What is stored of an object is what the model makes of it now.
    anew = Reconstructions(local_run.store, local_run.manifest.model_copy(update={"products": {}}))
    (made,) = anew.of("t0", *place)
    assert (known.origin, made.origin) == ("stored", "computed")
    assert known.flux is not None
    assert made.flux is not None
    np.testing.assert_allclose(known.flux, made.flux, rtol=1e-3, atol=1e-3)


def test_a_model_that_cannot_be_loaded_is_told_of(local_run: ExploredRun) -> None:
    place = local_run.places([9])[0]
    assert place is not None
    lost = local_run.manifest.model_copy(update={"models": {MODEL: "models/auto/nothing"}})
    (found,) = Reconstructions(local_run.store, lost).of("t0", *place)
    assert (found.origin, found.flux) == (None, None)
    assert "card.json is missing" in found.why
